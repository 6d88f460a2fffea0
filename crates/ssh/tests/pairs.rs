//! The core against itself: handshakes, channels, re-keying and damage, in memory.

mod pair;

use culvert_obfuscation::Prng;
use culvert_ssh::names::{CipherName, KexName};
use culvert_ssh::{ChannelId, ChannelOpen, Error, Event, Limits};

use pair::{Opening, Pair, Scenario};

fn up(scenario: &Scenario) -> Pair {
    let mut pair = Pair::new(scenario);
    pair.run();
    assert!(
        pair.is_up(),
        "client {:?}, server {:?}, {:?}",
        pair.client.error,
        pair.server.error,
        scenario.seed
    );
    pair
}

fn opening(number: u64) -> Opening {
    if number.is_multiple_of(2) { Opening::Obfuscated } else { Opening::Plain }
}

/// Opens a channel from the client and accepts it; returns both ends' numbers.
fn open(pair: &mut Pair) -> (ChannelId, ChannelId) {
    let open = ChannelOpen { kind: "direct-tcpip", payload: b"somewhere" };
    let ours = pair.client.connection.open_channel(open).expect("opens");
    pair.run();
    let offered = pair.server.events.drain(..).find_map(|event| match event {
        Event::ChannelOffered { id, payload, .. } => Some((id, payload)),
        _ => None,
    });
    let (theirs, payload) = offered.expect("the server was asked");
    assert_eq!(payload, b"somewhere");
    pair.server.connection.accept_channel(theirs);
    pair.run();
    assert!(pair.client.events.iter().any(|event| matches!(event, Event::ChannelOpened(id) if *id == ours)));
    (ours, theirs)
}

#[test]
fn every_drawn_algorithm_works_in_both_protocols() {
    let mut kex = Vec::new();
    let mut ciphers = Vec::new();
    for number in 0..160 {
        let scenario = Scenario { opening: opening(number), ..Scenario::new(number) };
        let pair = up(&scenario);
        let negotiated = pair.client.events.iter().find_map(|event| match event {
            Event::Keyed { negotiated, first: true } => Some(*negotiated),
            _ => None,
        });
        let negotiated = negotiated.expect("keyed");
        kex.push(negotiated.kex);
        ciphers.push(negotiated.cipher_c2s);
    }
    for name in KexName::ALL {
        assert!(kex.contains(&name), "{name:?} was never drawn");
    }
    for name in CipherName::ALL {
        assert!(ciphers.contains(&name), "{name:?} was never drawn");
    }
}

#[test]
fn a_prefixed_connection_comes_up_with_its_pauses() {
    for number in 0..20 {
        let pair = up(&Scenario { opening: Opening::Prefixed, ..Scenario::new(number) });
        assert!(pair.client.wire.starts_with(b"GET / HTTP/1.1\r\n"));
    }
}

#[test]
fn data_flows_both_ways_and_ends_half_by_half() {
    let mut pair = up(&Scenario::new(1));
    let (client, server) = open(&mut pair);
    let mut rng = Prng::derived(&Scenario::new(1).seed, "data");
    let (up, down) = (rng.bytes(700_000), rng.bytes(300_000));
    pump(&mut pair, true, client, &up);
    pair.client.connection.finish(client);
    pair.run();
    assert!(pair.server.events.iter().any(|event| matches!(event, Event::ChannelFinished(_))));
    pump(&mut pair, false, server, &down);
    pair.server.connection.close(server);
    pair.run();
    assert!(pair.server.received[&server] == up, "upload differs");
    assert!(pair.client.received[&client] == down, "download differs");
    assert!(pair.client.events.iter().any(|event| matches!(event, Event::ChannelClosed(_))));
    pair.client.connection.close(client);
    pair.run();
    assert!(pair.client.error.is_none() && pair.server.error.is_none());
}

/// Writes everything, running the pair whenever the queue is full.
fn pump(pair: &mut Pair, from_client: bool, id: ChannelId, data: &[u8]) {
    let mut sent = 0;
    while sent < data.len() {
        let end = if from_client { &mut pair.client } else { &mut pair.server };
        sent += end.connection.write(id, &data[sent..]);
        pair.run();
    }
}

#[test]
fn keys_change_while_data_is_queued() {
    for number in 0..4 {
        let limits = Limits { rekey_bytes: Some(64 * 1024), ..Limits::default() };
        let scenario = Scenario { opening: opening(number), limits, ..Scenario::new(number) };
        let mut pair = up(&scenario);
        let (client, server) = open(&mut pair);
        let data = Prng::derived(&scenario.seed, "data").bytes(400_000);
        let (mut to_server, mut to_client) = (0, 0);
        while to_server < data.len() || to_client < data.len() {
            to_server += pair.client.connection.write(client, &data[to_server..]);
            to_client += pair.server.connection.write(server, &data[to_client..]);
            pair.run();
            assert!(pair.client.error.is_none(), "{:?} {:?}", pair.client.error, scenario.seed);
            assert!(pair.server.error.is_none(), "{:?} {:?}", pair.server.error, scenario.seed);
        }
        pair.run();
        assert!(pair.server.received[&server] == data && pair.client.received[&client] == data);
        let later = |event: &&Event| matches!(event, Event::Keyed { first: false, .. });
        assert!(pair.client.events.iter().filter(later).count() >= 4, "seed {:?}", scenario.seed);
    }
}

#[test]
fn an_unread_channel_stops_itself_and_nobody_else() {
    let mut pair = up(&Scenario::new(3));
    let (stalled, _) = open(&mut pair);
    let (other, other_server) = open(&mut pair);
    pair.server.consumes = false;
    let written = (0..40).map(|_| {
        let written = pair.client.connection.write(stalled, &[1; 32 * 1024]);
        pair.run();
        written
    });
    let written: usize = written.sum();
    assert!(written <= 256 * 1024 + 128 * 1024, "{written} bytes were accepted for a channel nobody reads");
    pump(&mut pair, true, other, &[2; 100_000]);
    assert_eq!(pair.server.received[&other_server].len(), 100_000);
}

#[test]
fn requests_are_answered_in_order() {
    let mut pair = up(&Scenario::new(4));
    let ids: Vec<_> =
        (0..5u8).filter_map(|n| pair.client.connection.request(b"psiphon-status", true, &[n])).collect();
    pair.run();
    let mut tokens = Vec::new();
    for event in pair.server.events.drain(..) {
        if let Event::Request { name, payload, reply: Some(token) } = event {
            assert_eq!(name, b"psiphon-status");
            tokens.push((token, payload));
        }
    }
    for (token, payload) in tokens.into_iter().rev() {
        pair.server.connection.reply(token, Ok(payload));
    }
    pair.run();
    let replies: Vec<_> = pair
        .client
        .events
        .drain(..)
        .filter_map(|event| match event {
            Event::Reply { id, reply } => Some((id, reply)),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = ids.into_iter().zip(0..5u8).map(|(id, n)| (id, Ok(vec![n]))).collect();
    assert_eq!(replies, expected);
}

#[test]
fn another_host_key_ends_the_connection_before_the_password_leaves() {
    let mut scenario = Scenario::new(5);
    scenario.pinned[40] ^= 1;
    let mut pair = Pair::new(&scenario);
    pair.run();
    assert!(matches!(pair.client.error, Some(Error::HostKeyMismatch)), "{:?}", pair.client.error);
    assert!(!pair.server.connection.is_authenticated());
}

#[test]
fn a_wrong_password_is_refused_by_name() {
    let mut pair = Pair::new(&Scenario { password: b"wrong".to_vec(), ..Scenario::new(6) });
    pair.run();
    assert!(matches!(pair.client.error, Some(Error::AuthenticationRefused)), "{:?}", pair.client.error);
}

#[test]
fn a_replayed_preamble_gets_no_byte() {
    let mut pair = Pair::new(&Scenario { admit: false, ..Scenario::new(7) });
    pair.run();
    assert!(matches!(pair.server.error, Some(Error::Replayed)));
    assert!(pair.server.wire.is_empty());
}

#[test]
fn a_reused_number_never_meets_an_old_channel() {
    let mut pair = up(&Scenario::new(8));
    for _ in 0..50 {
        let (client, server) = open(&mut pair);
        pair.server.connection.write(server, b"bye");
        pair.server.connection.close(server);
        pair.run();
        // The application has not let go yet: the number is still its own.
        let next =
            pair.client.connection.open_channel(ChannelOpen { kind: "x", payload: b"" }).expect("opens");
        assert_ne!(next, client);
        pair.client.connection.close(next);
        pair.client.connection.close(client);
        pair.run();
        for event in pair.server.events.drain(..).collect::<Vec<_>>() {
            if let Event::ChannelOffered { id, .. } = event {
                pair.server.connection.reject_channel(id, 0xFFFF_FFFF, "no");
            }
        }
        pair.run();
        assert!(pair.client.error.is_none() && pair.server.error.is_none());
    }
}

#[test]
fn one_changed_byte_never_goes_unnoticed_and_never_panics() {
    let reference = up(&Scenario::new(9));
    let (to_server, to_client) = (reference.client.wire.len(), reference.server.wire.len());
    let mut rng = Prng::derived(&Scenario::new(9).seed, "flips");
    for round in 0..300 {
        let at_server = round % 2 == 0;
        let offset = rng.range(0, if at_server { to_server } else { to_client } as i64 - 1) as usize;
        let mut pair = Pair::new(&Scenario::new(9));
        pair.tamper = Box::new(move |to_server, start, bytes| {
            if to_server == at_server
                && let Some(index) = offset.checked_sub(start)
                && let Some(byte) = bytes.get_mut(index)
            {
                *byte ^= 0x20;
            }
        });
        pair.run();
        let noticed = pair.client.error.is_some() || pair.server.error.is_some() || !pair.is_up();
        // Bytes that mean nothing (padding before keys, the preamble's padding) may change unnoticed.
        let meaningless = offset < 8400;
        assert!(noticed || meaningless, "offset {offset}, to the server: {at_server}");
    }
}
