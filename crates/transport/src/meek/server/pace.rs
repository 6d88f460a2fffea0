//! When a response is over: there is no other sign than that nothing came for a while. The wait is what a path's throughput hangs on most
//! of the time, so it follows the path: where requests come soon after responses, waiting is short. Source: TRANSPORTS.md 2.6.

use std::time::Duration;

use tokio::time::Instant;

/// No wait is shorter: the destination's next bytes may be on their way through this machine.
const LEAST: Duration = Duration::from_millis(1);
/// Requests that come this long after a response do not tell the path's round trip, but that the client had nothing to do.
const IDLE: Duration = Duration::from_secs(2);

/// How a session's exchanges follow each other.
#[derive(Debug)]
pub(super) struct Pace {
    /// The longest wait.
    most: Duration,
    /// From the end of a response that made the client ask again at once to that request.
    round_trip: Option<Duration>,
    ended: Option<Instant>,
    carried: bool,
}

impl Pace {
    pub(super) fn new(most: Duration) -> Self {
        Self { most: most.max(LEAST), round_trip: None, ended: None, carried: false }
    }

    /// A request arrives.
    pub(super) fn request(&mut self, now: Instant) {
        let Some(ended) = self.ended else { return };
        let gap = now.saturating_duration_since(ended);
        if self.carried && gap < IDLE {
            // Slower ones count less: the client may have had to wait for something.
            self.round_trip = Some(match self.round_trip {
                Some(known) if gap > known => known + (gap - known) / 8,
                _ => gap,
            });
        }
    }

    /// Its response is written. `carried`: one of them had payload, so the client asks again at once.
    pub(super) fn response(&mut self, carried: bool, now: Instant) {
        (self.ended, self.carried) = (Some(now), carried);
    }

    /// How long to wait for more behind what was sent.
    pub(super) fn gap(&self) -> Duration {
        self.round_trip.map_or(self.most, |round_trip| (round_trip / 4).clamp(LEAST, self.most))
    }

    /// How long to wait for the first byte.
    pub(super) fn first(&self) -> Duration {
        // A client that has just moved something wants to send what follows from it.
        if self.carried { self.gap() } else { self.most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_round_trip() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(10));
        let mut now = Instant::now();
        assert_eq!((pace.first(), pace.gap()), (ms(10), ms(10)));
        let mut exchange = |pace: &mut Pace, after, carried| {
            now += after;
            pace.request(now);
            pace.response(carried, now);
        };
        exchange(&mut pace, ms(0), true);
        exchange(&mut pace, Duration::from_micros(100), true);
        assert_eq!((pace.first(), pace.gap()), (ms(1), ms(1)));
        exchange(&mut pace, ms(0), false);
        assert_eq!((pace.first(), pace.gap()), (ms(10), ms(1)));
        // The client's pause says nothing about the path.
        exchange(&mut pace, ms(100), true);
        exchange(&mut pace, Duration::from_secs(5), true);
        assert_eq!(pace.gap(), ms(1));
        for _ in 0..100 {
            exchange(&mut pace, ms(200), true);
        }
        assert_eq!(pace.gap(), ms(10));
    }
}
