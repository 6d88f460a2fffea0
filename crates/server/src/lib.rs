//! Accepts tunnels: sessions, port forwards, traffic rules, reports.

pub mod forward;
pub mod log;
pub mod rules;
#[cfg(test)]
mod scratch;
