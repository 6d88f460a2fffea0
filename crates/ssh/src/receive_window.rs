//! What our side lets the peer send on a channel, and how that grows and shrinks.
//!
//! Credit is given only for what the application has taken. The window starts small and grows to what the
//! path needs: twice the measured delivery rate times the shortest round trip. It goes back to its first size when
//! a flow has paused, and smaller when the rate no longer warrants it. What is promised already cannot be taken
//! back: a window shrinks by not being opened again.
//!
//! Source: RFC 4254 section 5.2; the policy is ours. How much all channels may claim together is decided in
//! [`crate::credit`].

use std::time::{Duration, Instant};

/// Shortest round trip believed; scheduling alone takes longer than less.
const SHORTEST_ROUND_TRIP: Duration = Duration::from_micros(20);
/// A flow that pauses for so long begins anew; a rate is measured for so long at most.
const PAUSE: Duration = Duration::from_secs(8);

/// A channel's receive window.
#[derive(Debug, Default)]
pub(crate) struct ReceiveWindow {
    /// The claim that credit aims at.
    size: u32,
    /// What the peer may still send.
    open: u32,
    /// Received, and not yet taken by the application.
    held: u32,
    /// The claim after credit was given last.
    reached: u32,
    /// Nothing yet for a channel that gets no credit: a peer may have thousands.
    flow: Option<Box<Flow>>,
}

/// What is known of the flow through a channel.
#[derive(Debug)]
struct Flow {
    /// When data came last.
    last: Instant,
    /// Nothing came for a while before that.
    paused: bool,
    /// A measurement under way: when credit was given, and the bytes that may come without it.
    credit: Option<(Instant, u32)>,
    /// Taken since `since`.
    taken: u64,
    since: Instant,
}

impl Flow {
    fn begin(now: Instant) -> Self {
        Self { last: now, paused: false, credit: None, taken: 0, since: now }
    }
}

/// What decides about a window beside its own flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The size at first, and after a pause.
    pub(crate) first: u32,
    /// `first` when memory is short.
    pub(crate) largest: u32,
    /// The path's round trip, if known.
    pub(crate) round_trip: Option<Duration>,
}

impl ReceiveWindow {
    /// Opens the window for the first time, to aim at `size` and promise `open` now.
    pub(crate) fn new(size: u32, open: u32) -> Self {
        Self { size, open, held: 0, reached: open, flow: None }
    }

    /// What the peer may still send.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Received, and not yet taken.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    fn claim(&self) -> u32 {
        self.open.saturating_add(self.held)
    }

    /// Takes `bytes` of received data; false when the peer overran its window. A round trip that was
    /// measured on the way is returned by `measured`.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant, measured: impl FnOnce(Duration)) -> bool {
        let Ok(bytes) = u32::try_from(bytes) else { return false };
        let Some(left) = self.open.checked_sub(bytes) else { return false };
        self.open = left;
        self.held = self.held.saturating_add(bytes);
        if let Some(flow) = &mut self.flow {
            if now.saturating_duration_since(flow.last) >= PAUSE {
                flow.paused = true;
                // The sender had nothing to send: that says nothing of the path.
                flow.credit = None;
            }
            flow.last = now;
            match &mut flow.credit {
                Some((given, before)) if *before < bytes => {
                    measured(now.saturating_duration_since(*given));
                    flow.credit = None;
                }
                Some((_, before)) => *before -= bytes,
                None => {}
            }
        }
        true
    }

    /// Notes bytes that the application has taken, and returns how many of them were there.
    pub(crate) fn consume(&mut self, bytes: usize) -> u32 {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.held);
        self.held -= bytes;
        if let Some(flow) = &mut self.flow {
            flow.taken += u64::from(bytes);
        }
        bytes
    }

    /// True when enough has been taken to give credit for it.
    ///
    /// At one eighth of the window rather than one half: on a long path the peer then never runs dry.
    pub(crate) fn is_due(&self) -> bool {
        let taken = self.reached.saturating_sub(self.claim());
        taken > 0 && taken >= self.reached / 8
    }

    /// How much credit the channel should get now, and for which claim. Follow with [`Self::give`].
    pub(crate) fn wanted(&mut self, now: Instant, bounds: Bounds) -> (u32, u32) {
        self.resize(now, bounds);
        (self.claim(), self.size.saturating_sub(self.claim()))
    }

    /// Gives credit.
    pub(crate) fn give(&mut self, bytes: u32, now: Instant) {
        if bytes > 0
            && let Some(flow) = &mut self.flow
        {
            flow.credit.get_or_insert((now, self.open));
        }
        self.open = self.open.saturating_add(bytes);
        self.reached = self.claim();
    }

    fn resize(&mut self, now: Instant, bounds: Bounds) {
        let Some(flow) = &mut self.flow else {
            self.flow = Some(Box::new(Flow::begin(now)));
            return;
        };
        // Also after a stall of the application: nothing came meanwhile.
        if flow.paused || now.saturating_duration_since(flow.last) >= PAUSE {
            self.size = self.size.min(bounds.first);
            **flow = Flow::begin(now);
            return;
        }
        let elapsed = now.saturating_duration_since(flow.since);
        // Not quite a whole window: the last piece of one often comes a round trip later.
        let measured = flow.taken >= u64::from(self.size / 8 * 7)
            && bounds.round_trip.is_some_and(|round_trip| elapsed >= round_trip);
        if measured || elapsed >= PAUSE {
            let warranted =
                bounds.round_trip.map_or(0, |round_trip| warranted(flow.taken, elapsed, round_trip));
            let most = bounds.largest.max(bounds.first).min(self.size.saturating_mul(2));
            // A rate that varies is no reason to shrink.
            let least = if elapsed >= PAUSE { bounds.first } else { self.size };
            self.size = warranted.min(most).max(least.min(most));
            flow.taken = 0;
            flow.since = now;
        } else if self.size > bounds.largest.max(bounds.first) {
            self.size = bounds.first;
        }
    }
}

/// Twice what arrives in one round trip.
fn warranted(taken: u64, elapsed: Duration, round_trip: Duration) -> u32 {
    let elapsed = elapsed.max(Duration::from_micros(1)).as_micros();
    let per_round_trip = u128::from(taken) * round_trip.as_micros() / elapsed;
    u32::try_from(per_round_trip.saturating_mul(2)).unwrap_or(u32::MAX)
}

/// The shortest round trip of a connection, from login and from what its channels measured.
///
/// It is never forgotten: once a window is larger than the path needs, a queue stands on the path, and everything
/// that is measured from then on is too long by it. A window after a longer round trip would make that queue longer
/// still. A path that gets up to twice as long keeps its rate, because windows are twice what is needed.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip(Option<Duration>);

impl RoundTrip {
    pub(crate) fn measured(&mut self, sample: Duration) {
        self.0 = Some(self.0.map_or(sample, |shortest| shortest.min(sample)).max(SHORTEST_ROUND_TRIP));
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        self.0
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { first: 65_536, largest: 32 << 20, round_trip: None };

    fn adjust(window: &mut ReceiveWindow, now: Instant, bounds: Bounds) -> Option<u32> {
        let due = window.is_due();
        due.then(|| {
            let (_, wanted) = window.wanted(now, bounds);
            window.give(wanted, now);
            wanted
        })
    }

    #[test]
    fn the_window_opens_only_on_consumption() {
        let (mut window, now) = (ReceiveWindow::new(65_536, 65_536), Instant::now());
        assert!(window.take(65_536, now, |_| {}));
        assert!(!window.take(1, now, |_| {}), "overrun");
        assert_eq!(window.consume(8_191), 8_191);
        assert_eq!(adjust(&mut window, now, BOUNDS), None);
        window.consume(1);
        assert_eq!(adjust(&mut window, now, BOUNDS), Some(8_192));
        assert_eq!(adjust(&mut window, now, BOUNDS), None);
        assert!(window.take(8_192, now, |_| {}));
        assert!(!window.take(1, now, |_| {}));
    }

    #[test]
    fn consumption_never_grants_more_than_was_received() {
        let (mut window, now) = (ReceiveWindow::new(800, 800), Instant::now());
        assert!(window.take(100, now, |_| {}));
        assert_eq!(window.consume(usize::MAX), 100);
        assert_eq!(adjust(&mut window, now, BOUNDS), Some(100));
    }

    #[test]
    fn a_window_of_a_few_bytes_moves_on() {
        let (mut window, now) = (ReceiveWindow::new(65_536, 3), Instant::now());
        assert!(window.take(1, now, |_| {}));
        window.consume(1);
        assert_eq!(adjust(&mut window, now, BOUNDS), Some(65_534));
    }

    #[test]
    fn a_round_trip_is_the_time_until_credit_is_used() {
        let (mut window, start) = (ReceiveWindow::new(65_536, 65_536), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(window.take(60_000, at(0), |_| {}));
        window.consume(60_000);
        assert_eq!(adjust(&mut window, at(0), BOUNDS), Some(60_000));
        assert!(window.take(5_536, at(3), |sample| unreachable!("{sample:?} was measured without credit")));
        let mut measured = None;
        assert!(window.take(1, at(7), |sample| measured = Some(sample)));
        assert_eq!(measured, Some(Duration::from_millis(7)));
    }

    #[test]
    fn a_slow_consumer_gets_no_larger_window() {
        let (mut window, mut now) = (ReceiveWindow::new(65_536, 65_536), Instant::now());
        let bounds = Bounds { round_trip: Some(Duration::from_millis(100)), ..BOUNDS };
        for _ in 0..50 {
            now += Duration::from_secs(1);
            window.take(window.open() as usize, now, |_| {});
            window.consume(usize::MAX);
            adjust(&mut window, now, bounds);
            assert_eq!(window.size, 65_536);
        }
    }

    #[test]
    fn a_window_shrinks_when_memory_is_short() {
        let (mut window, mut now) = (ReceiveWindow::new(65_536, 65_536), Instant::now());
        let bounds = Bounds { round_trip: Some(Duration::from_millis(100)), ..BOUNDS };
        let round = |window: &mut ReceiveWindow, now: &mut Instant, bounds| {
            *now += Duration::from_millis(100);
            window.take(window.open() as usize, *now, |_| {});
            window.consume(usize::MAX);
            adjust(window, *now, bounds);
        };
        (0..12).for_each(|_| round(&mut window, &mut now, bounds));
        assert!(window.size > 16 << 20);
        round(&mut window, &mut now, Bounds { largest: 65_536, ..bounds });
        assert_eq!((window.size, window.open()), (65_536, 65_536));
    }
}
