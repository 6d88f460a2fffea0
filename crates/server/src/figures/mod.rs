//! What is counted about this server, for its operator: everybody adds here, `/metrics` and `server_load` read. Counting
//! never waits. Series are bounded (`labels`), and nothing in them tells who a client is or where it goes.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for what only grows, times instead of ages.

mod country;
mod exposition;
mod host;
pub(crate) mod http;
mod labels;
pub(crate) mod load;
mod presence;
mod process;
mod quality;
mod readiness;
mod sampled;
mod series;
mod tally;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use culvert_protocol::TunnelProtocol;
use culvert_ssh_tokio::Handle;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::runtime::Handle as Runtime;

pub(crate) use country::Country;
use labels::Protocol;
pub(crate) use labels::{
    DataFile, DatagramLoss, DialOutcome, DnsOutcome, Family as AddressFamily, Kind, Labels, Overload,
    Refusal, ReloadOutcome, labels,
};
pub(crate) use presence::Connection;
use presence::Connections;
use quality::Quality;
use readiness::Life;
pub(crate) use readiness::Readiness;
pub(crate) use sampled::Sources;
use series::{Count, Pairs, Series};
use tally::Live;
pub(crate) use tally::{Tally, Tunnel};

use crate::forward::egress::DialRefusal;

/// Kinds of irregular connections that get a series, of all protocols together.
const MOST_IRREGULAR: usize = 256;

/// All figures. Threads share one.
#[derive(Debug)]
pub(crate) struct Figures {
    registry: Registry,
    /// Those that are listened for.
    protocols: Vec<TunnelProtocol>,
    accepted: Series<Protocol, Count>,
    refused: Series<(Protocol, Refusal), Count>,
    irregular: Family<Pairs, Count>,
    irregular_known: Mutex<BTreeSet<(TunnelProtocol, &'static str)>>,
    logins: Series<Protocol, Histogram>,
    logins_failed: Count,
    connections: Series<Protocol, Gauge>,
    connections_now: Connections,
    tunnels: Series<Protocol, Gauge>,
    dialing: Gauge,
    flows: Series<Kind, Gauge>,
    flows_opened: Series<Kind, Count>,
    flows_refused: Series<(Kind, DialRefusal), Count>,
    flows_evicted: Series<Kind, Count>,
    datagrams_lost: Series<DatagramLoss, Count>,
    dials: Series<(AddressFamily, DialOutcome), Histogram>,
    look_ups: Series<DnsOutcome, Histogram>,
    reloads: Series<ReloadOutcome, Count>,
    reload_succeeded: Gauge,
    reloaded_at: Gauge<f64, AtomicU64>,
    data_modified: Series<DataFile, Gauge<f64, AtomicU64>>,
    overloads: Series<Overload, Gauge>,
    panics: Count,
    runtimes: Arc<sampled::Runtimes>,
    life: Life,
    live: Arc<Live>,
    /// Since the load was last reported.
    since_reported: Mutex<Quality>,
}

impl Figures {
    /// For a part of a server.
    #[cfg(test)]
    pub(crate) fn new(listened: &[TunnelProtocol]) -> Arc<Self> {
        Self::made(listened, None)
    }

    /// For a server that listens for these protocols.
    pub(crate) fn watching(listened: &[TunnelProtocol], sources: Sources) -> Arc<Self> {
        Self::made(listened, Some(sources))
    }

    fn made(listened: &[TunnelProtocol], sources: Option<Sources>) -> Arc<Self> {
        let protocols = || listened.iter().copied().map(Protocol);
        let refusals = protocols().flat_map(|it| Refusal::ALL.iter().map(move |why| (it, *why)));
        let mut figures = Self {
            registry: Registry::default(),
            protocols: listened.to_vec(),
            accepted: Series::new().with(protocols()),
            refused: Series::new().with(refusals),
            irregular: Family::default(),
            irregular_known: Mutex::default(),
            logins: Series::new().with(protocols()),
            logins_failed: Count::default(),
            connections: Series::new().with(protocols()),
            connections_now: Connections::default(),
            tunnels: Series::new().with(protocols()),
            dialing: Gauge::default(),
            flows: Series::new().complete(),
            flows_opened: Series::new().complete(),
            flows_refused: Series::new().complete(),
            flows_evicted: Series::new().complete(),
            datagrams_lost: Series::new().complete(),
            dials: Series::new().complete(),
            look_ups: Series::new().complete(),
            reloads: Series::new().complete(),
            reload_succeeded: Gauge::default(),
            reloaded_at: Gauge::default(),
            data_modified: Series::new(),
            overloads: Series::new().complete(),
            panics: Count::default(),
            runtimes: Arc::default(),
            life: Life::default(),
            live: Arc::default(),
            since_reported: Mutex::default(),
        };
        figures.reload_succeeded.set(1);
        figures.reloaded_at.set(seconds(SystemTime::now()));
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("culvert");
        figures.register_connections(own);
        figures.register_flows(own);
        figures.register_state(own);
        own.register_collector(Box::new(sampled::Carriage(figures.live.clone())));
        if let Some(sources) = sources {
            let (live, runtimes) = (figures.live.clone(), figures.runtimes.clone());
            own.register_collector(Box::new(sampled::SourcesCollector { sources, live, runtimes }));
        }
        registry.register_collector(Box::new(process::ProcessCollector));
        figures.registry = registry;
        Arc::new(figures)
    }

    fn register_connections(&self, to: &mut Registry) {
        self.accepted.register(to, "connections_accepted", None, "Connections accepted, strangers' too");
        self.connections.register(to, "connections", None, "Connections open now, strangers' too");
        let help = "Connections that got no tunnel although they were no stranger's";
        self.refused.register(to, "connections_refused", None, help);
        let help = "Connections of strangers, of replayed and of malformed beginnings";
        to.register("connections_irregular", help, self.irregular.clone());
        let help = "From accepting a connection to the end of a successful login";
        self.logins.register(to, "handshake_duration", Some(Unit::Seconds), help);
        let help = "Logins with a wrong user, password or session";
        to.register("logins_failed", help, self.logins_failed.clone());
        self.tunnels.register(to, "tunnels", None, "Tunnels that are up");
    }

    fn register_flows(&self, to: &mut Registry) {
        to.register("flows_dialing", "Flows that are being connected now", self.dialing.clone());
        self.flows.register(to, "flows", None, "Flows that are connected now");
        self.flows_opened.register(to, "flows_opened", None, "Flows that were connected");
        self.flows_refused.register(to, "flows_refused", None, "Flows that were not connected, and why");
        let help = "Flows ended to make room for others of the same tunnel";
        self.flows_evicted.register(to, "flows_evicted", None, help);
        let help = "Datagrams that were not passed on, since what nobody answers or asked for has limits";
        self.datagrams_lost.register(to, "udp_datagrams_dropped", None, help);
        let help = "Connecting to destinations, waiting in line and look-ups included";
        self.dials.register(to, "dial_duration", Some(Unit::Seconds), help);
        self.look_ups.register(to, "dns_duration", Some(Unit::Seconds), "Looking up names for clients");
    }

    fn register_state(&self, to: &mut Registry) {
        to.register(
            "build",
            "What this program was built from",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        self.reloads.register(to, "reloads", None, "Reloads of files, and how they ended");
        let help =
            "Whether the last reload changed what it found changed (1) or left everything as it was (0)";
        to.register("last_reload_successful", help, self.reload_succeeded.clone());
        let help = "When files were last read without a mistake";
        to.register_with_unit("last_reload_success_timestamp", help, Unit::Seconds, self.reloaded_at.clone());
        let help = "When the file in use was changed";
        self.data_modified.register(to, "data_file_modified_timestamp", Some(Unit::Seconds), help);
        let help = "Whether no new tunnels are taken (1) because there is too much of this";
        self.overloads.register(to, "overloaded", None, help);
        to.register("panics", "Tunnels that a mistake in this program ended", self.panics.clone());
    }

    /// Counts a connection, until the guard is dropped.
    pub(crate) fn accepted(self: &Arc<Self>, protocol: TunnelProtocol, country: Country) -> Connection {
        self.accepted.add(Protocol(protocol));
        Connection::new(self, protocol, country)
    }

    /// What there is too much of now.
    pub(crate) fn overloaded(&self, by: Option<Overload>) {
        for reason in Overload::ALL {
            if let Some(gauge) = self.overloads.of(*reason) {
                gauge.set(i64::from(by == Some(*reason)));
            }
        }
    }

    /// Counts a connection that gets no tunnel.
    pub(crate) fn refused(&self, protocol: TunnelProtocol, why: Refusal) {
        self.refused.add((Protocol(protocol), why));
    }

    /// Counts a stranger. Kinds are compiled in, so their number is bounded.
    pub(crate) fn irregular(&self, protocol: TunnelProtocol, kind: &'static str) {
        let mut known = self.irregular_known.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = vec![("protocol", protocol.name()), ("reason", kind)];
        if known.len() < MOST_IRREGULAR || known.contains(&(protocol, kind)) {
            known.insert((protocol, kind));
            self.irregular.get_or_create(&labels).inc();
        }
    }

    /// Counts a login, so long after the connection was accepted.
    pub(crate) fn logged_in(&self, protocol: TunnelProtocol, after: Duration) {
        self.logins.observe(Protocol(protocol), after);
    }

    /// Counts a login that was refused.
    pub(crate) fn login_failed(&self) {
        self.logins_failed.inc();
    }

    /// Counts a tunnel, until what is returned is dropped; its flows count through its tally.
    pub(crate) fn tunnel(
        self: &Arc<Self>,
        protocol: TunnelProtocol,
        country: Country,
        wire: Option<Handle>,
    ) -> Tunnel {
        let present = Present::among(self, |figures| figures.tunnels.of(Protocol(protocol)));
        self.live.add(self, tally::Client { protocol, country }, wire, present)
    }

    fn flow(&self, kind: Kind) -> Present {
        self.flows_opened.add(kind);
        Present::among(self, |figures| figures.flows.of(kind))
    }

    fn dialing(&self) -> Present {
        Present::among(self, |figures| Some(&figures.dialing))
    }

    fn flow_refused(&self, kind: Kind, why: DialRefusal) {
        self.flows_refused.add((kind, why));
        self.quality().refused(kind, why);
    }

    fn datagram_lost(&self, why: DatagramLoss) {
        self.datagrams_lost.add(why);
    }

    fn flow_evicted(&self, kind: Kind) {
        self.flows_evicted.add(kind);
    }

    fn dialed(&self, family: AddressFamily, outcome: DialOutcome, took: Duration) {
        self.dials.observe((family, outcome), took);
        self.quality().dialed(family, outcome, took);
    }

    fn looked_up(&self, resolver: Option<IpAddr>, outcome: DnsOutcome, took: Duration) {
        self.look_ups.observe(outcome, took);
        self.quality().looked_up(resolver, outcome, took);
    }

    fn quality(&self) -> MutexGuard<'_, Quality> {
        self.since_reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a reload.
    pub(crate) fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads.add(outcome);
        self.reload_succeeded.set(i64::from(outcome == ReloadOutcome::Applied));
        if outcome == ReloadOutcome::Applied {
            self.reloaded_at.set(seconds(SystemTime::now()));
        }
    }

    /// Says how old a file is that is in use.
    pub(crate) fn uses(&self, file: DataFile, modified: SystemTime) {
        if let Some(gauge) = self.data_modified.of(file) {
            gauge.set(seconds(modified));
        }
    }

    /// Adds the runtime of a thread, whose tasks count.
    pub(crate) fn runs_on(&self, runtime: Runtime) {
        self.runtimes.add(runtime);
    }

    /// Tasks of all threads.
    fn tasks(&self) -> u64 {
        self.runtimes.tasks()
    }

    /// Every port is served.
    pub(crate) fn serves(&self) {
        self.life.serves();
    }

    /// The server was told to stop.
    pub(crate) fn stops(&self) {
        self.life.stops();
    }

    /// Whether new clients are welcome, as far as the server's life goes.
    pub(crate) fn readiness(&self) -> Readiness {
        self.life.readiness()
    }

    /// Counts a panic.
    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// Everything, in the text form of OpenMetrics 1.0.
    pub(crate) fn open_metrics(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Somebody or something that counts while this lives.
#[derive(Debug)]
pub(crate) struct Present(Option<Gauge>);

impl Present {
    fn among<'f>(figures: &'f Figures, gauge: impl FnOnce(&'f Figures) -> Option<&'f Gauge>) -> Self {
        let gauge = gauge(figures).cloned();
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        Self(gauge)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written() {
        let figures = Figures::new(&[TunnelProtocol::OSSH]);
        let connection = figures.accepted(TunnelProtocol::OSSH, Country::UNKNOWN);
        figures.refused(TunnelProtocol::OSSH, Refusal::Queue);
        figures.irregular(TunnelProtocol::OSSH, "replayed preamble");
        figures.logged_in(TunnelProtocol::OSSH, Duration::from_millis(20));
        figures.dialed(AddressFamily::Ipv6, DialOutcome::Failed, Duration::from_secs(3));
        let text = figures.open_metrics();
        for line in [
            "culvert_connections_accepted_total{protocol=\"OSSH\"} 1",
            "culvert_connections{protocol=\"OSSH\"} 1",
            "culvert_connections_refused_total{protocol=\"OSSH\",reason=\"queue\"} 1",
            "culvert_connections_refused_total{protocol=\"OSSH\",reason=\"paused\"} 0",
            "culvert_connections_irregular_total{protocol=\"OSSH\",reason=\"replayed preamble\"} 1",
            "culvert_handshake_duration_seconds_bucket{le=\"0.025\",protocol=\"OSSH\"} 1",
            "culvert_dial_duration_seconds_sum{family=\"ipv6\",outcome=\"failed\"} 3.0",
            "culvert_last_reload_successful 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!text.contains("SHADOWSOCKS"), "no series for what is not listened for");
        drop(connection);
        assert!(figures.open_metrics().contains("culvert_connections{protocol=\"OSSH\"} 0"));
    }

    #[test]
    fn strangers_make_a_bounded_number_of_series() {
        let figures = Figures::new(&[]);
        for number in 0..10 * MOST_IRREGULAR {
            figures.irregular(TunnelProtocol::OSSH, Box::leak(number.to_string().into_boxed_str()));
        }
        let series = figures.open_metrics().matches("connections_irregular_total{").count();
        assert_eq!(series, MOST_IRREGULAR);
    }
}
