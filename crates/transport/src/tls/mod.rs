//! TLS around an obfuscated stream: what TLS-OSSH runs on, and meek over HTTPS. A client proves in the random of its ClientHello that it has the key;
//! whoever does not is handed to another site, or held, before a byte is sent. Source: TRANSPORTS.md 1.

mod client_hello;
mod dial;
mod passthrough;
mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use client_hello::{ClientHello, HelloError, HelloReader};
pub use culvert_tls::{
    ClientSettings, HelloEdits, Pin, Profile, SessionId, Split, TicketSecret, Verify, profiles,
};
pub use dial::{Plan, connect, dial};
pub use passthrough::{MESSAGE_LEN, NONCE_LEN, PassthroughKey};
pub use server::{ServerError, TlsServer};

use crate::Stream;

/// A connection that is up, at either end.
pub struct Connected {
    /// What is inside TLS.
    pub stream: Stream,
    /// The application protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// What else is known of it.
    pub facts: TlsFacts,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// TLS 1.3, or 1.2.
    pub is_tls13: bool,
    /// Whether a ticket was taken.
    pub resumed: bool,
}
