//! The two RC4 streams that hide the SSH handshake, and how their keys come from a keyword and a seed.
//! Obfuscation, not encryption: whoever has the server entry can undo it. Source: `PROTOCOL.md` 2.1, 2.2.

use std::fmt;

use aws_lc_rs::digest::{self, Context, SHA1_FOR_LEGACY_USE_ONLY};
use rc4::{KeyInit, Rc4, StreamCipher};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ObfuscatorSeed;

/// SHA-1 rounds after the first (`PROTOCOL.md` 2.2).
const ITERATIONS: usize = 6000;
const KEY_LEN: usize = 16;

/// The obfuscation keyword: for tunnels the text of the entry's obfuscated key, not the bytes that its hex
/// stands for (`PROTOCOL.md` 2.2).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Keyword(Vec<u8>);

impl Keyword {
    /// A keyword of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The keyword's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyword([redacted])")
    }
}

/// Which way bytes go. Each way has its own key and its own prefix terminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What the client sends.
    ClientToServer,
    /// What the server sends.
    ServerToClient,
}

impl Direction {
    /// The label that separates the ways in derivations (`PROTOCOL.md` 2.1).
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientToServer => "client_to_server",
            Self::ServerToClient => "server_to_client",
        }
    }
}

/// One direction's RC4 stream. It starts once per connection and is never reset (`PROTOCOL.md` 2.2).
pub struct Keystream(Rc4);

impl Keystream {
    /// The stream for a direction of the connection that `seed` opens. Costs 6001 SHA-1 computations: a server
    /// should do it as late as it can.
    #[must_use]
    pub fn derive(keyword: &Keyword, seed: &ObfuscatorSeed, direction: Direction) -> Self {
        let key = derive_key(keyword, seed, direction);
        Self(Rc4::new_from_slice(&*key).expect("RC4 takes any key of 1 to 256 bytes"))
    }

    /// Hides or reveals the next bytes of the stream, in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        self.0.apply_keystream(bytes);
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream([redacted])")
    }
}

/// The RC4 key of a direction (`PROTOCOL.md` 2.2). Public for known-answer tests only.
#[must_use]
pub fn derive_key(
    keyword: &Keyword,
    seed: &ObfuscatorSeed,
    direction: Direction,
) -> Zeroizing<[u8; KEY_LEN]> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(seed.as_bytes());
    context.update(keyword.as_bytes());
    context.update(direction.label().as_bytes());
    let mut hash = context.finish();
    // Nothing safe was faster on a CPU without SHA instructions: 127 ns a round, against 161 for a round written out for this one block
    // size and 213 for the sha1 crate.
    for _ in 0..ITERATIONS {
        hash = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, hash.as_ref());
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_keyword() {
        assert_eq!(format!("{:?}", Keyword::new("secret")), "Keyword([redacted])");
    }

    #[test]
    fn directions_have_different_keys() {
        let (keyword, seed) = (Keyword::new("k"), ObfuscatorSeed::from_bytes([1; 16]));
        let to_server = derive_key(&keyword, &seed, Direction::ClientToServer);
        assert_ne!(to_server, derive_key(&keyword, &seed, Direction::ServerToClient));
    }
}
