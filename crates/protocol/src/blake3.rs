//! The keyed BLAKE3 hash of a message that fits one chunk, which is all that is needed of it here: headers for destinations are
//! a hundred bytes. No dependency is worth that. Source: the BLAKE3 paper (2021-10), sections 2.1 to 2.5.

/// A key's length, and a hash's.
pub(crate) const KEY_LEN: usize = 32;
/// The longest message.
const CHUNK: usize = 1024;
const BLOCK: usize = 64;

/// Section 2.1, table 1: those of SHA-256.
const IV: [u32; 4] = [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A];
/// Section 2.2, table 2.
const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const ROUNDS: usize = 7;
/// Section 2.1, table 3.
const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const ROOT: u32 = 8;
const KEYED_HASH: u32 = 16;
/// Columns and diagonals that the quarter rounds of one round mix. Section 2.2.
const LANES: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// The hash under a key; `None` for a message that is longer than a chunk.
pub(crate) fn keyed(key: &[u8; KEY_LEN], message: &[u8]) -> Option<[u8; 32]> {
    if message.len() > CHUNK {
        return None;
    }
    let mut chaining = words::<8>(key);
    // An empty message is one empty block.
    let blocks: Vec<&[u8]> = if message.is_empty() { vec![&[]] } else { message.chunks(BLOCK).collect() };
    let last = blocks.len() - 1;
    for (index, block) in blocks.into_iter().enumerate() {
        let start = if index == 0 { CHUNK_START } else { 0 };
        let end = if index == last { CHUNK_END | ROOT } else { 0 };
        chaining = compress(chaining, block, KEYED_HASH | start | end);
    }
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(chaining) {
        *bytes = word.to_le_bytes();
    }
    Some(hash)
}

/// Section 2.2, for the first chunk: its number is 0.
#[expect(clippy::indexing_slicing, reason = "every index is a constant below 16")]
fn compress(chaining: [u32; 8], block: &[u8], flags: u32) -> [u32; 8] {
    let mut message = words::<16>(block);
    let length = u32::try_from(block.len()).unwrap_or(0);
    let mut state = [0; 16];
    state[..8].copy_from_slice(&chaining);
    state[8..12].copy_from_slice(&IV);
    state[14..].copy_from_slice(&[length, flags]);
    for _ in 0..ROUNDS {
        for (lane, [a, b, c, d]) in LANES.into_iter().enumerate() {
            let (x, y) = (message[2 * lane], message[2 * lane + 1]);
            for (word, [by_d, by_b]) in [(x, [16, 12]), (y, [8, 7])] {
                state[a] = state[a].wrapping_add(state[b]).wrapping_add(word);
                state[d] = (state[d] ^ state[a]).rotate_right(by_d);
                state[c] = state[c].wrapping_add(state[d]);
                state[b] = (state[b] ^ state[c]).rotate_right(by_b);
            }
        }
        message = PERMUTATION.map(|from| message[from]);
    }
    std::array::from_fn(|index| state[index] ^ state[index + 8])
}

/// Little-endian words, with zeros for what is not there.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(4)) {
        let mut four = [0; 4];
        four.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        *word = u32::from_le_bytes(four);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_vectors() {
        let key = b"whats the Elvish word for friend";
        let message: Vec<u8> = (0..=250).cycle().take(CHUNK).collect();
        for (length, hash) in [
            (0, "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"),
            (1, "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"),
            (1023, "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e"),
            (1024, "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"),
        ] {
            let found = keyed(key, &message[..length]).unwrap();
            assert_eq!(data_encoding::HEXLOWER.encode(&found), hash, "{length}");
        }
        assert_eq!(keyed(key, &[0; CHUNK + 1]), None);
    }
}
