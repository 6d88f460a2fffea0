//! How a transport is to be dialed: plain data, settled before any I/O.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::upstream::UpstreamError;
use crate::{Endpoint, Network, Stream, meek, quic, shadowsocks, tcp, tls};

/// One variant for each transport; each plan belongs to its folder.
#[derive(Clone, Debug, PartialEq)]
pub enum TransportPlan {
    /// A TCP connection and nothing around it: SSH and OSSH.
    Tcp(tcp::Plan),
    /// A Shadowsocks stream: SHADOWSOCKS-OSSH.
    Shadowsocks(shadowsocks::Plan),
    /// Requests and responses: the meek protocols.
    Meek(Box<meek::Plan>),
    /// A stream of QUIC: QUIC-OSSH.
    Quic(quic::Plan),
    /// TLS: TLS-OSSH.
    Tls(Box<tls::Plan>),
}

/// A transport that is up.
pub struct Dialed {
    /// The bytes.
    pub stream: Stream,
    /// What was learned on the way.
    pub facts: DialFacts,
}

/// What was learned while dialing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialFacts {
    /// Characters of the first cookie of a meek session, its name included.
    pub meek_cookie_len: Option<usize>,
    /// Of TLS, where there is any.
    pub tls: Option<tls::TlsFacts>,
}

/// Why a transport could not be dialed.
#[derive(Debug, Error)]
pub enum DialError {
    /// The TCP connection failed: server down, blocked, or no network.
    #[error("connecting to the server: {0}")]
    Connect(#[source] io::Error),
    /// QUIC: the server or something before it did not answer, or not as ours do.
    #[error("QUIC: {0}")]
    Quic(#[from] quic::QuicError),
    /// The server, or something on the way, ended the connection before the transport was up, or the network did.
    #[error("the connection ended before it was set up: {0}")]
    Broken(#[source] io::Error),
    /// TLS could not be agreed on; or this version's TLS is at fault, which the message says.
    #[error(transparent)]
    Tls(culvert_tls::HandshakeError),
    /// A bug: connections would not look as they should, and none is made.
    #[error(transparent)]
    TlsSelfTest(#[from] culvert_tls::SelfTestFailed),
    /// This machine's random source failed.
    #[error("this machine's random source failed")]
    Random,
    /// The entry or the configuration.
    #[error(transparent)]
    Meek(#[from] meek::SetupError),
    /// HTTP, before there was a request.
    #[error("HTTP: {0}")]
    Http(#[source] Box<meek::ExchangeError>),
}

impl DialError {
    /// The error of the user's proxy, if it is why.
    #[must_use]
    pub fn upstream(&self) -> Option<&UpstreamError> {
        match self {
            Self::Connect(error) => UpstreamError::of(error),
            _ => None,
        }
    }
}

impl TransportPlan {
    /// The name that is dialed, where it is not an address.
    #[must_use]
    pub fn host_name(&self) -> Option<&str> {
        let endpoint = match self {
            Self::Tcp(plan) => &plan.server,
            Self::Shadowsocks(plan) => &plan.server,
            Self::Quic(plan) => &plan.server,
            Self::Tls(plan) => &plan.server,
            Self::Meek(plan) => match &plan.route {
                meek::Route::Http(server) => server,
                meek::Route::Https(plan) => &plan.server,
                meek::Route::Http3(plan) => &plan.front,
            },
        };
        match endpoint {
            Endpoint::Name(name, _) => Some(name),
            Endpoint::Address(_) => None,
        }
    }

    /// Dials. Some transports make further connections for as long as the stream lives.
    pub async fn dial(&self, network: &Arc<dyn Network>) -> Result<Dialed, DialError> {
        match self {
            Self::Tcp(plan) => tcp::dial(plan, network.as_ref()).await,
            Self::Meek(plan) => meek::dial(plan, network).await,
            Self::Shadowsocks(plan) => shadowsocks::dial(plan, network.as_ref()).await,
            Self::Quic(plan) => quic::dial(plan, network.as_ref()).await,
            Self::Tls(plan) => tls::dial(plan, network.as_ref()).await,
        }
    }
}
