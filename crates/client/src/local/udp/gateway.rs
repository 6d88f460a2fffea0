//! The channel to the server's UDP gateway, shared by all associations: opened for the first datagram, opened anew after
//! a reconnection, closed with the last association. No keepalives go out: the tunnel below has its own.
//!
//! Source: PROTOCOL.md 7.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use culvert_protocol::udpgw::{Datagram, Flags, FrameReader, MAX_PACKET, encode_upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::association::Application;
use super::connections::{Connections, Number, Owner};
use super::lookup::Lookups;
use super::names::Names;
use crate::flow::{Destination, FlowOpener, FlowStream};
use crate::notice::{FreeText, Notice, Notices};

/// How long datagrams are dropped after the gateway could not be opened.
const PAUSE: Duration = Duration::from_secs(2);
/// Associations at once.
const MOST_ASSOCIATIONS: usize = 256;
/// How much of the channel is read at once.
const PIECE: usize = 16 * 1024;

/// The gateway, as associations use it.
pub(in crate::local) struct Gateway {
    opener: FlowOpener,
    address: SocketAddr,
    notices: Notices,
    link: Mutex<Link>,
    connections: Arc<Connections<Receiver>>,
    pub(super) lookups: Arc<Lookups>,
    pub(super) names: Names,
    associations: AtomicUsize,
    next_owner: AtomicU64,
}

/// Where datagrams from the server go.
#[derive(Clone)]
pub(super) enum Receiver {
    Application(Arc<Application>),
    Lookups(Arc<Lookups>),
}

enum Link {
    Closed,
    Failed { at: Instant },
    Open { writer: WriteHalf<FlowStream>, reading: Reading },
}

/// The task that reads the channel; ends with its drop.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An association's place; the last one to go closes the channel.
pub(super) struct Place {
    gateway: Arc<Gateway>,
    pub(super) owner: Owner,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gateway.connections.forget(self.owner);
        if self.gateway.associations.fetch_sub(1, Ordering::Relaxed) == 1
            && let Ok(mut link) = self.gateway.link.try_lock()
        {
            *link = Link::Closed;
        }
    }
}

/// A datagram for the server.
pub(super) struct Outgoing {
    pub(super) owner: Owner,
    pub(super) remote: SocketAddr,
    pub(super) flags: Flags,
    pub(super) packet: Vec<u8>,
}

/// The turn to write to the channel. It must not be dropped while it writes: half a frame would spoil the channel.
pub(super) struct Turn<'g> {
    gateway: &'g Gateway,
    link: MutexGuard<'g, Link>,
}

impl Gateway {
    pub(in crate::local) fn new(opener: FlowOpener, address: SocketAddr, notices: Notices) -> Arc<Self> {
        Arc::new(Self {
            opener,
            address,
            notices,
            link: Mutex::new(Link::Closed),
            connections: Arc::new(Connections::new()),
            lookups: Arc::default(),
            names: Names::default(),
            associations: AtomicUsize::new(0),
            next_owner: AtomicU64::new(Lookups::OWNER + 1),
        })
    }

    /// A place for an association; `None` when there are too many.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let more = |count: usize| (count < MOST_ASSOCIATIONS).then_some(count + 1);
        self.associations.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let owner = self.next_owner.fetch_add(1, Ordering::Relaxed);
        Some(Place { gateway: self.clone(), owner })
    }

    /// Waits for the turn to write.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { gateway: self, link: self.link.lock().await }
    }

    /// Opens the channel, which is held like other flows while the client reconnects.
    async fn open(&self) -> Link {
        let destination =
            Destination { host: crate::flow::Host::Ip(self.address.ip()), port: self.address.port() };
        match self.opener.open(destination).await {
            Ok(flow) => {
                let (reader, writer) = tokio::io::split(flow);
                let reading = tokio::spawn(read(reader, self.connections.clone()));
                Link::Open { writer, reading: Reading(reading) }
            }
            Err(failure) => {
                let message = format!(
                    "UDP: the server's gateway at {} (UDPGatewayAddress) was not opened: {failure}",
                    self.address
                );
                self.notices.emit(Notice::LocalProxyError { message: FreeText::new(message) });
                Link::Failed { at: Instant::now() }
            }
        }
    }
}

impl Turn<'_> {
    /// Makes sure that there is a channel; false when there cannot be one now, and datagrams are to be dropped.
    pub(super) async fn ready(&mut self) -> bool {
        match &*self.link {
            Link::Open { reading, .. } if !reading.0.is_finished() => return true,
            Link::Failed { at } if at.elapsed() < PAUSE => return false,
            Link::Open { .. } | Link::Failed { .. } | Link::Closed => {}
        }
        // The channel that has ended goes before its successor comes.
        *self.link = Link::Closed;
        *self.link = self.gateway.open().await;
        matches!(*self.link, Link::Open { .. })
    }

    /// Sends a datagram; one that is too long, or meets a lost tunnel, is lost as datagrams are.
    pub(super) async fn send(&mut self, outgoing: Outgoing, to: &Receiver) {
        let Link::Open { writer, .. } = &mut *self.link else { return };
        let Outgoing { owner, remote, flags, packet } = outgoing;
        if packet.len() > MAX_PACKET {
            return;
        }
        let (connection, flags) = match self.gateway.connections.number(owner, remote, to) {
            Number::Known(number) => (number, flags),
            Number::New(number) => (number, flags.with_rebind()),
        };
        let Ok(frame) = encode_upstream(&Datagram { flags, connection, remote, packet }) else { return };
        if writer.write_all(&frame).await.is_err() {
            *self.link = Link::Closed;
        }
    }
}

/// Hands out what comes from the server until the channel ends.
async fn read(mut reader: ReadHalf<FlowStream>, connections: Arc<Connections<Receiver>>) {
    let mut frames = FrameReader::new();
    let mut piece = vec![0; PIECE];
    while let Ok(count) = reader.read(&mut piece).await
        && count > 0
    {
        let mut bytes = piece.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            // What is no frame ends the channel; the next datagram opens another.
            let Ok((taken, datagram)) = frames.read_downstream(bytes, |id| connections.is_ipv6(id)) else {
                return;
            };
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(datagram) = datagram {
                match connections.receiver(datagram.connection, datagram.remote) {
                    Some(Receiver::Application(application)) => {
                        application.deliver(datagram.remote, &datagram.packet);
                    }
                    Some(Receiver::Lookups(lookups)) => lookups.deliver(&datagram.packet),
                    None => {}
                }
            }
        }
    }
}
