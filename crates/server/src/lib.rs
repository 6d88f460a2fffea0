//! Accepts tunnels: sessions, port forwards, traffic rules, reports.

mod admission;
mod authorizations;
mod budget;
pub mod config;
pub mod control;
mod core_time;
mod derivations;
mod desk;
mod figures;
mod firewall;
pub mod forward;
pub mod generate;
pub mod geoip;
mod hold;
mod keys;
#[cfg(test)]
mod links_tests;
mod listen;
pub mod live;
pub mod log;
mod memory;
mod open_files;
mod orders;
mod panics;
pub mod psinet;
mod pulse;
mod quic;
mod reload;
pub mod rules;
mod run;
#[cfg(test)]
mod scratch;
pub mod seed_store;
mod service_manager;
mod services;
mod session;
mod snapshot;
mod state_directory;
mod workers;

pub use firewall::FirewallError;
pub use listen::{BindError, PortLost};
#[doc(hidden)]
pub use panics::{Drill, DrillSpot};
pub use run::{RunError, run, run_until};
pub use services::ServicesError;
pub use state_directory::StateError;

/// What log lines call this build.
const BUILD_REV: &str = env!("CARGO_PKG_VERSION");
