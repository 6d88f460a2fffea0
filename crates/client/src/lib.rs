//! Establishes and keeps tunnels; local proxies; notices.
//!
//! Start with [`run`]: it takes a typed config, a place for state, a sink of typed events and a network, and
//! runs until it is told to stop. Nothing here is global: several clients can run in one process.

pub mod config;
mod controller;
pub mod data_dir;
mod dial;
pub mod flow;
pub mod local;
pub mod notice;
mod plan;
mod randomness;
pub mod store;
mod tunnel;

pub use controller::{Controls, RunError, SPOKEN, Surroundings, run};
/// For programs that are nothing but a client.
pub use culvert_ssh_tokio::give_back_what_is_freed;

/// The kind of network, from the front of its identifier: what is told to servers. PROTOCOL.md 4.4.
fn network_type(network_id: &str) -> &str {
    network_id.split('-').next().unwrap_or_default()
}
