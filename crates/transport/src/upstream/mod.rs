//! Dials through a proxy of the user's: HTTP CONNECT with Basic, Digest or NTLM, SOCKS4a, SOCKS5. A [`Network`](crate::Network) in front of
//! another, so that every protocol over TCP goes through it; datagrams cannot. Not the proxies that this program offers. Source: TRANSPORTS.md 6.4.

mod error;
mod headers;
mod network;
#[cfg(test)]
mod tests;
mod url;
pub mod wire;

pub use error::UpstreamError;
pub use headers::{BadHeader, CustomHeaders};
pub use network::UpstreamProxy;
pub use url::{Credentials, ProxyUrl, ProxyUrlError, Scheme, UrlPart};
