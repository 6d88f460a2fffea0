//! Is the tunnel alive? Keepalive requests at random times, and at once when flows fail.
//!
//! Source: PROTOCOL.md 3.6.

use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::api::request_name;
use culvert_protocol::parameters::{Parameters, ScaledDuration};
use culvert_ssh_tokio::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::establish::Host;
use crate::randomness::random;

/// When and how a tunnel is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// Off: only probes.
    periodic: bool,
    period: (Duration, Duration),
    inactive: Duration,
    limit: Duration,
    probe_inactive: Duration,
    probe_limit: Duration,
    resume_inactive: Duration,
    resume_limit: Duration,
    resume_lost: Duration,
    padding: (usize, usize),
    /// How often the host is asked for its network while an answer is waited for.
    polling: Duration,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The tunnel lives.
    Alive,
    /// It has slept for longer than the server waits.
    Outlived,
    /// It was asked and did not answer.
    Silent {
        /// All the while there was a network: something is wrong between here and the server.
        on_network: bool,
    },
}

/// Which check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The random timer ran out.
    Periodic,
    /// A flow failed.
    Failure,
    /// Something was sent, and nothing came back.
    Unanswered,
    /// The device was asleep.
    Resume,
    /// Something about the network has changed.
    NetworkChange,
}

/// What is sent has an answer by then, if only a window's.
const UNANSWERED: Duration = Duration::from_secs(8);
/// A tunnel that was heard of so lately has survived a change of the network.
const AFTER_CHANGE: Duration = Duration::from_millis(100);

impl KeepAlive {
    /// As parameters say, without periodic checks if the config says so.
    pub(crate) fn new(config: &Config) -> Self {
        let Parameters { keep_alive: of, latency, .. } = &config.parameters;
        let scaled = |time: ScaledDuration| time.scaled(latency.general());
        let bytes = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            periodic: !config.ssh.keep_alive.periodic_off,
            period: (of.period_min, of.period_max),
            inactive: of.periodic_inactive_period,
            limit: scaled(of.periodic_timeout),
            probe_inactive: of.probe_inactive_period,
            probe_limit: scaled(of.probe_timeout),
            resume_inactive: of.resume_probe_inactive_period,
            resume_limit: scaled(of.resume_probe_timeout),
            // The server has closed what was silent for 5 minutes; periodic checks come every 2 at the latest.
            resume_lost: of.resume_reconnect_inactive_period,
            padding: (bytes(of.padding_min_bytes), bytes(of.padding_max_bytes)),
            polling: of.connectivity_polling_period,
        }
    }

    /// The time until the next periodic check.
    pub(crate) fn next(&self) -> Option<Duration> {
        // Not replayed: PROTOCOL.md 3.6 draws it anew.
        let mut prng = Prng::new(&Seed::from_bytes(random()));
        self.periodic.then(|| prng.period(self.period.0, self.period.1))
    }

    /// Makes a check. A tunnel that was heard of lately is alive without asking.
    pub(crate) async fn check(&self, handle: &Handle, probe: Probe, host: &Host) -> Checked {
        let (inactive, limit) = match probe {
            Probe::Periodic => (self.inactive, self.limit),
            Probe::Failure => (self.probe_inactive, self.probe_limit),
            Probe::Unanswered => (UNANSWERED / 2, self.probe_limit),
            Probe::Resume => (self.resume_inactive, self.resume_limit),
            Probe::NetworkChange => (AFTER_CHANGE, self.resume_limit),
        };
        let idle = handle.stats().idle;
        if idle < inactive {
            return Checked::Alive;
        }
        if probe == Probe::Resume && idle >= self.resume_lost {
            return Checked::Outlived;
        }
        let padding = Prng::new(&Seed::from_bytes(random())).padding(self.padding.0, self.padding.1);
        // Any answer will do, also a refusal: it came through the tunnel.
        let asked = timeout(limit, handle.request(request_name::KEEPALIVE, &padding));
        let mut had_network = host.has_network();
        tokio::select! {
            answered = asked => match answered {
                Ok(Ok(_)) => Checked::Alive,
                Ok(Err(_)) | Err(_) => Checked::Silent { on_network: had_network && host.has_network() },
            },
            () = self.poll(host, &mut had_network) => Checked::Alive,
        }
    }

    /// Looks whether there is a network, for as long as it is polled. Never returns.
    async fn poll(&self, host: &Host, had_network: &mut bool) {
        // Without anybody who knows there is nothing to ask, and no timer.
        while host.connectivity.is_some() {
            sleep(self.polling).await;
            *had_network &= host.has_network();
        }
        std::future::pending::<()>().await;
    }
}

/// Completes when something was sent through the tunnel and nothing came back for a while. An idle tunnel costs nothing.
pub(crate) async fn unanswered(handle: &Handle) {
    handle.unanswered_for(UNANSWERED).await;
}

/// Asks for a check because something failed; asking twice is asking once.
#[derive(Clone, Debug)]
pub(crate) struct ProbeRequests(mpsc::Sender<()>);

impl ProbeRequests {
    /// The asking end, and the end that hears it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Asks.
    pub(crate) fn request(&self) {
        // Full: a check is already due. Closed: the tunnel is gone.
        let _ = self.0.try_send(());
    }
}

/// Sleeps until then, or for ever.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
