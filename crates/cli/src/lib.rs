//! The programs' shared parts.

pub mod flags;
pub mod psiphond;
pub mod quickstart;
