//! The programs' shared parts.

pub mod console_client;
pub mod culvert;
pub mod exit;
pub mod flags;
pub mod hardening;
pub mod in_process;
pub mod psiphond;
pub mod quickstart;
pub mod selfcheck;
