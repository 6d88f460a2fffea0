//! The reader against our own client's preambles, cut and damaged in every way that matters.

use std::time::Duration;

use super::*;
use crate::{ClientPreamble, GeneratedPrefix, PaddingRange, PreamblePlan, PrefixPlan, Prng};

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

/// Receives all in pieces, deriving only at the end, or never.
fn receive(wire: &[u8], piece: usize) -> (PreambleReader, PreambleProgress) {
    let mut reader = PreambleReader::new(keyword());
    let mut last = PreambleProgress::Incomplete;
    for piece in wire.chunks(piece) {
        last = reader.receive(piece).unwrap();
        assert!(!matches!(last, PreambleProgress::Complete(_)), "nothing is complete without a derivation");
    }
    (reader, last)
}

#[test]
fn derivations_can_wait_and_a_prefix_saves_one() {
    for (prefix, evidence) in [(None, Evidence::Nothing), (Some(prefix("HTTP")), Evidence::Terminator)] {
        let plan = plan(prefix);
        let mut client = ClientPreamble::new(&keyword(), &plan);
        let mut identification = *b"SSH-2.0-x\r\n";
        client.to_server.apply(&mut identification);
        let wire = [client.bytes.as_slice(), &identification].concat();
        for piece in [1, 7, 24, 25, wire.len()] {
            let (mut reader, last) = receive(&wire, piece);
            assert!(matches!(last, PreambleProgress::Due(due) if due == evidence), "{last:?}");
            assert_eq!(reader.claimed_seed(), Some(plan.obfuscator_seed));
            assert_eq!(reader.authenticated_seed(), None);
            let PreambleProgress::Complete(mut preamble) = reader.judge().unwrap() else {
                panic!("one derivation is enough, pieces of {piece}");
            };
            let mut rest = reader.into_rest();
            preamble.from_client.apply(&mut rest);
            assert_eq!(rest, b"SSH-2.0-x\r\n");
        }
    }
}

#[test]
fn who_is_not_judged_may_still_have_sent_a_prefix() {
    let wire = ClientPreamble::new(&keyword(), &plan(Some(prefix("HTTP")))).bytes;
    for split in [24, 30, 52] {
        let mut reader = PreambleReader::new(keyword());
        let (first, rest) = wire.split_at(split);
        assert!(matches!(reader.receive(first).unwrap(), PreambleProgress::Due(Evidence::Nothing)));
        assert!(matches!(reader.dismiss().unwrap(), PreambleProgress::Incomplete));
        assert!(matches!(reader.receive(rest).unwrap(), PreambleProgress::Due(Evidence::Terminator)));
        assert!(matches!(reader.judge().unwrap(), PreambleProgress::Complete(_)));
    }
    let (mut reader, _) = receive(&wire, wire.len());
    assert_eq!(reader.dismiss().unwrap_err(), PreambleError::Magic);
}

#[test]
fn little_is_kept_for_a_derivation_that_waits() {
    let (reader, last) = receive(&[0x41; MAX_KEPT], 1000);
    assert!(matches!(last, PreambleProgress::Due(_)));
    assert_eq!(reader.into_rest().len(), MAX_KEPT);
    let (reader, last) = receive(&[0x41; MAX_KEPT + 1], 1000);
    assert!(matches!(last, PreambleProgress::Incomplete), "it is too late for a preamble");
    assert_eq!(reader.into_rest(), b"");
    let outer = prefix("HTTP").prefix.terminated(&keyword(), Direction::ClientToServer);
    let mut reader = PreambleReader::new(keyword());
    reader.receive(&outer).unwrap();
    assert_eq!(reader.receive(&[0x41; MAX_KEPT + 1]).unwrap_err(), PreambleError::Magic);
}

#[test]
fn noise_is_nothing_at_any_length() {
    let mut noise = Prng::new(&Seed::from_bytes([7; 32]));
    let mut reader = PreambleReader::new(keyword());
    let mut failed = None;
    for length in 1..=131_072 {
        match reader.receive(&noise.bytes(1)) {
            Ok(PreambleProgress::Incomplete) => assert_eq!(failed, None),
            Ok(PreambleProgress::Due(Evidence::Nothing)) => {
                assert_eq!(length, FIXED_LEN, "judged once");
                assert!(matches!(reader.judge().unwrap(), PreambleProgress::Incomplete));
            }
            Ok(other) => panic!("{other:?} at {length}"),
            Err(error) => {
                failed.get_or_insert((length, error));
            }
        }
    }
    let limit = crate::PREFIX_SALT_LEN + crate::MAX_PREFIX_SEARCH;
    assert_eq!(failed, Some((limit, PreambleError::Prefix(PrefixError::NotFound))));
}
