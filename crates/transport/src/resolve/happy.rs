//! A network that resolves names by plan, and connects to the addresses of a name as RFC 8305 has it: one family after the other, the next before
//! the one before has failed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{ResolvePlan, Resolver};
use crate::{BoxFuture, Datagrams, Endpoint, Forwarder, Network, Stream};

/// RFC 8305 section 5.
const DELAY: Duration = Duration::from_millis(250);
/// Addresses tried of one name.
const MOST: usize = 8;

/// A network whose names are resolved by a plan.
pub struct Resolving {
    network: Arc<dyn Network>,
    resolver: Arc<Resolver>,
    plan: ResolvePlan,
}

impl Resolving {
    /// Connects over `network`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, resolver: Arc<Resolver>, plan: ResolvePlan) -> Self {
        Self { network, resolver, plan }
    }

    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let answered = self.resolver.resolve(&self.plan, name).await?;
        Ok(in_turns(answered.addresses))
    }
}

impl Network for Resolving {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            match to {
                Endpoint::Address(_) => self.network.connect(to).await,
                Endpoint::Name(name, port) => {
                    let addresses = self.addresses(name).await?;
                    race(&self.network, &addresses, *port).await
                }
            }
        })
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        self.network.datagrams(to)
    }

    fn forwarder(&self) -> BoxFuture<'_, io::Result<Option<Forwarder>>> {
        self.network.forwarder()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(self.addresses(name))
    }

    fn reaches(&self, to: IpAddr) -> bool {
        self.network.reaches(to)
    }
}

/// One of each family in turn, IPv6 first. RFC 8305 section 4. No answer has IPv6 where it leads nowhere.
fn in_turns(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// The first connection that is made wins, and the others are dropped.
async fn race(network: &Arc<dyn Network>, addresses: &[IpAddr], port: u16) -> io::Result<Stream> {
    let mut waiting = addresses.iter().take(MOST);
    let mut running = JoinSet::new();
    let mut last: io::Error = io::ErrorKind::NotFound.into();
    loop {
        if let Some(address) = waiting.next() {
            let (network, to) = (Arc::clone(network), Endpoint::Address(SocketAddr::new(*address, port)));
            running.spawn(async move { network.connect(&to).await });
        } else if running.is_empty() {
            return Err(last);
        }
        let next = Instant::now() + DELAY;
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(panicked) => last = io::Error::other(panicked),
            },
            () = sleep_until(next), if waiting.len() > 0 => {}
        }
    }
}
