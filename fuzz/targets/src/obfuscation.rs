//! Targets of the `obfuscation` crate.

use culvert_obfuscation::{
    Direction, Keystream, Keyword, MAX_GENERATED_LEN, MAX_KEPT, ObfuscatorSeed, PaddingStyle, Pattern,
    PatternKind, PreambleProgress, PreambleReader, Prng, Seed, ServerPreamble, TerminatorSearch,
    kex_packet_size, pad_kex_packet,
};

/// The keyword of all inputs here; the committed ones were made with it.
pub(crate) const KEYWORD: &[u8] = b"fuzzing keyword";

/// A client's first bytes as they come from the network.
pub(crate) fn preamble(data: &[u8]) {
    assert_eq!(
        read_preamble(data, data.len()),
        read_preamble(data, 7),
        "pieces read otherwise than the whole"
    );
    if data.len() <= MAX_KEPT {
        assert_eq!(read_preamble(data, 7), judge_late(data, 5), "a derivation put off changed what was read");
    }
}

/// A client's first bytes, given as the plain text behind the seed, since no change of what is encrypted keeps its magic.
pub(crate) fn preamble_body(data: &[u8]) {
    let seed = ObfuscatorSeed::from_bytes([7; 16]);
    let mut hidden = data.to_vec();
    Keystream::derive(&keyword(), &seed, Direction::ClientToServer).apply(&mut hidden);
    preamble(&[seed.as_bytes().as_slice(), &hidden].concat());
}

/// What precedes the obfuscated stream when the peer sends a prefix.
pub(crate) fn prefix_search(data: &[u8]) {
    for direction in [Direction::ClientToServer, Direction::ServerToClient] {
        assert_eq!(
            search(data, direction, data.len()),
            search(data, direction, 5),
            "pieces read otherwise than the whole"
        );
    }
}

/// A packet before NEWKEYS. One that is whole must still be one, with its payload, after padding.
pub(crate) fn kex_packet(data: &[u8]) {
    let Ok(Some(size)) = kex_packet_size(data) else { return };
    let Some(packet) = data.get(..size) else { return };
    for style in [PaddingStyle::Any, PaddingStyle::Legacy] {
        let mut padded = packet.to_vec();
        let mut prng = Prng::new(&Seed::from_bytes([7; 32]));
        pad_kex_packet(&mut prng, style, &mut padded).expect("the packet is whole");
        assert_eq!(kex_packet_size(&padded), Ok(Some(padded.len())));
        assert_eq!(packet[5..], padded[5..size], "padding changed what it was added to");
        assert_eq!(padded.len() - size, usize::from(padded[4] - packet[4]));
    }
}

/// A generator pattern, of text or, with an odd first byte, of bytes.
pub(crate) fn regen(data: &[u8]) {
    let Some((kind, pattern)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(pattern) else { return };
    let kind = if kind % 2 == 0 { PatternKind::Text } else { PatternKind::Bytes };
    let Ok(parsed) = Pattern::parse(text, kind) else { return };
    let mut prng = Prng::new(&Seed::from_bytes([7; 32]));
    let Ok(made) = parsed.generate(&mut prng) else { return };
    assert!(made.len() <= MAX_GENERATED_LEN);
    let again = parsed.generate(&mut Prng::new(&Seed::from_bytes([7; 32])));
    assert_eq!(again.as_ref(), Ok(&made), "the same seed made something else");
    if kind == PatternKind::Text {
        assert!(std::str::from_utf8(&made).is_ok(), "a pattern of text made something else");
    }
}

fn keyword() -> Keyword {
    Keyword::new(KEYWORD)
}

/// What a reader makes of the input in pieces of a size: bytes consumed, and the end of the preamble or the error.
fn read_preamble(data: &[u8], piece: usize) -> (usize, Option<Result<String, String>>) {
    let mut reader = PreambleReader::new(keyword());
    let mut total = 0;
    for part in data.chunks(piece.max(1)) {
        match reader.push(part) {
            Ok((consumed, found)) => {
                assert!(consumed <= part.len());
                total += consumed;
                if let Some(preamble) = found {
                    return (total, Some(Ok(shown(preamble))));
                }
                assert_eq!(consumed, part.len(), "bytes were left without a preamble");
            }
            Err(error) => return (0, Some(Err(error.to_string()))),
        }
    }
    (total, None)
}

/// The same when every derivation waits until all has come.
fn judge_late(data: &[u8], piece: usize) -> (usize, Option<Result<String, String>>) {
    let mut reader = PreambleReader::new(keyword());
    let mut progress = Ok(PreambleProgress::Incomplete);
    for part in data.chunks(piece) {
        progress = reader.receive(part);
        if progress.is_err() {
            break;
        }
    }
    while let Ok(PreambleProgress::Due(_)) = progress {
        progress = reader.judge();
    }
    match progress {
        Ok(PreambleProgress::Complete(preamble)) => {
            (data.len() - reader.into_rest().len(), Some(Ok(shown(*preamble))))
        }
        Ok(_) => (data.len(), None),
        Err(error) => (0, Some(Err(error.to_string()))),
    }
}

fn shown(mut preamble: ServerPreamble) -> String {
    let mut streams = [0; 16];
    preamble.from_client.apply(&mut streams[..8]);
    preamble.to_client.apply(&mut streams[8..]);
    format!("{preamble:?} {streams:?}")
}

fn search(data: &[u8], direction: Direction, piece: usize) -> Result<Option<usize>, String> {
    let mut search = TerminatorSearch::new(keyword(), direction);
    let mut total = 0;
    for part in data.chunks(piece.max(1)) {
        let (consumed, found) = search.push(part).map_err(|error| error.to_string())?;
        assert!(consumed <= part.len());
        total += consumed;
        if found {
            return Ok(Some(total));
        }
    }
    Ok(None)
}
