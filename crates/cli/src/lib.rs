//! The programs' shared parts.

pub mod flags;
