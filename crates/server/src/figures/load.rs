//! `server_load`: how many clients there are, how well their flows fare, and what the process and the host do. Field names and types are
//! the reference's. Counts are those since the last report, of all tunnels, also of those that have ended since (the reference leaves
//! these out); but `total_*` are of tunnels that are up.
//!
//! Looking at the load is also when peaks of tunnels are noted.

use std::collections::BTreeMap;

use culvert_protocol::TunnelProtocol;
use serde_json::{Map, Value as Json, json};

use super::country::Country;
use super::host::HostCounters;
use super::labels::Kind;
use super::process::Process;
use super::quality::{Outcomes, Quality, Timed};
use crate::admission::ReplayCounts;
use crate::config::FiguresConfig;
use crate::log::{Field, Logger};
use crate::services::Services;

const ALL: &str = "ALL";

/// Reports load from time to time.
#[derive(Debug)]
pub(crate) struct LoadReporter {
    least_sample: u64,
    by_resolver: bool,
    before: HostCounters,
}

/// Why load is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The time has come.
    Period,
    /// Somebody asked. What happened since the last period is not told then, as the reference does not.
    Asked,
}

/// How many of one sort.
#[derive(Clone, Copy, Debug, Default)]
struct Clients {
    accepted: u64,
    established: u64,
}

type ByProtocol = BTreeMap<TunnelProtocol, Clients>;

impl LoadReporter {
    pub(crate) fn new(config: &FiguresConfig) -> Self {
        let (least_sample, by_resolver) = (config.least_sample, config.by_resolver);
        Self { least_sample, by_resolver, before: HostCounters::now() }
    }

    /// Writes one event for the server, and one for each country that clients are in.
    pub(crate) fn report(&mut self, services: &Services, occasion: Occasion) {
        let figures = &services.figures;
        let tunnels = figures.live.all();
        let mut countries: BTreeMap<Country, ByProtocol> = BTreeMap::new();
        let mut count = |country, protocol, add: fn(&mut Clients, u64), number| {
            add(countries.entry(country).or_default().entry(protocol).or_default(), number);
        };
        for ((country, protocol), connections) in figures.connections_now.now() {
            count(country, protocol, |clients, more| clients.accepted += more, connections);
        }
        for tunnel in &tunnels {
            count(tunnel.country, tunnel.protocol, |clients, more| clients.established += more, 1);
        }
        let mut fields = runtime_fields(services);
        if occasion == Occasion::Period {
            let now = HostCounters::now();
            let load = now.since(self.before);
            self.before = now;
            fields.insert("cpu_percent".into(), load.cpu_percent.into());
            fields.insert("network_bytes_received".into(), load.received.into());
            fields.insert("network_bytes_sent".into(), load.sent.into());
        }
        fields.insert("establish_tunnels".into(), services.door.shut().is_none().into());
        let limited = services.door.take_refused_lately();
        fields.insert("establish_tunnels_limited_count".into(), limited.into());
        fields.extend(caches(&services.treatment.take_counts()));
        let totals = |kind| tunnels.iter().map(|tunnel| tunnel.opened(kind)).sum::<u64>();
        fields.insert("dialing_tcp_port_forwards".into(), figures.dialing.get().into());
        for (kind, name) in [(Kind::Tcp, "tcp"), (Kind::Udp, "udp")] {
            let open = figures.flows.of(kind).map_or(0, prometheus_client::metrics::gauge::Gauge::get);
            fields.insert(format!("{name}_port_forwards"), open.into());
            fields.insert(format!("total_{name}_port_forwards"), totals(kind).into());
        }
        let quality = std::mem::take(&mut *figures.quality());
        fields.extend(quality_fields(&quality, self.by_resolver));
        let mut whole = ByProtocol::new();
        for (protocol, clients) in countries.values().flatten() {
            let sum = whole.entry(*protocol).or_default();
            sum.accepted += clients.accepted;
            sum.established += clients.established;
        }
        fields.extend(client_fields(&whole, &figures.protocols));
        write(&services.log, services.own_tag(), fields);
        for (country, by_protocol) in &countries {
            let mut fields = client_fields(by_protocol, &figures.protocols);
            fields.insert("region".into(), country.to_string().into());
            write(&services.log, services.own_tag(), fields);
        }
        for tunnel in &tunnels {
            tunnel.look(self.least_sample);
            let all = countries.get(&tunnel.country).map(sum).unwrap_or_default();
            let known = tunnel.country != Country::UNKNOWN;
            let established = all.established.checked_sub(1).filter(|_| known);
            tunnel.nearby(all.accepted.checked_sub(1), established);
        }
    }
}

/// What the process is like; also a line by itself, where somebody asks. There is no collector of garbage to tell of, so what the
/// reference says of its own is 0; memory is what the process holds for itself.
pub(crate) fn runtime_fields(services: &Services) -> Map<String, Json> {
    let process = Process::now();
    let number = |name: &str, number: u64| (name.to_owned(), Json::from(number));
    Map::from_iter([
        number("num_goroutine", services.figures.tasks()),
        number("heap_alloc", process.anonymous),
        number("heap_sys", process.data),
        number("heap_idle", process.data.saturating_sub(process.anonymous)),
        number("heap_inuse", process.anonymous),
        number("heap_released", 0),
        number("heap_objects", 0),
        number("num_gc", 0),
        number("num_forced_gc", 0),
        ("last_gc".to_owned(), "".into()),
    ])
}

/// Ways to cut first bytes that are done again. Tactics are the same for all, and need no cache.
fn caches(replays: &ReplayCounts) -> Map<String, Json> {
    let counts = [
        ("replay_max_cache_entries", replays.most_entries as u64),
        ("replay_set_replay_count", replays.set),
        ("replay_get_replay_hit_count", replays.hit),
        ("replay_get_replay_miss_count", replays.missed),
        ("replay_failed_replay_count", replays.failed),
        ("replay_delete_replay_count", replays.deleted),
        ("server_tactics_max_cache_entries", 0),
        ("server_tactics_max_parameter_references", 0),
        ("server_tactics_cache_hit_count", 0),
        ("server_tactics_cache_miss_count", 0),
    ];
    counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
}

fn sum(by_protocol: &ByProtocol) -> Clients {
    by_protocol.values().fold(Clients::default(), |all, clients| Clients {
        accepted: all.accepted + clients.accepted,
        established: all.established + clients.established,
    })
}

/// One object for all, and one for each protocol that is listened for or has clients.
fn client_fields(clients: &ByProtocol, protocols: &[TunnelProtocol]) -> Map<String, Json> {
    let object = |clients: Clients| json!({ "accepted_clients": clients.accepted, "established_clients": clients.established });
    let mut fields = Map::new();
    for protocol in protocols {
        fields.insert(protocol.name().into(), object(Clients::default()));
    }
    fields.extend(clients.iter().map(|(protocol, clients)| (protocol.name().into(), object(*clients))));
    fields.insert(ALL.into(), object(sum(clients)));
    fields
}

fn quality_fields(quality: &Quality, by_resolver: bool) -> Map<String, Json> {
    let milliseconds = |timed: Timed| u64::try_from(timed.total.as_millis()).unwrap_or(u64::MAX);
    let mut fields = Map::new();
    let dials = [("tcp", quality.dials()), ("tcp_ipv4", quality.ipv4), ("tcp_ipv6", quality.ipv6)];
    for (name, outcomes) in dials {
        for (outcome, timed) in [("dialed", outcomes.good), ("failed", outcomes.bad)] {
            fields.insert(format!("{name}_port_forward_{outcome}_count"), timed.count.into());
            fields.insert(format!("{name}_port_forward_{outcome}_duration"), milliseconds(timed).into());
        }
    }
    let over = quality.over_dialing_limit;
    fields.insert("tcp_port_forward_rejected_dialing_limit_count".into(), over.into());
    fields.insert("tcp_port_forward_rejected_disallowed_count".into(), quality.disallowed_tcp.into());
    fields.insert("udp_port_forward_rejected_disallowed_count".into(), quality.disallowed_udp.into());
    let resolvers = quality.resolvers.iter().filter(|_| by_resolver);
    let resolvers: Vec<_> = resolvers.map(|(resolver, outcomes)| (resolver.to_string(), *outcomes)).collect();
    let object = |value: &dyn Fn(Outcomes) -> u64| {
        let all = (ALL.to_owned(), Json::from(value(quality.dns)));
        let each = resolvers.iter().map(|(name, outcomes)| (name.clone(), Json::from(value(*outcomes))));
        Json::Object(std::iter::once(all).chain(each).collect())
    };
    fields.insert("dns_count".into(), object(&|outcomes| outcomes.good.count));
    fields.insert("dns_duration".into(), object(&|outcomes| milliseconds(outcomes.good)));
    fields.insert("dns_failed_count".into(), object(&|outcomes| outcomes.bad.count));
    fields.insert("dns_failed_duration".into(), object(&|outcomes| milliseconds(outcomes.bad)));
    fields
}

fn write(log: &Logger, own_tag: &str, mut fields: Map<String, Json>) {
    fields.insert("server_entry_tag".into(), own_tag.into());
    log.event(
        "server_load",
        fields.iter().map(|(name, value)| (name.as_str(), Field::parameter(value.clone()))),
    );
}
