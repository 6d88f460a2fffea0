//! Accepts tunnels: sessions, port forwards, traffic rules, reports.

mod admission;
mod budget;
pub mod config;
#[expect(dead_code, reason = "what is counted by parts that come")]
mod figures;
pub mod forward;
mod fragmentation;
pub mod generate;
pub mod geoip;
mod hold;
mod keys;
mod listen;
pub mod live;
pub mod log;
mod memory;
mod open_files;
mod quic;
pub mod rules;
mod run;
#[cfg(test)]
mod scratch;
pub mod seed_store;
mod services;
mod session;

pub use listen::BindError;
pub use run::{RunError, run, run_until};
pub use services::ServicesError;

/// What log lines call this build.
const BUILD_REV: &str = env!("CARGO_PKG_VERSION");
