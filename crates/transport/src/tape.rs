//! A network with nobody at the other end, which writes down what is sent: what a dial puts on the wire before it hears anything.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::{BoxFuture, Datagrams, Endpoint, Network, Stream};

/// No more is written down, of a dial that does not stop.
const LONGEST: usize = 1 << 20;
/// Where names lead, and where sockets are: addresses for documentation, RFC 5737.
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 40_000);

/// What was sent at once.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    /// Connections and sockets are numbered as they are made, from 1.
    pub channel: usize,
    /// True for a datagram.
    pub is_datagram: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sent({}, {} bytes)", self.channel, self.bytes.len())
    }
}

/// The network. Cheap to clone; clones write on the same tape.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    channels: usize,
    sent: Vec<Sent>,
    bytes: usize,
    last: Option<Instant>,
}

impl Tape {
    /// What was sent so far.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sent.clone()
    }

    /// When something was sent last.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    fn channel(&self) -> usize {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.channels += 1;
        record.channels
    }

    fn note(&self, channel: usize, is_datagram: bool, bytes: &[u8]) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.last = Some(Instant::now());
        if record.bytes.saturating_add(bytes.len()) <= LONGEST {
            record.bytes += bytes.len();
            record.sent.push(Sent { channel, is_datagram, bytes: bytes.to_vec() });
        }
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tape")
    }
}

impl Network for Tape {
    fn connect<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        let channel = Channel { tape: self.clone(), number: self.channel() };
        Box::pin(async move { Ok(Box::new(channel) as Stream) })
    }

    fn datagrams(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        let channel = Channel { tape: self.clone(), number: self.channel() };
        Box::pin(async move { Ok(Arc::new(channel) as Datagrams) })
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(vec![SOMEWHERE]) })
    }
}

/// A connection, or a socket.
#[derive(Debug)]
struct Channel {
    tape: Tape,
    number: usize,
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Nobody will ever write: whoever reads is ended by its own limit.
        Poll::Pending
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tape.note(self.number, false, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Channel {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysReady)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            self.tape.note(self.number, true, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(HERE)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysReady;

impl UdpPoller for AlwaysReady {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
