//! Why a dial through the user's proxy failed, and whose fault that is.

use std::io;

use thiserror::Error;

use super::wire::{AuthScheme, BadReply, Refusal};

/// Why a dial through the user's proxy failed. Travels inside an [`io::Error`]: see [`UpstreamError::of`].
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The network, or the address in the setting.
    #[error("the upstream proxy (UpstreamProxyURL) cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// The proxy, or the network before it.
    #[error("the connection to the upstream proxy (UpstreamProxyURL) ended before it was set up: {0}")]
    Broken(#[source] io::Error),
    /// What answers is not such a proxy.
    #[error(
        "what answers at UpstreamProxyURL is not a proxy of that kind: {0}; is the scheme (http, socks4a, socks5) right?"
    )]
    NotAProxy(#[from] BadReply),
    /// The settings.
    #[error("the upstream proxy wants a login; put user name and password into UpstreamProxyURL")]
    LoginWanted,
    /// The settings.
    #[error("the upstream proxy refused the login; check user name and password in UpstreamProxyURL")]
    LoginRefused,
    /// The proxy wants what this program cannot do.
    #[error(
        "the upstream proxy wants a kind of login that is not supported: {wanted}; supported are {}",
        AuthScheme::NAMES
    )]
    LoginUnsupported {
        /// The names of what it wants.
        wanted: String,
    },
    /// The server is down or the proxy's rules forbid it; another server or port may do.
    #[error("the upstream proxy did not connect to the server: {0}")]
    TargetRefused(#[from] Refusal),
    /// SOCKS4 has no such addresses.
    #[error("a SOCKS4a proxy cannot connect to an IPv6 address")]
    NoIpv6,
    /// No kind of proxy carries them.
    #[error("datagrams cannot go through the upstream proxy")]
    NoDatagrams,
    /// This machine's random source failed.
    #[error("this machine's random source failed")]
    Random,
}

impl UpstreamError {
    /// The error inside what a network returned, if the proxy was why.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether another server or port may fare better: not when the proxy itself is the obstacle.
    #[must_use]
    pub const fn blames_target(&self) -> bool {
        matches!(self, Self::TargetRefused(_) | Self::NoIpv6 | Self::NoDatagrams)
    }

    const fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Unreachable(_) | Self::Broken(_) => io::ErrorKind::ConnectionAborted,
            Self::NotAProxy(_) => io::ErrorKind::InvalidData,
            Self::LoginWanted | Self::LoginRefused | Self::LoginUnsupported { .. } => {
                io::ErrorKind::PermissionDenied
            }
            Self::TargetRefused(_) => io::ErrorKind::ConnectionRefused,
            Self::NoIpv6 | Self::NoDatagrams => io::ErrorKind::Unsupported,
            Self::Random => io::ErrorKind::Other,
        }
    }
}

impl From<UpstreamError> for io::Error {
    fn from(error: UpstreamError) -> Self {
        Self::new(error.kind(), error)
    }
}
