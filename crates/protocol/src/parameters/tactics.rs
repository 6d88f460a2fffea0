//! Parameters of tactics: when they are asked for, and what they come as. PROTOCOL.md 6.4.

use std::time::Duration;

use super::ScaledDuration;
use super::declare::{MILLISECOND, SECOND, YEAR, parameters};

parameters! {
    /// Asking for tactics.
    pub struct Tactics {
        /// How long establishing waits for tactics before it begins without.
        wait_period: ScaledDuration = ScaledDuration::new(Duration::from_secs(5)), within Duration::ZERO..=YEAR, "TacticsWaitPeriod";
        /// Pause before they are asked for again.
        retry_period: Duration = Duration::from_secs(2), within MILLISECOND..=YEAR, "TacticsRetryPeriod";
        /// By which part of itself the pause before asking again may vary.
        retry_period_jitter: f64 = 0.3, within 0.0..=1.0, "TacticsRetryPeriodJitter";
        /// Longest time for one request for tactics.
        timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(120)), within SECOND..=YEAR, "TacticsTimeout";
        /// Whether tactics may come compressed.
        compress: bool = true, "CompressTactics";
    }
}
