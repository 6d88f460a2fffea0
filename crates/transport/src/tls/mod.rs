//! TLS around an obfuscated stream: what TLS-OSSH runs on. A client proves in the random of its ClientHello that it has the key; whoever does
//! not is handed to another site, or held, before a byte is sent. Source: TRANSPORTS.md 1.

mod client_hello;
mod passthrough;
mod replay;
mod server;

pub use client_hello::{ClientHello, HelloError, HelloReader};
pub use passthrough::{MESSAGE_LEN, NONCE_LEN, PassthroughKey};
pub use server::{ServerError, TlsServer};
