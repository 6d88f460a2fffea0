//! How much a peer can make one tunnel hold, and all tunnels of a process: before windows have grown, after, and
//! when it stalls.
//!
//! What an application has not taken is counted as if it stood in memory here, which it does in the driver.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_ssh::kexinit::Role;
use culvert_ssh::{ChannelId, Event, MemoryBudget};

use crate::allocator::{peak, standing};
use crate::peer::{Raw, confirm, data, numbers, open};
use crate::{ROLES, TUNNEL};

const CLOSE: u8 = 97;
const ADJUST: u8 = 93;
/// What one tunnel may hold at most, all windows grown.
const GROWN: usize = (64 + 12 + 2) << 20;
/// Largest body of data.
/// What login takes.
const ROUND_TRIP: Duration = Duration::from_millis(100);
const FULL: usize = 32 * 1024;

/// A peer that keeps account of what it may send on each channel, and an application that takes what it is told to.
struct Flows {
    raw: Raw,
    /// By our number for a channel, which is the peer's number too.
    credit: BTreeMap<u32, usize>,
    held: BTreeMap<u32, usize>,
    ids: BTreeMap<u32, ChannelId>,
}

impl Flows {
    fn new(role: Role) -> Self {
        Self::over(role, ROUND_TRIP)
    }

    /// Over a path whose round trip is known from login.
    fn over(role: Role, round_trip: Duration) -> Self {
        let mut raw = Raw::keyed(role);
        raw.now += round_trip;
        raw.log_in();
        raw.events.clear();
        raw.consumes = false;
        Self { raw, credit: BTreeMap::new(), held: BTreeMap::new(), ids: BTreeMap::new() }
    }

    /// Opens a channel: every other one is asked for by the application.
    fn open(&mut self, number: u32) {
        let id = if number.is_multiple_of(2) {
            self.raw.say(&open(number, 0, FULL as u32)).expect("by the book");
            let id = self.raw.offered().expect("the application was asked");
            self.raw.connection.accept_channel(id);
            self.raw.wire_is_read();
            let confirmation = self.raw.next_of(91);
            self.credit.insert(number, number_at(&confirmation, 9));
            id
        } else {
            let id = self.raw.ask();
            let asked = self.raw.next_of(90);
            self.credit.insert(number, number_at(&asked, 5 + 12 + 4));
            self.raw.say(&confirm(number, number, 0, FULL as u32)).expect("by the book");
            id
        };
        self.raw.events.clear();
        self.ids.insert(number, id);
    }

    /// Sends what may be sent on a channel; returns how much that was.
    fn fill(&mut self, number: u32) -> usize {
        let bytes = self.credit.insert(number, 0).unwrap_or(0);
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(FULL);
            left -= piece;
            self.raw.say(&data(number, &[1; FULL][..piece])).expect("within the window");
        }
        *self.held.entry(number).or_default() += bytes;
        self.listen();
        bytes
    }

    fn fill_all(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.fill(number);
        }
    }

    /// The application takes everything of a channel.
    fn drain(&mut self, number: u32) {
        let held = self.held.insert(number, 0).unwrap_or(0);
        // Bit by bit, as applications do.
        let mut left = held;
        while left > 0 {
            let piece = left.min(FULL);
            left -= piece;
            self.raw.connection.consume(self.ids[&number], piece);
            self.raw.wire_is_read();
        }
        self.listen();
    }

    fn listen(&mut self) {
        for heard in self.raw.heard() {
            if heard[0] == ADJUST {
                *self.credit.entry(number_at(&heard, 1) as u32).or_default() += number_at(&heard, 5);
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.raw.now += time;
    }

    fn held(&self) -> usize {
        self.held.values().sum()
    }

    /// Held, and what the peer may still send.
    fn claimed(&self) -> usize {
        self.held() + self.credit.values().sum::<usize>()
    }

    /// Round trips of 100 ms in which all is sent and taken.
    fn grow(&mut self, numbers: std::ops::Range<u32>, round_trips: usize) {
        for _ in 0..round_trips {
            self.wait(ROUND_TRIP);
            for number in numbers.clone() {
                self.fill(number);
                self.drain(number);
            }
        }
    }
}

fn number_at(message: &[u8], at: usize) -> usize {
    u32::from_be_bytes(message[at..at + 4].try_into().expect("four bytes")) as usize
}

#[test]
fn thousands_of_channels_that_nobody_reads_cost_a_tunnel_its_share() {
    for role in ROLES {
        let (held, cost) = peak(|| {
            let mut flows = Flows::new(role);
            for number in 0..4096 {
                flows.open(number);
                let sent = flows.fill(number);
                assert!(sent > 0, "channel {number} can be used");
                assert!(sent == 128 * 1024 || number >= 3, "{sent} on channel {number}");
            }
            assert_eq!(flows.claimed(), flows.held(), "the peer has used up all that it may");
            assert_eq!(flows.raw.connection.claimed(), flows.held() as u64);
            flows.held()
        });
        // The test's own account and the peer's buffers are in the cost.
        assert!(held + cost < TUNNEL, "{role:?}: {held} held, {cost} beside");
    }
}

/// russh #730: an application that stops reading must stop nobody else.
#[test]
fn streams_that_stall_leave_room_for_those_that_do_not() {
    for role in ROLES {
        let mut flows = Flows::over(role, Duration::from_millis(1));
        (0..300).for_each(|number| flows.open(number));
        flows.fill_all(0..300);
        flows.open(300);
        let mut moved = 0;
        for _ in 0..30 {
            flows.wait(Duration::from_millis(20));
            moved += flows.fill(300);
            flows.drain(300);
        }
        assert!(moved > 2 << 20, "{role:?}: {moved} bytes beside 300 streams that stall");
    }
}

#[test]
fn hundreds_of_channels_at_once_all_go_on() {
    for role in ROLES {
        let mut flows = Flows::over(role, Duration::from_millis(1));
        (0..512).for_each(|number| flows.open(number));
        let mut moved = vec![0; 512];
        for _ in 0..12 {
            flows.wait(Duration::from_millis(50));
            for number in 0..512 {
                moved[number as usize] += flows.fill(number);
            }
            (0..512).for_each(|number| flows.drain(number));
        }
        let (least, most) = (moved.iter().min().copied(), moved.iter().max().copied());
        assert!(least > Some(32 * 1024), "{role:?}: one of 512 moved {least:?} bytes, one {most:?}");
    }
}

#[test]
fn a_tunnel_that_has_grown_stays_under_its_cap() {
    let mut flows = Flows::new(Role::Server);
    (0..12).for_each(|number| flows.open(number));
    flows.grow(0..12, 9);
    assert!(flows.claimed() > 16 << 20, "{}", flows.claimed());
    // Now nobody reads, and more channels come.
    flows.fill_all(0..12);
    for number in 12..400 {
        flows.open(number);
        flows.fill(number);
    }
    assert!(flows.held() < GROWN, "{}", flows.held());
    assert_eq!(flows.claimed(), flows.held());
}

#[test]
fn what_a_stalled_flow_held_is_given_back_when_it_is_taken() {
    let budget = MemoryBudget::new(256 << 20);
    let mut flows = Flows::new(Role::Server);
    flows.raw.connection = flows.raw.connection.with_budget(budget.clone());
    let before = standing();
    flows.open(0);
    flows.grow(0..1, 10);
    flows.wait(ROUND_TRIP);
    flows.fill(0);
    let held = flows.held();
    assert!(held > 4 << 20 && budget.used() as usize >= held - (1 << 20), "{held}, {}", budget.used());
    // Ten seconds in which the application takes nothing: then everything.
    flows.wait(Duration::from_secs(10));
    flows.drain(0);
    assert_eq!(flows.claimed(), 128 * 1024, "the window is what it was at first");
    assert_eq!((flows.raw.connection.claimed(), budget.used()), (128 * 1024, 0));
    flows.raw.wire = Vec::new();
    assert!(standing() - before < 64 * 1024, "{} bytes stay", standing() - before);
    // And without a stall, when data does not come any more.
    flows.grow(0..1, 10);
    assert!(flows.claimed() > 4 << 20);
    flows.wait(Duration::from_secs(10));
    flows.fill(0);
    flows.drain(0);
    assert_eq!((flows.claimed(), budget.used()), (128 * 1024, 0));
}

#[test]
fn tunnels_share_the_memory_of_the_process() {
    let budget = MemoryBudget::new(24 << 20);
    let mut tunnels: Vec<Flows> = (0..6)
        .map(|_| {
            let mut flows = Flows::new(Role::Server);
            flows.raw.connection = flows.raw.connection.with_budget(budget.clone());
            flows.open(0);
            flows
        })
        .collect();
    for _ in 0..12 {
        tunnels.iter_mut().for_each(|flows| flows.grow(0..1, 1));
        assert!(budget.used() <= 24 << 20);
        let own = 6 * 1024 * 1024;
        let all: usize = tunnels.iter().map(Flows::claimed).sum();
        assert!(all <= (24 << 20) + own, "{all}");
    }
    // One stalls with all it has got. The others share the rest, and have their first windows in any case.
    tunnels[0].fill(0);
    for round in 0..8 {
        tunnels[1..].iter_mut().for_each(|flows| flows.grow(0..1, 1));
        let least = tunnels[1..].iter().map(Flows::claimed).min();
        assert!(least >= Some(128 * 1024), "{least:?} in round {round}");
    }
    drop(tunnels);
    assert_eq!(budget.used(), 0);
}

/// A peer that reads nothing, and applications that write to it on many channels.
#[test]
fn queues_to_a_peer_that_reads_nothing_are_bounded_together() {
    for role in ROLES {
        let mut flows = Flows::new(role);
        (0..400).for_each(|number| flows.open(number));
        let body = vec![1; 256 * 1024];
        let before = standing();
        let (taken, cost) = peak(|| {
            (0..400)
                .map(|number| flows.raw.connection.write(flows.ids[&number], &body))
                .inspect(|taken| assert!(*taken > 0, "each gets something"))
                .sum::<usize>()
        });
        assert!(taken < 1 << 20 && cost < TUNNEL, "{role:?}: {taken}, {cost}");
        // It reads again, and everyone can go on; at the end nothing is kept.
        flows.raw.events.clear();
        for number in 0..400 {
            flows.raw.say(&numbers(ADJUST, &[number, 1 << 20])).expect("by the book");
        }
        let writable = |event: &&Event| matches!(event, Event::ChannelWritable(_));
        assert_eq!(flows.raw.events.iter().filter(writable).count(), 400);
        flows.raw.forget();
        flows.raw.events = Vec::new();
        flows.raw.wire = Vec::new();
        flows.raw.connection.reclaim_storage();
        assert!(standing() - before < 128 * 1024, "{role:?}: {} bytes stay", standing() - before);
    }
}

/// Opens that wait for their answer, as long as packets may be.
#[test]
fn long_opens_that_nobody_answers_are_bounded() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        raw.events.clear();
        raw.forget();
        let long = |number| [open(number, 0, 100), vec![7; 200_000]].concat();
        let (kept, cost) = peak(|| {
            let mut kept = Vec::new();
            for number in 0..100 {
                raw.say(&long(number)).expect("may be asked for");
                kept.append(&mut raw.events);
            }
            kept
        });
        assert!(cost < TUNNEL, "{role:?}: {cost}");
        assert_eq!(kept.len(), 1);
        assert_eq!(raw.heard().len(), 99, "the others are refused");
        // Answered, it makes room for another.
        let Some(Event::ChannelOffered { id, .. }) = kept.first() else { unreachable!("{kept:?}") };
        raw.connection.reject_channel(*id, 1, "no");
        raw.say(&long(100)).expect("may be asked for");
        assert!(raw.offered().is_some());
    }
}

/// What this side's applications ask for is not the peer's fault, however much it is.
#[test]
fn many_opens_of_ours_at_once_are_no_fault_of_the_peer() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        raw.reads = false;
        let ids: Vec<_> = (0..4096).map(|_| raw.ask()).collect();
        raw.say(&crate::peer::message(192, &[b"ping"])).expect("a question is no fault");
        raw.reads = true;
        for (number, id) in (0..).zip(ids) {
            raw.say(&confirm(number, number, 100, 100)).expect("by the book");
            raw.connection.close(id);
            raw.say(&numbers(CLOSE, &[number])).expect("by the book");
        }
        assert_eq!(raw.connection.claimed(), 0);
    }
}

/// A channel that the peer has closed still holds what the application has not taken: closing makes no room.
#[test]
fn closing_channels_makes_no_room_for_more() {
    for role in ROLES {
        let mut flows = Flows::new(role);
        for number in 0..1000 {
            flows.open(number);
            flows.fill(number);
            flows
                .raw
                .say(&numbers(if number % 3 == 0 { 96 } else { CLOSE }, &[number]))
                .expect("by the book");
        }
        assert!(flows.held() < TUNNEL, "{role:?}: {}", flows.held());
        assert_eq!(flows.raw.connection.claimed(), flows.held() as u64);
        for number in 0..1000 {
            flows.raw.connection.close(flows.ids[&number]);
        }
        assert_eq!(flows.raw.connection.claimed(), 0);
    }
}
