//! The programs' shared parts.
