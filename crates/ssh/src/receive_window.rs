//! What our side lets the peer send on a channel, and how that grows.
//!
//! Credit is given only for what the application has taken. The window starts small and grows to what the
//! path needs: twice the measured delivery rate times the shortest round trip of late. The round trip is
//! measured without asking: the time from giving credit until data comes that could not have been sent
//! without it. A flow that something else limits measures too long, which the shortest forgives.
//!
//! Source: RFC 4254 section 5.2; the policy is ours.

use std::time::{Duration, Instant};

/// Shortest round trip believed; scheduling alone takes longer than less.
const SHORTEST_ROUND_TRIP: Duration = Duration::from_micros(20);

/// A channel's receive window.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    /// The size that adjusts restore.
    size: u32,
    /// What it was at first.
    initial: u32,
    largest: u32,
    /// What the peer may still send.
    open: u32,
    /// Consumed by the application and not yet announced.
    consumed: u32,
    /// All bytes ever received.
    received: u64,
    /// A measurement under way: when credit was given, and how much had been given before.
    credit: Option<(Instant, u64)>,
    epoch: Option<Epoch>,
}

/// The time in which one window's worth is consumed.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    consumed: u64,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32, largest: u32) -> Self {
        Self {
            size,
            initial: size,
            largest: largest.max(size),
            open: size,
            consumed: 0,
            received: 0,
            credit: None,
            epoch: None,
        }
    }

    /// Takes `bytes` of received data; false when the peer overran its window. A round trip that was
    /// measured on the way is returned by `measured`.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant, measured: impl FnOnce(Duration)) -> bool {
        let left = u32::try_from(bytes).ok().and_then(|bytes| self.open.checked_sub(bytes));
        let Some(left) = left else { return false };
        self.open = left;
        self.received += bytes as u64;
        if let Some((given, before)) = self.credit
            && self.received > before
        {
            self.credit = None;
            measured(now.saturating_duration_since(given).max(SHORTEST_ROUND_TRIP));
        }
        true
    }

    /// Notes consumed bytes; true when an adjust becomes due.
    ///
    /// At one eighth of the window rather than one half: on a long path the peer then never runs dry.
    pub(crate) fn consume(&mut self, bytes: usize) -> bool {
        let outstanding = self.size.saturating_sub(self.open);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let due_before = self.consumed >= self.due();
        self.consumed = self.consumed.saturating_add(bytes).min(outstanding);
        !due_before && self.consumed >= self.due()
    }

    fn due(&self) -> u32 {
        (self.size / 8).max(1)
    }

    /// Bytes by which it has grown.
    pub(crate) fn growth(&self) -> u32 {
        self.size.saturating_sub(self.initial)
    }

    /// The adjust to announce now, or `None` when there is nothing. `round_trip` is the path's, if known;
    /// the window may grow by `room` at most.
    pub(crate) fn announce(&mut self, now: Instant, round_trip: Option<Duration>, room: u32) -> Option<u32> {
        let consumed = std::mem::take(&mut self.consumed);
        if consumed == 0 {
            return None;
        }
        self.credit.get_or_insert((now, self.received + u64::from(self.open)));
        let grown = self.grow(consumed, now, round_trip).min(room);
        let bytes = consumed.saturating_add(grown);
        self.size = self.size.saturating_add(grown);
        self.open = self.open.saturating_add(bytes);
        Some(bytes)
    }

    /// By how much the window should grow.
    fn grow(&mut self, consumed: u32, now: Instant, round_trip: Option<Duration>) -> u32 {
        let epoch = self.epoch.get_or_insert(Epoch { start: now, consumed: 0 });
        epoch.consumed += u64::from(consumed);
        if epoch.consumed < u64::from(self.size) {
            return 0;
        }
        let ended = *epoch;
        self.epoch = Some(Epoch { start: now, consumed: 0 });
        let Some(round_trip) = round_trip else { return 0 };
        let elapsed = now.saturating_duration_since(ended.start).max(Duration::from_micros(1));
        let per_round_trip = u128::from(ended.consumed) * round_trip.as_micros() / elapsed.as_micros();
        let wanted = u32::try_from(per_round_trip.saturating_mul(2)).unwrap_or(u32::MAX);
        wanted.min(self.largest).min(self.size.saturating_mul(2)).saturating_sub(self.size)
    }
}

/// The shortest round trip of a connection of late, from what its channels measured.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip(Option<(Duration, Instant)>);

/// Time after which a measurement is forgotten, because paths change.
const MEMORY: Duration = Duration::from_secs(10);

impl RoundTrip {
    pub(crate) fn measured(&mut self, sample: Duration, now: Instant) {
        let keep = self
            .0
            .is_some_and(|(shortest, at)| shortest < sample && now.saturating_duration_since(at) < MEMORY);
        if !keep {
            self.0 = Some((sample, now));
        }
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        self.0.map(|(shortest, _)| shortest)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
mod tests {
    use super::*;

    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_window_opens_only_on_consumption() {
        let mut window = ReceiveWindow::new(65_536, 65_536);
        assert!(window.take(65_536, start(), |_| {}));
        assert!(!window.take(1, start(), |_| {}), "overrun");
        assert!(!window.consume(8_191));
        assert!(window.consume(1));
        assert_eq!(window.announce(start(), None, u32::MAX), Some(8_192));
        assert_eq!(window.announce(start(), None, u32::MAX), None);
        assert!(window.take(8_192, start(), |_| {}));
    }

    #[test]
    fn consumption_never_grants_more_than_was_received() {
        let mut window = ReceiveWindow::new(65_536, 65_536);
        assert!(window.take(100, start(), |_| {}));
        window.consume(usize::MAX);
        assert_eq!(window.announce(start(), None, u32::MAX), Some(100));
    }

    /// A peer that sends as much as it may, over a path of 100 ms; returns the window after some round trips.
    fn after_round_trips(count: u32, consumer_delay: Duration) -> u32 {
        let mut window = ReceiveWindow::new(131_072, 32 << 20);
        let mut round_trip = RoundTrip::default();
        let mut now = start();
        for _ in 0..count {
            let burst = window.open;
            now += Duration::from_millis(100);
            assert!(window.take(burst as usize, now, |sample| round_trip.measured(sample, now)));
            now += consumer_delay;
            window.consume(burst as usize);
            window.announce(now, round_trip.get(), u32::MAX);
        }
        window.size
    }

    #[test]
    fn a_window_that_limits_the_flow_doubles_each_round_trip() {
        let size = after_round_trips(12, Duration::ZERO);
        assert!(size >= 16 << 20, "{size}");
        assert!(after_round_trips(40, Duration::ZERO) <= 32 << 20);
    }

    #[test]
    fn a_flow_that_never_runs_dry_grows_too() {
        let mut window = ReceiveWindow::new(131_072, 32 << 20);
        let mut round_trip = RoundTrip::default();
        let (mut now, mut flying) = (start(), std::collections::VecDeque::new());
        flying.push_back((now + Duration::from_millis(100), 131_072_usize));
        // Data arrives in pieces; what is credited leaves at once and arrives a round trip later.
        for _ in 0..20_000 {
            let Some((at, bytes)) = flying.pop_front() else { break };
            now = now.max(at);
            let piece = bytes.min(16_384);
            if bytes > piece {
                flying.push_front((at + Duration::from_micros(10), bytes - piece));
            }
            assert!(window.take(piece, now, |sample| round_trip.measured(sample, now)));
            if window.consume(piece)
                && let Some(credit) = window.announce(now, round_trip.get(), u32::MAX)
            {
                flying.push_back((now + Duration::from_millis(100), credit as usize));
            }
        }
        assert!(window.size >= 16 << 20, "{}", window.size);
    }

    #[test]
    fn a_slow_consumer_gets_no_larger_window() {
        let size = after_round_trips(12, Duration::from_secs(1));
        assert_eq!(size, 131_072);
    }
}
