//! Parameters of finding a way through: how many servers are tried at a time, for how long, and how time grows on slow
//! networks.

use std::time::Duration;

use culvert_obfuscation::Prng;

use super::declare::{HOUR, MILLISECOND, MINUTE, SECOND, YEAR, parameters};
use super::{AtMost, Probability, ScaledDuration};

/// Most dials at a time.
const MOST_WORKERS: u32 = 1000;
/// Most tunnels at a time, like the reference's.
const MOST_TUNNELS: u32 = 32;
/// Slowest network that is waited for.
const MOST_MULTIPLIER: f64 = 100.0;

parameters! {
    /// By how much timeouts grow. A factor is drawn for each dial, unless one is given.
    pub struct Latency {
        /// The factor for dials that draw none; 0 is off.
        multiplier: Option<f64> = None, within 1.0..=MOST_MULTIPLIER, "NetworkLatencyMultiplier";
        /// Smallest factor that is drawn.
        multiplier_min: f64 = 1.0, within 1.0..=MOST_MULTIPLIER, "NetworkLatencyMultiplierMin";
        /// Largest factor that is drawn.
        multiplier_max: f64 = 3.0, within 1.0..=MOST_MULTIPLIER, "NetworkLatencyMultiplierMax";
        /// How much likelier small factors are than large ones.
        multiplier_lambda: f64 = 2.0, within 0.001..=1000.0, "NetworkLatencyMultiplierLambda";
    }
    ordered { multiplier_min <= multiplier_max }
}

impl Latency {
    /// The factor of what is not a dial.
    #[must_use]
    pub fn general(&self) -> f64 {
        self.multiplier.unwrap_or(1.0)
    }

    /// Draws the factor of a dial. Exponential: most are near the smallest, few near the largest.
    pub fn draw(&self, prng: &mut Prng) -> f64 {
        let (least, most) = (self.multiplier_min, self.multiplier_max.max(self.multiplier_min));
        if most - least <= 0.0 {
            return least;
        }
        // The inverse of the cumulative function of an exponential distribution that ends at 1.
        let lambda = self.multiplier_lambda;
        let uniform = fraction(prng);
        let drawn = -uniform.mul_add((-lambda).exp() - 1.0, 1.0).ln() / lambda;
        drawn.clamp(0.0, 1.0).mul_add(most - least, least)
    }
}

/// A number from 0.0 up to 1.0, without it.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a fraction has")]
fn fraction(prng: &mut Prng) -> f64 {
    (prng.uint64() >> 11) as f64 / (1u64 << 53) as f64
}

parameters! {
    /// How servers are tried until a tunnel is up.
    pub struct Establish {
        /// How many servers are tried at a time.
        worker_pool_size: u32 = 10, within 1..=MOST_WORKERS, "ConnectionWorkerPoolSize";
        /// How many tunnels are kept.
        tunnel_pool_size: u32 = 1, within 1..=MOST_TUNNELS, "TunnelPoolSize";
        /// Longest time from dialing a server to its tunnel's handshake.
        connect_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(20)), within SECOND..=YEAR, "TunnelConnectTimeout";
        /// After how long without any tunnel to give up; 0 is never.
        timeout: Duration = Duration::from_secs(300), within Duration::ZERO..=YEAR, "EstablishTunnelTimeout";
        /// How long a round of candidates lasts before the next begins anew.
        work_time: Duration = MINUTE, within SECOND..=YEAR, "EstablishTunnelWorkTime";
        /// Pause between rounds.
        pause_period: Duration = Duration::from_secs(2), within MILLISECOND..=YEAR, "EstablishTunnelPausePeriod";
        /// Pause between rounds while no server is known.
        no_servers_pause_period: Duration = Duration::from_millis(250), within MILLISECOND..=YEAR, "EstablishTunnelNoServersPausePeriod";
        /// By which part of itself a pause may vary.
        pause_period_jitter: f64 = 0.1, within 0.0..=1.0, "EstablishTunnelPausePeriodJitter";
        /// Head start of the server that worked last.
        server_affinity_grace_period: ScaledDuration = ScaledDuration::new(SECOND), within Duration::ZERO..=YEAR, "EstablishTunnelServerAffinityGracePeriod";
        /// Time between the starts of two dials; 0 is none.
        stagger_period: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "StaggerConnectionWorkersPeriod";
        /// By which part of itself the time between two dials may vary.
        stagger_jitter: f64 = 0.1, within 0.0..=1.0, "StaggerConnectionWorkersJitter";
        /// How many of the dials may be of protocols that need much memory and time, such as meek; 0 is any.
        limit_intensive_workers: u32 = 0, within 0..=MOST_WORKERS, "LimitIntensiveConnectionWorkers";
        /// How many candidates with a plan to be replayed may be put first in a round.
        max_move_to_front: AtMost = AtMost::Unlimited, "ServerEntryIteratorMaxMoveToFront";
        /// How likely a round begins with the first candidate again, not where the last one ended.
        iterator_reset_probability: Probability = Probability::ALWAYS, "ServerEntryIteratorResetProbability";
        /// How long the answer about which network this is may be used again.
        network_id_cache_ttl: Duration = Duration::from_millis(500), within Duration::ZERO..=YEAR, "NetworkIDCacheTTL";
        /// Shortest wait after a proxy in front of us failed, lest its owner sees a flood of attempts.
        upstream_proxy_error_min_wait: Duration = Duration::from_secs(10), within Duration::ZERO..=YEAR, "UpstreamProxyErrorMinWaitDuration";
        /// Longest wait after a proxy in front of us failed.
        upstream_proxy_error_max_wait: Duration = Duration::from_secs(30), within Duration::ZERO..=YEAR, "UpstreamProxyErrorMaxWaitDuration";
        /// Whether also servers that were learned by other ways than lists are dialed through a proxy.
        upstream_proxy_all_sources: bool = false, "UpstreamProxyAllowAllServerEntrySources";
        /// Whether nothing is counted and reported of the servers that are known.
        no_server_entries_report: bool = false, "DisableServerEntriesReporter";
        /// How old an entry must be before the server may say that it is of no more use.
        minimum_age_for_pruning: Duration = Duration::from_secs(7 * 24 * 3600), within HOUR.saturating_mul(24)..=YEAR, "ServerEntryMinimumAgeForPruning";
        /// Whether entries whose only port is 0 may be removed.
        prune_port_zero: bool = true, "ServerEntryPruneDialPortNumberZero";
    }
    ordered { upstream_proxy_error_min_wait <= upstream_proxy_error_max_wait }
}
