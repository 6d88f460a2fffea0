//! Client and server of this crate with each other, and the client with a plain rustls server.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

use crate::hello::number;
use crate::{
    ClientHandshake, ClientSettings, Content, Established, Fresh, HelloEdits, HelloMessage, Profile,
    Progress, Server, ServerSettings, SessionId, Split, TicketSecret, Verify, Versions, profiles,
};

const NOW: Duration = Duration::from_secs(1_800_000_000);
const RANDOM: [u8; 32] = [0xA5; 32];

fn fresh(seed: u8) -> Fresh {
    Fresh { random: RANDOM, seed: Seed::from_bytes([seed; 32]), now: NOW }
}

fn settings(profile: &Arc<Profile>) -> ClientSettings {
    ClientSettings {
        profile: Arc::clone(profile),
        edits: HelloEdits { server_name: Some("www.example.org".to_owned()), ..HelloEdits::default() },
        split: Split::Whole,
        verify: Verify::Skip,
        ticket_secret: None,
    }
}

fn server(versions: Versions, ticket_secret: Option<TicketSecret>) -> Server {
    let alpn = vec![b"http/1.1".to_vec()];
    Server::new(ServerSettings { name: "www.example.net".to_owned(), alpn, versions, ticket_secret }).unwrap()
}

/// The records of a flight, and the handshake message in them.
fn message(records: &[Vec<u8>]) -> Vec<u8> {
    records.iter().flat_map(|record| record[5..].to_vec()).collect()
}

/// Both ends, and the client's first hello.
fn connect(settings: &ClientSettings, server: &Server) -> (Established, Established, Vec<Vec<u8>>) {
    let mut client = ClientHandshake::new(settings, &fresh(1)).unwrap();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut hello = Vec::new();
    assert_eq!(client.advance(&mut to_client, |record| hello.push(record)).unwrap(), Progress::Waiting);
    let first = message(&hello);
    let parsed = HelloMessage::read(&first).unwrap();
    assert_eq!(parsed.random, &RANDOM);
    let mut accepting = server.accept(&parsed, NOW).unwrap();
    to_server.extend(hello.concat());
    let mut done = [false; 2];
    for _ in 0..8 {
        done[0] |=
            accepting.advance(&mut to_server, |record| to_client.extend(record)).unwrap() == Progress::Done;
        done[1] |=
            client.advance(&mut to_client, |record| to_server.extend(record)).unwrap() == Progress::Done;
        if done == [true; 2] && to_server.is_empty() {
            break;
        }
    }
    assert_eq!(done, [true; 2]);
    let (mut client, mut server) = (client.finish().unwrap(), accepting.finish().unwrap());
    // Tickets that came behind the handshake.
    while !to_client.is_empty() {
        let opened = client.records.open(&mut to_client).unwrap().unwrap();
        assert_eq!(opened.content, Content::Nothing);
        to_client.drain(..opened.consumed);
    }
    exchange(&mut client, &mut server);
    exchange(&mut server, &mut client);
    (client, server, hello)
}

fn exchange(from: &mut Established, to: &mut Established) {
    let data = Prng::new(&Seed::from_bytes([9; 32])).bytes(50_000);
    let mut wire = Vec::new();
    from.records.seal(&data, &mut wire).unwrap();
    from.records.seal_end(&mut wire).unwrap();
    let mut received = Vec::new();
    loop {
        let opened = to.records.open(&mut wire).unwrap().unwrap();
        match opened.content {
            Content::Data(range) => received.extend_from_slice(&wire[range]),
            Content::Nothing => {}
            Content::End => break,
        }
        wire.drain(..opened.consumed);
    }
    assert_eq!(received, data);
}

#[test]
fn every_profile_connects() {
    let server = server(Versions::From12, None);
    for profile in profiles::all() {
        let (client, other, _) = connect(&settings(profile), &server);
        assert_eq!(client.is_tls13, profile.offers_tls13(), "{}", profile.name());
        assert_eq!(client.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert!(!client.resumed && !other.resumed);
    }
}

#[test]
fn minted_tickets_are_taken() {
    let secret = TicketSecret::new(&[3; 32]);
    let accepting = server(Versions::From12, Some(secret.clone()));
    let strange = server(Versions::From12, Some(TicketSecret::new(&[4; 32])));
    let mut taken = 0;
    for profile in profiles::all() {
        let mut settings = settings(profile);
        settings.ticket_secret = Some(secret.clone());
        let expected =
            profile.takes_pre_shared_key() || !profile.offers_tls13() && profile.takes_tls12_ticket();
        for name in [Some("WWW.example.org".to_owned()), None] {
            settings.edits.server_name = name;
            let (client, server, _) = connect(&settings, &accepting);
            assert_eq!((client.resumed, server.resumed), (expected, expected), "{}", profile.name());
            assert!(!connect(&settings, &strange).0.resumed, "{}", profile.name());
        }
        taken += usize::from(expected);
    }
    assert_eq!(taken, 5);
}

#[test]
fn edits_show() {
    let server = server(Versions::From12, None);
    let mut settings = settings(&profiles::named("Chrome-96").unwrap());
    settings.edits.padding = Some(300);
    let (_, _, hello) = connect(&settings, &server);
    let hello = message(&hello);
    let parsed = HelloMessage::read(&hello).unwrap();
    assert_eq!(parsed.extensions[0], (number::PADDING, &[0; 300][..]));
    settings.edits = HelloEdits { session_id: SessionId::LeftOut, ..HelloEdits::default() };
    settings.split = Split::At(10);
    let (_, _, hello) = connect(&settings, &server);
    assert_eq!(hello[0].len(), 15);
    let hello = message(&hello);
    let parsed = HelloMessage::read(&hello).unwrap();
    assert!(parsed.session_id.is_empty() && parsed.extension(number::SERVER_NAME).is_none());
}

#[test]
fn a_hello_is_cut_at_the_name() {
    let mut settings = settings(&profiles::named("Firefox-105").unwrap());
    settings.split = Split::AtServerName;
    let (_, _, hello) = connect(&settings, &server(Versions::Only13, None));
    assert_eq!(hello.len(), 2);
    assert!(hello[1][5..].starts_with(b"www.example.org"));
}

#[test]
fn drawn_profiles_connect() {
    let server = server(Versions::From12, None);
    let mut tls13 = 0;
    for seed in 0..40 {
        let seed = Seed::from_bytes([seed; 32]);
        let profile = profiles::drawn(&seed, false);
        assert_eq!(profile, profiles::drawn(&seed, false));
        tls13 += usize::from(connect(&settings(&Arc::new(profile)), &server).0.is_tls13);
        assert!(profiles::drawn(&seed, true).offers_tls13());
    }
    assert!((10..30).contains(&tls13), "{tls13}");
}

#[test]
fn a_second_hello_agrees_with_the_first() {
    let secret = TicketSecret::new(&[3; 32]);
    let server = server(Versions::From12, Some(secret.clone())).with_groups(vec![kx_group::SECP384R1]);
    for profile in profiles::all().iter().filter(|profile| profile.offers_tls13()) {
        let mut settings = settings(profile);
        settings.split = Split::AtServerName;
        for ticket_secret in [None, Some(secret.clone())] {
            let resumes = ticket_secret.is_some() && profile.takes_pre_shared_key();
            settings.ticket_secret = ticket_secret;
            let (client, _, _) = connect(&settings, &server);
            assert_eq!(client.resumed, resumes, "{}", profile.name());
        }
    }
}

#[test]
fn any_share_of_a_profile_is_answered() {
    let groups: [&'static dyn SupportedKxGroup; 3] =
        [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    for group in groups {
        let server = server(Versions::Only13, None).with_groups(vec![group]);
        connect(&settings(&profiles::named("Firefox-153").unwrap()), &server);
    }
}

#[test]
fn records_that_were_changed_do_not_open() {
    let server = server(Versions::From12, None);
    for name in ["Chrome-133", "Firefox-56"] {
        for at in [0, 1, 3, 5, 13, 30] {
            let (mut client, mut other, _) = connect(&settings(&profiles::named(name).unwrap()), &server);
            let mut wire = Vec::new();
            client.records.seal(b"some bytes to be sent", &mut wire).unwrap();
            wire[at] ^= 0x40;
            // A longer record is waited for.
            assert!(!matches!(other.records.open(&mut wire), Ok(Some(_))), "{name} {at}");
        }
    }
}

#[test]
fn the_cheapest_suite_is_agreed_on() {
    let server = server(Versions::From12, None);
    let tls13 = [("Safari-26", 0x1301), ("Chrome-133", 0x1301), ("Firefox-153", 0x1301)];
    for (name, suite) in tls13.into_iter().chain([("Firefox-56", 0xc02b)]) {
        let (client, _, _) = connect(&settings(&profiles::named(name).unwrap()), &server);
        assert_eq!(client.suite, suite, "{name}");
    }
}
