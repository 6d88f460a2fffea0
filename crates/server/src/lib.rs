//! Accepts tunnels: sessions, port forwards, traffic rules, reports.

pub mod forward;
pub mod rules;
