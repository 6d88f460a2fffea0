//! What an attempt costs in work, counted rather than timed: allocations, and bytes said in answer.
//!
//! An attempt of a few packets may cost less than five milliseconds; an allocation and the copy behind it cost well
//! under a microsecond for each kilobyte, and the crypto library works in proportion to bytes.

use std::time::Duration;

use culvert_ssh::wire::WriteWire;
use culvert_ssh::{ChannelOpen, Error, Event};

use crate::ROLES;
use crate::allocator::calls;
use crate::peer::{Raw, confirm, data, message, numbers, open, request};

/// What is sent, by name and by number.
type Case = (&'static str, fn(u32) -> Vec<u8>);

/// What came of bytes that were sealed beforehand.
struct Cost {
    result: Result<(), Error>,
    calls: usize,
    answer: usize,
}

/// Feeds the connection alone: the peer's own work is not counted.
fn strike(raw: &mut Raw, mut bytes: Vec<u8>) -> Cost {
    let mut out = Vec::with_capacity(1 << 20);
    let mut answer = 0;
    let connection = &mut raw.connection;
    let now = raw.now;
    let (result, calls) = calls(|| {
        let mut at = 0;
        loop {
            let progress = connection.handle_input(&mut bytes[at..], now)?;
            while connection.poll_event().is_some() {}
            out.clear();
            while connection.poll_transmit(&mut out, now) {}
            answer += out.len();
            at += progress.consumed;
            if progress.consumed == 0 || at == bytes.len() {
                return Ok(());
            }
        }
    });
    Cost { result, calls, answer }
}

fn sealed(raw: &mut Raw, payloads: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    payloads.into_iter().flat_map(|payload| raw.packet(&payload)).collect()
}

/// Messages without end, each of which is allowed: none may cost more than a few allocations, nor be answered with
/// more than it is.
#[test]
fn floods_cost_in_proportion() {
    let kinds: [Case; 12] = [
        ("opens", |n| open(n, u32::MAX, u32::MAX)),
        ("opens of the least packets", |n| open(n, 0, 9)),
        ("requests that want no answer", |_| request(false, b"x")),
        ("unknown messages", |n| vec![200 + (n % 50) as u8]),
        ("ignored ones", |_| message(2, &[&[0; 100]])),
        ("debug", |_| [vec![4, 1], message(0, &[b"text", b""])[1..].to_vec()].concat()),
        ("pings", |_| message(192, &[b"ping"])),
        ("credit by the byte", |_| numbers(93, &[0, 1])),
        ("data by the byte", |_| data(0, b"x")),
        ("no data", |_| data(0, b"")),
        ("channel requests", |_| [numbers(98, &[0]), message(0, &[b"exec"])[1..].to_vec(), vec![1]].concat()),
        ("answers to requests never made", |_| numbers(100, &[0])),
    ];
    const COUNT: u32 = 10_000;
    for role in ROLES {
        for (kind, payload) in kinds {
            let (mut raw, _) = Raw::with_channel(role);
            // So that credit by the byte does not overflow.
            let (bytes, start) = if kind == "credit by the byte" {
                let id = raw.ask();
                raw.say(&confirm(1, 1, 0, 100)).expect("by the book");
                raw.connection.write(id, &[1; 4096]);
                (sealed(&mut raw, (0..4000).map(|_| numbers(93, &[1, 1]))), 4000)
            } else {
                (sealed(&mut raw, (0..COUNT).map(payload)), COUNT as usize)
            };
            let sent = bytes.len();
            let cost = strike(&mut raw, bytes);
            assert!(cost.result.is_ok(), "{role:?}, {kind}: {:?}", cost.result);
            assert!(cost.calls <= 6 * start, "{role:?}, {kind}: {} allocations for {start}", cost.calls);
            assert!(cost.answer <= 2 * sent, "{role:?}, {kind}: {} bytes said to {sent}", cost.answer);
        }
    }
}

/// Attempts that end the connection: each is cheap, whatever it claims to be.
#[test]
fn attempts_that_fail_cost_little() {
    let attempts: [Case; 8] = [
        ("overruns its window", |_| data(0, &[1; 32 * 1024])),
        ("sends data for nobody", |n| data(7 + n, b"x")),
        ("overflows a window", |_| numbers(93, &[0, u32::MAX])),
        ("answers what was not asked", |_| vec![81]),
        ("asks without end", |_| request(true, b"x")),
        ("ends twice", |_| numbers(96, &[0])),
        ("begins an exchange out of order", |_| vec![21]),
        ("sends what cannot be read", |_| vec![90, 0xff, 0xff, 0xff, 0xff]),
    ];
    for role in ROLES {
        for (kind, payload) in attempts {
            let (mut raw, _) = Raw::with_channel(role);
            raw.consumes = false;
            let bytes = sealed(&mut raw, (0..300).map(payload));
            let cost = strike(&mut raw, bytes);
            assert!(cost.result.is_err(), "{role:?}: {kind}");
            assert!(cost.calls < 2000, "{role:?}, {kind}: {} allocations", cost.calls);
            assert!(cost.answer < 64 * 1024, "{role:?}, {kind}: {} bytes said", cost.answer);
        }
        // Before keys are in use: lists without end, and names without end.
        for list in [b"x,".repeat(17_499), vec![b','; 35_000], vec![b'x'; 35_000]] {
            let mut payload = vec![20];
            payload.extend_from_slice(&[7; 16]);
            (0..10).for_each(|_| payload.put_string(&list[..list.len() / 10]));
            payload.extend_from_slice(&[0; 5]);
            let mut raw = Raw::greeted(role, crate::peer::offer(role));
            let bytes = sealed(&mut raw, [payload]);
            let cost = strike(&mut raw, bytes);
            assert!(cost.result.is_err());
            assert!(cost.calls < 5000, "{role:?}: {} allocations for a KEXINIT", cost.calls);
        }
    }
}

/// GO-2026-5020: more than 4 GB at once, from a reader that claims to have read them.
#[test]
fn writing_without_end_ends() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        let id = raw.ask();
        raw.say(&confirm(0, 0, u32::MAX, u32::MAX)).expect("by the book");
        let mut room = 0;
        let filled = raw.connection.write_from(id, |slots| {
            room = slots.iter().map(|slot| slot.len()).sum();
            usize::MAX
        });
        assert_eq!(filled, Some(room));
        assert!(room <= 256 * 1024, "{room}");
        raw.wire_is_read();
        let sent: usize =
            raw.heard().iter().filter(|heard| heard[0] == 94).map(|heard| heard.len() - 9).sum();
        assert!(sent >= room, "{sent}");
    }
}

/// What is done to one connection leaves others of the process, and its own other channels, as they were.
#[test]
fn others_feel_nothing() {
    for role in ROLES {
        let (mut victim, id) = Raw::with_channel(role);
        let mut attackers: Vec<Raw> = (0..8).map(|_| Raw::with_channel(role).0).collect();
        for round in 0..50_u32 {
            for attacker in &mut attackers {
                let mut flood: Vec<Vec<u8>> = (0..50).map(|n| open(round * 50 + n, 1, 9)).collect();
                flood.extend((0..50).map(|_| message(192, &[b"ping"])));
                // Some have ended by now, and stay ended.
                let _ = attacker.say_all(flood);
            }
            victim.now += Duration::from_millis(1);
            let (answered, cost) = calls(|| {
                victim.say(&data(0, &[round as u8; 100])).expect("by the book");
                victim.connection.write(id, b"echo");
                victim.wire_is_read();
                victim.heard()
            });
            assert!(answered.contains(&data(0, b"echo")), "round {round}");
            assert!(cost < 100, "{cost} allocations for an echo in round {round}");
        }
    }
}

/// An application that asks for channels while the peer answers none: its own limit stops it, not an error.
#[test]
fn opens_that_are_never_answered_stop_at_the_limit() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        let asked = (0..10_000)
            .take_while(|_| {
                raw.connection.open_channel(ChannelOpen { kind: "direct-tcpip", payload: b"x" }).is_ok()
            })
            .count();
        assert_eq!(asked, 4096);
        raw.wire_is_read();
        raw.say(&message(2, &[b""])).expect("the connection lives");
        assert!(!raw.events.iter().any(|event| matches!(event, Event::ChannelOpened(_))));
    }
}
