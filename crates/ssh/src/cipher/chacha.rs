//! ChaCha20-Poly1305 with the packet length encrypted under its own key.
//!
//! Source: OpenSSH PROTOCOL.chacha20poly1305. The nonce is the sequence number.

use aws_lc_rs::aead::chacha20_poly1305_openssh::{KEY_LEN, OpeningKey, SealingKey};

use super::KeyError;

pub(super) use aws_lc_rs::aead::chacha20_poly1305_openssh::TAG_LEN;

fn key_bytes(key: &[u8]) -> Result<&[u8; KEY_LEN], KeyError> {
    key.try_into().map_err(|_| KeyError)
}

pub(super) fn sealing_key(key: &[u8]) -> Result<Box<SealingKey>, KeyError> {
    Ok(Box::new(SealingKey::new(key_bytes(key)?)))
}

pub(super) fn opening_key(key: &[u8]) -> Result<Box<OpeningKey>, KeyError> {
    Ok(Box::new(OpeningKey::new(key_bytes(key)?)))
}
