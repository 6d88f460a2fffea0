//! AES in counter mode with an HMAC, computed before or after encryption.
//!
//! Source: RFC 4344 section 4 (counter mode), RFC 4253 section 6.4 and RFC 6668 (MAC over the plaintext), OpenSSH
//! PROTOCOL section 1.5 (MAC over the ciphertext, length in clear).

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA512};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::{KeyError, LENGTH_LEN};
use crate::kex::DirectionKeys;
use crate::names::MacName;

/// AES block length.
pub(super) const BLOCK: usize = 16;

/// The key stream of one direction. Every packet is a whole number of blocks, so the position is a block number.
struct KeyStream {
    key: EncryptingKey,
    counter: Zeroizing<u128>,
}

/// Key stream and MAC of one direction.
pub(super) struct CounterMode {
    stream: KeyStream,
    mac_key: hmac::Key,
    tag_len: usize,
    /// The MAC covers the ciphertext and the length is in clear.
    pub(super) etm: bool,
}

impl KeyStream {
    fn new(key: &[u8], iv: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            _ => return Err(KeyError),
        };
        let counter = u128::from_be_bytes(iv.try_into().map_err(|_| KeyError)?);
        let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key)?)?;
        Ok(Self { key, counter: Zeroizing::new(counter) })
    }

    /// Encrypts or decrypts whole blocks.
    fn apply(&mut self, data: &mut [u8]) -> Result<(), Unspecified> {
        if !data.len().is_multiple_of(BLOCK) {
            return Err(Unspecified);
        }
        let blocks = u128::try_from(data.len().div_ceil(BLOCK)).map_err(|_| Unspecified)?;
        let start = FixedLength::from(self.counter.to_be_bytes());
        // RFC 4344 section 4: the counter wraps at 2^128.
        *self.counter = self.counter.wrapping_add(blocks);
        self.key.less_safe_encrypt(data, EncryptionContext::Iv128(start)).map(|_| ())
    }
}

impl CounterMode {
    pub(super) fn new(keys: &DirectionKeys, mac: MacName) -> Result<Self, KeyError> {
        let algorithm = match mac {
            MacName::HmacSha256 | MacName::HmacSha256Etm => HMAC_SHA256,
            MacName::HmacSha512 | MacName::HmacSha512Etm => HMAC_SHA512,
        };
        if keys.mac.len() != mac.key_len() {
            return Err(KeyError);
        }
        Ok(Self {
            stream: KeyStream::new(&keys.key, &keys.iv)?,
            mac_key: hmac::Key::new(algorithm, &keys.mac),
            tag_len: mac.tag_len(),
            etm: mac.is_etm(),
        })
    }

    pub(super) const fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Where encryption starts: the length field stays in clear with encrypt-then-MAC.
    const fn clear_len(&self) -> usize {
        if self.etm { LENGTH_LEN } else { 0 }
    }

    pub(super) fn seal(
        &mut self,
        sequence: u32,
        packet: &mut [u8],
        tag_out: &mut [u8],
    ) -> Result<(), Unspecified> {
        let encrypted = self.clear_len();
        let mac_of_plaintext = (!self.etm).then(|| self.mac(sequence, packet));
        self.stream.apply(packet.get_mut(encrypted..).ok_or(Unspecified)?)?;
        let tag = mac_of_plaintext.unwrap_or_else(|| self.mac(sequence, packet));
        if tag.as_ref().len() != tag_out.len() {
            return Err(Unspecified);
        }
        tag_out.copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts the first block of a packet whose length is encrypted.
    pub(super) fn open_first_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), Unspecified> {
        self.stream.apply(block)
    }

    /// Opens a packet; without encrypt-then-MAC its first block is already in clear.
    pub(super) fn open(&mut self, sequence: u32, packet: &mut [u8], tag: &[u8]) -> Result<(), Unspecified> {
        if self.etm {
            self.verify(sequence, packet, tag)?;
            self.stream.apply(packet.get_mut(LENGTH_LEN..).ok_or(Unspecified)?)
        } else {
            self.stream.apply(packet.get_mut(BLOCK..).ok_or(Unspecified)?)?;
            self.verify(sequence, packet, tag)
        }
    }

    fn mac(&self, sequence: u32, packet: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac_key);
        context.update(&sequence.to_be_bytes());
        context.update(packet);
        context.sign()
    }

    fn verify(&self, sequence: u32, packet: &[u8], tag: &[u8]) -> Result<(), Unspecified> {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.mac(sequence, packet).as_ref(), tag)
    }
}
