//! How long an attempt may be silent before its place goes to another: told by the round trip that it has already shown, so that a slow server is no
//! stalled one. Not how long it may take: that is the dial's limit.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::{BaseProtocol, Carrier, TunnelProtocol};
use culvert_transport::{BoxFuture, Datagrams, Endpoint, Forwarder, Network, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Lessons;

/// For a connection, when nothing is known of the path. Shorter than TCP's first retransmission: what was lost comes while the next one is tried.
const UNKNOWN_PATH: Duration = Duration::from_millis(500);
/// A connection takes one round trip; a path that was seen to be this many times quicker has not answered.
const CONNECT_ROUND_TRIPS: u32 = 3;
/// Nobody waits longer for a first connection.
const LONGEST_CONNECT: Duration = Duration::from_secs(3);
/// A server needs time to compute, and its machine to get round to it.
const LEAST: Duration = Duration::from_millis(250);
/// Doublings at most, in later rounds.
const MOST_DOUBLINGS: u32 = 4;

/// What is expected of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until there is a connection.
    connect: Duration,
    /// From then on: a fixed part, and round trips.
    least: Duration,
    round_trips: u32,
    /// All of it, so many times.
    factor: u32,
}

impl Patience {
    /// For a protocol, on a path whose slowest round trip is known or not. What was too little in one round is doubled for the next.
    pub(crate) fn new(protocol: TunnelProtocol, slowest: Option<Duration>, round: u32) -> Self {
        let round_trips = round_trips(protocol);
        let factor = 1 << round.min(MOST_DOUBLINGS);
        let path = slowest.map(|slowest| slowest * CONNECT_ROUND_TRIPS);
        let connect = match carrier(protocol) {
            Carrier::Tcp => path.map_or(UNKNOWN_PATH, |path| path.clamp(LEAST, LONGEST_CONNECT)),
            // There is no connection to be seen.
            Carrier::Udp => {
                LEAST + slowest.unwrap_or(UNKNOWN_PATH / 2).saturating_mul(round_trips).min(LONGEST_CONNECT)
            }
        };
        let requests = protocol.base().traits().meek.is_some();
        Self { connect, least: if requests { 2 * LEAST } else { LEAST }, round_trips, factor }
    }

    /// Completes when the attempt should have come further than it has.
    pub(crate) async fn run_out(self, mut progress: watch::Receiver<Option<Duration>>) {
        let connected = async {
            match progress.wait_for(Option::is_some).await {
                Ok(round_trip) => *round_trip,
                Err(_) => None,
            }
        };
        tokio::select! {
            () = sleep(self.connect * self.factor) => {}
            Some(round_trip) = connected => {
                sleep((self.least + round_trip.saturating_mul(self.round_trips)) * self.factor).await;
            }
        }
    }
}

/// What leaves this machine.
fn carrier(protocol: TunnelProtocol) -> Carrier {
    match protocol.base() {
        // A front turns it into TCP.
        BaseProtocol::FrontedMeekQuic => Carrier::Udp,
        _ => protocol.carrier_at_server(),
    }
}

/// From a connection to an SSH connection with keys, and one more.
fn round_trips(protocol: TunnelProtocol) -> u32 {
    match protocol.base() {
        BaseProtocol::Ssh | BaseProtocol::Ossh | BaseProtocol::Shadowsocks => 3,
        BaseProtocol::TlsOssh | BaseProtocol::Quic => 5,
        BaseProtocol::UnfrontedMeek => 7,
        _ => 10,
    }
}

/// A network that tells when a dial's first connection is there.
pub(crate) struct Observed {
    network: Arc<dyn Network>,
    lessons: Lessons,
    /// How long that took.
    connected: watch::Sender<Option<Duration>>,
}

impl Observed {
    /// The network, and where to hear of the connection.
    pub(crate) fn new(
        network: Arc<dyn Network>,
        lessons: Lessons,
    ) -> (Arc<Self>, watch::Receiver<Option<Duration>>) {
        let (connected, progress) = watch::channel(None);
        (Arc::new(Self { network, lessons, connected }), progress)
    }
}

impl Network for Observed {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let started = Instant::now();
            let stream = self.network.connect(to).await?;
            let took = started.elapsed();
            self.connected.send_if_modified(|connected| {
                let is_first = connected.is_none();
                connected.get_or_insert(took);
                is_first
            });
            self.lessons.learn(|experience| experience.connected_in(took));
            Ok(stream)
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn patience(slowest: Option<u64>, round: u32, connected: Option<u64>) -> Duration {
        let patience = Patience::new(TunnelProtocol::OSSH, slowest.map(Duration::from_millis), round);
        let (sender, progress) = watch::channel(None);
        let started = Instant::now();
        let connect = async {
            if let Some(after) = connected.map(Duration::from_millis) {
                sleep(after).await;
                sender.send_replace(Some(after));
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = patience.run_out(progress) => {}
            () = connect => {}
        }
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_path_gets_more() {
        let ms = Duration::from_millis;
        assert_eq!(patience(None, 0, None).await, ms(500));
        assert_eq!(patience(Some(1), 0, None).await, ms(250));
        assert_eq!(patience(Some(200), 0, None).await, ms(600));
        assert_eq!(patience(None, 0, Some(0)).await, ms(250));
        assert_eq!(patience(None, 0, Some(100)).await, ms(100 + 250 + 300));
        assert_eq!(patience(None, 2, Some(100)).await, ms(100 + 4 * (250 + 300)));
        assert!(patience(None, 9, None).await <= ms(500 * 16));
    }
}
