//! Where ephemeral key material comes from: the one seam between this crate and the system's randomness.
//!
//! The library can neither generate nor encapsulate ML-KEM from given bytes, so the seam hands out whole keys there.

use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use zeroize::Zeroizing;

use super::KexError;

/// Offset and length of the public key inside a private one: FIPS 203, algorithm 16 (`dk = dkPKE || ek || H(ek) || z`).
const PUBLIC_IN_PRIVATE: std::ops::Range<usize> = 1152..2336;

/// Source of ephemeral keys. Implementations in tests return fixed bytes.
pub trait EphemeralKeys {
    /// Fills `secret` with unpredictable bytes.
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError>;

    /// A new ML-KEM-768 key pair.
    fn mlkem768(&mut self) -> Result<MlKemKey, KexError> {
        let key = DecapsulationKey::generate(&ML_KEM_768)?;
        let public = key.encapsulation_key()?.key_bytes()?.as_ref().to_vec();
        Ok(MlKemKey { key, public })
    }

    /// A new shared secret for the owner of the ML-KEM-768 key `public`, which comes from the peer.
    fn mlkem768_encapsulate(&mut self, public: &[u8]) -> Result<Encapsulated, KexError> {
        let key = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| KexError::BadPublicValue)?;
        // FIPS 203 section 7.2: encapsulation checks the key, so a failure is the peer's.
        let (ciphertext, secret) = key.encapsulate().map_err(|_| KexError::BadPublicValue)?;
        Ok(Encapsulated {
            ciphertext: ciphertext.as_ref().to_vec(),
            secret: Zeroizing::new(secret.as_ref().to_vec()),
        })
    }
}

/// The system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreshKeys;

impl EphemeralKeys for FreshKeys {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        aws_lc_rs::rand::fill(secret).map_err(KexError::from)
    }
}

/// An ML-KEM-768 key pair.
pub struct MlKemKey {
    pub(super) key: DecapsulationKey,
    pub(super) public: Vec<u8>,
}

impl std::fmt::Debug for MlKemKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MlKemKey([redacted])")
    }
}

impl MlKemKey {
    /// A key pair from the 2400 bytes of an expanded private key (FIPS 203).
    pub fn from_private_bytes(private: &[u8]) -> Result<Self, KexError> {
        let public = private.get(PUBLIC_IN_PRIVATE).ok_or(KexError::Local)?.to_vec();
        Ok(Self { key: DecapsulationKey::new(&ML_KEM_768, private)?, public })
    }
}

/// What encapsulation makes.
pub struct Encapsulated {
    /// For the peer.
    pub ciphertext: Vec<u8>,
    /// For this end.
    pub secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Encapsulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encapsulated([redacted])")
    }
}
