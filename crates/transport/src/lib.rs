//! Carries a byte stream between client and server.
