//! The flows of one tunnel: how many there may be, which one makes room, and what they have carried.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_ssh_tokio::Meter;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::destination::Destination;
use super::egress::{DialRefusal, EgressPolicy, resolve_and_dial};
use crate::rules::TrafficRules;

/// Flows that may wait to be connected (PROTOCOL.md 3.7).
const MOST_WAITING: usize = 1024;
/// Connected at once where the rules set no limit.
const MOST_DIALING: usize = 512;

/// Shared by a tunnel and its flows.
pub(crate) struct Flows {
    egress: Arc<EgressPolicy>,
    pub(crate) rules: Arc<TrafficRules>,
    dialing: Semaphore,
    most_dialing: usize,
    began: Instant,
    counts: Mutex<Counts>,
    meter: Meter,
}

/// Numbers for reports, and who is open.
#[derive(Default)]
struct Counts {
    next: u64,
    open: BTreeMap<u64, Arc<Flow>>,
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
}

/// One open flow.
struct Flow {
    /// Milliseconds after the tunnel's beginning.
    used: AtomicU64,
    evicted: Notify,
}

/// A flow's place; dropping it gives the place up.
pub(crate) struct Place {
    flows: Arc<Flows>,
    number: u64,
    flow: Arc<Flow>,
}

impl Flows {
    pub(crate) fn new(egress: Arc<EgressPolicy>, rules: Arc<TrafficRules>) -> Arc<Self> {
        let most_dialing = rules.most_dialing.map_or(MOST_DIALING, |most| most.get().min(MOST_DIALING));
        Arc::new(Self {
            egress,
            rules,
            dialing: Semaphore::new(most_dialing),
            most_dialing,
            began: Instant::now(),
            counts: Mutex::default(),
            meter: Meter::default(),
        })
    }

    /// Connects to a destination, after waiting for a turn; the time in line counts against the dial (PROTOCOL.md 3.7).
    pub(crate) async fn dial(&self, destination: &Destination) -> Result<tokio::net::TcpStream, DialRefusal> {
        let limit = self.rules.dial_timeout;
        let began = Instant::now();
        let turn = match limit {
            Some(limit) => timeout(limit, self.turn()).await.map_err(|_| DialRefusal::TimedOut)?,
            None => self.turn().await,
        };
        let _turn = turn.ok_or(DialRefusal::ResourceExhausted)?;
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        resolve_and_dial(destination, &self.egress, &self.rules, left).await
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
        let flow = Arc::new(Flow { used: AtomicU64::new(self.now()), evicted: Notify::new() });
        let most = self.rules.most_flows.map_or(usize::MAX, std::num::NonZeroUsize::get);
        let number = self.counts(|counts| {
            while counts.open.len() >= most {
                let oldest = counts.open.iter().min_by_key(|(_, flow)| flow.used.load(Ordering::Relaxed));
                let Some(oldest) = oldest.map(|(number, _)| *number) else { break };
                if let Some(flow) = counts.open.remove(&oldest) {
                    flow.evicted.notify_one();
                }
                counts.totals.evicted += 1;
            }
            let number = counts.next;
            counts.next += 1;
            counts.open.insert(number, flow.clone());
            counts.totals.flows += 1;
            counts.totals.peak_flows = counts.totals.peak_flows.max(counts.open.len());
            number
        });
        Place { flows: self.clone(), number, flow }
    }

    /// Counts a flow that was not connected.
    pub(crate) fn refused(&self) {
        self.counts(|counts| counts.totals.refused += 1);
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counts(|counts| counts.totals)
    }

    /// Bytes that all flows have carried, up and down.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let (down, up) = self.meter.totals();
        (up, down)
    }

    fn counts<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Place {
    /// Returns when the place is needed for another flow.
    pub(crate) async fn evicted(&self) {
        self.flow.evicted.notified().await;
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.flows.rules.idle_timeout
    }

    /// Counts what this flow carries, and the tunnel's with it.
    pub(crate) fn meter(&self) -> Meter {
        self.flows.meter.part()
    }

    /// Notes that the flow is in use: others make room first.
    pub(crate) fn used(&self) {
        self.flow.used.store(self.flows.now(), Ordering::Relaxed);
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

    fn flows(most_flows: usize, most_dialing: usize) -> Arc<Flows> {
        let rules = TrafficRules {
            most_flows: NonZeroUsize::new(most_flows),
            most_dialing: NonZeroUsize::new(most_dialing),
            dial_timeout: Some(Duration::from_secs(1)),
            ..TrafficRules::default()
        };
        Flows::new(Arc::new(EgressPolicy::Anything), Arc::new(rules))
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_recently_used_makes_room() {
        let flows = flows(2, 1);
        let (first, second) = (flows.enter(), flows.enter());
        tokio::time::advance(Duration::from_millis(10)).await;
        first.up(3);
        let third = flows.enter();
        second.evicted().await;
        drop(second);
        third.down(4);
        assert_eq!(flows.bytes(), (3, 4));
        let totals = Totals { flows: 3, peak_flows: 2, evicted: 1, ..Totals::default() };
        assert_eq!(flows.totals(), totals);
        assert!(timeout(Duration::from_millis(5), first.evicted()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_line_counts_against_the_dial() {
        let flows = flows(9, 1);
        let _turn = flows.turn().await.unwrap();
        let destination = Destination::parse("127.0.0.1", 9).unwrap();
        assert_eq!(flows.dial(&destination).await.map(|_| ()), Err(DialRefusal::TimedOut));
    }
}
