//! The two kinds of seed: the 32 bytes that start a [`Prng`](crate::Prng), and the 16 bytes that salt the
//! obfuscation keys. Neither is drawn here: callers bring random bytes. Source: `PROTOCOL.md` 1.1, 2.1.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hkdf};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of a [`Seed`] in bytes (`PROTOCOL.md` 1.1).
pub const SEED_LEN: usize = 32;

/// What a [`Prng`](crate::Prng) starts from. Who knows it can repeat every draw, so `Debug` hides it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; SEED_LEN]);

impl Seed {
    /// A seed of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SEED_LEN]) -> Self {
        Self(bytes)
    }

    /// The seed's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SEED_LEN] {
        &self.0
    }

    /// An independent seed for the use named by `label` (`PROTOCOL.md` 1.1: the label is the HKDF salt).
    #[must_use]
    pub fn derive(&self, label: &str) -> Self {
        let mut derived = [0; SEED_LEN];
        hkdf_sha256(&self.0, label.as_bytes(), &[], &mut derived);
        Self(derived)
    }

    /// The seed that anyone who knows a server's obfuscated key can derive for the use named by `label`
    /// (`PROTOCOL.md` 3.3.2: HKDF over the SHA-256 of the key's text).
    #[must_use]
    pub fn for_server(obfuscated_key: &[u8], label: ServerSeedLabel) -> Self {
        let mut key_digest = [0; SEED_LEN];
        key_digest.copy_from_slice(digest::digest(&digest::SHA256, obfuscated_key).as_ref());
        Self(key_digest).derive(label.as_str())
    }
}

impl PartialEq for Seed {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Seed {}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed([redacted])")
    }
}

/// What a server's derived seed is for: both sides compute it, so that the client can predict the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSeedLabel {
    /// Algorithm lists of the server's key exchange (`PROTOCOL.md` 3.3.2).
    KeyExchange,
    /// The server's identification, picked once when its configuration is generated (`PROTOCOL.md` 3.2).
    Identification,
    /// The server's packet filter program.
    PacketFilter,
}

impl ServerSeedLabel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::KeyExchange => "ssh-server-kex",
            Self::Identification => "ssh-server-version",
            Self::PacketFilter => "bpf-server-program",
        }
    }
}

/// The clear 16 bytes that open a preamble and salt its two keys (`PROTOCOL.md` 2.1, 2.3). On the wire in
/// clear, so no secret, but it identifies a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObfuscatorSeed([u8; Self::LEN]);

impl ObfuscatorSeed {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// A seed of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The seed's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for ObfuscatorSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObfuscatorSeed([redacted])")
    }
}

/// HKDF-SHA256 (RFC 5869). `out` is at most 32 bytes here, far below the 255 blocks at which
/// expansion can fail.
pub(crate) fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(ikm)
        .expand(&[info], Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("the requested length is below 255 hash blocks");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_bytes() {
        assert_eq!(format!("{:?}", Seed::from_bytes([7; SEED_LEN])), "Seed([redacted])");
        assert_eq!(format!("{:?}", ObfuscatorSeed::from_bytes([7; 16])), "ObfuscatorSeed([redacted])");
    }

    #[test]
    fn labels_give_different_seeds() {
        let seed = Seed::from_bytes([1; SEED_LEN]);
        assert_ne!(seed.derive("a"), seed.derive("b"));
        assert_eq!(seed.derive("a"), seed.derive("a"));
        assert_ne!(
            Seed::for_server(b"key", ServerSeedLabel::KeyExchange),
            Seed::for_server(b"key", ServerSeedLabel::Identification)
        );
    }
}
