//! A client's check of the server's signature.
//!
//! Source: RFC 4253 sections 6.6 and 8, RFC 8332 section 3, RFC 5656 section 3.1, RFC 8709 sections 4 and 6.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use thiserror::Error;

use crate::names::HostKeyAlgorithm;
use crate::wire::{Reader, WireError};

/// Greatest accepted RSA modulus, in bytes: 8192 bits, the library's own limit.
const MAX_MODULUS: usize = 1024;
/// Greatest accepted RSA exponent, in bytes; longer ones only cost time.
const MAX_EXPONENT: usize = 8;

/// Why a signature is not accepted. The server, or someone between, is at fault: disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// A blob is malformed.
    #[error("malformed host key or signature: {0}")]
    Wire(#[from] WireError),
    /// The key is not one for the agreed algorithm.
    #[error("host key type does not match the agreed algorithm {}", .0.wire_name())]
    WrongKeyType(HostKeyAlgorithm),
    /// The signature was made with another algorithm than agreed.
    #[error("host key signature is not of the agreed algorithm {}", .0.wire_name())]
    WrongSignatureType(HostKeyAlgorithm),
    /// The RSA key is below 2048 or above 8192 bits, or a number does not fit its field.
    #[error("host key has unacceptable numbers")]
    BadNumbers,
    /// The signature is wrong.
    #[error("host key signature is wrong")]
    BadSignature,
}

/// Checks a signature blob over `message` by the key of a public key blob.
pub fn verify(
    algorithm: HostKeyAlgorithm,
    host_key_blob: &[u8],
    message: &[u8],
    signature_blob: &[u8],
) -> Result<(), VerifyError> {
    let mut key = Reader::new(host_key_blob);
    if key.string()? != algorithm.key_format().as_bytes() {
        return Err(VerifyError::WrongKeyType(algorithm));
    }
    let mut signature = Reader::new(signature_blob);
    if signature.string()? != algorithm.wire_name().as_bytes() {
        return Err(VerifyError::WrongSignatureType(algorithm));
    }
    let raw_signature = signature.string()?;
    signature.finish()?;

    match algorithm {
        HostKeyAlgorithm::RsaSha256 => rsa(&RSA_PKCS1_2048_8192_SHA256, key, message, raw_signature),
        HostKeyAlgorithm::RsaSha512 => rsa(&RSA_PKCS1_2048_8192_SHA512, key, message, raw_signature),
        HostKeyAlgorithm::EcdsaP256 => ecdsa(&P256, key, message, raw_signature),
        HostKeyAlgorithm::EcdsaP384 => ecdsa(&P384, key, message, raw_signature),
        HostKeyAlgorithm::EcdsaP521 => ecdsa(&P521, key, message, raw_signature),
        HostKeyAlgorithm::Ed25519 => ed25519(key, message, raw_signature),
    }
}

fn rsa(
    parameters: &RsaParameters,
    mut key: Reader<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    let exponent = key.mpint()?;
    let modulus = key.mpint()?;
    key.finish()?;
    if modulus.len() > MAX_MODULUS || exponent.len() > MAX_EXPONENT {
        return Err(VerifyError::BadNumbers);
    }
    // Some peers drop leading zeros of the signature; it is a number as long as the modulus (RFC 8017 section 8.2.1).
    let mut padded = vec![0; modulus.len()];
    let start = padded.len().checked_sub(signature.len()).ok_or(VerifyError::BadSignature)?;
    padded.get_mut(start..).ok_or(VerifyError::BadSignature)?.copy_from_slice(signature);
    RsaPublicKeyComponents { n: modulus, e: exponent }
        .verify(parameters, message, &padded)
        .map_err(|_| VerifyError::BadSignature)
}

/// What RFC 5656 says of a curve.
struct Curve {
    name: &'static str,
    field_len: usize,
    verification: &'static EcdsaVerificationAlgorithm,
}

const P256: Curve = Curve { name: "nistp256", field_len: 32, verification: &ECDSA_P256_SHA256_FIXED };
const P384: Curve = Curve { name: "nistp384", field_len: 48, verification: &ECDSA_P384_SHA384_FIXED };
const P521: Curve = Curve { name: "nistp521", field_len: 66, verification: &ECDSA_P521_SHA512_FIXED };

fn ecdsa(curve: &Curve, mut key: Reader<'_>, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    if key.string()? != curve.name.as_bytes() {
        return Err(VerifyError::BadNumbers);
    }
    let point = key.string()?;
    key.finish()?;
    let point_len = curve.field_len.saturating_mul(2).saturating_add(1);
    if point.first() != Some(&4) || point.len() != point_len {
        return Err(VerifyError::BadNumbers);
    }
    let mut numbers = Reader::new(signature);
    let mut fixed = Vec::with_capacity(curve.field_len.saturating_mul(2));
    for _ in 0..2 {
        let number = numbers.mpint()?;
        let zeros = curve.field_len.checked_sub(number.len()).ok_or(VerifyError::BadNumbers)?;
        fixed.resize(fixed.len().saturating_add(zeros), 0);
        fixed.extend_from_slice(number);
    }
    numbers.finish()?;
    UnparsedPublicKey::new(curve.verification, point)
        .verify(message, &fixed)
        .map_err(|_| VerifyError::BadSignature)
}

fn ed25519(mut key: Reader<'_>, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let point = key.string()?;
    key.finish()?;
    if point.len() != 32 || signature.len() != 64 {
        return Err(VerifyError::BadNumbers);
    }
    UnparsedPublicKey::new(&ED25519, point).verify(message, signature).map_err(|_| VerifyError::BadSignature)
}
