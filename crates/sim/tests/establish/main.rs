//! Whole clients in a simulated network. Each test runs for many seeds, `CULVERT_SIM_SEEDS` of them; a failure names its seed, and
//! `CULVERT_SIM_SEED` runs that one alone.

#![expect(clippy::unwrap_used, reason = "a test fails by them")]

mod races;
mod scene;
mod seams;
