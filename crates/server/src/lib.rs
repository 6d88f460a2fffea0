//! Accepts tunnels: sessions, port forwards, traffic rules, reports.

pub mod config;
pub mod forward;
pub mod generate;
mod keys;
pub mod log;
pub mod rules;
#[cfg(test)]
mod scratch;
pub mod seed_store;

/// What log lines call this build.
const BUILD_REV: &str = env!("CARGO_PKG_VERSION");
