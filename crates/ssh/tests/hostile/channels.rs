//! Channels: windows, limits, ends, numbers, and floods of everything.

use culvert_ssh::{Algorithms, ChannelOpen, Event, Limits, Misbehaviour};

use crate::allocator::peak;
use crate::peer::{Raw, WINDOW, confirm, data, message, numbers, offer, open};
use crate::{ROLES, TUNNEL, bounded, broken};

const EOF: u8 = 96;
const CLOSE: u8 = 97;
const ADJUST: u8 = 93;

/// ssh2 (node) #1505: credit must not go below zero.
/// A peer may give much and adjust only when half of it is used, as russh does.
#[test]
fn a_window_is_used_to_its_end() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        let id = raw.ask();
        raw.forget();
        raw.say(&confirm(0, 7, 400_000, 32 * 1024)).expect("it was asked for");
        let mut sent = 0;
        for _ in 0..10 {
            raw.connection.write(id, &[1; 100_000]);
            raw.wire_is_read();
            let heard = raw.heard();
            sent += heard
                .iter()
                .filter(|message| message[0] == 94)
                .map(|message| message.len() - 9)
                .sum::<usize>();
        }
        assert_eq!(sent, 400_000);
    }
}

#[test]
fn data_beyond_the_window_ends_the_connection() {
    for role in ROLES {
        let (mut raw, _) = Raw::with_channel(role);
        raw.consumes = false;
        let result = bounded(|| (0..1000).try_for_each(|_| raw.say(&data(0, &[1; 1000]))));
        assert_eq!(broken(result), Misbehaviour::WindowOverrun);
        assert_eq!(raw.received, WINDOW / 1000 * 1000);

        let (mut raw, _) = Raw::with_channel(role);
        raw.consumes = false;
        let extended = |len| [numbers(95, &[0, 1]), message(0, &[&vec![1; len]])[1..].to_vec()].concat();
        let result = (0..1000).try_for_each(|_| raw.say(&extended(32 * 1024)));
        // A second stream is thrown away, which opens the window again: it is not the application's.
        assert!(result.is_ok());
        assert_eq!(broken(raw.say(&extended(32 * 1024 + 1))), Misbehaviour::WindowOverrun);
    }
}

#[test]
fn data_beyond_the_packet_limit_ends_the_connection() {
    for role in ROLES {
        let (mut raw, _) = Raw::with_channel(role);
        assert_eq!(broken(raw.say(&data(0, &[1; 32 * 1024 + 1]))), Misbehaviour::WindowOverrun);
        let (mut raw, _) = Raw::with_channel(role);
        assert_eq!(broken(raw.say(&data(0, &[1; 250_000]))), Misbehaviour::WindowOverrun);
    }
}

/// CVE-2025-54804.
#[test]
fn a_window_cannot_overflow() {
    for role in ROLES {
        let (mut raw, _) = Raw::with_channel(role);
        assert_eq!(broken(raw.say(&numbers(ADJUST, &[0, 1]))), Misbehaviour::WindowOverflow);
        let mut raw = Raw::logged_in(role);
        let id = raw.ask();
        raw.say(&confirm(0, 0, u32::MAX, u32::MAX)).expect("by the book");
        assert!(
            raw.events.iter().any(|event| matches!(event, Event::ChannelOpened(opened) if *opened == id))
        );
        let result = (0..3).try_for_each(|_| raw.say(&numbers(ADJUST, &[0, u32::MAX - 1])));
        assert_eq!(broken(result), Misbehaviour::WindowOverflow);
    }
}

/// GHSA-fw5c: a channel that can never be served.
#[test]
fn a_packet_limit_below_nine_is_refused() {
    for role in ROLES {
        for limit in [0, 1, 8] {
            let mut raw = Raw::logged_in(role);
            assert_eq!(broken(raw.say(&open(0, 1, limit))), Misbehaviour::PacketLimit);
            let mut raw = Raw::logged_in(role);
            raw.ask();
            assert_eq!(broken(raw.say(&confirm(0, 0, 1, limit))), Misbehaviour::PacketLimit);
        }
    }
}

#[test]
fn a_packet_limit_of_nine_and_a_window_of_nothing_are_kept_to() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        raw.say(&open(5, 0, 9)).expect("by the book");
        let id = raw.offered().expect("offered");
        raw.connection.accept_channel(id);
        assert_eq!(raw.connection.write(id, b"abcdefghijkl"), 12);
        raw.wire_is_read();
        assert!(raw.heard().iter().all(|heard| heard[0] != 94), "the window is empty");
        raw.say(&numbers(ADJUST, &[0, 11])).expect("by the book");
        let sent: Vec<_> = raw.heard().into_iter().filter(|heard| heard[0] == 94).collect();
        assert_eq!(sent, [data(5, b"abcdefghi"), data(5, b"jk")]);
    }
}

/// The least packets, and credit for one byte at a time: each step of the peer gets a bounded answer, and other
/// channels go on.
#[test]
fn credit_by_the_byte_gets_bytes_and_stalls_nobody() {
    for role in ROLES {
        let (mut raw, other) = Raw::with_channel(role);
        raw.say(&open(1, 0, 9)).expect("by the book");
        let id = raw.offered().expect("offered");
        raw.connection.accept_channel(id);
        let queued = raw.connection.write(id, &[1; 1 << 20]);
        raw.wire_is_read();
        raw.forget();
        for _ in 0..1000 {
            raw.say(&numbers(ADJUST, &[1, 1])).expect("by the book");
            assert_eq!(raw.connection.write(other, b"echo"), 4);
            raw.wire_is_read();
            assert_eq!(raw.heard(), [data(1, &[1]), data(0, b"echo")], "of {queued}");
        }
    }
}

#[test]
fn a_hundred_thousand_opens_cost_what_the_limit_allows() {
    for role in ROLES {
        // The application answers none of them.
        let ((), cost) = peak(|| {
            let mut raw = Raw::logged_in(role);
            raw.say_all((0..100_000).map(|n| open(n, u32::MAX, u32::MAX))).expect("may be asked for");
            raw.say_all([message(192, &[b""])]).expect("the connection lives");
        });
        assert!(cost < TUNNEL, "{role:?}: {cost}");

        let mut raw = Raw::logged_in(role);
        raw.say_all((0..4096).map(|n| open(n, 1, 9))).expect("may be asked for");
        raw.say(&open(77, 1, 9)).expect("may be asked for");
        let refusal = raw.heard().pop().expect("an answer");
        assert_eq!(refusal[..9], numbers(92, &[77, 4]), "RESOURCE_SHORTAGE");
    }
}

/// GO-2026-5016: what was rejected must be gone.
#[test]
fn rejected_and_closed_channels_leave_nothing_behind() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        let round = |raw: &mut Raw| {
            for n in 0..100 {
                raw.say(&open(n, 1000, 1000)).expect("by the book");
                let id = raw.offered().expect("offered");
                if n % 2 == 0 {
                    raw.connection.reject_channel(id, 1, "no");
                } else {
                    raw.connection.accept_channel(id);
                    raw.connection.write(id, &[1; 500]);
                    raw.connection.close(id);
                    raw.say(&numbers(CLOSE, &[0])).expect("by the book");
                }
                raw.wire_is_read();
                raw.events.clear();
                raw.forget();
            }
        };
        round(&mut raw);
        let ((), cost) = peak(|| (0..200).for_each(|_| round(&mut raw)));
        assert!(cost < 64 * 1024, "{role:?}: {cost} bytes after 20,000 channels");
    }
}

/// GHSA-m65r, GHSA-47hw: messages for channels that nobody opened, offered or not yet confirmed.
#[test]
fn channels_that_are_not_open_take_nothing() {
    let to = |id: u32| {
        [
            data(id, b"x"),
            [numbers(95, &[id, 1]), message(0, &[b"x"])[1..].to_vec()].concat(),
            numbers(ADJUST, &[id, 1]),
            numbers(EOF, &[id]),
            numbers(CLOSE, &[id]),
            [numbers(98, &[id]), message(0, &[b"exec"])[1..].to_vec(), vec![1]].concat(),
        ]
    };
    for role in ROLES {
        for id in [0, 1, 7, u32::MAX] {
            for payload in to(id) {
                let mut raw = Raw::logged_in(role);
                assert_eq!(broken(raw.say(&payload)), Misbehaviour::UnknownChannel, "never opened");
                let mut raw = Raw::logged_in(role);
                raw.ask();
                assert_eq!(broken(raw.say(&payload)), Misbehaviour::UnknownChannel, "not confirmed");
                let mut raw = Raw::logged_in(role);
                raw.say(&open(0, 1, 9)).expect("by the book");
                raw.events.clear();
                assert_eq!(broken(raw.say(&payload)), Misbehaviour::UnknownChannel, "not accepted");
                assert!(raw.events.is_empty() && raw.received == 0);
            }
            for answer in [confirm(id, 0, 1, 9), [numbers(92, &[id, 1]), vec![0; 8]].concat()] {
                let mut raw = Raw::logged_in(role);
                assert_eq!(broken(raw.say(&answer)), Misbehaviour::UnknownChannel);
                let (mut raw, _) = Raw::with_channel(role);
                let rule = if id == 0 { Misbehaviour::UnexpectedReply } else { Misbehaviour::UnknownChannel };
                assert_eq!(broken(raw.say(&answer)), rule, "a channel of the peer's own");
            }
        }
    }
}

#[test]
fn a_channel_is_answered_once() {
    for role in ROLES {
        let refusal = [numbers(92, &[0, 1]), message(0, &[b"no", b"en"])[1..].to_vec()].concat();
        for (first, second) in [
            (refusal.clone(), refusal.clone()),
            (refusal.clone(), confirm(0, 0, 1, 9)),
            (confirm(0, 0, 1, 9), refusal.clone()),
            (confirm(0, 0, 1, 9), confirm(0, 1, 1, 9)),
        ] {
            let mut raw = Raw::logged_in(role);
            raw.ask();
            raw.say(&first).expect("by the book");
            let events = raw.events.len();
            assert_eq!(broken(raw.say(&second)), Misbehaviour::UnexpectedReply);
            assert_eq!(raw.events.len(), events);
        }
    }
}

#[test]
fn nothing_follows_an_end() {
    for role in ROLES {
        for end in [EOF, CLOSE] {
            for payload in [data(0, b"x"), data(0, b""), numbers(EOF, &[0])] {
                let (mut raw, _) = Raw::with_channel(role);
                raw.say(&numbers(end, &[0])).expect("by the book");
                assert_eq!(broken(raw.say(&payload)), Misbehaviour::DataAfterEnd);
            }
        }
        let (mut raw, _) = Raw::with_channel(role);
        raw.say(&numbers(CLOSE, &[0])).expect("by the book");
        assert_eq!(broken(raw.say(&numbers(CLOSE, &[0]))), Misbehaviour::DataAfterEnd);
        let (mut raw, id) = Raw::with_channel(role);
        raw.connection.close(id);
        raw.wire_is_read();
        raw.say(&numbers(CLOSE, &[0])).expect("by the book");
        assert_eq!(
            broken(raw.say(&numbers(CLOSE, &[0]))),
            Misbehaviour::UnknownChannel,
            "the number is free"
        );
    }
}

/// Data under way when a channel is closed belongs to it until the peer closes too.
#[test]
fn data_on_its_way_to_a_closed_channel_is_dropped_within_the_window() {
    for role in ROLES {
        let (mut raw, id) = Raw::with_channel(role);
        raw.connection.close(id);
        raw.wire_is_read();
        let result = bounded(|| (0..1000).try_for_each(|_| raw.say(&data(0, &[1; 32 * 1024]))));
        assert_eq!(broken(result), Misbehaviour::WindowOverrun, "nobody opens the window again");
        assert_eq!(raw.received, 0);
    }
}

#[test]
fn floods_of_small_things_cost_nothing() {
    for role in ROLES {
        let (mut raw, _) = Raw::with_channel(role);
        let ((), cost) = peak(|| {
            raw.say_all((0..20_000).map(|_| data(0, b""))).expect("empty data is data");
            raw.say_all((0..20_000).map(|_| data(0, b"x"))).expect("within the window");
            raw.say_all((0..20_000).map(|_| numbers(99 + 1, &[0]))).expect("answers to requests never made");
            raw.say_all((0..20_000).map(|n| vec![200 + (n % 50) as u8])).expect("are not understood");
            raw.say_all((0..20_000).map(|_| message(2, &[b""]))).expect("IGNORE is ignored");
        });
        assert!(cost < 64 * 1024, "{role:?}: {cost}");
    }
}

/// A peer that asks and does not read what it gets: the answers must not pile up.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    let asks: [fn(u32) -> Vec<u8>; 4] = [
        |_| [numbers(98, &[0]), message(0, &[b"exec"])[1..].to_vec(), vec![1]].concat(),
        |_| message(192, &[&[7; 1000]]),
        |_| vec![222],
        |n| open(n, 1, 9),
    ];
    for role in ROLES {
        for (kind, ask) in asks.into_iter().enumerate() {
            let limits = Limits { channels: 8, ..Limits::default() };
            let mut raw = Raw::with(role, offer(role), limits, Algorithms::default());
            raw.greet();
            raw.exchange().expect("by the book");
            raw.log_in();
            raw.channel(0);
            raw.reads = false;
            let (result, cost) = peak(|| raw.say_all((0..200_000).map(ask)));
            assert_eq!(broken(result), Misbehaviour::RepliesUnread, "{role:?}, {kind}");
            assert!(cost < 2 * TUNNEL, "{role:?}, {kind}: {cost}");
        }
    }
}

/// A peer that takes nothing: what applications write stops at their queues.
#[test]
fn a_peer_that_takes_nothing_stops_writers() {
    for role in ROLES {
        let ((), cost) = peak(|| {
            let (mut raw, id) = Raw::with_channel(role);
            raw.reads = false;
            let taken: usize = (0..1000).map(|_| raw.connection.write(id, &[1; 32 * 1024])).sum();
            assert!(taken <= 128 * 1024, "{taken}");
        });
        assert!(cost < TUNNEL, "{role:?}: {cost}");
    }
}

#[test]
fn an_abandoned_open_is_closed_when_it_is_confirmed() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        for _ in 0..1000 {
            let id = raw
                .connection
                .open_channel(ChannelOpen { kind: "direct-tcpip", payload: b"" })
                .expect("numbers come back");
            raw.connection.close(id);
            raw.events.clear();
            raw.say(&confirm(0, 9, 100, 100)).expect("by the book");
            raw.next_of(CLOSE);
            raw.say(&numbers(CLOSE, &[0])).expect("by the book");
            assert!(matches!(raw.events[..], [Event::ChannelClosed(closed)] if closed == id));
        }
    }
}
