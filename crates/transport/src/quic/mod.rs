//! QUIC around an obfuscated stream: what QUIC-OSSH runs on. Packets may be hidden (`wire`); a client proves in the random of its ClientHello that it
//! has the key, which is read before anything is answered (`initial`). Source: TRANSPORTS.md 3.

pub mod initial;
pub mod wire;

pub use wire::Key;
