//! A network whose connections are fragmented.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use culvert_obfuscation::{Prng, Seed};

use super::{Settings, fragment};
use crate::{BoxFuture, Datagrams, Endpoint, Forwarder, Network, Stream};

/// Fragments what is sent over every connection. The same seed fragments the same connections the same way again.
pub struct Fragmenting {
    network: Arc<dyn Network>,
    settings: Settings,
    seed: Seed,
    connections: AtomicU32,
}

impl Fragmenting {
    /// Fragments the connections of `network`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, settings: Settings, seed: Seed) -> Self {
        Self { network, settings, seed, connections: AtomicU32::new(0) }
    }

    /// The first connection has the seed itself, as others know it; further ones have their own, lest all look alike.
    fn next_prng(&self) -> Prng {
        match self.connections.fetch_add(1, Ordering::Relaxed) {
            0 => Prng::new(&self.seed),
            number => Prng::derived(&self.seed, &number.to_string()),
        }
    }
}

impl Network for Fragmenting {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = self.network.connect(to).await?;
            Ok(fragment(stream, &self.settings, self.next_prng()))
        })
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        self.network.datagrams(to)
    }

    fn forwarder(&self) -> BoxFuture<'_, io::Result<Option<Forwarder>>> {
        self.network.forwarder()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.network.resolve(name)
    }
}
