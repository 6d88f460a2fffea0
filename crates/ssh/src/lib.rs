//! One SSH connection, either role, obfuscated or not, without I/O.
