//! Diffie-Hellman on curves.
//!
//! Source: RFC 8731 (X25519), RFC 5656 section 4 (NIST curves, uncompressed points).

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::{EphemeralKeys, KexError};

/// Tries for a scalar below the group order; the chance that one fails is below 2^-31 on every curve here.
const MAX_TRIES: usize = 8;

/// Length in bytes of an X25519 public value.
pub(super) const X25519_LEN: usize = 32;

/// A curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    X25519,
    P256,
    P384,
    P521,
}

impl Curve {
    const fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::X25519 => &agreement::X25519,
            Self::P256 => &agreement::ECDH_P256,
            Self::P384 => &agreement::ECDH_P384,
            Self::P521 => &agreement::ECDH_P521,
        }
    }

    /// Bytes of a coordinate, which is also the length of a private key.
    const fn field_len(self) -> usize {
        match self {
            Self::X25519 | Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The bits of the first byte of a private key that may be set.
    const fn first_byte_mask(self) -> u8 {
        match self {
            Self::X25519 | Self::P256 | Self::P384 => 0xff,
            Self::P521 => 0x01,
        }
    }

    /// The library takes other encodings of a point too; the protocol has one.
    fn accepts(self, public: &[u8]) -> bool {
        match self {
            Self::X25519 => public.len() == X25519_LEN,
            Self::P256 | Self::P384 | Self::P521 => {
                public.first() == Some(&4)
                    && public.len() == self.field_len().saturating_mul(2).saturating_add(1)
            }
        }
    }
}

/// An ephemeral private key; the library wipes it.
pub(super) struct CurveKey {
    curve: Curve,
    key: PrivateKey,
}

impl CurveKey {
    pub(super) fn generate(curve: Curve, keys: &mut dyn EphemeralKeys) -> Result<Self, KexError> {
        let mut bytes = Zeroizing::new(vec![0; curve.field_len()]);
        for _ in 0..MAX_TRIES {
            keys.fill(&mut bytes)?;
            if let Some(first) = bytes.first_mut() {
                *first &= curve.first_byte_mask();
            }
            if let Ok(key) = PrivateKey::from_private_key(curve.algorithm(), &bytes) {
                return Ok(Self { curve, key });
            }
        }
        Err(KexError::Local)
    }

    pub(super) fn public(&self) -> Result<Vec<u8>, KexError> {
        Ok(self.key.compute_public_key()?.as_ref().to_vec())
    }

    /// The shared value: the x coordinate, or the X25519 output. The library refuses points off the curve and the
    /// all-zero X25519 result (RFC 8731 section 3).
    pub(super) fn agree(&self, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, KexError> {
        if !self.curve.accepts(peer) {
            return Err(KexError::BadPublicValue);
        }
        let peer = UnparsedPublicKey::new(self.curve.algorithm(), peer);
        agreement::agree(&self.key, peer, KexError::BadPublicValue, |secret| {
            Ok(Zeroizing::new(secret.to_vec()))
        })
    }
}
