//! Known-answer cases, run by `tests/vectors.rs`.
