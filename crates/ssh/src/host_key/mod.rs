//! Host keys: the server's RSA key, and verification of a server's signature by a client.
//!
//! Source: RFC 4253 section 6.6 (blobs), RFC 8332 (RSA with SHA-2), RFC 5656 section 3.1 (ECDSA), RFC 8709 (Ed25519).
//! Whether a key is the expected one is the caller's question: it compares the blob.

mod der;
mod pem;
#[cfg(test)]
mod tests;
mod verify;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512};
use thiserror::Error;
use zeroize::Zeroizing;

pub use verify::{VerifyError, verify};

use crate::names::{HostKeyAlgorithm, wire_name};
use crate::wire::WriteWire;
use pem::Label;

/// A server's RSA key, 2048 to 8192 bits.
pub struct HostKey {
    key: KeyPair,
    public_blob: Vec<u8>,
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostKey([redacted])")
    }
}

/// Why a host key cannot be loaded or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HostKeyError {
    /// No `RSA PRIVATE KEY` or `PRIVATE KEY` block, or its base64 is broken. Fix the configuration.
    #[error("host key is not a PEM private key")]
    NotPem,
    /// The block does not hold an unencrypted RSA key of 2048 to 8192 bits. Fix the configuration.
    #[error("host key is not an unencrypted RSA key of 2048 to 8192 bits")]
    NotRsa,
    /// An RSA key cannot sign for this algorithm. A bug: the server offers RSA names only.
    #[error("host key cannot sign with {}", .0.wire_name())]
    WrongAlgorithm(HostKeyAlgorithm),
    /// The library failed. Local.
    #[error("host key operation failed on this machine")]
    Local,
}

impl HostKey {
    /// Loads the first private key of a PEM text, PKCS#1 (`RSA PRIVATE KEY`) or PKCS#8 (`PRIVATE KEY`).
    pub fn from_pem(text: &str) -> Result<Self, HostKeyError> {
        let (label, der) = pem::decode(text).ok_or(HostKeyError::NotPem)?;
        let key = match label {
            Label::Pkcs1 => KeyPair::from_der(&der),
            Label::Pkcs8 => KeyPair::from_pkcs8(&der),
        };
        Self::from_key(key.map_err(|_| HostKeyError::NotRsa)?)
    }

    /// Makes a new key of 2048 bits. Takes a noticeable time.
    pub fn generate() -> Result<Self, HostKeyError> {
        Self::from_key(KeyPair::generate(KeySize::Rsa2048).map_err(|_| HostKeyError::Local)?)
    }

    /// The key as a PKCS#1 PEM text, as servers keep it in their configuration.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, HostKeyError> {
        let pkcs8: Pkcs8V1Der<'_> = self.key.as_der().map_err(|_| HostKeyError::Local)?;
        let pkcs1 = der::pkcs1_of_pkcs8(pkcs8.as_ref()).ok_or(HostKeyError::Local)?;
        Ok(pem::encode(Label::Pkcs1, pkcs1))
    }

    /// The public key blob, in the `ssh-rsa` format whatever the signature algorithm (RFC 8332 section 3).
    #[must_use]
    pub fn public_blob(&self) -> &[u8] {
        &self.public_blob
    }

    /// The signature blob over `message`.
    pub fn sign(&self, algorithm: HostKeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, HostKeyError> {
        let encoding = match algorithm {
            HostKeyAlgorithm::RsaSha256 => &RSA_PKCS1_SHA256,
            HostKeyAlgorithm::RsaSha512 => &RSA_PKCS1_SHA512,
            other => return Err(HostKeyError::WrongAlgorithm(other)),
        };
        let mut signature = vec![0; self.key.public_modulus_len()];
        // The library draws its blinding by itself and ignores the generator.
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.key.sign(encoding, &random, message, &mut signature).map_err(|_| HostKeyError::Local)?;

        let mut blob = Vec::with_capacity(signature.len().saturating_add(32));
        blob.put_string(algorithm.wire_name().as_bytes());
        blob.put_string(&signature);
        Ok(blob)
    }

    fn from_key(key: KeyPair) -> Result<Self, HostKeyError> {
        let (modulus, exponent) =
            der::rsa_public_numbers(key.public_key().as_ref()).ok_or(HostKeyError::Local)?;
        let mut public_blob = Vec::with_capacity(modulus.len().saturating_add(32));
        public_blob.put_string(wire_name::SSH_RSA.as_bytes());
        public_blob.put_mpint(exponent);
        public_blob.put_mpint(modulus);
        Ok(Self { key, public_blob })
    }
}
