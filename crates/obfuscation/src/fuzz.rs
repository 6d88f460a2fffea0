//! Entry points for fuzzing: each takes any bytes, drives one parser with them as a hostile peer or file would, and
//! asserts what must hold whatever they are. Not for use by programs. Source: none, see the modules driven.

use std::time::{Duration, SystemTime};

use crate::{
    Direction, Keystream, Keyword, MAX_PREFIX_SEARCH, ObfuscatorSeed, PREFIX_SALT_LEN, Pattern, PatternKind,
    PreambleReader, Prng, Seed, SeedHistory, SeedHistoryLimits, SeedIndexKey, TerminatorSearch,
    kex_packet_size,
};

/// What a stranger, or with an odd first byte someone who knows the keyword, sends to a server. The second byte
/// says in which pieces it arrives.
pub fn preamble_reader(data: &[u8]) {
    let Some(([mode, piece], body)) = data.split_first_chunk() else { return };
    let keyword = Keyword::new("fuzz");
    let mut wire = body.to_vec();
    if mode & 1 == 1 {
        hide(&keyword, &mut wire);
    }
    let mut reader = PreambleReader::new(keyword);
    for chunk in wire.chunks(usize::from(*piece).max(1)) {
        match reader.push(chunk) {
            Ok((used, None)) => assert_eq!(used, chunk.len(), "all is consumed while more is needed"),
            Ok((used, Some(preamble))) => {
                assert!(used <= chunk.len());
                assert_eq!(reader.authenticated_seed(), Some(preamble.seed));
                break;
            }
            Err(_) => {
                assert!(reader.push(b"x").is_err(), "failure is final");
                break;
            }
        }
    }
}

/// Hides all behind the seed, as a client would.
fn hide(keyword: &Keyword, wire: &mut [u8]) {
    let Some((seed, hidden)) = wire.split_first_chunk_mut::<{ ObfuscatorSeed::LEN }>() else { return };
    Keystream::derive(keyword, &ObfuscatorSeed::from_bytes(*seed), Direction::ClientToServer).apply(hidden);
}

/// What a server sends to a client that expects its prefix. The first byte says in which pieces it arrives.
pub fn prefix_search(data: &[u8]) {
    let Some((piece, wire)) = data.split_first() else { return };
    let mut search = TerminatorSearch::new(Keyword::new("fuzz"), Direction::ServerToClient);
    let mut position = 0;
    for chunk in wire.chunks(usize::from(*piece).max(1)) {
        let Ok((used, found)) = search.push(chunk) else { break };
        position += used;
        assert!(position <= PREFIX_SALT_LEN + MAX_PREFIX_SEARCH);
        if found {
            break;
        }
        assert_eq!(used, chunk.len(), "all is consumed while more is needed");
    }
}

/// A pattern from parameters, parsed as both kinds, and generated from.
pub fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for kind in [PatternKind::Text, PatternKind::Bytes] {
        match Pattern::parse(text, kind) {
            Ok(pattern) => {
                let generated = pattern.generate(&mut Prng::new(&Seed::from_bytes([0; 32])));
                let utf8 = generated
                    .map_or(true, |text| kind == PatternKind::Bytes || String::from_utf8(text).is_ok());
                assert!(utf8, "text is UTF-8");
            }
            Err(error) => assert!(error.place <= text.len()),
        }
    }
}

/// A spec from parameters, applied to a text: up to the first NUL the matching side, up to the second the
/// generating side, then the text.
pub fn transform(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (Some(matcher), Some(generator), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let (Ok(matcher), Ok(generator)) = (std::str::from_utf8(matcher), std::str::from_utf8(generator)) else {
        return;
    };
    if let Ok(transform) = crate::Transform::new(&[(matcher, generator)])
        && let Ok(out) = transform.apply(&Seed::from_bytes([0; 32]), text)
    {
        assert!(out.len() <= crate::MAX_TRANSFORMED_LEN);
    }
}

/// A stored history of seeds, damaged or foreign.
pub fn seed_history(data: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let limits = SeedHistoryLimits { max_seeds: 8, ..SeedHistoryLimits::default() };
    let restore = |stored| SeedHistory::restore(limits, SeedIndexKey::new([0; 16]), stored, now);
    if let Ok(mut restored) = restore(data) {
        assert!(restored.history.len() <= 8);
        let stored = restored.history.snapshot(now);
        let again = restore(&stored).map(|again| (again.history.len(), again.damaged));
        assert_eq!(again.ok(), Some((restored.history.len(), 0)), "what is stored comes back");
    }
}

/// The first packet of a stream before keys are in force.
pub fn kex_packet(data: &[u8]) {
    if let Ok(Some(size)) = kex_packet_size(data) {
        assert!(size > 4 && size <= crate::MAX_KEX_PACKET + 4);
        if let Some(packet) = data.get(..size) {
            let mut packet = packet.to_vec();
            let mut prng = Prng::new(&Seed::from_bytes([0; 32]));
            let padded = crate::pad_kex_packet(&mut prng, crate::PaddingStyle::Any, &mut packet);
            assert!(padded.is_ok(), "a whole packet can be padded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short run in every test; long runs are the fuzzer's.
    #[test]
    fn any_bytes_will_do() {
        for n in 0..400_u32 {
            let seed = Seed::from_bytes([0; 32]).derive(&n.to_string());
            let mut prng = Prng::new(&seed);
            let data = prng.padding(0, 300);
            let printable: Vec<u8> =
                data.iter().map(|byte| b"ab()[]{}|*+?,-\\^$.:019x\0"[usize::from(*byte) % 24]).collect();
            for data in [&data, &printable] {
                preamble_reader(data);
                prefix_search(data);
                pattern(data);
                transform(data);
                seed_history(data);
                kex_packet(data);
            }
        }
    }
}
