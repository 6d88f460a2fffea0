//! How well flows fare since somebody last asked: counts and times of dials and look-ups, and what was turned away. Of one
//! tunnel for its peaks, of all together for `server_load`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::labels::{DialOutcome, DnsOutcome, Family, Kind};
use crate::forward::egress::DialRefusal;

/// Resolvers that are told apart; a host has three at most (resolv.conf(5)).
const MOST_RESOLVERS: usize = 16;

/// How many, and how long they took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) count: u64,
    pub(crate) total: Duration,
}

impl Timed {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(took);
    }

    /// Of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, total: self.total.saturating_add(other.total) }
    }
}

/// Two sorts of outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) good: Timed,
    pub(crate) bad: Timed,
}

impl Outcomes {
    fn add(&mut self, good: bool, took: Duration) {
        if good { self.good.add(took) } else { self.bad.add(took) }
    }

    fn and(self, other: Self) -> Self {
        Self { good: self.good.and(other.good), bad: self.bad.and(other.bad) }
    }

    /// How many there are, and the share of bad ones, where there are enough to say so.
    pub(super) fn failure_rate(self, least: u64) -> Option<(f64, u64)> {
        let (bad, all) = (self.bad.count, self.good.count + self.bad.count);
        // Counts are far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "counts of one tunnel within one period")]
        (all > 0 && all >= least).then(|| (bad as f64 / all as f64, all))
    }
}

/// Since it was last asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quality {
    pub(crate) ipv4: Outcomes,
    pub(crate) ipv6: Outcomes,
    unresolved: Outcomes,
    /// Look-ups of all resolvers.
    pub(crate) dns: Outcomes,
    /// Of each that is known by address.
    pub(crate) resolvers: BTreeMap<IpAddr, Outcomes>,
    pub(crate) over_dialing_limit: u64,
    pub(crate) disallowed_tcp: u64,
    pub(crate) disallowed_udp: u64,
}

impl Quality {
    pub(super) fn dialed(&mut self, family: Family, outcome: DialOutcome, took: Duration) {
        let outcomes = match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
            Family::Unresolved => &mut self.unresolved,
        };
        outcomes.add(outcome == DialOutcome::Connected, took);
    }

    pub(super) fn looked_up(&mut self, resolver: Option<IpAddr>, outcome: DnsOutcome, took: Duration) {
        let good = outcome == DnsOutcome::Answered;
        self.dns.add(good, took);
        let Some(resolver) = resolver else { return };
        if self.resolvers.len() < MOST_RESOLVERS || self.resolvers.contains_key(&resolver) {
            self.resolvers.entry(resolver).or_default().add(good, took);
        }
    }

    pub(super) fn refused(&mut self, kind: Kind, why: DialRefusal) {
        match (why, kind) {
            (DialRefusal::DialingLimit, _) => self.over_dialing_limit += 1,
            // What nobody could reach, or is on the blocklist, the reference does not count here.
            (DialRefusal::Rules, Kind::Tcp) => self.disallowed_tcp += 1,
            (DialRefusal::Rules, Kind::Udp) => self.disallowed_udp += 1,
            _ => {}
        }
    }

    /// Dials of all families.
    pub(crate) fn dials(&self) -> Outcomes {
        self.ipv4.and(self.ipv6).and(self.unresolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_need_enough_to_be_said() {
        let mut quality = Quality::default();
        for second in 1..=3 {
            quality.dialed(Family::Ipv4, DialOutcome::Connected, Duration::from_secs(second));
        }
        quality.dialed(Family::Unresolved, DialOutcome::Failed, Duration::from_secs(9));
        assert_eq!(quality.dials().failure_rate(4), Some((0.25, 4)));
        assert_eq!(quality.dials().failure_rate(5), None);
        assert_eq!(quality.dns.failure_rate(0), None, "nothing was looked up");
        assert_eq!(quality.ipv4.good, Timed { count: 3, total: Duration::from_secs(6) });
    }

    #[test]
    fn only_rules_disallow() {
        let mut quality = Quality::default();
        for why in [DialRefusal::Rules, DialRefusal::Bogon, DialRefusal::Blocked, DialRefusal::TimedOut] {
            quality.refused(Kind::Tcp, why);
        }
        quality.refused(Kind::Udp, DialRefusal::Rules);
        quality.refused(Kind::Tcp, DialRefusal::DialingLimit);
        assert_eq!((quality.disallowed_tcp, quality.disallowed_udp, quality.over_dialing_limit), (1, 1, 1));
    }

    #[test]
    fn resolvers_are_few() {
        let mut quality = Quality::default();
        for last in 0..100 {
            let resolver = IpAddr::from([192, 0, 2, last]);
            quality.looked_up(Some(resolver), DnsOutcome::Answered, Duration::ZERO);
        }
        assert_eq!((quality.resolvers.len(), quality.dns.good.count), (MOST_RESOLVERS, 100));
    }
}
