//! First flights of every protocol: two of one plan differ in nothing but keys and what must never repeat.

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

/// What of a flight is the same in all of one plan.
fn lasting(protocol: TunnelProtocol, bytes: &[u8]) -> Vec<Vec<u8>> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    match protocol.name() {
        // The cookie of KEXINIT, and padding and a key behind its lists.
        "SSH" => {
            let ident = text.find("\r\n").unwrap() + 2;
            vec![bytes[..ident + 6].to_vec(), bytes[ident + 22..ident + 900].to_vec()]
        }
        "UNFRONTED-MEEK-OSSH" | "FRONTED-MEEK-HTTP-OSSH" => {
            let head = text.split("\r\n\r\n").next().unwrap();
            let lasting = head.split("\r\n").filter(|line| !line.starts_with("Cookie: "));
            lasting.map(|line| line.as_bytes().to_vec()).collect()
        }
        // Identifiers and nonces are fresh and mask the rest: only lengths can be told.
        name if name.contains("QUIC") => Vec::new(),
        // Everything is masked by a fresh seed or salt, behind whatever the beginning looks like.
        "OSSH" | "SHADOWSOCKS-OSSH" => vec![bytes[..12].to_vec()],
        _ => lasting_of_hello(bytes),
    }
}

/// A ClientHello without random, session identifier, keys and tickets, and without what browsers draw anew for each hello as well:
/// values of GREASE, and the order of extensions. RFC 8446 section 4.1.2, RFC 8701.
fn lasting_of_hello(bytes: &[u8]) -> Vec<Vec<u8>> {
    let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let session = usize::from(bytes[43]);
    let ciphers = 44 + session;
    let methods = ciphers + 2 + number(ciphers);
    let mut at = methods + 1 + usize::from(bytes[methods]);
    let mut lasting = vec![
        bytes[..3].to_vec(),
        bytes[9..11].to_vec(),
        vec![bytes[43]],
        no_grease(&bytes[ciphers + 2..methods], 0),
    ];
    let end = at + 2 + number(at);
    at += 2;
    let mut extensions = Vec::new();
    while at + 4 <= end {
        let len = number(at + 2);
        // The list of versions has a length of one byte.
        let extension = no_grease(&bytes[at..at + 4 + len], 0);
        let mut extension = if number(at) == 43 { no_grease(&extension, 5) } else { extension };
        match number(at) {
            // Key shares, pre-shared keys and tickets.
            51 | 41 | 35 => extension[4..].fill(0),
            // Encrypted hellos of GREASE have a length by chance, and padding makes up for it.
            0xfe0d | 21 => extension.truncate(2),
            _ => {}
        }
        extensions.push(extension);
        at += 4 + len;
    }
    extensions.sort_unstable();
    lasting.extend(extensions);
    lasting
}

/// Numbers of two bytes each, where `skipped` bytes stand before the first.
fn no_grease(bytes: &[u8], skipped: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for pair in bytes[skipped..].chunks_exact_mut(2) {
        if pair[0] == pair[1] && pair[0] & 15 == 10 {
            pair.fill(0);
        }
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_sends_the_same_but_for_keys() {
    for protocol in SPOKEN {
        for seed in 1..4 {
            let (one, other) = tokio::join!(flight(protocol, seed), flight(protocol, seed));
            let sizes = |flight: &[Sent]| flight.iter().map(|sent| sent.bytes.len()).collect::<Vec<_>>();
            let what = format!("{protocol} seed {seed}");
            assert!(!one.is_empty(), "{what} sends nothing");
            let (first, second) = (stream(&one), stream(&other));
            // RFC 4253 section 6 leaves some of the length of a plain KEXINIT to chance, and browsers that of a hello.
            if protocol.name() != "SSH" && first.first() != Some(&0x16) {
                assert_eq!(sizes(&one), sizes(&other), "{what}");
            }
            assert_ne!(first, second, "{what}: something must never repeat");
            let differ = lasting(protocol, &first)
                .into_iter()
                .zip(lasting(protocol, &second))
                .find(|(one, other)| one != other);
            assert_eq!(differ, None, "{what}");
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
