//! Figures that are looked up when somebody asks, rather than counted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::runtime::Handle as Runtime;

use super::country::Country;
use super::labels::{Direction, Kind, Labels as _};
use super::tally::{Bytes, Live};
use crate::admission::Door;
use crate::hold::Held;
use crate::log::Logger;

/// What others keep count of.
pub(crate) struct Sources {
    pub(crate) door: Arc<Door>,
    /// Strangers that are kept waiting, and those that are shown a site.
    pub(crate) held: [Arc<Held>; 2],
    pub(crate) log: Logger,
    /// Those whose tunnels are counted by themselves.
    pub(crate) countries: Vec<Country>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Those of all threads, each with tasks of its own.
#[derive(Debug, Default)]
pub(super) struct Runtimes(Mutex<Vec<Runtime>>);

impl Runtimes {
    pub(super) fn add(&self, runtime: Runtime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(runtime);
    }

    /// Those that are alive.
    pub(super) fn tasks(&self) -> u64 {
        let runtimes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks() as u64).sum()
    }
}

/// Looks it up.
#[derive(Debug)]
pub(super) struct SourcesCollector {
    pub(super) sources: Sources,
    pub(super) live: Arc<Live>,
    pub(super) runtimes: Arc<Runtimes>,
}

impl Collector for SourcesCollector {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let Sources { door, held, log, countries } = &self.sources;
        let open = i64::from(door.shut().is_none());
        let help =
            "Whether new tunnels are wanted (1), or an operator or the load of the host forbids them (0)";
        gauge(&mut to, "accepting_tunnels", help, open)?;
        let help = "Strangers that are kept waiting in silence, and that are shown a site";
        let mut strangers = to.encode_descriptor("strangers_held", help, None, MetricType::Gauge)?;
        for (held, how) in held.iter().zip(["silence", "site"]) {
            let count = i64::try_from(held.len()).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(strangers.encode_family(&[("how", how)])?)?;
        }
        let help = "Tasks that are alive, of all threads: some for the server, and a few for each connection and flow";
        gauge(&mut to, "tasks", help, i64::try_from(self.runtimes.tasks()).unwrap_or(i64::MAX))?;
        let help = "Lines that could not be written to the log";
        let lines = to.encode_descriptor("log_lines_lost", help, None, MetricType::Counter)?;
        ConstCounter::new(log.lost()).encode(lines)?;
        if countries.is_empty() {
            return Ok(());
        }
        let mut counts = vec![0_i64; countries.len()];
        let mut others = 0;
        for tunnel in self.live.all() {
            let place = countries.iter().position(|country| *country == tunnel.country);
            *place.and_then(|place| counts.get_mut(place)).unwrap_or(&mut others) += 1;
        }
        let help = "Tunnels that are up, by the country of the client where MetricsCountries names it";
        let mut tunnels = to.encode_descriptor("tunnels_by_country", help, None, MetricType::Gauge)?;
        let named = countries.iter().map(ToString::to_string).zip(counts);
        for (country, count) in named.chain([("other".to_owned(), others)]) {
            ConstGauge::new(count).encode(tunnels.encode_family(&[("country", country)])?)?;
        }
        Ok(())
    }
}

fn gauge(to: &mut DescriptorEncoder, name: &str, help: &str, value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// What tunnels have carried.
#[derive(Debug)]
pub(super) struct Carriage(pub(super) Arc<Live>);

impl Collector for Carriage {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let carried = self.0.carried();
        let both = |bytes: Bytes| [(Direction::Up, bytes.up), (Direction::Down, bytes.down)];
        let help = "Bytes that flows have carried, without what tunnels add";
        let mut flows = to.encode_descriptor("flow", help, Some(&Unit::Bytes), MetricType::Counter)?;
        for (kind, bytes) in [(Kind::Tcp, carried.tcp), (Kind::Udp, carried.udp)] {
            for (direction, count) in both(bytes) {
                let labels = (kind, direction).pairs();
                ConstCounter::new(count).encode(flows.encode_family(&labels)?)?;
            }
        }
        let help = "Bytes of tunnels between this server and clients, inside the transport";
        let mut wire = to.encode_descriptor("tunnel", help, Some(&Unit::Bytes), MetricType::Counter)?;
        for (direction, count) in both(carried.wire) {
            ConstCounter::new(count).encode(wire.encode_family(&direction.pairs())?)?;
        }
        Ok(())
    }
}
