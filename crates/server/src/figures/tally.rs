//! What is counted of one tunnel, and all tunnels that are up: bytes are not counted a second time while they flow, but read from
//! the tunnels' own meters when somebody asks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use culvert_ssh_tokio::{Handle, Meter};

use super::country::Country;
use super::labels::{DatagramLoss, DialOutcome, DnsOutcome, Family, Kind, Labels as _};
use super::quality::Quality;
use super::{Figures, Present};
use crate::forward::egress::DialRefusal;

/// Parts of the list of tunnels, so that one that begins or ends seldom waits for somebody who reads.
const PARTS: usize = 16;

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Bytes {
    fn of(meter: &Meter) -> Self {
        let (down, up) = meter.totals();
        Self { up, down }
    }

    fn add(&mut self, other: Self) {
        self.up = self.up.wrapping_add(other.up);
        self.down = self.down.wrapping_add(other.down);
    }
}

/// All that tunnels have carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) tcp: Bytes,
    pub(super) udp: Bytes,
    pub(super) wire: Bytes,
}

impl Carried {
    fn add(&mut self, other: Self) {
        self.tcp.add(other.tcp);
        self.udp.add(other.udp);
        self.wire.add(other.wire);
    }
}

/// Counts for one tunnel and for the server at once.
pub(crate) struct Tally {
    figures: Arc<Figures>,
    pub(super) protocol: TunnelProtocol,
    pub(super) country: Country,
    /// They count what goes to the client as sent.
    meters: [Meter; Kind::COUNT],
    /// What goes over the wire. `None`: nobody asks.
    wire: Option<Handle>,
    opened: [AtomicU64; Kind::COUNT],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    since_asked: Quality,
    peaks: Peaks,
}

/// The most, or the worst, that was seen of a tunnel each time that the server's load was looked at; `None`: never.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Peaks {
    /// Connections from the same region besides this one.
    pub(crate) accepted_nearby: Option<u64>,
    /// Tunnels from the same region besides this one.
    pub(crate) established_nearby: Option<u64>,
    /// Share of dials that failed, of how many.
    pub(crate) failed_dials: Option<(f64, u64)>,
    /// Share of look-ups that failed, of how many.
    pub(crate) failed_look_ups: Option<(f64, u64)>,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Tally {
    /// Counts what flows carry.
    pub(crate) fn meter(&self, kind: Kind) -> &Meter {
        let [tcp, udp] = &self.meters;
        match kind {
            Kind::Tcp => tcp,
            Kind::Udp => udp,
        }
    }

    /// Counts a flow that is connected, until the guard is dropped.
    pub(crate) fn flow(&self, kind: Kind) -> Present {
        if let Some(opened) = self.opened.get(kind as usize) {
            opened.fetch_add(1, Ordering::Relaxed);
        }
        self.figures.flow(kind)
    }

    /// Counts a flow that is being connected, until the guard is dropped.
    pub(crate) fn dialing(&self) -> Present {
        self.figures.dialing()
    }

    /// Counts a dial that ended.
    pub(crate) fn dialed(&self, family: Family, outcome: DialOutcome, took: Duration) {
        self.figures.dialed(family, outcome, took);
        self.state().since_asked.dialed(family, outcome, took);
    }

    /// Counts a flow that is not connected.
    pub(crate) fn refused(&self, kind: Kind, why: DialRefusal) {
        self.figures.flow_refused(kind, why);
    }

    /// Counts a datagram that is not passed on.
    pub(crate) fn datagram_lost(&self, why: DatagramLoss) {
        self.figures.datagram_lost(why);
    }

    /// Counts a flow that makes room for another.
    pub(crate) fn evicted(&self, kind: Kind) {
        self.figures.flow_evicted(kind);
    }

    /// Counts a look-up of a name, at this resolver if it is known.
    pub(crate) fn looked_up(&self, resolver: Option<IpAddr>, outcome: DnsOutcome, took: Duration) {
        self.figures.looked_up(resolver, outcome, took);
        self.state().since_asked.looked_up(None, outcome, took);
    }

    /// Flows that it has connected.
    pub(super) fn opened(&self, kind: Kind) -> u64 {
        self.opened.get(kind as usize).map_or(0, |opened| opened.load(Ordering::Relaxed))
    }

    pub(crate) fn peaks(&self) -> Peaks {
        self.state().peaks
    }

    /// Looks at rates of failure since the last look; fewer than `least` dials or look-ups say nothing.
    pub(super) fn look(&self, least: u64) {
        let mut state = self.state();
        let quality = std::mem::take(&mut state.since_asked);
        let worst = |peak: &mut Option<(f64, u64)>, now: Option<(f64, u64)>| {
            if let Some(now) = now
                && peak.is_none_or(|peak| peak.0 < now.0)
            {
                *peak = Some(now);
            }
        };
        worst(&mut state.peaks.failed_dials, quality.dials().failure_rate(least));
        worst(&mut state.peaks.failed_look_ups, quality.dns.failure_rate(least));
    }

    /// Notes how many are in the same region besides this one.
    pub(super) fn nearby(&self, accepted: Option<u64>, established: Option<u64>) {
        let peaks = &mut self.state().peaks;
        peaks.accepted_nearby = peaks.accepted_nearby.max(accepted);
        peaks.established_nearby = peaks.established_nearby.max(established);
    }

    fn carried(&self) -> Carried {
        let wire = self.wire.as_ref().map(Handle::stats);
        Carried {
            tcp: Bytes::of(self.meter(Kind::Tcp)),
            udp: Bytes::of(self.meter(Kind::Udp)),
            wire: wire.map_or_else(Bytes::default, |stats| Bytes { up: stats.read, down: stats.written }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tunnel that is up, until this is dropped.
pub(crate) struct Tunnel {
    tally: Arc<Tally>,
    number: u64,
    _present: Present,
}

impl Tunnel {
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.tally.figures.live.remove(self.number);
    }
}

/// What is known of who has a tunnel.
pub(super) struct Client {
    pub(super) protocol: TunnelProtocol,
    pub(super) country: Country,
}

/// Every tunnel that is up.
#[derive(Debug, Default)]
pub(super) struct Live {
    next: AtomicU64,
    parts: [Mutex<Part>; PARTS],
}

#[derive(Debug, Default)]
struct Part {
    tunnels: BTreeMap<u64, Arc<Tally>>,
    /// By those that have ended.
    ended: Carried,
}

impl Live {
    /// Adds a tunnel.
    pub(super) fn add(
        &self,
        figures: &Arc<Figures>,
        client: Client,
        wire: Option<Handle>,
        present: Present,
    ) -> Tunnel {
        let tally = Arc::new(Tally {
            figures: figures.clone(),
            protocol: client.protocol,
            country: client.country,
            meters: Default::default(),
            wire,
            opened: Default::default(),
            state: Mutex::default(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.part(number, |part| part.tunnels.insert(number, tally.clone()));
        Tunnel { tally, number, _present: present }
    }

    fn remove(&self, number: u64) {
        self.part(number, |part| {
            if let Some(tally) = part.tunnels.remove(&number) {
                part.ended.add(tally.carried());
            }
        });
    }

    /// All that was carried, by tunnels that have ended too. Never less than before.
    pub(super) fn carried(&self) -> Carried {
        let mut all = Carried::default();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            all.add(part.ended);
            for tally in part.tunnels.values() {
                all.add(tally.carried());
            }
        }
        all
    }

    /// All that are up now.
    pub(super) fn all(&self) -> Vec<Arc<Tally>> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.lock().unwrap_or_else(PoisonError::into_inner).tunnels.values().cloned());
        }
        all
    }

    fn part<T>(&self, number: u64, change: impl FnOnce(&mut Part) -> T) -> Option<T> {
        let place = usize::try_from(number % PARTS as u64).ok()?;
        let part = self.parts.get(place)?;
        Some(change(&mut part.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_tunnels_that_ended_are_kept() {
        let figures = Figures::new(&[TunnelProtocol::OSSH]);
        let one = figures.tunnel(TunnelProtocol::OSSH, Country::UNKNOWN, None);
        let two = figures.tunnel(TunnelProtocol::OSSH, Country::UNKNOWN, None);
        one.tally().meter(Kind::Tcp).add_sent(100);
        two.tally().meter(Kind::Tcp).part().add_received(10);
        let both = Bytes { up: 10, down: 100 };
        assert_eq!(figures.live.carried().tcp, both);
        drop(one);
        assert_eq!(figures.live.carried().tcp, both);
        assert_eq!(figures.live.all().len(), 1);
    }

    #[test]
    fn peaks_are_the_worst_of_all_looks() {
        let figures = Figures::new(&[TunnelProtocol::OSSH]);
        let tunnel = figures.tunnel(TunnelProtocol::OSSH, Country::UNKNOWN, None);
        let tally = tunnel.tally();
        let dial = |outcome| tally.dialed(Family::Ipv4, outcome, Duration::ZERO);
        dial(DialOutcome::Failed);
        tally.look(2);
        assert_eq!(tally.peaks(), Peaks::default(), "one dial says nothing");
        dial(DialOutcome::Failed);
        dial(DialOutcome::Connected);
        tally.look(2);
        (0..3).for_each(|_| dial(DialOutcome::Connected));
        tally.look(2);
        tally.nearby(Some(4), None);
        tally.nearby(Some(3), Some(0));
        assert_eq!(
            tally.peaks(),
            Peaks {
                accepted_nearby: Some(4),
                established_nearby: Some(0),
                failed_dials: Some((0.5, 2)),
                failed_look_ups: None
            }
        );
    }
}
