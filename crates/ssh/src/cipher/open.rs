//! Incoming packets: first the length, then, when the whole packet is here, its payload.

use aws_lc_rs::aead::chacha20_poly1305_openssh::OpeningKey;
use thiserror::Error;

use super::counter::{self, CounterMode};
use super::gcm::{self, Gcm};
use super::{KeyError, LENGTH_LEN, MAX_PACKET_LENGTH, MIN_PADDING, chacha};
use crate::kex::DirectionKeys;
use crate::names::CipherName;

/// Why a packet is refused. The peer or the network is at fault: disconnect, the stream cannot be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The length field is zero or above [`MAX_PACKET_LENGTH`]; behind an encrypted length also a wrong key.
    #[error("peer sent a packet length of {0}")]
    BadLength(u32),
    /// The length is not a whole number of cipher blocks.
    #[error("peer sent a packet length of {0}, which does not fit its cipher")]
    Unaligned(u32),
    /// The authentication tag is wrong: someone changed the stream, or the keys differ.
    #[error("packet authentication failed")]
    Forged,
    /// Padding below 4 bytes, or no payload left.
    #[error("peer sent a packet with {0} bytes of padding")]
    BadPadding(u8),
    /// The caller passed another number of bytes than the length announced. A bug on this side.
    #[error("packet handed over with the wrong number of bytes")]
    WrongSize,
}

/// Opens the packets of the direction in which this end reads.
pub struct Opener(Protection);

enum Protection {
    Clear,
    Gcm(Box<Gcm>),
    ChaCha20Poly1305(Box<OpeningKey>),
    Counter(Box<CounterMode>),
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Protection::Clear => "Opener(clear)",
            Protection::Gcm(_) => "Opener(gcm)",
            Protection::ChaCha20Poly1305(_) => "Opener(chacha20-poly1305)",
            Protection::Counter(_) => "Opener(counter mode)",
        })
    }
}

impl Default for Opener {
    fn default() -> Self {
        Self::clear()
    }
}

impl Opener {
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
                Protection::ChaCha20Poly1305(chacha::opening_key(&keys.key)?)
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

    /// Bytes that [`Self::packet_length`] needs: the length field, or one block where it is encrypted with the rest.
    #[must_use]
    pub fn header_len(&self) -> usize {
        match &self.0 {
            Protection::Counter(mode) if !mode.etm => counter::BLOCK,
            _ => LENGTH_LEN,
        }
    }

    /// Bytes of a whole packet, from the length field to the tag, given what [`Self::packet_length`] returned.
    #[must_use]
    pub fn packet_len(&self, packet_length: u32) -> usize {
        usize::try_from(packet_length)
            .unwrap_or(usize::MAX)
            .saturating_add(LENGTH_LEN)
            .saturating_add(self.tag_len())
    }

    /// The packet length, not yet authenticated, from the first [`Self::header_len`] bytes of the packet.
    ///
    /// Must be called exactly once per packet, with these bytes where [`Self::open`] will find them: in counter mode
    /// with an encrypted length they are decrypted in place. The result is in `1..=MAX_PACKET_LENGTH`.
    pub fn packet_length(&mut self, sequence: u32, head: &mut [u8]) -> Result<u32, OpenError> {
        let length = match &mut self.0 {
            Protection::ChaCha20Poly1305(key) => key.decrypt_packet_length(sequence, length_field(head)?),
            Protection::Counter(mode) if !mode.etm => {
                let block = head.first_chunk_mut().ok_or(OpenError::WrongSize)?;
                mode.open_first_block(block).map_err(|_| OpenError::WrongSize)?;
                length_field(head)?
            }
            Protection::Clear | Protection::Gcm(_) | Protection::Counter(_) => length_field(head)?,
        };
        let length = u32::from_be_bytes(length);
        if length == 0 || length > MAX_PACKET_LENGTH {
            return Err(OpenError::BadLength(length));
        }
        if let Protection::Counter(mode) = &self.0 {
            // The whole of what is encrypted, which for an encrypted length includes the length field.
            let encrypted = self.packet_len(length) - mode.tag_len() - if mode.etm { LENGTH_LEN } else { 0 };
            if !encrypted.is_multiple_of(counter::BLOCK) {
                return Err(OpenError::Unaligned(length));
            }
        }
        Ok(length)
    }

    /// Authenticates and decrypts a whole packet in place and returns its payload.
    ///
    /// `packet` is [`Self::packet_len`] bytes long and its head is as [`Self::packet_length`] left it. After an error
    /// the contents are unspecified and the opener must not be used again.
    pub fn open<'b>(&mut self, sequence: u32, packet: &'b mut [u8]) -> Result<&'b [u8], OpenError> {
        let framed_len = packet.len().checked_sub(self.tag_len()).ok_or(OpenError::WrongSize)?;
        let (framed, tag) = packet.split_at_mut_checked(framed_len).ok_or(OpenError::WrongSize)?;
        let (length, body) = framed.split_first_chunk_mut::<LENGTH_LEN>().ok_or(OpenError::WrongSize)?;
        let length_in_clear = !matches!(self.0, Protection::ChaCha20Poly1305(_));
        if length_in_clear && usize::try_from(u32::from_be_bytes(*length)) != Ok(body.len()) {
            return Err(OpenError::WrongSize);
        }
        match &mut self.0 {
            Protection::Clear => {}
            Protection::Gcm(gcm) => gcm.open(*length, body, tag).map_err(|_| OpenError::Forged)?,
            Protection::ChaCha20Poly1305(key) => {
                let tag = (&*tag).try_into().map_err(|_| OpenError::WrongSize)?;
                key.open_in_place(sequence, framed, tag).map_err(|_| OpenError::Forged)?;
            }
            Protection::Counter(mode) => mode.open(sequence, framed, tag).map_err(|_| OpenError::Forged)?,
        }
        payload(framed)
    }
}

fn length_field(head: &[u8]) -> Result<[u8; LENGTH_LEN], OpenError> {
    head.first_chunk().copied().ok_or(OpenError::WrongSize)
}

/// The payload of a packet in clear.
///
/// PROTOCOL.md 3.4: at least one byte of payload. Alignment is not checked here, because peers on obfuscated
/// connections pad clear packets to arbitrary lengths (PROTOCOL.md 2.7).
fn payload(framed: &[u8]) -> Result<&[u8], OpenError> {
    let (padding_len, rest) =
        framed.get(LENGTH_LEN..).and_then(<[u8]>::split_first).ok_or(OpenError::WrongSize)?;
    let payload_len = rest.len().checked_sub(usize::from(*padding_len)).filter(|len| *len > 0);
    match payload_len.and_then(|len| rest.get(..len)) {
        Some(payload) if usize::from(*padding_len) >= MIN_PADDING => Ok(payload),
        _ => Err(OpenError::BadPadding(*padding_len)),
    }
}
