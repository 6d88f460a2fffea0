//! What is measured, in which unit, and what is to be reached: the one table of the figures.

use super::carried::{CARRIED, Carried};
use super::contender::Contender;
use super::results::Results;

/// Everything that can be asked for with `--only`, in the order in which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// CPU per byte on loopback.
    Bulk,
    /// The same by cipher.
    Cipher,
    /// One stream over a long way.
    Far,
    /// Round trips until the tunnel is usable and for a small request in it.
    RoundTrips,
    /// Latency beside bulk.
    Echo,
    /// Memory of idle tunnels.
    Memory,
    /// Tunnels per second.
    Tunnels,
    /// The client's own size.
    Client,
    /// Cost of garbage.
    Probe,
    /// What each transport adds: speed, cost, round trips and garbage.
    Transports,
    /// A tunnel when most servers say nothing.
    Establish,
    /// The server that served last, beside many that are dead.
    Replay,
    /// A client with very many stored servers.
    Stored,
    /// Very many flows through a client.
    ProxyFlows,
    /// After the server, or the way to it, is gone.
    Reconnect,
    /// Very many idle tunnels.
    Held,
    /// Many tunnels that carry a little.
    Active,
    /// Small flows beside a bulk client.
    Fairness,
    /// A reload with many tunnels.
    Reload,
    /// The choice among many rules.
    Rules,
}

impl Row {
    /// All.
    pub(crate) const ALL: [Self; 20] = [
        Self::Bulk,
        Self::Cipher,
        Self::Far,
        Self::RoundTrips,
        Self::Echo,
        Self::Memory,
        Self::Tunnels,
        Self::Client,
        Self::Probe,
        Self::Transports,
        Self::Establish,
        Self::Replay,
        Self::Stored,
        Self::ProxyFlows,
        Self::Reconnect,
        Self::Held,
        Self::Active,
        Self::Fairness,
        Self::Reload,
        Self::Rules,
    ];

    /// As `--only` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Cipher => "cipher",
            Self::Far => "far",
            Self::RoundTrips => "round-trips",
            Self::Echo => "echo",
            Self::Memory => "memory",
            Self::Tunnels => "tunnels",
            Self::Client => "client",
            Self::Probe => "probe",
            Self::Transports => "transports",
            Self::Establish => "establish",
            Self::Replay => "replay",
            Self::Stored => "stored",
            Self::ProxyFlows => "proxy-flows",
            Self::Reconnect => "reconnect",
            Self::Held => "held",
            Self::Active => "active",
            Self::Fairness => "fairness",
            Self::Reload => "reload",
            Self::Rules => "rules",
        }
    }
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Figure {
    /// Its place in the table.
    pub(crate) place: u8,
    /// For people.
    pub(crate) title: &'static str,
    /// Of its values.
    pub(crate) unit: &'static str,
}

pub(crate) const fn figure(place: u8, title: &'static str, unit: &'static str) -> Figure {
    Figure { place, title, unit }
}

const COST: &str = "CPU-s/GB";

pub(crate) const DOWN_1: Figure = figure(0, "bulk down, 1 stream", COST);
pub(crate) const DOWN_16: Figure = figure(1, "bulk down, 16 streams", COST);
pub(crate) const UP_1: Figure = figure(2, "bulk up, 1 stream", COST);
pub(crate) const UP_16: Figure = figure(3, "bulk up, 16 streams", COST);
pub(crate) const GCM_DOWN: Figure = figure(4, "our server alone, down, AES-GCM", COST);
pub(crate) const GCM_UP: Figure = figure(5, "our server alone, up, AES-GCM", COST);
pub(crate) const CTR_DOWN: Figure = figure(6, "our server alone, down, CTR with MAC", COST);
pub(crate) const CTR_UP: Figure = figure(7, "our server alone, up, CTR with MAC", COST);
pub(crate) const CHACHA_DOWN: Figure = figure(8, "our server alone, down, ChaCha20", COST);
pub(crate) const CHACHA_UP: Figure = figure(9, "our server alone, up, ChaCha20", COST);
pub(crate) const FAR_DOWN: Figure = figure(10, "one stream at 100 ms, down", "MB/s");
pub(crate) const FAR_UP: Figure = figure(11, "one stream at 100 ms, up", "MB/s");
pub(crate) const USABLE: Figure = figure(12, "to a usable tunnel, TCP included", "round trips");
pub(crate) const SMALL_GET: Figure = figure(13, "small GET in a tunnel", "round trips");
pub(crate) const ECHO_P50: Figure = figure(14, "echo beside 4 bulk streams, p50", "ms");
pub(crate) const ECHO_P99: Figure = figure(15, "echo beside 4 bulk streams, p99", "ms");
pub(crate) const IDLE_TUNNEL: Figure = figure(16, "server memory per idle tunnel", "KiB");
pub(crate) const TUNNELS: Figure = figure(17, "tunnels per second of server CPU", "1/s");
pub(crate) const RESIDENT: Figure = figure(18, "client resident, idle", "MB");
pub(crate) const BINARY: Figure = figure(19, "client binary, stripped", "MB");
pub(crate) const PROBE: Figure = figure(20, "one garbage probe in a flood", "ms CPU");
pub(crate) const HELD_PROBE: Figure = figure(21, "server memory per garbage probe held", "KiB");

pub(crate) const NEAR_MEDIAN: Figure =
    figure(70, "17 of 20 servers mute, fresh start to tunnel, median", "s");
pub(crate) const NEAR_WORST: Figure = figure(71, "17 of 20 servers mute, fresh start to tunnel, worst", "s");
pub(crate) const FAR_MEDIAN: Figure = figure(72, "17 of 20 mute, the live one at 100 ms, median", "s");
pub(crate) const FAR_WORST: Figure = figure(73, "17 of 20 mute, the live one at 100 ms, worst", "s");
pub(crate) const REPLAY_ALONE: Figure = figure(74, "next start to tunnel, one server stored", "ms");
pub(crate) const REPLAY_DEAD: Figure = figure(75, "next start to tunnel, 1,000 dead beside it", "ms");
pub(crate) const PROXIES: Figure = figure(76, "start to listening proxies", "ms");
pub(crate) const IMPORT: Figure = figure(77, "import of 100,000 entries", "s");
pub(crate) const STORED_RESIDENT: Figure =
    figure(78, "client resident, connected, 100,000 entries stored", "MB");
pub(crate) const STORED_WAKE_UPS: Figure = figure(79, "client idle, 100,000 stored: wake-ups", "1/s");
pub(crate) const STORED_CPU: Figure = figure(80, "client idle, 100,000 stored: CPU", "% of a core");
pub(crate) const FLOWS_P95: Figure = figure(81, "1,000 flows through a client, added latency p95", "ms");
pub(crate) const FLOWS_MEMORY: Figure = figure(82, "1,000 flows through a client, memory of each", "KiB");
pub(crate) const RECONNECT: Figure = figure(83, "server gone and back at once: to the next tunnel", "s");
pub(crate) const BLACKHOLE: Figure = figure(84, "way blocked with a flow waiting: to the next tunnel", "s");
pub(crate) const HELD: Figure = figure(85, "idle tunnels held", "");
pub(crate) const HELD_MEMORY: Figure = figure(86, "server memory per idle tunnel, 20,000 held", "KiB");
pub(crate) const HELD_CPU: Figure = figure(87, "server CPU, 20,000 idle tunnels held", "% of a core");
pub(crate) const ACTIVE_P95: Figure = figure(88, "2,000 tunnels of 64 kbit/s, added latency p95", "ms");
pub(crate) const ACTIVE_CPU: Figure = figure(89, "2,000 tunnels of 64 kbit/s, server", "cores");
pub(crate) const SMALL_ALONE: Figure = figure(90, "200 interactive clients alone, p95", "ms");
pub(crate) const SMALL_BESIDE: Figure = figure(91, "200 interactive clients beside a bulk client, p95", "ms");
pub(crate) const RELOAD_STALL: Figure = figure(92, "reload with 5,000 tunnels, longest exchange", "ms");
pub(crate) const RELOAD_KEPT: Figure = figure(93, "reload with 5,000 tunnels, still up", "");
pub(crate) const RULE_CHOICE: Figure = figure(94, "choice of rules among 10,000 filters", "ns");
pub(crate) const RULE_JUDGEMENT: Figure = figure(95, "an address held against 100,000 subnets", "ns");

/// The figure of a direction and a number of streams.
pub(crate) const BULK: [(super::load::Way, u32, Figure); 4] = [
    (super::load::Way::Down, 1, DOWN_1),
    (super::load::Way::Down, 16, DOWN_16),
    (super::load::Way::Up, 1, UP_1),
    (super::load::Way::Up, 16, UP_16),
];

/// What a median is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// A number.
    AtMost(f64),
    /// A number.
    AtLeast(f64),
    /// At most a multiple of another median of the same run.
    Times(f64, Figure, Contender),
    /// At least a multiple of one.
    AtLeastTimes(f64, Figure, Contender),
    /// At least so much less than one.
    Less(f64, Figure, Contender),
}

/// One thing to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// The figure.
    pub(crate) figure: Figure,
    /// Whose.
    pub(crate) of: Contender,
    /// What it is held against.
    pub(crate) limit: Limit,
    /// Best known before, in words.
    pub(crate) before: &'static str,
}

/// How a goal came out.
pub(crate) struct Verdict {
    /// Ours, where it was measured.
    pub(crate) measured: Option<f64>,
    /// What was to be reached, where that is known.
    pub(crate) bound: Option<f64>,
    /// Measured over bound.
    pub(crate) ratio: Option<f64>,
    /// Whether it was; `None` when one of the two is not known.
    pub(crate) reached: Option<bool>,
}

impl Goal {
    /// Holds the goal against a run.
    pub(crate) fn verdict(&self, results: &Results) -> Verdict {
        let measured = results.median(self.figure, self.of);
        let bound = match self.limit {
            Limit::AtMost(bound) | Limit::AtLeast(bound) => Some(bound),
            Limit::Times(factor, figure, of) | Limit::AtLeastTimes(factor, figure, of) => {
                results.median(figure, of).map(|median| factor * median)
            }
            Limit::Less(by, figure, of) => results.median(figure, of).map(|median| median - by),
        };
        let both = measured.zip(bound);
        Verdict {
            measured,
            bound,
            ratio: both.map(|(measured, bound)| measured / bound),
            reached: both.map(|(measured, bound)| match self.limit {
                Limit::AtLeast(_) | Limit::AtLeastTimes(..) => measured >= bound,
                Limit::AtMost(_) | Limit::Times(..) | Limit::Less(..) => measured <= bound,
            }),
        }
    }

    /// The limit in words.
    pub(crate) fn words(&self) -> String {
        match self.limit {
            Limit::AtMost(bound) => format!("<= {bound}"),
            Limit::AtLeast(bound) => format!(">= {bound}"),
            Limit::Times(factor, figure, of) if figure == self.figure => {
                format!("<= {factor}x {}", of.name())
            }
            Limit::Times(factor, figure, _) => format!("<= {factor}x {}", figure.title),
            Limit::AtLeastTimes(factor, _, of) => format!(">= {factor}x {}", of.name()),
            Limit::Less(by, _, of) => format!("{by} less than {}", of.name()),
        }
    }
}

/// Everything that is to be reached.
pub(crate) fn goals() -> Vec<Goal> {
    let mut goals = GOALS.to_vec();
    goals.extend(CARRIED.iter().flat_map(Carried::goals));
    goals
}

#[rustfmt::skip]
const GOALS: &[Goal] = &[
    cheap(DOWN_1), cheap(DOWN_16), cheap(UP_1), cheap(UP_16),
    near(DOWN_1), near(UP_1),
    by_cipher(CTR_DOWN, GCM_DOWN), by_cipher(CTR_UP, GCM_UP),
    by_cipher(CHACHA_DOWN, GCM_DOWN), by_cipher(CHACHA_UP, GCM_UP),
    ours(FAR_DOWN, Limit::AtLeast(200.0), "reference 0.8"),
    ours(FAR_UP, Limit::AtLeast(200.0), "reference 0.8"),
    with_reference(FAR_DOWN, Limit::AtLeast(100.0), "reference 0.8"),
    ours(USABLE, Limit::AtMost(3.3), "reference 6.7"),
    with_reference(USABLE, Limit::AtMost(3.3), "reference 6.7"),
    ours(SMALL_GET, Limit::AtMost(1.1), "reference 2.0"),
    ours(ECHO_P50, Limit::AtMost(0.8), "reference 3"),
    ours(ECHO_P99, Limit::AtMost(4.0), ""),
    ours(IDLE_TUNNEL, Limit::AtMost(24.0), "reference 162, russh 46"),
    ours(TUNNELS, Limit::AtLeast(500.0), "reference 88"),
    ours(RESIDENT, Limit::AtMost(8.0), "reference 22"),
    ours(BINARY, Limit::AtMost(8.0), "reference 32"),
    ours(PROBE, Limit::AtMost(0.1), "reference 1.05"),
    ours(HELD_PROBE, Limit::AtMost(4.0), "reference 36"),
    ours(NEAR_MEDIAN, Limit::AtMost(0.3), "reference 0.06"),
    ours(NEAR_WORST, Limit::AtMost(3.0), "reference 27"),
    ours(FAR_MEDIAN, Limit::AtMost(1.0), ""),
    ours(FAR_WORST, Limit::AtMost(4.0), ""),
    ours(REPLAY_DEAD, Limit::Times(1.2, REPLAY_ALONE, Contender::Ours), ""),
    ours(PROXIES, Limit::AtMost(20.0), "reference 100"),
    ours(STORED_RESIDENT, Limit::AtMost(16.0), "reference 22 with one"),
    ours(FLOWS_P95, Limit::AtMost(5.0), ""),
    ours(FLOWS_MEMORY, Limit::AtMost(40.0), ""),
    ours(RECONNECT, Limit::AtMost(1.0), ""),
    ours(BLACKHOLE, Limit::AtMost(20.0), "reference 107, idle"),
    ours(HELD, Limit::AtLeast(20_000.0), ""),
    ours(HELD_MEMORY, Limit::AtMost(24.0), "reference 162"),
    ours(HELD_CPU, Limit::AtMost(1.0), ""),
    ours(ACTIVE_P95, Limit::AtMost(5.0), ""),
    ours(ACTIVE_CPU, Limit::AtMost(1.0), ""),
    ours(SMALL_BESIDE, Limit::Times(2.0, SMALL_ALONE, Contender::Ours), ""),
    ours(RELOAD_STALL, Limit::AtMost(50.0), ""),
    ours(RELOAD_KEPT, Limit::AtLeast(5000.0), ""),
    ours(RULE_CHOICE, Limit::AtMost(1000.0), "reference: linear"),
    ours(RULE_JUDGEMENT, Limit::AtMost(1000.0), "reference: linear"),
];

pub(crate) const fn ours(figure: Figure, limit: Limit, before: &'static str) -> Goal {
    Goal { figure, of: Contender::Ours, limit, before }
}

pub(crate) const fn with_reference(figure: Figure, limit: Limit, before: &'static str) -> Goal {
    Goal { figure, of: Contender::OursToReference, limit, before }
}

const fn cheap(figure: Figure) -> Goal {
    let before = "ss aes-128-gcm 1.6, ss 2022 1.2, OpenSSH 1.7, reference 9.5";
    ours(figure, Limit::Times(0.55, figure, Contender::Shadowsocks), before)
}

const fn near(figure: Figure) -> Goal {
    ours(figure, Limit::Times(1.8, figure, Contender::Splice), "splice relay 0.5")
}

const fn by_cipher(figure: Figure, gcm: Figure) -> Goal {
    let of = Contender::ReferenceToOurs;
    Goal { figure, of, limit: Limit::Times(2.0, gcm, of), before: "" }
}
