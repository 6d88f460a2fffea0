//! Cases of the `obfuscation` crate: which file is checked how. The checks are in the files beside.

pub(crate) mod fields;
mod preamble;
mod prng;
mod stream;
mod texts;

use crate::Runner;

/// The files this area reads, by name without `.json`.
pub const FILES: &[(&str, Runner)] = &[
    ("prng", Runner::PerCase(prng::draws)),
    ("ossh_key_derivation", Runner::PerCase(preamble::key_derivation)),
    ("ossh_client_preamble", Runner::PerCase(preamble::client_preamble)),
    ("ossh_prefix", Runner::PerCase(preamble::prefix)),
    ("ossh_kex_padding", Runner::PerCase(stream::kex_padding)),
    ("ossh_transcripts", Runner::PerCase(stream::transcript)),
    ("ossh_seed_history", Runner::WholeFile(preamble::seed_history)),
    ("derived_server_seeds", Runner::PerCase(texts::derived_server_seeds)),
    ("transport-regen", Runner::WholeFile(texts::regen)),
    ("transport-transforms", Runner::WholeFile(texts::transforms)),
];
