//! How an establishment is made, out of the config and its parameters. Not which protocols: see `select.rs`.
//!
//! Source: PROTOCOL.md 6.5 and 8.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_obfuscation::Prng;
use culvert_protocol::ServerEntry;
use culvert_protocol::parameters::{AtMost, Parameters, ScaledDuration};

use super::select::{InitialLimit, Rules, Upstream};
use crate::config::Config;

/// The settings of one establishment.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Attempts side by side.
    pub(crate) workers: usize,
    /// Of the attempts, how many with protocols that take much; 0 for any number.
    pub(crate) intensive_workers: usize,
    /// Time for a round, and until fetches are triggered.
    pub(crate) work_time: Duration,
    /// The pause between rounds, at most.
    pub(crate) pause: Duration,
    pub(crate) pause_jitter: f64,
    /// The head start of the server that served last.
    pub(crate) affinity_grace: ScaledDuration,
    /// The least time between two dials.
    pub(crate) stagger: Duration,
    pub(crate) stagger_jitter: f64,
    /// For one dial.
    pub(crate) dial_limit: ScaledDuration,
    /// For tactics, before the first dial.
    pub(crate) tactics_wait: Duration,
    /// How many servers may come before those that the shuffle puts first.
    pub(crate) most_moved: Option<usize>,
    pub(crate) rules: Rules,
}

impl Settings {
    /// What config and parameters say. Lists that hold with a probability hold, or not, for all of the establishment.
    pub(crate) fn new(config: &Config, prng: &mut Prng) -> Self {
        let Parameters { establish, latency, .. } = &config.parameters;
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let most = config.establish.most_workers.unwrap_or(u32::MAX);
        Self {
            workers: match config.servers.target {
                Some(_) => 1,
                None => size(establish.worker_pool_size.min(most)),
            },
            intensive_workers: size(establish.limit_intensive_workers),
            work_time: establish.work_time,
            pause: establish.pause_period,
            pause_jitter: establish.pause_period_jitter,
            affinity_grace: establish.server_affinity_grace_period,
            stagger: establish.stagger_period,
            stagger_jitter: establish.stagger_jitter,
            dial_limit: establish.connect_timeout,
            tactics_wait: config.parameters.tactics.wait_period.scaled(latency.general()),
            most_moved: match establish.max_move_to_front {
                AtMost::Unlimited => None,
                AtMost::Of(most) => Some(size(most)),
            },
            rules: rules(config, prng),
        }
    }
}

/// How many tunnels are to be up.
pub(crate) fn wanted_tunnels(config: &Config) -> usize {
    match config.servers.target {
        Some(_) => 1,
        None => usize::try_from(config.parameters.establish.tunnel_pool_size).unwrap_or(1).max(1),
    }
}

/// True when the entry's provider is listed with its region, or with all; an empty region means all.
pub(crate) fn provider_is_meant(entry: &ServerEntry, listed: &BTreeMap<String, Vec<String>>) -> bool {
    let regions = listed.get(entry.text("providerID").unwrap_or_default());
    let own = entry.region().unwrap_or_default();
    regions.is_some_and(|regions| regions.iter().any(|region| region.is_empty() || region == own))
}

fn upstream(config: &Config) -> Upstream {
    let any = config.parameters.establish.upstream_proxy_all_sources || config.servers.target.is_some();
    match (&config.upstream, any) {
        (None, _) => Upstream::None,
        (Some(_), false) => Upstream::ListedEntries,
        // What the user chose by name is meant.
        (Some(_), true) => Upstream::AnyEntry,
    }
}

fn rules(config: &Config, prng: &mut Prng) -> Rules {
    let Parameters { limits, restrict, .. } = &config.parameters;
    // What the config says for itself is never left to chance.
    let own = &config.servers.limit_protocols;
    let listed = limits.protocols_probability.gate(&limits.protocols, prng);
    let limit = if own.is_empty() { listed.cloned().unwrap_or_default() } else { own.clone() };
    let initial = limits.initial_protocols_probability.gate(&limits.initial_protocols, prng);
    Rules {
        limit,
        initial: InitialLimit {
            protocols: initial.cloned().unwrap_or_default(),
            candidates: limits.initial_candidate_count,
        },
        ports: limits.dial_ports_probability.gate(&limits.dial_ports, prng).cloned().unwrap_or_default(),
        restricted_direct: restrict.direct_providers.clone(),
        restricted_direct_probability: restrict.direct_probability.get(),
        restricted_fronting: restrict.fronting_providers.clone(),
        restricted_fronting_probability: restrict.fronting_probability.get(),
        upstream: upstream(config),
        region: config.servers.egress_region.clone(),
    }
}
