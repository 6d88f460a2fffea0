//! Bulk data that both ends can make: a stream that repeats nowhere, from a small seed, and its digest.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};

/// Bytes made and written at once.
const BLOCK: usize = 64 * 1024;

/// An endless stream of bytes. Each block is the same noise with the block's number in front, so that a lost, repeated or swapped part
/// changes the digest, and making it costs next to nothing even without optimisation.
pub(crate) struct Pattern {
    block: Vec<u8>,
    number: u64,
}

impl Pattern {
    /// The stream of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed | 1;
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            // xorshift64*: noise enough to defeat compression and to make any offset visible.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            block.extend(state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
        }
        Self { block, number: 0 }
    }

    /// Writes the first `total` bytes to `sink` and returns their digest in hex.
    pub(crate) fn write(&mut self, total: u64, sink: &mut impl Write) -> io::Result<String> {
        let mut digest = Context::new(&SHA256);
        let mut left = total;
        while left > 0 {
            let count = BLOCK.min(usize::try_from(left).unwrap_or(BLOCK));
            let part = self.next_block().get(..count).unwrap_or_default();
            digest.update(part);
            sink.write_all(part)?;
            left -= count as u64;
        }
        sink.flush()?;
        Ok(hex(digest))
    }

    fn next_block(&mut self) -> &[u8] {
        self.number += 1;
        if let Some(front) = self.block.first_chunk_mut() {
            *front = self.number.to_be_bytes();
        }
        &self.block
    }
}

/// Reads exactly `total` bytes and returns their digest in hex.
pub(crate) fn read_digest(source: &mut impl Read, total: u64) -> io::Result<String> {
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; BLOCK];
    let mut left = total;
    while left > 0 {
        let want = BLOCK.min(usize::try_from(left).unwrap_or(BLOCK));
        let count = source.read(buffer.get_mut(..want).unwrap_or_default())?;
        if count == 0 {
            let problem = format!("ended {left} bytes before its {total}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        digest.update(buffer.get(..count).unwrap_or_default());
        left -= count as u64;
    }
    Ok(hex(digest))
}

fn hex(digest: Context) -> String {
    data_encoding::HEXLOWER.encode(digest.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_agree_and_a_swap_shows() {
        let mut bytes = Vec::new();
        let sent = Pattern::new(9).write(200_000, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 200_000);
        assert_eq!(read_digest(&mut &bytes[..], 200_000).unwrap(), sent);
        let (first, rest) = bytes.split_at_mut(BLOCK);
        first.swap_with_slice(&mut rest[..BLOCK]);
        assert_ne!(read_digest(&mut &bytes[..], 200_000).unwrap(), sent);
        assert!(read_digest(&mut &bytes[..], 200_001).is_err());
    }
}
