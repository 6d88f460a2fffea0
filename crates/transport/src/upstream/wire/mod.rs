//! What is said to a proxy until it connects, as bytes in and bytes out: no sockets, no clock, and randomness is an argument.
//! Source: TRANSPORTS.md 6.4.

mod challenge;
mod digest;
mod http;
pub mod ntlm;
mod socks;

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::BytesMut;
use thiserror::Error;

pub use challenge::{AuthScheme, Challenge, challenges};
pub(in crate::upstream) use http::basic;

use super::{CustomHeaders, ProxyUrl, Scheme, UpstreamError};
use crate::Endpoint;

/// What one handshake has to itself.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// Random bytes for what a client of a login draws.
    pub random: [u8; Fresh::LEN],
    /// The time.
    pub now: SystemTime,
}

impl Fresh {
    /// Random bytes that a handshake needs.
    pub const LEN: usize = 12;
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More must be received, and the step asked for again.
    Read,
    /// This is to be sent.
    Write(Vec<u8>),
    /// The proxy wants a new connection for what comes next.
    Reconnect,
    /// The connection is the server's now; what was received beyond this stays in the buffer.
    Connected,
}

/// An answer that is none. The peer is at fault, or is something else than it was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadReply {
    /// The head of an HTTP response.
    #[error("it does not answer with an HTTP/1 response")]
    Http,
    /// The body of one.
    #[error("its HTTP response has no clear or no reasonable length")]
    Body,
    /// SOCKS4.
    #[error("it does not answer as a SOCKS4 proxy")]
    Socks4,
    /// SOCKS5.
    #[error("it does not answer as a SOCKS5 proxy")]
    Socks5,
    /// A login's challenge.
    #[error("its {0} challenge is malformed")]
    Challenge(&'static str),
}

/// The proxy's refusal, in its own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A status of HTTP.
    #[error("HTTP status {0}")]
    Status(u16),
    /// A code of SOCKS4.
    #[error("SOCKS4 code {0}")]
    Socks4(u8),
    /// A code of SOCKS5. RFC 1928 section 6.
    #[error("{}", socks::words(*.0))]
    Socks5(u8),
}

/// One handshake with a proxy.
pub struct Handshake(State);

enum State {
    Http(Box<http::Connect>),
    Socks4(socks::Socks4),
    Socks5(socks::Socks5),
}

impl Handshake {
    /// To have `proxy` connect to `target`.
    ///
    /// # Errors
    /// That kind of proxy cannot connect there.
    pub fn new(
        proxy: &ProxyUrl,
        target: &Endpoint,
        headers: &CustomHeaders,
        fresh: Fresh,
    ) -> Result<Self, UpstreamError> {
        let credentials = proxy.credentials.clone();
        Ok(Self(match proxy.scheme {
            Scheme::Http => {
                State::Http(Box::new(http::Connect::new(authority(target), credentials, headers, fresh)))
            }
            Scheme::Socks4a => State::Socks4(socks::Socks4::new(target, credentials.as_ref())?),
            Scheme::Socks5 => State::Socks5(socks::Socks5::new(target, credentials)?),
        }))
    }

    /// Takes from what was received what it can, and says what is to be done.
    ///
    /// # Errors
    /// The proxy does not connect, or is none.
    pub fn step(&mut self, received: &mut BytesMut) -> Result<Step, UpstreamError> {
        match &mut self.0 {
            State::Http(connect) => connect.step(received),
            State::Socks4(socks) => socks.step(received),
            State::Socks5(socks) => socks.step(received),
        }
    }

    /// The connection ended. Whether the handshake goes on nevertheless, because the end belongs to what the proxy said.
    pub fn takes_end(&mut self) -> bool {
        match &mut self.0 {
            State::Http(connect) => connect.takes_end(),
            State::Socks4(_) | State::Socks5(_) => false,
        }
    }
}

/// Host and port as in a URL.
fn authority(target: &Endpoint) -> String {
    match target {
        Endpoint::Address(SocketAddr::V4(address)) => address.to_string(),
        Endpoint::Address(SocketAddr::V6(address)) => format!("[{}]:{}", address.ip(), address.port()),
        Endpoint::Name(name, port) => format!("{name}:{port}"),
    }
}
