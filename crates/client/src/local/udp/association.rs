//! One UDP association: a socket for an application, for as long as its SOCKS connection is open.
//!
//! Source: RFC 1928 sections 4, 6 and 7.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use culvert_protocol::udpgw::Flags;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::gateway::{Gateway, Outgoing, Place, Receiver, Turn};
use super::header;
use crate::flow::Host;

/// How long an association may carry nothing.
const IDLE: Duration = Duration::from_secs(600);
/// Datagrams of one application that may wait for the address of their name; further ones are dropped.
const MOST_WAITING: usize = 16;
const DNS_PORT: u16 = 53;

/// Who may send: the application's address, as its SOCKS connection and its request tell it.
#[derive(Debug, Clone, Copy)]
pub(in crate::local) struct Claim {
    pub(in crate::local) ip: IpAddr,
    /// Zero where the application does not know it yet (RFC 1928 section 4).
    pub(in crate::local) port: u16,
}

/// An association that is ready.
pub(in crate::local) struct Association {
    gateway: Arc<Gateway>,
    place: Place,
    application: Arc<Application>,
    claim: Claim,
    waiting: JoinSet<()>,
}

/// The application's side.
pub(super) struct Application {
    socket: UdpSocket,
    /// The first sender, to which alone answers go.
    address: OnceLock<SocketAddr>,
    used: Mutex<Instant>,
}

/// Why an association was not made.
#[derive(Debug, thiserror::Error)]
pub(in crate::local) enum AssociationError {
    #[error("too many UDP associations are open")]
    TooMany,
    #[error("no socket for a UDP association: {0}")]
    Socket(#[from] io::Error),
}

impl Association {
    /// Opens a socket at `ip`, where the proxy is.
    pub(in crate::local) async fn new(
        gateway: &Arc<Gateway>,
        ip: IpAddr,
        claim: Claim,
    ) -> Result<Self, AssociationError> {
        let place = gateway.enter().ok_or(AssociationError::TooMany)?;
        let socket = UdpSocket::bind((ip, 0)).await?;
        let application = Application { socket, address: OnceLock::new(), used: Mutex::new(Instant::now()) };
        let application = Arc::new(application);
        Ok(Self { gateway: gateway.clone(), place, application, claim, waiting: JoinSet::new() })
    }

    /// Where the application is to send its datagrams.
    pub(in crate::local) fn address(&self) -> io::Result<SocketAddr> {
        self.application.socket.local_addr()
    }

    /// Carries datagrams until `over` or idle. `over` is only looked at between datagrams.
    pub(in crate::local) async fn run(mut self, over: impl Future<Output = ()>) {
        let mut over = std::pin::pin!(over);
        let gateway = self.gateway.clone();
        loop {
            tokio::select! {
                readable = self.application.socket.readable() => if readable.is_err() { return },
                Some(_) = self.waiting.join_next(), if !self.waiting.is_empty() => continue,
                () = self.application.idle() => return,
                () = &mut over => return,
            }
            let mut turn = tokio::select! {
                turn = gateway.turn() => turn,
                () = &mut over => return,
            };
            if !turn.ready().await {
                // Nobody will carry what waits: it must not be carried much later either.
                while self.receive().is_some() {}
                continue;
            }
            self.carry(&mut turn).await;
        }
    }

    /// Carries what the application's socket has, a few at a time lest others wait for long.
    async fn carry(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..8 {
            let Some(datagram) = self.receive() else { return };
            let Ok((destination, payload)) = header::parse(&datagram) else { continue };
            let carrier = Carrier {
                application: self.application.clone(),
                owner: self.place.owner,
                port: destination.port,
                payload: payload.to_vec(),
            };
            match destination.host {
                Host::Ip(ip) => carrier.send(ip, turn).await,
                Host::Name(name) => match self.gateway.names.known(&name) {
                    Some(Some(ip)) => carrier.send(ip, turn).await,
                    Some(None) => {}
                    None if self.waiting.len() < MOST_WAITING => {
                        let gateway = self.gateway.clone();
                        self.waiting.spawn(async move {
                            if let Some(ip) = gateway.names.resolve(&gateway, &name).await {
                                // A task of its own: the turn must not be dropped while it writes.
                                tokio::spawn(
                                    async move { carrier.send(ip, &mut gateway.turn().await).await },
                                );
                            }
                        });
                    }
                    None => {}
                },
            }
        }
    }

    /// The next datagram of the application; those of others are passed over.
    fn receive(&self) -> Option<Vec<u8>> {
        loop {
            let mut buffer = [MaybeUninit::<u8>::uninit(); LONGEST_DATAGRAM];
            let mut buffer = tokio::io::ReadBuf::uninit(&mut buffer);
            let from = self.application.socket.try_recv_buf_from(&mut buffer).ok()?.1;
            let claimed = from.ip().to_canonical() == self.claim.ip.to_canonical()
                && (self.claim.port == 0 || self.claim.port == from.port());
            if claimed && *self.application.address.get_or_init(|| from) == from {
                self.application.touch();
                return Some(buffer.filled().to_vec());
            }
        }
    }
}

/// A datagram under way.
struct Carrier {
    application: Arc<Application>,
    owner: u64,
    port: u16,
    payload: Vec<u8>,
}

impl Carrier {
    async fn send(self, ip: IpAddr, turn: &mut Turn<'_>) {
        let remote = SocketAddr::new(ip.to_canonical(), self.port);
        let outgoing = Outgoing { owner: self.owner, remote, flags: flags(remote), packet: self.payload };
        turn.send(outgoing, &Receiver::Application(self.application)).await;
    }
}

/// A resolver that only this machine or its network can reach means nothing at the server, which has one of its own.
fn flags(remote: SocketAddr) -> Flags {
    let is_local = match remote.ip() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if is_local && remote.port() == DNS_PORT { Flags::default().with_dns() } else { Flags::default() }
}

/// What UDP can carry at most.
const LONGEST_DATAGRAM: usize = 65_535;

impl Application {
    /// Hands the application a datagram; one that it has no room for is lost.
    pub(super) fn deliver(&self, from: SocketAddr, packet: &[u8]) {
        let Some(to) = self.address.get() else { return };
        self.touch();
        let _ = self.socket.try_send_to(&header::encode(from, packet), *to);
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    async fn idle(&self) {
        loop {
            let until = *self.used.lock().unwrap_or_else(PoisonError::into_inner) + IDLE;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}
