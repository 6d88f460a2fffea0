//! One SSH connection, either role, obfuscated or not, without I/O.

pub mod cipher;
pub mod host_key;
pub mod kex;
pub mod kexinit;
pub mod names;
pub mod wire;
