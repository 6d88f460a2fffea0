//! Cases of the `obfuscation` crate.

use crate::Runner;

/// The files this area reads, by name without `.json`.
pub const FILES: &[(&str, Runner)] = &[];
