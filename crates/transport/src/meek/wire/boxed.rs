//! The box that hides what a cookie says: `crypto_box` of NaCl with an ephemeral key and a nonce of zeros. X25519, `HSalsa20`, `XSalsa20` and
//! Poly1305. Source: TRANSPORTS.md 2.4.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use poly1305::Poly1305;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyInit, KeyIvInit, StreamCipher};
use salsa20::{Key, XNonce, XSalsa20, hsalsa};
use zeroize::Zeroizing;

/// Bytes of a private or public key.
pub const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// Bytes that a box is longer than what is in it: the ephemeral public key and the tag.
pub const BOX_OVERHEAD: usize = KEY_LEN + TAG_LEN;

/// Why a box could not be made or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// The peer does not have the right public key, or the bytes are none of a box.
    #[error("the box is not authentic: the peer has another key, or sends something else")]
    Forged,
    /// Local: a key is not 32 bytes that make a key agreement.
    #[error("the key is not usable for X25519")]
    Key,
}

/// One pair of a private and a public key, between which a single box is exchanged.
pub struct NonceLessBox {
    cipher: XSalsa20,
    authenticator: Poly1305,
}

impl NonceLessBox {
    /// The box between these two. A pair must never be used for a second message.
    ///
    /// # Errors
    /// [`BoxError::Forged`] if the public key is one of those that agree on nothing.
    pub fn between(private: &PrivateKey, public: &[u8; KEY_LEN]) -> Result<Self, BoxError> {
        let public = UnparsedPublicKey::new(&X25519, public.as_slice());
        agreement::agree(private, public, BoxError::Forged, |shared| {
            let shared = Key::try_from(shared).map_err(|_| BoxError::Key)?;
            let mut key = hsalsa::<U10>(&shared, &[0; 16].into());
            let mut cipher = XSalsa20::new(&key, &XNonce::default());
            zeroize::Zeroize::zeroize(key.as_mut_slice());
            // The first block of the stream is the authenticator's key.
            let mut once = Zeroizing::new([0; 32]);
            cipher.apply_keystream(&mut *once);
            let authenticator = Poly1305::new(&(*once).into());
            Ok(Self { cipher, authenticator })
        })
    }

    /// The tag and the sealed message, at the end of `out`.
    pub fn seal(mut self, message: &[u8], out: &mut Vec<u8>) {
        let mut sealed = message.to_vec();
        self.cipher.apply_keystream(&mut sealed);
        out.extend_from_slice(&self.authenticator.compute_unpadded(&sealed));
        out.extend_from_slice(&sealed);
    }

    /// The message of a tag and what it authenticates.
    ///
    /// # Errors
    /// [`BoxError::Forged`].
    pub fn open(mut self, boxed: &[u8]) -> Result<Zeroizing<Vec<u8>>, BoxError> {
        let (tag, sealed) = boxed.split_at_checked(TAG_LEN).ok_or(BoxError::Forged)?;
        let expected = self.authenticator.compute_unpadded(sealed);
        verify_slices_are_equal(expected.as_slice(), tag).map_err(|_| BoxError::Forged)?;
        let mut message = Zeroizing::new(sealed.to_vec());
        self.cipher.apply_keystream(&mut message);
        Ok(message)
    }
}

impl std::fmt::Debug for NonceLessBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted box]")
    }
}
