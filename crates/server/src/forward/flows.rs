//! The flows of one tunnel: how many there may be, which one makes room, and what they have carried.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use culvert_ssh_tokio::Meter;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, timeout};

use super::destination::{Destination, HostName};
use super::egress::DialRefusal;
use super::exit::Exit;
use super::turns::Turns;
use super::udp_limits::UdpLimits;
use crate::figures::{AddressFamily, DialOutcome, Kind, Present, Tally};
use crate::rules::TrafficRules;

/// Connected at once where the rules set no limit.
const MOST_DIALING: usize = 512;

/// For a destination to take a flow's first bytes where the rules set no limit for dials.
const BEGIN_LIMIT: Duration = Duration::from_secs(10);

/// Shared by a tunnel and its flows.
pub(crate) struct Flows {
    exit: Exit,
    rules: RwLock<Arc<TrafficRules>>,
    /// Told when there are other rules, or another blocklist.
    ruled_anew: Notify,
    turns: Turns,
    udp_limits: UdpLimits,
    counts: Mutex<Counts>,
    tally: Arc<Tally>,
}

/// Numbers for reports, and who is open.
#[derive(Default)]
struct Counts {
    next: u64,
    open: BTreeMap<u64, Flow>,
    /// The open flows by when they were used, as far as is known, the least recent first.
    by_use: BTreeSet<(u64, u64)>,
    totals: Totals,
}

/// What is reported at a tunnel's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) flows: u64,
    /// Of these, to a name.
    pub(crate) by_name: u64,
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
    /// When it was used last, by the meter's clock, when somebody looked.
    used: u64,
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
        Arc::new(Self {
            udp_limits: UdpLimits::new(exit.limits_udp(), Instant::now()),
            exit,
            turns: Turns::new(most_dialing(&rules)),
            rules: RwLock::new(rules),
            ruled_anew: Notify::new(),
            counts: Mutex::default(),
            tally,
        })
    }

    /// The rules that hold now.
    pub(crate) fn rules(&self) -> Arc<TrafficRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these rules hold: for new flows all of them, for those that are open where they may go and how long they may be
    /// idle.
    pub(crate) fn replace_rules(&self, rules: Arc<TrafficRules>) {
        self.turns.set_most(most_dialing(&rules));
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.ruled_anew.notify_waiters();
    }

    /// Another blocklist holds from now on, also for flows that are open.
    pub(crate) fn listed_anew(&self) {
        self.ruled_anew.notify_waiters();
    }

    /// Returns when there are other rules, or another blocklist, than when this was called.
    pub(crate) fn ruled_anew(&self) -> Notified<'_> {
        self.ruled_anew.notified()
    }

    /// Returns when rules or a blocklist hold that forbid where an open flow goes: an operator who blocks a site wants it blocked
    /// now. `name` is what the client named, if it was a name.
    pub(crate) async fn forbidden(&self, address: SocketAddr, name: Option<&HostName>) -> DialRefusal {
        loop {
            let anew = self.ruled_anew();
            if let Some(refusal) = self.exit.ends_tcp(address, name, &self.rules()) {
                return refusal;
            }
            anew.await;
        }
    }

    /// Whether a UDP flow may go to an address.
    pub(crate) fn judge_udp(&self, address: SocketAddr) -> Result<(), DialRefusal> {
        self.exit.judge_udp(address, &self.rules())
    }

    /// How the tunnel's datagrams are kept from doing harm.
    pub(crate) fn udp_limits(&self) -> &UdpLimits {
        &self.udp_limits
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

    pub(crate) fn entered_by_name(&self) {
        self.counts(|counts| counts.totals.by_name += 1);
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
        let limit = self.rules().dial_timeout;
        let began = Instant::now();
        let turn = match limit {
            // Nothing was dialled: it is the limit that kept it waiting.
            Some(limit) => timeout(limit, self.turns.take()).await.map_err(|_| DialRefusal::DialingLimit)?,
            None => self.turns.take().await,
        };
        let _turn = turn.ok_or(DialRefusal::DialingLimit)?;
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        let (dialing, began) = (self.tally.dialing(), Instant::now());
        let dialed = self.exit.connect(destination, &self.rules(), left).await;
        drop(dialing);
        match &dialed {
            Ok(target) => {
                let family = target.peer_addr().map_or(AddressFamily::Unresolved, AddressFamily::of);
                self.tally.dialed(family, DialOutcome::Connected, began.elapsed());
            }
            // What was not dialed did not fail.
            Err(refusal) if refusal.is_policy() => {}
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
        let written =
            timeout(self.rules().dial_timeout.unwrap_or(BEGIN_LIMIT), target.write_all(first_bytes));
        written.await.map_err(|_| DialRefusal::TimedOut)?.map_err(|_| DialRefusal::Unreachable)
    }

    /// Takes a place for a flow that is connected; the one used least recently loses theirs when there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> Place {
        let most = self.rules().most_flows.map_or(usize::MAX, std::num::NonZeroUsize::get);
        let (meter, evicted) = (self.tally.meter(Kind::Tcp).part(), Arc::<Notify>::default());
        meter.touch();
        let flow = Flow { used: meter.last_use(), meter: meter.clone(), evicted: evicted.clone() };
        let number = self.counts(|counts| {
            while counts.open.len() >= most && counts.evict() {
                self.tally.evicted(Kind::Tcp);
            }
            let number = counts.next;
            counts.next += 1;
            counts.by_use.insert((flow.used, number));
            counts.open.insert(number, flow);
            counts.totals.flows += 1;
            counts.totals.peak_flows = counts.totals.peak_flows.max(counts.open.len());
            number
        });
        Place { flows: self.clone(), number, meter, evicted, _present: self.tally.flow(Kind::Tcp) }
    }

    /// Counts a flow that was not connected.
    pub(crate) fn refused(&self, why: DialRefusal) {
        self.tally.refused(Kind::Tcp, why);
        self.counts(|counts| counts.totals.refused += 1);
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals { peak_dialing: self.turns.peak(), ..self.counts(|counts| counts.totals) }
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

fn most_dialing(rules: &TrafficRules) -> usize {
    rules.most_dialing.map_or(MOST_DIALING, |most| most.get().min(MOST_DIALING))
}

impl Counts {
    /// Ends the flow that was used least recently; false if there is none. When a flow was used is only looked at here, since
    /// flows are many and evictions few: one that was used since the last look goes back to its place in the line.
    fn evict(&mut self) -> bool {
        while let Some((used, number)) = self.by_use.pop_first() {
            let Some(flow) = self.open.get_mut(&number) else { continue };
            flow.used = flow.meter.last_use();
            if flow.used == used {
                flow.evicted.notify_one();
                self.open.remove(&number);
                self.totals.evicted += 1;
                return true;
            }
            self.by_use.insert((flow.used, number));
        }
        false
    }

    fn leave(&mut self, number: u64) {
        if let Some(flow) = self.open.remove(&number) {
            self.by_use.remove(&(flow.used, number));
        }
    }
}

impl Place {
    /// Returns when the place is needed for another flow.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// How long it may carry nothing; see [`Flows::ruled_anew`].
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.flows.rules().idle_timeout
    }

    pub(crate) fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Counts what the flow carries.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.flows.counts(|counts| counts.leave(self.number));
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
        let _turn = flows.turns.take().await.unwrap();
        let destination = Destination::parse("127.0.0.1", 9).unwrap();
        assert_eq!(flows.dial(&destination).await.map(|_| ()), Err(DialRefusal::DialingLimit));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_used_least_recently_makes_room() {
        let flows = flows(3, 1);
        let places: Vec<_> = (0..3).map(|_| flows.enter()).collect();
        places[0].meter().add_received(1);
        let fourth = flows.enter();
        places[1].evicted().await;
        fourth.meter().add_received(1);
        places[2].meter().add_sent(1);
        // Not used yet, but later than what was used before.
        let fifth = flows.enter();
        places[0].evicted().await;
        let _sixth = flows.enter();
        fourth.evicted().await;
        let _seventh = flows.enter();
        places[2].evicted().await;
        let _eighth = flows.enter();
        fifth.evicted().await;
        assert_eq!(flows.totals().evicted, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn other_rules_hold_for_what_is_open() {
        let flows = flows(3, 1);
        let places: Vec<_> = (0..3).map(|_| flows.enter()).collect();
        let anew = flows.ruled_anew();
        let rules =
            TrafficRules { most_flows: NonZeroUsize::new(1), idle_timeout: None, ..TrafficRules::default() };
        flows.replace_rules(Arc::new(rules));
        anew.await;
        assert_eq!(places[0].idle_timeout(), None);
        let _fourth = flows.enter();
        for place in &places {
            place.evicted().await;
        }
        assert_eq!(flows.totals().evicted, 3);
    }
}
