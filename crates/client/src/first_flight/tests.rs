//! First flights of every protocol: two of one plan differ in nothing but keys and what must never repeat.

use std::ops::Range;

use culvert_protocol::parameters::Parameters;

use super::*;
use crate::SPOKEN;
use crate::plan::tests::entry;

async fn flight(protocol: TunnelProtocol, seed: u8) -> Vec<Sent> {
    let entry = entry();
    let basis = Basis::Fresh { protocol, seed: [seed; SEED_LEN] };
    let prepared = prepare(&basis, &entry, &Parameters::default()).unwrap();
    prepared.first_flight().await.unwrap_or_else(|error| panic!("{protocol} seed {seed}: {error}"))
}

fn stream(flight: &[Sent]) -> Vec<u8> {
    flight.iter().flat_map(|sent| sent.bytes.iter().copied()).collect()
}

/// What of the first bytes may differ between two flights of one plan.
fn fresh(protocol: TunnelProtocol, bytes: &[u8]) -> Vec<Range<usize>> {
    let text = String::from_utf8_lossy(bytes);
    match protocol.name() {
        // The cookie of KEXINIT, and whatever comes behind it: padding and a key.
        "SSH" => {
            let ident = text.find("\r\n").unwrap() + 2;
            vec![ident + 6..ident + 22, bytes.len().min(ident + 1000)..bytes.len()]
        }
        name if name.contains("TLS")
            || name.contains("HTTPS")
            || name.contains("TICKET")
            || name == "FRONTED-MEEK-OSSH" =>
        {
            hello_secrets(bytes)
        }
        "UNFRONTED-MEEK-OSSH" | "FRONTED-MEEK-HTTP-OSSH" => {
            let cookie = text.find("Cookie: ").unwrap();
            let end = text.get(cookie..).unwrap().find("\r\n").unwrap() + cookie;
            let head = text.find("\r\n\r\n").unwrap();
            vec![cookie..end, head..bytes.len()]
        }
        // Identifiers and nonces are fresh and mask the rest: only lengths can be told.
        name if name.contains("QUIC") => vec![0..bytes.len()],
        // Everything is masked by a fresh seed or salt, behind whatever the beginning looks like.
        _ => vec![12..bytes.len()],
    }
}

/// Random, session identifier, keys and tickets of a ClientHello. RFC 8446 section 4.1.2.
fn hello_secrets(bytes: &[u8]) -> Vec<Range<usize>> {
    let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let mut masks = vec![11..43];
    let session = usize::from(bytes[43]);
    masks.push(44..44 + session);
    let mut at = 44 + session;
    at += 2 + number(at);
    at += 1 + usize::from(bytes[at]);
    let end = at + 2 + number(at);
    at += 2;
    while at + 4 <= end.min(bytes.len()) {
        let (kind, len) = (number(at), number(at + 2));
        // Key shares, pre-shared keys, tickets and encrypted hellos of grease.
        if [51, 41, 35, 0xfe0d].contains(&kind) {
            masks.push(at + 4..at + 4 + len);
        }
        at += 4 + len;
    }
    masks
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_sends_the_same_but_for_keys() {
    for protocol in SPOKEN {
        for seed in 1..4 {
            let (one, other) = tokio::join!(flight(protocol, seed), flight(protocol, seed));
            let sizes = |flight: &[Sent]| flight.iter().map(|sent| sent.bytes.len()).collect::<Vec<_>>();
            let what = format!("{protocol} seed {seed}");
            assert!(!one.is_empty(), "{what} sends nothing");
            let (mut first, mut second) = (stream(&one), stream(&other));
            if protocol.name() == "SSH" {
                let least = first.len().min(second.len());
                (first, second) = (first[..least].to_vec(), second[..least].to_vec());
            } else {
                assert_eq!(sizes(&one), sizes(&other), "{what}");
            }
            assert_ne!(first, second, "{what}: something must never repeat");
            for mask in fresh(protocol, &first.clone()) {
                first[mask.clone()].fill(0);
                second[mask].fill(0);
            }
            let differs = first.iter().zip(&second).position(|(one, other)| one != other);
            assert_eq!(differs, None, "{what}: differs at this byte");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_plan_sends_what_it_sent() {
    let entry = entry();
    for protocol in SPOKEN {
        let basis = Basis::Fresh { protocol, seed: [9; SEED_LEN] };
        let prepared = prepare(&basis, &entry, &Parameters::default()).unwrap();
        let stored = prepared.to_stored(7, crate::Fingerprint::of(b""));
        let again = prepare(&Basis::Stored(stored.clone()), &entry, &Parameters::default()).unwrap();
        assert_eq!(again.to_stored(7, crate::Fingerprint::of(b"")), stored, "{protocol}");
    }
}
