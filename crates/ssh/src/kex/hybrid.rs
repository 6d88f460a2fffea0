//! ML-KEM-768 combined with X25519.
//!
//! Source: draft-ietf-sshm-mlkem-hybrid-kex section 2, PROTOCOL.md 3.4: C_INIT is the ML-KEM public key and the X25519
//! value, S_REPLY the ciphertext and the X25519 value; the secret is the SHA-256 of both secrets, encoded as a string.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::kem::Ciphertext;
use zeroize::Zeroizing;

use super::ecdh::{Curve, CurveKey, X25519_LEN};
use super::{EphemeralKeys, KexError, MlKemKey, SharedSecret};

const MLKEM_PUBLIC_LEN: usize = 1184;
const MLKEM_CIPHERTEXT_LEN: usize = 1088;

/// The client's two private keys.
pub(super) struct HybridKey {
    mlkem: MlKemKey,
    x25519: CurveKey,
}

impl HybridKey {
    pub(super) fn generate(keys: &mut dyn EphemeralKeys) -> Result<Self, KexError> {
        Ok(Self { mlkem: keys.mlkem768()?, x25519: CurveKey::generate(Curve::X25519, keys)? })
    }

    pub(super) fn public(&self) -> Result<Vec<u8>, KexError> {
        let mut public = self.mlkem.public.clone();
        public.extend_from_slice(&self.x25519.public()?);
        Ok(public)
    }

    pub(super) fn finish(&self, server_public: &[u8]) -> Result<SharedSecret, KexError> {
        let (ciphertext, x25519) = split(server_public, MLKEM_CIPHERTEXT_LEN)?;
        // ML-KEM rejects implicitly: a wrong ciphertext gives another secret, not an error.
        let mlkem_secret = self.mlkem.key.decapsulate(Ciphertext::from(ciphertext))?;
        let x25519_secret = self.x25519.agree(x25519)?;
        Ok(combine(mlkem_secret.as_ref(), &x25519_secret))
    }
}

/// The server's half.
pub(super) fn respond(
    client_public: &[u8],
    keys: &mut dyn EphemeralKeys,
) -> Result<(Vec<u8>, SharedSecret), KexError> {
    let (mlkem_public, x25519_public) = split(client_public, MLKEM_PUBLIC_LEN)?;
    let x25519 = CurveKey::generate(Curve::X25519, keys)?;
    let x25519_secret = x25519.agree(x25519_public)?;
    let encapsulated = keys.mlkem768_encapsulate(mlkem_public)?;

    let mut public = encapsulated.ciphertext;
    public.extend_from_slice(&x25519.public()?);
    Ok((public, combine(&encapsulated.secret, &x25519_secret)))
}

fn split(public: &[u8], first: usize) -> Result<(&[u8], &[u8]), KexError> {
    match public.split_at_checked(first) {
        Some((mlkem, x25519)) if x25519.len() == X25519_LEN => Ok((mlkem, x25519)),
        _ => Err(KexError::BadPublicValue),
    }
}

fn combine(mlkem: &[u8], x25519: &Zeroizing<Vec<u8>>) -> SharedSecret {
    let mut hash = Context::new(&SHA256);
    hash.update(mlkem);
    hash.update(x25519);
    SharedSecret::string(hash.finish().as_ref())
}
