//! What is known of protocols and of the path on the network at hand: which ones worked, which ones went nowhere, and how long
//! a round trip takes. Lives in memory, for one network at a time; not what is stored of servers.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;

/// The weight of a protocol of which nothing is known.
const UNKNOWN: u32 = 8;
/// What a protocol that worked weighs.
const WORKED: u32 = 48;
/// Failures in a row that still count.
const MOST_FAILURES: u32 = 3;

/// What was seen on this network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Experience {
    protocols: BTreeMap<TunnelProtocol, Record>,
    slowest: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    worked: bool,
    /// In a row.
    failures: u32,
}

impl Experience {
    /// A tunnel came up.
    pub(crate) fn worked(&mut self, protocol: TunnelProtocol) {
        self.protocols.insert(protocol, Record { worked: true, failures: 0 });
    }

    /// A server was reached, and then nothing came of it.
    pub(crate) fn went_nowhere(&mut self, protocol: TunnelProtocol) {
        let record = self.protocols.entry(protocol).or_default();
        record.failures = record.failures.saturating_add(1);
    }

    /// A connection was made, which takes one round trip.
    pub(crate) fn connected_in(&mut self, took: Duration) {
        self.slowest = Some(self.slowest.unwrap_or_default().max(took));
    }

    /// The longest round trip seen.
    pub(crate) fn slowest_round_trip(&self) -> Option<Duration> {
        self.slowest
    }

    /// How likely the protocol is to be chosen, beside others. Never 0: what was blocked may work on the next server.
    pub(crate) fn weight(&self, protocol: TunnelProtocol) -> u32 {
        let record = self.protocols.get(&protocol).copied().unwrap_or_default();
        let weight = if record.worked { WORKED } else { UNKNOWN };
        (weight >> record.failures.min(MOST_FAILURES)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_worked_is_preferred_and_nothing_is_given_up() {
        let mut seen = Experience::default();
        let [good, bad, unknown] =
            [TunnelProtocol::OSSH, TunnelProtocol::TLS_OSSH, TunnelProtocol::QUIC_OSSH];
        seen.worked(good);
        (0..100).for_each(|_| seen.went_nowhere(bad));
        assert!(seen.weight(good) > seen.weight(unknown));
        assert!(seen.weight(unknown) > seen.weight(bad));
        assert!(seen.weight(bad) > 0);
        (0..100).for_each(|_| seen.went_nowhere(good));
        assert!(seen.weight(good) <= seen.weight(unknown), "{}", seen.weight(good));
    }
}
