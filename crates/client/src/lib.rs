//! Establishes and keeps tunnels; local proxies; notices.

pub mod flow;
pub mod near;
