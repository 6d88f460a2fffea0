//! Known-answer cases for the wire formats, and what runs them.
//!
//! Each file of `data/` is an object with a `note` and, mostly, a `vectors` array. A module here per area says in `FILES` which files
//! it reads and how; `collect` turns a folder of files into one test per case, and `tests/vectors.rs` hands those to the test
//! harness. Nothing of the product lives here.

pub mod collect;
pub mod obfuscation;
pub mod protocol;
pub mod ssh;
pub mod transport;

use serde_json::Value;

/// How the cases of one file are checked. An error says what differs, with both values.
#[derive(Clone, Copy)]
pub enum Runner {
    /// Called once per entry of the file's `vectors` array, with the entry and the whole file.
    PerCase(fn(&Value, &Value) -> Result<(), String>),
    /// Called once with the whole file.
    WholeFile(fn(&Value) -> Result<(), String>),
}

/// The runner for a file, by its name without `.json`.
pub fn runner_for(stem: &str) -> Option<Runner> {
    registered().find(|(name, _)| *name == stem).map(|(_, runner)| runner)
}

/// Every file that some area reads, by its name without `.json`.
pub fn registered() -> impl Iterator<Item = (&'static str, Runner)> {
    [obfuscation::FILES, protocol::FILES, ssh::FILES, transport::FILES]
        .into_iter()
        .flatten()
        .map(|(name, runner)| (name.trim_end_matches(".json"), *runner))
}
