//! Establishes and keeps tunnels; local proxies; notices.
//!
//! Start with [`Client::start`]: it takes a typed config, a place for state and a network, gives a stream of typed events, and
//! runs until it is told to stop. Nothing here is global: several clients can run in one process.

mod client;
pub mod config;
mod controller;
mod controls;
pub mod data_dir;
mod dial;
mod establish;
pub mod first_flight;
pub mod flow;
pub mod local;
pub mod notice;
pub mod old_files;
mod plan;
mod private_file;
mod randomness;
mod reports;
pub mod store;
mod system;
mod tunnel;

pub use client::{Client, Events};
pub use controller::{RunError, Surroundings};
pub use controls::{Controls, DynamicConfig};
pub use establish::{EstablishError, Feed, Host, NoFeed, SPOKEN};
pub use plan::{BadPlan, Fingerprint, PlanError, StoredPlan};

/// The kind of network, from the front of its identifier: what is told to servers. PROTOCOL.md 4.4.
fn network_type(network_id: &str) -> &str {
    network_id.split('-').next().unwrap_or_default()
}
