//! The flows of one tunnel: how many there may be, which one makes room, and what they have carried.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_ssh_tokio::Meter;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::destination::Destination;
use super::egress::DialRefusal;
use super::exit::Exit;
use crate::figures::{AddressFamily, DialOutcome, Kind, Present, Tally};
use crate::rules::TrafficRules;

/// Flows that may wait to be connected (PROTOCOL.md 3.7).
const MOST_WAITING: usize = 1024;
/// Connected at once where the rules set no limit.
const MOST_DIALING: usize = 512;

/// For a destination to take a flow's first bytes where the rules set no limit for dials.
const BEGIN_LIMIT: Duration = Duration::from_secs(10);

/// Shared by a tunnel and its flows.
pub(crate) struct Flows {
    exit: Exit,
    pub(crate) rules: Arc<TrafficRules>,
    dialing: Semaphore,
    most_dialing: usize,
    counts: Mutex<Counts>,
    tally: Arc<Tally>,
}

/// Numbers for reports, and who is open.
#[derive(Default)]
struct Counts {
    next: u64,
    open: BTreeMap<u64, Flow>,
    waiting: usize,
    totals: Totals,
}

/// What is reported at a tunnel's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) flows: u64,
    pub(crate) peak_flows: usize,
    pub(crate) peak_dialing: usize,
    pub(crate) refused: u64,
    pub(crate) evicted: u64,
    pub(crate) udp_flows: u64,
    pub(crate) peak_udp_flows: usize,
    pub(crate) udp_gateways: u64,
}

/// One open flow.
struct Flow {
    meter: Meter,
    /// What it had carried when somebody looked, and when something was last seen to have changed.
    seen: (u64, u64),
    used: Instant,
    evicted: Arc<Notify>,
}

/// A flow's place; dropping it gives the place up.
pub(crate) struct Place {
    flows: Arc<Flows>,
    number: u64,
    meter: Meter,
    evicted: Arc<Notify>,
    _present: Present,
}

impl Flows {
    pub(crate) fn new(exit: Exit, rules: Arc<TrafficRules>, tally: Arc<Tally>) -> Arc<Self> {
        let most_dialing = rules.most_dialing.map_or(MOST_DIALING, |most| most.get().min(MOST_DIALING));
        Arc::new(Self {
            exit,
            rules,
            dialing: Semaphore::new(most_dialing),
            most_dialing,
            counts: Mutex::default(),
            tally,
        })
    }

    /// Whether a UDP flow may go to an address.
    pub(crate) fn judge_udp(&self, address: SocketAddr) -> Result<(), DialRefusal> {
        self.exit.judge_udp(address, &self.rules)
    }

    pub(crate) fn exit(&self) -> &Exit {
        &self.exit
    }

    /// Counts a new UDP flow; `open` are open now.
    pub(crate) fn entered_udp(&self, open: usize) {
        self.counts(|counts| {
            counts.totals.udp_flows += 1;
            counts.totals.peak_udp_flows = counts.totals.peak_udp_flows.max(open);
        });
    }

    /// Counts a UDP gateway.
    pub(crate) fn entered_gateway(&self) {
        self.counts(|counts| counts.totals.udp_gateways += 1);
    }

    /// Counts for figures.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts what UDP flows carry, without frames.
    pub(crate) fn udp_meter(&self) -> &Meter {
        self.tally.meter(Kind::Udp)
    }

    /// Connects to a destination, after waiting for a turn; the time in line counts against the dial (PROTOCOL.md 3.7).
    pub(crate) async fn dial(&self, destination: &Destination) -> Result<TcpStream, DialRefusal> {
        let limit = self.rules.dial_timeout;
        let began = Instant::now();
        let turn = match limit {
            Some(limit) => timeout(limit, self.turn()).await.map_err(|_| DialRefusal::TimedOut)?,
            None => self.turn().await,
        };
        let _turn = turn.ok_or(DialRefusal::ResourceExhausted)?;
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        let (dialing, began) = (self.tally.dialing(), Instant::now());
        let dialed = self.exit.connect(destination, &self.rules, left).await;
        drop(dialing);
        match &dialed {
            Ok(target) => {
                let family = target.peer_addr().map_or(AddressFamily::Unresolved, AddressFamily::of);
                self.tally.dialed(family, DialOutcome::Connected, began.elapsed());
            }
            // What was not dialed did not fail.
            Err(refusal) if refusal.is_disallowed() => {}
            Err(_) => {
                let family = match destination {
                    Destination::Address(address) => AddressFamily::of(*address),
                    Destination::Name { .. } => AddressFamily::Unresolved,
                };
                self.tally.dialed(family, DialOutcome::Failed, began.elapsed());
            }
        }
        dialed
    }

    /// Writes what a flow begins with to its fresh connection. A buffer of the system takes it all at once, unless the
    /// destination takes nothing, which must not last longer than a dial.
    pub(crate) async fn begin(&self, target: &mut TcpStream, first_bytes: &[u8]) -> Result<(), DialRefusal> {
        let written = timeout(self.rules.dial_timeout.unwrap_or(BEGIN_LIMIT), target.write_all(first_bytes));
        written.await.map_err(|_| DialRefusal::TimedOut)?.map_err(|_| DialRefusal::Unreachable)
    }

    /// `None` when too many wait already.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let _waiting = Waiting::enter(self)?;
        let turn = self.dialing.acquire().await.ok()?;
        let dialing = self.most_dialing.saturating_sub(self.dialing.available_permits());
        self.counts(|counts| counts.totals.peak_dialing = counts.totals.peak_dialing.max(dialing));
        Some(turn)
    }

    /// Takes a place for a flow that is connected; the one used least recently loses theirs when there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> Place {
        let most = self.rules.most_flows.map_or(usize::MAX, std::num::NonZeroUsize::get);
        let (meter, evicted) = (self.tally.meter(Kind::Tcp).part(), Arc::<Notify>::default());
        let flow = Flow {
            meter: meter.clone(),
            seen: meter.totals(),
            used: Instant::now(),
            evicted: evicted.clone(),
        };
        let number = self.counts(|counts| {
            while counts.open.len() >= most && counts.evict() {
                self.tally.evicted(Kind::Tcp);
            }
            let number = counts.next;
            counts.next += 1;
            counts.open.insert(number, flow);
            counts.totals.flows += 1;
            counts.totals.peak_flows = counts.totals.peak_flows.max(counts.open.len());
            number
        });
        Place { flows: self.clone(), number, meter, evicted, _present: self.tally.flow(Kind::Tcp) }
    }

    /// Counts a flow that was not connected.
    pub(crate) fn refused(&self, why: DialRefusal) {
        self.tally.refused(Kind::Tcp, why.into());
        self.counts(|counts| counts.totals.refused += 1);
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counts(|counts| counts.totals)
    }

    /// Bytes that all TCP flows have carried, up and down.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let (down, up) = self.tally.meter(Kind::Tcp).totals();
        (up, down)
    }

    /// The same of UDP flows.
    pub(crate) fn udp_bytes(&self) -> (u64, u64) {
        let (down, up) = self.udp_meter().totals();
        (up, down)
    }

    fn counts<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counts {
    /// Ends the flow that was used least recently; false if there is none. When a flow was used is only looked at here,
    /// since flows are many and evictions few: those that moved since the last look count as used now.
    fn evict(&mut self) -> bool {
        let now = Instant::now();
        for flow in self.open.values_mut() {
            let carried = flow.meter.totals();
            if carried != flow.seen {
                flow.seen = carried;
                flow.used = now;
            }
        }
        let oldest = self.open.iter().min_by_key(|(_, flow)| flow.used).map(|(number, _)| *number);
        let Some(flow) = oldest.and_then(|number| self.open.remove(&number)) else { return false };
        flow.evicted.notify_one();
        self.totals.evicted += 1;
        true
    }
}

impl Place {
    /// Returns when the place is needed for another flow.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.flows.rules.idle_timeout
    }

    /// Counts what the flow carries.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.flows.counts(|counts| counts.open.remove(&self.number));
    }
}

/// Counts one that waits for its turn.
struct Waiting<'f>(&'f Flows);

impl<'f> Waiting<'f> {
    fn enter(flows: &'f Flows) -> Option<Self> {
        flows.counts(|counts| {
            if counts.waiting >= MOST_WAITING {
                return None;
            }
            counts.waiting += 1;
            Some(Self(flows))
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.counts(|counts| counts.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::forward::exit::tests as exit;

    fn flows(most_flows: usize, most_dialing: usize) -> Arc<Flows> {
        let rules = TrafficRules {
            most_flows: NonZeroUsize::new(most_flows),
            most_dialing: NonZeroUsize::new(most_dialing),
            dial_timeout: Some(Duration::from_secs(1)),
            ..TrafficRules::default()
        };
        Flows::new(exit::to_anywhere(), Arc::new(rules), exit::tally())
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_when_none_was_used() {
        let flows = flows(2, 1);
        let first = flows.enter();
        tokio::time::advance(Duration::from_millis(10)).await;
        let second = flows.enter();
        let _third = flows.enter();
        first.evicted().await;
        drop(first);
        let totals = Totals { flows: 3, peak_flows: 2, evicted: 1, ..Totals::default() };
        assert_eq!(flows.totals(), totals);
        assert!(timeout(Duration::from_millis(5), second.evicted()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_line_counts_against_the_dial() {
        let flows = flows(9, 1);
        let _turn = flows.turn().await.unwrap();
        let destination = Destination::parse("127.0.0.1", 9).unwrap();
        assert_eq!(flows.dial(&destination).await.map(|_| ()), Err(DialRefusal::TimedOut));
    }
}
