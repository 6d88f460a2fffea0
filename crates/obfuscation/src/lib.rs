//! Looks-random bytes, reproducibly: the seeded generator, the obfuscated SSH preamble, prefixes.
//!
//! Pure: no sockets, files, clock or system randomness. Whatever must be unpredictable arrives as a [`Seed`].
//! Source: `PROTOCOL.md` sections 1 and 2.

mod prng;
mod seed;

pub use prng::Prng;
pub use seed::{ObfuscatorSeed, SEED_LEN, Seed, ServerSeedLabel};
