//! Where bytes leave this process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::net::{TcpStream, lookup_host};
use zeroize::Zeroizing;

use crate::{BoxFuture, Endpoint, Stream};

/// The one seam for direct, proxied, bound and simulated dials: below it, and only there, stands an operating
/// system.
pub trait Network: Send + Sync {
    /// Connects a byte stream.
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>>;

    /// A socket for datagrams to and from one peer. The trait is the QUIC library's: it passes many at a time.
    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>>;

    /// Resolves a name; at least one address on success.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    /// A connection to a proxy that sends on requests for servers by itself: for HTTP in the clear, where `connect` was refused.
    /// `None` where there is no such proxy.
    fn forwarder(&self) -> BoxFuture<'_, io::Result<Option<Forwarder>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Whether there is a way to an address at all, as far as can be told without sending anything.
    fn reaches(&self, _to: IpAddr) -> bool {
        true
    }
}

/// A proxy that sends on requests.
pub struct Forwarder {
    /// To the proxy.
    pub stream: Stream,
    /// What it wants to hear with each request.
    pub login: Option<Login>,
}

/// The value of a `Proxy-Authorization` header.
pub struct Login(Zeroizing<String>);

impl Login {
    /// Takes the value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// A socket for datagrams.
pub type Datagrams = Arc<dyn AsyncUdpSocket>;

/// The operating system's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsNetwork;

impl Network for OsNetwork {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = match to {
                Endpoint::Address(address) => TcpStream::connect(address).await?,
                Endpoint::Name(name, port) => TcpStream::connect((name.as_str(), *port)).await?,
            };
            // What is written is already batched; waiting for more would only add round trips.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Stream)
        })
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        Box::pin(async move {
            let any: IpAddr = match to {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            TokioRuntime.wrap_udp_socket(socket)
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let addresses: Vec<IpAddr> = lookup_host((name, 0)).await?.map(|address| address.ip()).collect();
            if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
        })
    }

    fn reaches(&self, to: IpAddr) -> bool {
        let any: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // A datagram socket that is connected sends nothing: the system only looks for a route.
        UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect((to, 443)).is_ok())
    }
}
