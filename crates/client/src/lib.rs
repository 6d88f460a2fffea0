//! Establishes and keeps tunnels; local proxies; notices.

pub mod config;
pub mod data_dir;
pub mod flow;
pub mod local;
pub mod notice;
