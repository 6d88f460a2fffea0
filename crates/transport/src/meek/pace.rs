//! When to poll, and when to try again: what a session decides by the clock. No I/O. Source: TRANSPORTS.md 2.6 and 2.7.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::Prng;
use culvert_protocol::parameters::Meek;

/// Time until the next poll.
pub(super) struct Pace {
    parameters: Arc<Meek>,
    prng: Prng,
    interval: Duration,
}

impl Pace {
    pub(super) fn new(parameters: Arc<Meek>, prng: Prng) -> Self {
        let mut pace = Self { parameters, prng, interval: Duration::ZERO };
        pace.round_trip_done(false);
        pace
    }

    /// After how long to poll, if nothing is to be sent before.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// A round trip is done; `useful` if it carried payload in any direction.
    pub(super) fn round_trip_done(&mut self, useful: bool) {
        let of = Arc::clone(&self.parameters);
        self.interval = if useful {
            // There may be more.
            Duration::ZERO
        } else if self.interval.is_zero() {
            self.jittered(of.min_poll_interval, of.min_poll_interval_jitter)
        } else {
            let grows = self.prng.flip_weighted_coin(of.apply_poll_interval_multiplier_probability.get());
            let grown =
                if grows { scaled(self.interval, of.poll_interval_multiplier) } else { self.interval };
            let grown = self.jittered(grown, of.poll_interval_jitter);
            if grown < of.max_poll_interval {
                grown
            } else {
                self.jittered(of.max_poll_interval, of.max_poll_interval_jitter)
            }
        };
    }

    fn jittered(&mut self, time: Duration, factor: f64) -> Duration {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        // Zero would be no pause at all.
        Duration::from_micros(self.prng.jitter(micros, factor).max(1).unsigned_abs())
    }
}

fn scaled(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// Pauses before retries of one round trip.
pub(super) struct Retries {
    parameters: Arc<Meek>,
    deadline: Duration,
    pause: Duration,
    tried: bool,
}

impl Retries {
    pub(super) fn new(parameters: Arc<Meek>, latency_multiplier: f64) -> Self {
        let pause = parameters.round_trip_retry_min_delay;
        let deadline = parameters.round_trip_retry_deadline.scaled(latency_multiplier);
        Self { parameters, deadline, pause, tried: false }
    }

    /// A try failed so long after the first began: how long to wait before the next, if there is one.
    pub(super) fn failed(&mut self, since_start: Duration) -> Option<Duration> {
        let of = &self.parameters;
        let left = self.deadline.checked_sub(since_start);
        let fits = left.is_some_and(|left| left > self.pause);
        if self.tried && !fits {
            return None;
        }
        self.tried = true;
        let pause = self.pause;
        self.pause = scaled(pause, of.round_trip_retry_multiplier).min(of.round_trip_retry_max_delay);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::Seed;

    use super::*;

    #[test]
    fn polls_come_at_once_while_there_is_payload_and_then_ever_later() {
        for seed in 0..20 {
            let mut pace = Pace::new(Arc::default(), Prng::new(&Seed::from_bytes([seed; 32])));
            let first = Duration::from_millis(70)..=Duration::from_millis(130);
            assert!(first.contains(&pace.interval()), "seed {seed}");
            pace.round_trip_done(true);
            assert!(pace.interval().is_zero());
            pace.round_trip_done(false);
            assert!(first.contains(&pace.interval()), "seed {seed}");
            for _ in 0..100 {
                pace.round_trip_done(false);
                assert!(pace.interval() <= Duration::from_millis(5500), "seed {seed}");
            }
            assert!(pace.interval() > Duration::from_secs(3), "seed {seed}: {:?}", pace.interval());
        }
    }

    #[test]
    fn there_is_one_retry_and_more_while_time_is_left() {
        let mut late = Retries::new(Arc::default(), 1.0);
        assert_eq!(late.failed(Duration::from_secs(20)), Some(Duration::from_millis(50)));
        assert_eq!(late.failed(Duration::from_secs(21)), None);
        let mut quick = Retries::new(Arc::default(), 1.0);
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Some(pause) = quick.failed(now) {
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
    }
}
