//! When to poll, and when to try again: what a session decides by the clock. No I/O. Source: TRANSPORTS.md 2.6 and 2.7.

use std::time::Duration;

use culvert_obfuscation::Prng;

/// Between the first polls, and jitter of that.
const FIRST: (Duration, f64) = (Duration::from_millis(100), 0.3);
/// Between polls of a session that is idle for long, and jitter of that.
const LONGEST: (Duration, f64) = (Duration::from_secs(5), 0.1);
/// How much longer the next time is, how often it is, and jitter of what lies between first and longest.
const GROWTH: (f64, f64, f64) = (1.5, 0.5, 0.1);

/// Time for retries.
pub(super) const RETRY_TIME: Duration = Duration::from_secs(5);
/// Before the first retry, and at most before any.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Time until the next poll.
pub(super) struct Pace {
    prng: Prng,
    interval: Duration,
}

impl Pace {
    pub(super) fn new(mut prng: Prng) -> Self {
        let interval = jittered(&mut prng, FIRST.0, FIRST.1);
        Self { prng, interval }
    }

    /// After how long to poll, if nothing is to be sent before.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// A round trip is done; `useful` if it carried payload in any direction.
    pub(super) fn round_trip_done(&mut self, useful: bool) {
        self.interval = if useful {
            // There may be more.
            Duration::ZERO
        } else if self.interval.is_zero() {
            jittered(&mut self.prng, FIRST.0, FIRST.1)
        } else {
            let (factor, probability, jitter) = GROWTH;
            let factor = if self.prng.flip_weighted_coin(probability) { factor } else { 1.0 };
            let grown = jittered(&mut self.prng, self.interval.mul_f64(factor), jitter);
            if grown < LONGEST.0 { grown } else { jittered(&mut self.prng, LONGEST.0, LONGEST.1) }
        };
    }
}

fn jittered(prng: &mut Prng, time: Duration, factor: f64) -> Duration {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Duration::from_micros(prng.jitter(micros, factor).unsigned_abs())
}

/// Pauses before retries of one round trip.
pub(super) struct Retries {
    pause: Duration,
    tried: bool,
}

impl Retries {
    pub(super) const fn new() -> Self {
        Self { pause: RETRY_PAUSE.0, tried: false }
    }

    /// A try failed so long after the first began: how long to wait before the next, if there is one.
    pub(super) fn failed(&mut self, since_start: Duration) -> Option<Duration> {
        let fits = RETRY_TIME.checked_sub(since_start).is_some_and(|left| left > self.pause);
        if self.tried && !fits {
            return None;
        }
        self.tried = true;
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_PAUSE.1);
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
            let mut pace = Pace::new(Prng::new(&Seed::from_bytes([seed; 32])));
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
        let mut late = Retries::new();
        assert_eq!(late.failed(Duration::from_secs(20)), Some(Duration::from_millis(50)));
        assert_eq!(late.failed(Duration::from_secs(21)), None);
        let mut quick = Retries::new();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Some(pause) = quick.failed(now) {
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
    }
}
