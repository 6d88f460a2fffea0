//! Live pairings, run by `tests/pairings.rs`.
