//! The reader against our own client's preambles, cut and damaged in every way that matters.

use std::time::Duration;

use super::*;
use crate::{ClientPreamble, GeneratedPrefix, PaddingRange, PreamblePlan, PrefixPlan};

fn keyword() -> Keyword {
    Keyword::new("0123456789abcdef")
}

fn plan(prefix: Option<PrefixPlan>) -> PreamblePlan {
    PreamblePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes([0x5a; 16]),
        padding_seed: Seed::from_bytes([6; 32]),
        padding: PaddingRange::new(Some(40), Some(200)),
        prefix,
    }
}

fn prefix(name: &str) -> PrefixPlan {
    PrefixPlan {
        name: PrefixName::new(name).unwrap(),
        prefix: GeneratedPrefix::new(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec(), 37).unwrap(),
        split: Some(Duration::ZERO),
    }
}

/// Hides these 8 bytes and what follows as a client would, behind its seed.
fn forged(hidden: &[u8]) -> Vec<u8> {
    let seed = ObfuscatorSeed::from_bytes([1; 16]);
    let mut hidden = hidden.to_vec();
    Keystream::derive(&keyword(), &seed, Direction::ClientToServer).apply(&mut hidden);
    [seed.as_bytes().as_slice(), &hidden].concat()
}

#[test]
fn preambles_are_read_however_they_arrive() {
    for plan in [plan(None), plan(Some(prefix("HTTP"))), plan(Some(prefix("")))] {
        let mut client = ClientPreamble::new(&keyword(), &plan);
        let mut identification = *b"SSH-2.0-x\r\n";
        client.to_server.apply(&mut identification);
        let wire = [client.bytes.as_slice(), &identification].concat();
        for chunk in [1, 7, 24, 25, wire.len()] {
            let mut reader = PreambleReader::new(keyword());
            let mut position = 0;
            let preamble = wire.chunks(chunk).find_map(|piece| {
                let (used, preamble) = reader.push(piece).unwrap();
                position += used;
                preamble
            });
            let mut preamble = preamble.expect("the preamble is whole");
            assert_eq!(position, client.bytes.len(), "chunks of {chunk}");
            assert_eq!(preamble.seed, plan.obfuscator_seed);
            assert_eq!(preamble.prefix, plan.prefix.as_ref().map(|plan| plan.name.clone()));
            assert!(preamble.padding_seed.is_some());
            let mut rest = wire[position..].to_vec();
            preamble.from_client.apply(&mut rest);
            assert_eq!(rest, b"SSH-2.0-x\r\n");
            assert!(matches!(reader.push(b""), Err(PreambleError::Ended)));
        }
    }
}

#[test]
fn the_seed_is_known_from_the_magic_on_even_when_the_rest_is_wrong() {
    let mut reader = PreambleReader::new(keyword());
    let wire = forged(&[0x0b, 0xf5, 0xca, 0x7e, 0, 0, 0x20, 0x01]);
    let (last, first) = wire.split_last().unwrap();
    reader.push(first).unwrap();
    assert_eq!(reader.authenticated_seed(), None);
    assert_eq!(reader.push(&[*last]).unwrap_err(), PreambleError::PaddingLength(8193));
    assert_eq!(reader.authenticated_seed(), Some(ObfuscatorSeed::from_bytes([1; 16])));

    let mut reader = PreambleReader::new(keyword());
    let negative = forged(&[0x0b, 0xf5, 0xca, 0x7e, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(reader.push(&negative).unwrap_err(), PreambleError::PaddingLength(-1));
}

#[test]
fn a_wrong_magic_is_searched_for_a_prefix_to_the_limit() {
    let mut reader = PreambleReader::new(keyword());
    let mut pushed = 0;
    let error = loop {
        match reader.push(&[0x41; 1000]) {
            Ok((used, None)) => pushed += used,
            Ok((_, Some(_))) => panic!("noise was taken for a preamble"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, PreambleError::Prefix(PrefixError::NotFound));
    assert!((65_000..66_000).contains(&pushed), "{pushed}");
    assert_eq!(reader.authenticated_seed(), None);
}

#[test]
fn no_prefix_where_none_is_known_and_none_behind_another() {
    let wire = ClientPreamble::new(&keyword(), &plan(Some(prefix("HTTP")))).bytes;
    let mut reader = PreambleReader::without_prefix(keyword());
    assert_eq!(reader.push(&wire).unwrap_err(), PreambleError::Magic);

    let outer = prefix("HTTP").prefix.terminated(&keyword(), Direction::ClientToServer);
    let mut reader = PreambleReader::new(keyword());
    assert_eq!(reader.push(&[outer, wire].concat()).unwrap_err(), PreambleError::Magic);
}

#[test]
fn wrong_prefix_headers_are_refused() {
    let outer = prefix("HTTP").prefix.terminated(&keyword(), Direction::ClientToServer);
    let with_header = |header: [u8; 4]| {
        let hidden = [[0x0b, 0xf5, 0xca, 0x7e], [0; 4], header].concat();
        [outer.clone(), forged(&hidden)].concat()
    };
    let read = |wire: Vec<u8>| PreambleReader::new(keyword()).push(&wire).unwrap_err();
    assert_eq!(read(with_header([0, 2, 0, 0])), PreambleError::PrefixVersion(2));
    assert_eq!(read(with_header([0, 1, 0x10, 1])), PrefixError::NameTooLong { len: 4097 }.into());
}

#[test]
fn short_padding_gives_no_seed() {
    for (len, seeded) in [(0, false), (31, false), (32, true)] {
        let mut hidden = vec![0x0b, 0xf5, 0xca, 0x7e, 0, 0, 0, len];
        hidden.resize(8 + usize::from(len), 9);
        let (_, preamble) = PreambleReader::new(keyword()).push(&forged(&hidden)).unwrap();
        assert_eq!(preamble.unwrap().padding_seed.is_some(), seeded, "padding of {len}");
    }
}
