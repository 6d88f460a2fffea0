//! A traffic rules file as it was read: what it sets, which is not the same as what applies. A 0 stands for no limit, and what is not
//! set is `None`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::filter::Filter;
use super::limits::{MeekRate, Networks, TrafficRules};
use super::ports::PortList;
use super::subnets::SubnetSet;

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct RulesFile {
    pub default: RuleChanges,
    /// In the order of the file, in which they are tried.
    pub filtered: Vec<FilteredRules>,
    pub meek: Option<MeekRate>,
}

/// Rules for some clients.
#[derive(Clone, Debug, Default)]
pub struct FilteredRules {
    pub filter: Filter,
    /// Whose they are not although the filter says so.
    pub except: Option<Filter>,
    pub rules: RuleChanges,
}

/// The fields of a set of rules that a file sets.
#[derive(Clone, Debug, Default)]
pub struct RuleChanges {
    pub rates: RateChanges,
    pub dial_milliseconds: Option<u64>,
    pub idle_tcp_milliseconds: Option<u64>,
    pub idle_udp_milliseconds: Option<u64>,
    pub most_dialing: Option<usize>,
    pub most_tcp: Option<usize>,
    pub most_udp: Option<usize>,
    pub allow_tcp_ports: Option<PortList>,
    pub allow_udp_ports: Option<PortList>,
    pub disallow_tcp_ports: Option<PortList>,
    pub disallow_udp_ports: Option<PortList>,
    pub allow_subnets: Option<SubnetSet>,
    pub allow_asns: Option<Arc<[u32]>>,
    pub disallow_subnets: Option<SubnetSet>,
    pub disallow_asns: Option<Arc<[u32]>>,
    pub disable_discovery: Option<bool>,
}

/// The fields of rate limits that a file sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateChanges {
    pub read_unthrottled_bytes: Option<u64>,
    pub read_bytes_per_second: Option<u64>,
    pub write_unthrottled_bytes: Option<u64>,
    pub write_bytes_per_second: Option<u64>,
    pub close_after_exhausted: Option<bool>,
    pub establishment_read_bytes_per_second: Option<u64>,
    pub establishment_write_bytes_per_second: Option<u64>,
    pub unthrottle_first_tunnel_only: Option<bool>,
}

impl RuleChanges {
    /// `base` with what is set here in its place.
    pub(super) fn over(&self, base: &TrafficRules) -> TrafficRules {
        let mut rules = base.clone();
        self.rates.apply(&mut rules);
        change(&mut rules.dial_timeout, self.dial_milliseconds, milliseconds);
        change(&mut rules.idle_timeout, self.idle_tcp_milliseconds, milliseconds);
        change(&mut rules.udp.idle_timeout, self.idle_udp_milliseconds, milliseconds);
        change(&mut rules.most_dialing, self.most_dialing, NonZeroUsize::new);
        change(&mut rules.most_flows, self.most_tcp, NonZeroUsize::new);
        change(&mut rules.udp.most_flows, self.most_udp, NonZeroUsize::new);
        // The reference takes an empty list of allowed ports for no list, also where it overrides one.
        let allowed = |ports: &PortList| Some(ports.clone()).filter(|ports| !ports.is_empty());
        change(&mut rules.allow_ports, self.allow_tcp_ports.as_ref(), allowed);
        change(&mut rules.udp.allow_ports, self.allow_udp_ports.as_ref(), allowed);
        change(&mut rules.disallow_ports, self.disallow_tcp_ports.as_ref(), PortList::clone);
        change(&mut rules.udp.disallow_ports, self.disallow_udp_ports.as_ref(), PortList::clone);
        networks(&mut rules.allow, self.allow_subnets.as_ref(), self.allow_asns.as_ref());
        networks(&mut rules.disallow, self.disallow_subnets.as_ref(), self.disallow_asns.as_ref());
        change(&mut rules.disable_discovery, self.disable_discovery, |set| set);
        rules
    }
}

impl RateChanges {
    fn apply(&self, rules: &mut TrafficRules) {
        let rates = &mut rules.rates;
        let limits = &mut rates.limits;
        for (place, set) in [
            (&mut limits.read_unthrottled_bytes, self.read_unthrottled_bytes),
            (&mut limits.read_bytes_per_second, self.read_bytes_per_second),
            (&mut limits.write_unthrottled_bytes, self.write_unthrottled_bytes),
            (&mut limits.write_bytes_per_second, self.write_bytes_per_second),
            (&mut rates.establishment_read, self.establishment_read_bytes_per_second),
            (&mut rates.establishment_write, self.establishment_write_bytes_per_second),
        ] {
            change(place, set, |set| set);
        }
        change(&mut limits.close_after_exhausted, self.close_after_exhausted, |set| set);
        change(&mut rates.first_tunnel_only, self.unthrottle_first_tunnel_only, |set| set);
    }
}

fn change<T, S>(place: &mut T, set: Option<S>, meaning: impl FnOnce(S) -> T) {
    if let Some(set) = set {
        *place = meaning(set);
    }
}

/// What is not changed stays shared between all rules: a list may be long, and filters many.
fn networks(place: &mut Arc<Networks>, subnets: Option<&SubnetSet>, asns: Option<&Arc<[u32]>>) {
    if subnets.is_some() || asns.is_some() {
        *place = Arc::new(Networks {
            subnets: subnets.unwrap_or(&place.subnets).clone(),
            asns: asns.unwrap_or(&place.asns).clone(),
        });
    }
}

/// 0 is no timeout, as the reference documents (for the dial timeout it then refuses every flow).
fn milliseconds(set: u64) -> Option<Duration> {
    (set > 0).then(|| Duration::from_millis(set))
}
