//! Where bytes leave this process.

use std::io;
use std::net::IpAddr;

use tokio::net::{TcpStream, lookup_host};

use crate::{BoxFuture, Endpoint, Stream};

/// The one seam for direct, proxied, bound and simulated dials: below it, and only there, stands an operating
/// system.
pub trait Network: Send + Sync {
    /// Connects a byte stream.
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>>;

    /// Resolves a name; at least one address on success.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

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

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let addresses: Vec<IpAddr> = lookup_host((name, 0)).await?.map(|address| address.ip()).collect();
            if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
        })
    }
}
