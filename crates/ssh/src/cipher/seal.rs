//! Outgoing packets.

use aws_lc_rs::aead::chacha20_poly1305_openssh::SealingKey;
use thiserror::Error;

use super::counter::{self, CounterMode};
use super::gcm::{self, Gcm};
use super::{CLEAR_BLOCK, HEADER_LEN, KeyError, LENGTH_LEN, MIN_PADDING, chacha};
use crate::kex::DirectionKeys;
use crate::names::CipherName;

/// The packet was not framed as [`Sealer::packet_len`] says, or the library failed. A bug on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("outgoing packet is not framed for its cipher")]
pub struct SealError;

impl From<aws_lc_rs::error::Unspecified> for SealError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

/// Protects the packets of the direction in which this end writes.
pub struct Sealer(Protection);

enum Protection {
    Clear,
    Gcm(Box<Gcm>),
    ChaCha20Poly1305(Box<SealingKey>),
    Counter(Box<CounterMode>),
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Protection::Clear => "Sealer(clear)",
            Protection::Gcm(_) => "Sealer(gcm)",
            Protection::ChaCha20Poly1305(_) => "Sealer(chacha20-poly1305)",
            Protection::Counter(_) => "Sealer(counter mode)",
        })
    }
}

impl Default for Sealer {
    fn default() -> Self {
        Self::clear()
    }
}

impl Sealer {
    /// No protection: the packets of the first exchange.
    #[must_use]
    pub const fn clear() -> Self {
        Self(Protection::Clear)
    }

    /// Protection under derived keys.
    pub fn new(keys: &DirectionKeys) -> Result<Self, KeyError> {
        Ok(Self(match (keys.suite.cipher, keys.suite.mac) {
            (CipherName::Aes128Gcm | CipherName::Aes256Gcm, None) => {
                Protection::Gcm(Box::new(Gcm::new(&keys.key, &keys.iv)?))
            }
            (CipherName::ChaCha20Poly1305, None) => {
                Protection::ChaCha20Poly1305(chacha::sealing_key(&keys.key)?)
            }
            (CipherName::Aes128Ctr | CipherName::Aes192Ctr | CipherName::Aes256Ctr, Some(mac)) => {
                Protection::Counter(Box::new(CounterMode::new(keys, mac)?))
            }
            _ => return Err(KeyError),
        }))
    }

    /// Bytes after the padding: the authentication tag.
    #[must_use]
    pub fn tag_len(&self) -> usize {
        match &self.0 {
            Protection::Clear => 0,
            Protection::Gcm(_) => gcm::TAG_LEN,
            Protection::ChaCha20Poly1305(_) => chacha::TAG_LEN,
            Protection::Counter(mode) => mode.tag_len(),
        }
    }

    /// Bytes of one block of the padded part.
    #[must_use]
    pub fn block_len(&self) -> usize {
        match &self.0 {
            Protection::Clear => CLEAR_BLOCK,
            Protection::Gcm(_) => CipherName::Aes128Gcm.block_size(),
            Protection::ChaCha20Poly1305(_) => CipherName::ChaCha20Poly1305.block_size(),
            Protection::Counter(_) => counter::BLOCK,
        }
    }

    /// The least padding for a payload of `payload_len` bytes: 4 to 19, so that the padded part is whole blocks.
    #[must_use]
    pub fn padding_len(&self, payload_len: usize) -> u8 {
        // RFC 4253 section 6 counts the length field in; a length that is not encrypted with the rest is not counted
        // (RFC 5647 section 7.2, OpenSSH PROTOCOL section 1.5).
        let counted = match &self.0 {
            Protection::Gcm(_) | Protection::ChaCha20Poly1305(_) => HEADER_LEN - LENGTH_LEN,
            Protection::Counter(mode) if mode.etm => HEADER_LEN - LENGTH_LEN,
            Protection::Clear | Protection::Counter(_) => HEADER_LEN,
        };
        let block = self.block_len();
        // The remainders are below 16, so nothing here can overflow.
        let filled = (payload_len % block + counted) % block;
        let padding = block - filled;
        let padding = if padding < MIN_PADDING { padding + block } else { padding };
        u8::try_from(padding).unwrap_or(u8::MAX)
    }

    /// Bytes of a whole sealed packet with the least padding.
    #[must_use]
    pub fn packet_len(&self, payload_len: usize) -> usize {
        HEADER_LEN
            .saturating_add(payload_len)
            .saturating_add(usize::from(self.padding_len(payload_len)))
            .saturating_add(self.tag_len())
    }

    /// The five bytes before a payload of `payload_len` bytes with `padding_len` bytes of padding.
    #[must_use]
    pub fn header(payload_len: usize, padding_len: u8) -> [u8; HEADER_LEN] {
        let length = payload_len.saturating_add(usize::from(padding_len)).saturating_add(1);
        let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        [a, b, c, d, padding_len]
    }

    /// Seals `packet` in place: length, padding length, payload, padding and room for the tag.
    ///
    /// `sequence` is the packet's sequence number. Padding may be longer than the least if it keeps whole blocks.
    pub fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), SealError> {
        let framed_len = packet.len().checked_sub(self.tag_len()).ok_or(SealError)?;
        let (framed, tag_out) = packet.split_at_mut_checked(framed_len).ok_or(SealError)?;
        let (length, body) = framed.split_first_chunk_mut::<LENGTH_LEN>().ok_or(SealError)?;
        if usize::try_from(u32::from_be_bytes(*length)) != Ok(body.len()) || body.is_empty() {
            return Err(SealError);
        }
        match &mut self.0 {
            Protection::Clear => {}
            Protection::Gcm(gcm) => {
                let tag = gcm.seal(*length, body)?;
                tag_out.copy_from_slice(&tag);
            }
            Protection::ChaCha20Poly1305(key) => {
                let tag_out = tag_out.try_into().map_err(|_| SealError)?;
                key.seal_in_place(sequence, framed, tag_out);
            }
            Protection::Counter(mode) => mode.seal(sequence, framed, tag_out)?,
        }
        Ok(())
    }
}
