//! Looks-random bytes, reproducibly: the seeded generator, the obfuscated SSH preamble, prefixes.
//!
//! Pure: no sockets, files, clock or system randomness. Whatever must be unpredictable arrives as a [`Seed`].
//! Source: `PROTOCOL.md` sections 1 and 2.

mod builtin;
#[doc(hidden)]
pub mod fuzz;
mod history;
mod identification;
mod keystream;
mod lanes;
mod padding;
mod preamble;
mod prefix;
mod prng;
mod reader;
mod regen;
mod seed;
mod transform;

pub use builtin::BuiltinPrefix;
pub use history::{
    AddressMatch, NotASeedHistory, ReplayMode, RestoredHistory, SEED_HEADER_LEN, SEED_RECORD_LEN,
    SeedHistory, SeedHistoryLimits, SeedIndexKey, SeedRecord, SeedVerdict,
};
pub use identification::{identification, server_identification};
pub use keystream::{Derivation, Derived, Direction, Keystream, Keyword, derive_both, derive_key};
pub use padding::{
    KexPacketError, MAX_KEX_PACKET, PaddingStyle, PaddingUse, ServerOpening, identification_padding,
    kex_packet_size, pad_kex_packet,
};
pub use preamble::{ClientPreamble, MAX_PADDING, MIN_CLIENT_PADDING, PaddingRange, PreamblePlan};
pub use prefix::{
    GeneratedPrefix, MAX_PREFIX_NAME_LEN, MAX_PREFIX_SEARCH, PREFIX_SALT_LEN, PrefixError, PrefixName,
    PrefixPlan, TERMINATOR_LEN, TerminatorSearch,
};
pub use prng::Prng;
pub use reader::{Evidence, MAX_KEPT, PreambleError, PreambleProgress, PreambleReader, ServerPreamble};
pub use regen::{
    GeneratedTooMuch, Generator, MAX_GENERATED_LEN, MAX_PATTERN_LEN, Pattern, PatternError, PatternFault,
    PatternKind,
};
pub use seed::{ObfuscatorSeed, SEED_LEN, Seed, ServerSeedLabel};
pub use transform::{MAX_TRANSFORMED_LEN, PrefixSpec, ScopedNames, Transform, TransformError};
