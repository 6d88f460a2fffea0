//! Fresh key material from the system's random source: the one place in this crate where secrets come from.

use aws_lc_rs::agreement::{PrivateKey, X25519};
use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

/// The system's random source or the library failed: local.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine's random source or cryptographic library failed")]
pub struct KeyMaterialError;

pub(crate) fn random_hex(bytes: usize) -> Result<Zeroizing<String>, KeyMaterialError> {
    Ok(Zeroizing::new(HEXLOWER.encode(&random(bytes)?)))
}

pub(crate) fn random_base64(bytes: usize) -> Result<Zeroizing<String>, KeyMaterialError> {
    Ok(Zeroizing::new(BASE64.encode(&random(bytes)?)))
}

/// The private and public halves of a key for NaCl boxes (RFC 7748).
pub(crate) fn curve25519_pair() -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), KeyMaterialError> {
    let private = random(32)?;
    let key = PrivateKey::from_private_key(&X25519, &private).map_err(|_| KeyMaterialError)?;
    let public = key.compute_public_key().map_err(|_| KeyMaterialError)?;
    Ok((private, public.as_ref().to_vec()))
}

fn random(bytes: usize) -> Result<Zeroizing<Vec<u8>>, KeyMaterialError> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    aws_lc_rs::rand::fill(&mut random).map_err(|_| KeyMaterialError)?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_lengths_and_differ() {
        assert_eq!((random_hex(32).unwrap().len(), random_base64(32).unwrap().len()), (64, 44));
        assert_ne!(random_hex(32), random_hex(32));
        let (private, public) = curve25519_pair().unwrap();
        assert_eq!((private.len(), public.len()), (32, 32));
    }
}
