//! A network on which everything is at one address: that at which a front is better dialed than at what its name resolves to.
//! Source: PROTOCOL.md 8.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::{BoxFuture, Datagrams, Endpoint, Forwarder, Network, Stream};

/// A network of one address.
pub struct Steered {
    network: Arc<dyn Network>,
    address: IpAddr,
}

impl Steered {
    /// Connects over `network`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, address: IpAddr) -> Self {
        Self { network, address }
    }
}

impl Network for Steered {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        let port = match to {
            Endpoint::Address(address) => address.port(),
            Endpoint::Name(_, port) => *port,
        };
        Box::pin(async move {
            self.network.connect(&Endpoint::Address(SocketAddr::new(self.address, port))).await
        })
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        self.network.datagrams(SocketAddr::new(self.address, to.port()))
    }

    fn forwarder(&self) -> BoxFuture<'_, io::Result<Option<Forwarder>>> {
        self.network.forwarder()
    }

    fn resolve<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(vec![self.address]) })
    }

    fn reaches(&self, _to: IpAddr) -> bool {
        self.network.reaches(self.address)
    }
}
