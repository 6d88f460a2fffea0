//! Channels and their windows over simulated paths, and under floods.

use std::time::Duration;

use super::*;

fn open_channel(window: u32) -> Channel {
    Channel::new(Phase::Open(Peer { id: 9, window, max_data: MAX_DATA }))
}

#[test]
fn senders_take_turns() {
    let mut channels = Channels::new(&Limits::default());
    let first = channels.insert(open_channel(u32::MAX)).unwrap().0;
    let second = channels.insert(open_channel(u32::MAX)).unwrap().0;
    for id in [first, second] {
        channels.write(id, &[1; 100_000]);
        channels.join_round(id);
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        let id = channels.next_turn().unwrap();
        order.push(id);
        channels.join_round(id);
    }
    assert_eq!(order, [first, second, first, second]);
}

#[test]
fn a_number_is_reused_only_after_removal() {
    let mut channels = Channels::new(&Limits::default());
    let first = channels.insert(open_channel(1)).unwrap();
    assert_ne!(channels.insert(open_channel(1)).unwrap(), first);
    channels.remove(first.0);
    channels.remove(first.0);
    assert_eq!(channels.len(), 1);
    assert_eq!(channels.insert(open_channel(1)).unwrap(), first);
}

#[test]
fn many_channels_leave_no_room_behind() {
    let mut channels = Channels::new(&Limits::default());
    let ids: Vec<u32> = (0..4000).map(|_| channels.insert(open_channel(1)).unwrap().0).collect();
    let kept: Vec<u32> = [0, 7, 30].map(|index: usize| ids[index]).to_vec();
    ids.iter().filter(|id| !kept.contains(id)).for_each(|id| channels.remove(*id));
    assert!(channels.slots.capacity() <= 64 && channels.free.capacity() <= 64);
    let again: Vec<u32> = (0..4000).map(|_| channels.insert(open_channel(1)).unwrap().0).collect();
    assert!(again.iter().all(|id| !kept.contains(id)), "no number is given twice");
    assert_eq!(channels.len(), 4003);
}

/// Some instant: a test's clock starts anywhere and moves only when the test moves it.
#[expect(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
fn start_of_time() -> Instant {
    Instant::now()
}

/// A peer that sends what it may, over a path with a queue of any length, to an application that takes at a rate.
struct Path {
    channels: Channels,
    id: u32,
    now: Instant,
    start: Instant,
    one_way: Duration,
    /// Bytes in a second.
    rate: f64,
    /// When the path has sent what was given to it.
    free: Instant,
    data: VecDeque<(Instant, usize)>,
    credit: VecDeque<(Instant, u32)>,
    received: u64,
    largest_claim: u64,
    longest_queue: Duration,
}

impl Path {
    fn new(round_trip: Duration, rate: f64) -> Self {
        let mut channels = Channels::new(&Limits::default());
        let id = channels.insert(open_channel(1)).unwrap().0;
        let window = channels.open_window(id);
        let now = start_of_time();
        let credit = VecDeque::from([(now, window)]);
        Self {
            channels,
            id,
            now,
            start: now,
            one_way: round_trip / 2,
            rate,
            free: now,
            data: VecDeque::new(),
            credit,
            received: 0,
            largest_claim: 0,
            longest_queue: Duration::ZERO,
        }
    }

    /// What login measures on an idle path.
    fn logged_in(mut self) -> Self {
        self.channels.round_trip.measured(self.one_way * 2);
        self
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// One event; the application takes everything at once.
    fn step(&mut self) {
        let data_first = match (self.data.front(), self.credit.front()) {
            (Some(data), Some(credit)) => data.0 <= credit.0,
            (data, _) => data.is_some(),
        };
        if data_first {
            let (at, bytes) = self.data.pop_front().unwrap();
            self.now = at;
            self.received += bytes as u64;
            assert!(self.channels.take(self.id, bytes, at), "the peer keeps to its window");
            self.largest_claim = self.largest_claim.max(self.channels.credit.total());
            self.channels.consume(self.id, bytes);
            self.answer();
        } else {
            let (at, mut bytes) = self.credit.pop_front().unwrap();
            self.now = at;
            while bytes > 0 {
                let piece = bytes.min(MAX_DATA);
                bytes -= piece;
                self.longest_queue = self.longest_queue.max(self.free.saturating_duration_since(at));
                self.free = self.free.max(at) + Duration::from_secs_f64(f64::from(piece) / self.rate);
                self.data.push_back((self.free + self.one_way, piece as usize));
            }
        }
    }

    fn answer(&mut self) {
        while let Some((_, bytes)) = self.channels.next_adjust(self.now) {
            self.credit.push_back((self.now + self.one_way, bytes));
        }
    }

    fn run(&mut self, duration: Duration) -> f64 {
        let (end, before) = (self.now + duration, self.received);
        while self.now < end {
            self.step();
        }
        (self.received - before) as f64 / duration.as_secs_f64()
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_long_path_is_filled_within_a_few_round_trips() {
    let mut path = Path::new(100 * MS, 1e9).logged_in();
    while path.largest_claim < 25 << 20 {
        path.step();
        assert!(path.elapsed() < 1300 * MS, "{} bytes after {:?}", path.largest_claim, path.elapsed());
    }
    let rate = path.run(2000 * MS);
    assert!(rate > 250e6, "{rate}");
    assert!(path.largest_claim <= 33 << 20, "{}", path.largest_claim);
}

/// The same where nothing is known of the path but what the flow itself shows.
#[test]
fn a_flow_that_never_runs_dry_grows_too() {
    let mut path = Path::new(100 * MS, 400e6);
    path.run(1500 * MS);
    let rate = path.run(1000 * MS);
    assert!(rate > 200e6, "{rate}");
}

#[test]
fn a_short_path_gets_no_large_window() {
    let round_trip = Duration::from_micros(50);
    let mut path = Path::new(round_trip, 2e9).logged_in();
    let rate = path.run(1000 * MS);
    assert!(rate > 1.9e9, "{rate}");
    let warranted = 2.0 * 2e9 * round_trip.as_secs_f64();
    assert!(path.largest_claim as f64 <= 1.05 * warranted, "{}", path.largest_claim);

    // Where only the flow itself could be measured, behind its own first window.
    let mut path = Path::new(round_trip, 1e9);
    path.run(12_000 * MS);
    assert!(path.largest_claim <= 288 * 1024, "{}", path.largest_claim);
}

/// What stands on the path because of the window must not be taken for the path's length, however long it goes on.
#[test]
fn a_window_does_not_grow_after_its_own_queue() {
    for known in [true, false] {
        let mut path = Path::new(50 * MS, 2e6);
        if known {
            path = path.logged_in();
        }
        let rate = path.run(300_000 * MS);
        assert!(rate > 1.9e6, "{rate}");
        let most = if known { 200_000 } else { 288 * 1024 };
        assert!(path.largest_claim <= most, "{}", path.largest_claim);
        assert!(path.longest_queue < 150 * MS, "{:?}", path.longest_queue);
    }
}

#[test]
fn a_window_that_has_paused_begins_anew() {
    let mut path = Path::new(100 * MS, 1e9).logged_in();
    path.run(2000 * MS);
    assert!(path.channels.credit.total() > 16 << 20);
    // The peer uses up what it has, later, and gets the first window again.
    let mut left: u64 = path.credit.drain(..).map(|(_, bytes)| u64::from(bytes)).sum();
    left += path.data.drain(..).map(|(_, bytes)| bytes as u64).sum::<u64>();
    path.now += 10_000 * MS;
    let mut granted = 0;
    for _ in 0..left / 1024 {
        path.channels.take(path.id, 1024, path.now);
        path.channels.consume(path.id, 1024);
        while let Some((_, bytes)) = path.channels.next_adjust(path.now) {
            granted += bytes;
        }
    }
    assert!(path.channels.credit.total() <= 128 * 1024, "{}", path.channels.credit.total());
    assert!(granted <= 128 * 1024, "{granted}");
}

/// A slow trickle through a window that was large: it shrinks though the flow never pauses.
#[test]
fn a_window_shrinks_when_the_rate_falls() {
    let mut path = Path::new(100 * MS, 1e9).logged_in();
    path.run(2000 * MS);
    path.credit.clear();
    path.data.clear();
    for _ in 0..60 {
        path.now += 1000 * MS;
        path.channels.take(path.id, 30_000, path.now);
        path.channels.consume(path.id, 30_000);
        assert!(path.channels.next_adjust(path.now).is_none_or(|(_, bytes)| bytes <= 8 << 20));
    }
    let before = path.channels.credit.total();
    for _ in 0..20 {
        path.now += 1000 * MS;
        path.channels.take(path.id, 1 << 20, path.now);
        path.channels.consume(path.id, 1 << 20);
        path.channels.next_adjust(path.now);
    }
    assert!(path.channels.credit.total() <= before - (19 << 20), "{}", path.channels.credit.total());
}
