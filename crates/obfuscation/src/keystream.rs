//! The two RC4 streams that hide the SSH handshake, and how their keys come from a keyword and a seed.
//! Obfuscation, not encryption: whoever has the server entry can undo it. Source: `PROTOCOL.md` 2.1, 2.2.

use std::fmt;

use aws_lc_rs::digest::{self, Context, SHA1_FOR_LEGACY_USE_ONLY};
use rc4::{KeyInit, Rc4, StreamCipher};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ObfuscatorSeed;
use crate::lanes::{Engine, Hash, LANES};

/// SHA-1 rounds after the first (`PROTOCOL.md` 2.2).
const ITERATIONS: usize = 6000;
const KEY_LEN: usize = 16;
const HASH_LEN: usize = 20;

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
    /// should do it as late as it can, and where it has several to do, do them at once (see [`Derivation`]).
    #[must_use]
    pub fn derive(keyword: &Keyword, seed: &ObfuscatorSeed, direction: Direction) -> Self {
        Self::of(&derive_key(keyword, seed, direction))
    }

    /// Hides or reveals the next bytes of the stream, in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        self.0.apply_keystream(bytes);
    }

    fn of(key: &Key) -> Self {
        Self(Rc4::new_from_slice(&**key).expect("RC4 takes any key of 1 to 256 bytes"))
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream([redacted])")
    }
}

/// The streams of both directions of the connection that `seed` opens: what the client sends, and what the server
/// sends. Costs less than two times [`Keystream::derive`] where the processor can hash in lanes.
#[must_use]
pub fn derive_both(keyword: &Keyword, seed: &ObfuscatorSeed) -> (Keystream, Keystream) {
    let mut starts = [Direction::ClientToServer, Direction::ServerToClient]
        .map(|direction| first_hash(keyword, seed, direction));
    finish(&mut starts);
    let [to_server, to_client] = &starts;
    let streams = (Keystream::of(&key_of(to_server)), Keystream::of(&key_of(to_client)));
    starts.zeroize();
    streams
}

/// The derivation that a server owes to a connection: begun for next to nothing, and finished together with
/// others, by [`Derivation::finish`].
pub struct Derivation {
    seed: ObfuscatorSeed,
    to_server: Hash,
    to_client: Hash,
}

/// What came of a [`Derivation`]: the stream of what the client sends, and that of what the server sends if there
/// was room for it.
pub struct Derived {
    pub(crate) seed: ObfuscatorSeed,
    pub(crate) to_server: Keystream,
    pub(crate) to_client: Option<Keystream>,
}

impl Derivation {
    /// Begins it.
    #[must_use]
    pub fn new(keyword: &Keyword, seed: ObfuscatorSeed) -> Self {
        Self {
            to_server: first_hash(keyword, &seed, Direction::ClientToServer),
            to_client: first_hash(keyword, &seed, Direction::ServerToClient),
            seed,
        }
    }

    /// How many cost about as much as one on this processor, when they are finished together.
    #[must_use]
    pub fn at_once() -> usize {
        Engine::of_this_processor().filter(|engine| engine.pays_for(engine.lanes())).map_or(1, Engine::lanes)
    }

    /// Finishes all of these, [`Self::at_once`] at a time, in their order.
    #[must_use]
    pub fn finish(all: &[Self]) -> Vec<Derived> {
        all.chunks(Self::at_once()).flat_map(Self::finish_at_once).collect()
    }

    fn finish_at_once(some: &[Self]) -> Vec<Derived> {
        let mut hashes = Zeroizing::new([Hash::default(); LANES]);
        // Lanes that are left over serve those who turn out to be clients.
        let room = Engine::of_this_processor().map_or(some.len(), Engine::lanes);
        let both = room.saturating_sub(some.len()).min(some.len());
        let chains = some.len() + both;
        let starts = some.iter().map(|one| one.to_server).chain(some.iter().map(|one| one.to_client));
        hashes.iter_mut().zip(starts).for_each(|(to, from)| *to = from);
        let paid = hashes.get_mut(..chains).is_some_and(finish_in_lanes);
        if !paid {
            hashes.iter_mut().take(some.len()).for_each(finish_alone);
        }
        let (first, second) = hashes.split_at(some.len().min(LANES));
        let others = second.iter().take(if paid { both } else { 0 }).map(Some).chain(std::iter::repeat(None));
        let derived = |((one, to_server), to_client): ((&Self, &Hash), Option<&Hash>)| Derived {
            seed: one.seed,
            to_server: Keystream::of(&key_of(to_server)),
            to_client: to_client.map(|hash| Keystream::of(&key_of(hash))),
        };
        some.iter().zip(first).zip(others).map(derived).collect()
    }
}

impl Drop for Derivation {
    fn drop(&mut self) {
        self.to_server.zeroize();
        self.to_client.zeroize();
    }
}

impl fmt::Debug for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derivation([redacted])")
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived([redacted])")
    }
}

type Key = Zeroizing<[u8; KEY_LEN]>;

/// The RC4 key of a direction (`PROTOCOL.md` 2.2). Public for known-answer tests only.
#[must_use]
pub fn derive_key(keyword: &Keyword, seed: &ObfuscatorSeed, direction: Direction) -> Key {
    let mut hashes = Zeroizing::new([first_hash(keyword, seed, direction)]);
    finish(&mut *hashes);
    let [hash] = &*hashes;
    key_of(hash)
}

fn first_hash(keyword: &Keyword, seed: &ObfuscatorSeed, direction: Direction) -> Hash {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(seed.as_bytes());
    context.update(keyword.as_bytes());
    context.update(direction.label().as_bytes());
    words_of(context.finish().as_ref())
}

/// The rounds after the first, of all chains.
fn finish(hashes: &mut [Hash]) {
    if !finish_in_lanes(hashes) {
        hashes.iter_mut().for_each(finish_alone);
    }
}

/// False, and nothing is done, if the processor is faster without.
fn finish_in_lanes(hashes: &mut [Hash]) -> bool {
    Engine::of_this_processor()
        .filter(|engine| hashes.len() <= engine.lanes() && engine.pays_for(hashes.len()))
        .is_some_and(|engine| engine.hash(hashes, ITERATIONS))
}

fn finish_alone(hash: &mut Hash) {
    let mut bytes = [0; HASH_LEN];
    bytes.as_chunks_mut().0.iter_mut().zip(&*hash).for_each(|(to, word)| *to = word.to_be_bytes());
    let mut digest = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    for _ in 1..ITERATIONS {
        digest = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, digest.as_ref());
    }
    *hash = words_of(digest.as_ref());
    bytes.zeroize();
}

fn words_of(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, bytes)| *to = u32::from_be_bytes(*bytes));
    hash
}

/// The first bytes of a chain's last hash.
fn key_of(hash: &Hash) -> Key {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.as_chunks_mut().0.iter_mut().zip(hash).for_each(|(to, word)| *to = word.to_be_bytes());
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

    #[test]
    fn lanes_give_what_single_chains_give() {
        let keyword = Keyword::new("k");
        let seed = |number| ObfuscatorSeed::from_bytes([number; 16]);
        let alone = |number, direction| {
            let mut hash = first_hash(&keyword, &seed(number), direction);
            finish_alone(&mut hash);
            key_of(&hash)
        };
        let shown = |mut stream: Keystream| {
            let mut bytes = [0; 16];
            stream.apply(&mut bytes);
            bytes
        };
        for count in 1..=9 {
            let all: Vec<_> = (0..count).map(|number| Derivation::new(&keyword, seed(number))).collect();
            let done = Derivation::finish(&all);
            assert_eq!(done.len(), all.len());
            for (number, Derived { seed: found, to_server, to_client }) in (0..).zip(done) {
                assert_eq!(found, seed(number));
                let expected = |direction| shown(Keystream::of(&alone(number, direction)));
                assert_eq!(shown(to_server), expected(Direction::ClientToServer), "{number} of {count}");
                if let Some(to_client) = to_client {
                    assert_eq!(shown(to_client), expected(Direction::ServerToClient), "{number} of {count}");
                }
            }
        }
        let (to_server, to_client) = derive_both(&keyword, &seed(0));
        assert_eq!(shown(to_server), shown(Keystream::of(&alone(0, Direction::ClientToServer))));
        assert_eq!(shown(to_client), shown(Keystream::of(&alone(0, Direction::ServerToClient))));
        assert_eq!(
            alone(0, Direction::ClientToServer),
            derive_key(&keyword, &seed(0), Direction::ClientToServer)
        );
    }
}
