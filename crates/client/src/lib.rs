//! Establishes and keeps tunnels; local proxies; notices.

pub mod near;
