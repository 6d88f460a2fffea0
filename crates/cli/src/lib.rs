//! The programs' shared parts.

pub mod flags;
pub mod quickstart;
