//! Damage on the way: one byte changed, or everything from a byte on missing, in both directions.
//!
//! A sample runs always; `CULVERT_HOSTILE_LONG=1` takes every offset of the first 16 KiB both ways.

use std::collections::BTreeSet;

use culvert_obfuscation::Prng;
use culvert_ssh::{ChannelId, ChannelOpen, Event};

use crate::pair::{Opening, Pair, Scenario};

const DEPTH: usize = 16 * 1024;
const SAMPLE: usize = 60;
const BODY: usize = 20_000;

type Tamper = Box<dyn FnMut(bool, usize, &mut Vec<u8>)>;

/// A session whose bytes pass through `tamper`: login, a channel, and data both ways.
fn session(scenario: &Scenario, tamper: Tamper) -> Pair {
    let mut pair = Pair::new(scenario);
    pair.tamper = tamper;
    pair.run();
    if let Ok(id) = pair.client.connection.open_channel(ChannelOpen { kind: "direct-tcpip", payload: b"x" }) {
        pair.run();
        if let Some(theirs) = offered(&pair) {
            pair.server.connection.accept_channel(theirs);
            pair.server.connection.write(theirs, &[2; BODY]);
        }
        pair.client.connection.write(id, &[1; BODY]);
        pair.run();
    }
    pair
}

fn offered(pair: &Pair) -> Option<ChannelId> {
    pair.server.events.iter().find_map(|event| match event {
        Event::ChannelOffered { id, .. } => Some(*id),
        _ => None,
    })
}

/// Everything arrived, and nobody complained.
fn is_whole(pair: &Pair) -> bool {
    let all = |received: &mut dyn Iterator<Item = &Vec<u8>>, byte| {
        received.next().is_some_and(|bytes| bytes.len() == BODY && bytes.iter().all(|got| *got == byte))
    };
    pair.client.error.is_none()
        && pair.server.error.is_none()
        && all(&mut pair.client.received.values(), 2)
        && all(&mut pair.server.received.values(), 1)
}

fn scenarios() -> [Scenario; 2] {
    [Scenario { opening: Opening::Plain, ..Scenario::new(21) }, Scenario::new(22)]
}

/// Which offsets to try, with a seed to repeat them.
fn offsets(scenario: &Scenario, wire: usize) -> Vec<usize> {
    let depth = wire.min(DEPTH);
    if std::env::var_os("CULVERT_HOSTILE_LONG").is_some() {
        return (0..depth).collect();
    }
    let mut rng = Prng::derived(&scenario.seed, "offsets");
    (0..SAMPLE).map(|_| rng.range(0, depth as i64 - 1) as usize).collect()
}

/// Offsets of padding in the packets before keys of a plain connection: nothing else may change unnoticed.
fn clear_padding(wire: &[u8]) -> BTreeSet<usize> {
    let mut padding = BTreeSet::new();
    let mut at = wire.windows(2).position(|end| end == b"\r\n").expect("an identification") + 2;
    while let Some([a, b, c, d, len, first]) = wire.get(at..at + 6) {
        let end = at + 4 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        padding.extend(end - usize::from(*len)..end);
        at = end;
        if *first == 21 {
            break;
        }
    }
    padding
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_means_something() {
    for scenario in scenarios() {
        let whole = session(&scenario, Box::new(|_, _, _| {}));
        assert!(is_whole(&whole), "{:?}", scenario.seed);
        let login = login_only(&scenario);
        for (at_server, wire, keyed) in [
            (true, &whole.client.wire, login.client.wire.len()),
            (false, &whole.server.wire, login.server.wire.len()),
        ] {
            assert!(wire.len() >= DEPTH, "{}", wire.len());
            let padding = if scenario.opening == Opening::Obfuscated {
                (0..keyed).collect()
            } else {
                clear_padding(wire)
            };
            for offset in offsets(&scenario, wire.len()) {
                let mask = (offset % 255 + 1) as u8;
                let pair = session(
                    &scenario,
                    Box::new(move |to_server, start, bytes| {
                        if to_server == at_server
                            && let Some(byte) =
                                offset.checked_sub(start).and_then(|index| bytes.get_mut(index))
                        {
                            *byte ^= mask;
                        }
                    }),
                );
                assert!(
                    !is_whole(&pair) || padding.contains(&offset),
                    "offset {offset} ^ {mask}, to the server: {at_server}, {:?}",
                    scenario.seed
                );
            }
        }
    }
}

/// A pair that did nothing but log in.
fn login_only(scenario: &Scenario) -> Pair {
    let mut pair = Pair::new(scenario);
    pair.run();
    assert!(pair.is_up(), "{:?}", scenario.seed);
    pair
}

#[test]
fn a_stream_that_stops_is_waited_for() {
    for scenario in scenarios() {
        let whole = session(&scenario, Box::new(|_, _, _| {}));
        for (at_server, wire) in [(true, &whole.client.wire), (false, &whole.server.wire)] {
            for offset in offsets(&scenario, wire.len()) {
                let pair = session(
                    &scenario,
                    Box::new(move |to_server, start, bytes| {
                        if to_server == at_server {
                            bytes.truncate(offset.saturating_sub(start));
                        }
                    }),
                );
                assert!(
                    pair.client.error.is_none() && pair.server.error.is_none() && !is_whole(&pair),
                    "cut at {offset}, to the server: {at_server}: {:?} {:?} {:?}",
                    pair.client.error,
                    pair.server.error,
                    scenario.seed
                );
            }
        }
    }
}

#[test]
fn a_stream_that_loses_or_repeats_a_byte_is_noticed() {
    for scenario in scenarios() {
        let login = login_only(&scenario);
        let mut rng = Prng::derived(&scenario.seed, "lost");
        for round in 0..SAMPLE {
            let at_server = round % 2 == 0;
            let from = if at_server { login.client.wire.len() } else { login.server.wire.len() };
            let offset = from + rng.range(0, 5000) as usize;
            let repeats = rng.flip_coin();
            let pair = session(
                &scenario,
                Box::new(move |to_server, start, bytes| {
                    if to_server == at_server
                        && let Some(index) = offset.checked_sub(start).filter(|index| *index < bytes.len())
                    {
                        if repeats {
                            bytes.insert(index, bytes[index]);
                        } else {
                            bytes.remove(index);
                        }
                    }
                }),
            );
            assert!(!is_whole(&pair), "offset {offset}, repeated: {repeats}, {:?}", scenario.seed);
        }
    }
}
