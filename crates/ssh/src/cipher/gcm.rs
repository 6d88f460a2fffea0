//! AES-GCM with the packet length as associated data.
//!
//! Source: RFC 5647 section 7, with the negotiation of OpenSSH PROTOCOL section 1.6.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;

use super::{KeyError, LENGTH_LEN};

pub(super) const TAG_LEN: usize = 16;

/// Key and nonce of one direction.
pub(super) struct Gcm {
    key: LessSafeKey,
    /// RFC 5647 section 7.1: fixed field, then invocation counter.
    fixed: [u8; 4],
    invocation: u64,
}

impl Gcm {
    pub(super) fn new(key: &[u8], iv: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return Err(KeyError),
        };
        let (fixed, invocation) = iv.split_first_chunk::<4>().ok_or(KeyError)?;
        let invocation = u64::from_be_bytes(invocation.try_into().map_err(|_| KeyError)?);
        Ok(Self { key: LessSafeKey::new(UnboundKey::new(algorithm, key)?), fixed: *fixed, invocation })
    }

    /// The nonce of the next packet; the counter wraps, and re-keying comes long before it repeats.
    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        let (fixed, invocation) = nonce.split_at_mut(self.fixed.len());
        fixed.copy_from_slice(&self.fixed);
        invocation.copy_from_slice(&self.invocation.to_be_bytes());
        self.invocation = self.invocation.wrapping_add(1);
        Nonce::assume_unique_for_key(nonce)
    }

    pub(super) fn seal(
        &mut self,
        length: [u8; LENGTH_LEN],
        body: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Unspecified> {
        let nonce = self.next_nonce();
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(length), body)?;
        tag.as_ref().try_into().map_err(|_| Unspecified)
    }

    pub(super) fn open(
        &mut self,
        length: [u8; LENGTH_LEN],
        body: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Unspecified> {
        let nonce = self.next_nonce();
        self.key.open_in_place_separate_tag(nonce, Aad::from(length), tag, body).map(|_| ())
    }
}
