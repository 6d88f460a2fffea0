//! A client's early writes in more segments than a handshake would take. What shows TLS inside other encryption is the sizes of a few bursts in
//! turn, the first of them a ClientHello, which takes at most three segments (Xue et al., "Fingerprinting Obfuscated Proxy Traffic with
//! Encapsulated TLS Handshakes", USENIX Security 2024, as nDPI has it). A burst of more is none of those. No byte is added and none waits;
//! sizes of segments become any, where the layers above pad to whole blocks. When the flow is older nothing is cut any more.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use culvert_obfuscation::{Prng, Seed};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::{BoxFuture, Datagrams, Endpoint, Forwarder, Network, Stream};

/// Segments of a write, at least. Not only of a burst: what the peer sends meanwhile makes two bursts of one.
const LEAST: usize = 5;
/// A few more, by chance.
const MORE: i64 = 2;
/// Pieces are this long on average, or longer: shorter ones are few enough to tell by their sizes, and what is as short as two of them, such as
/// the end of a TLS handshake, is not what models look for.
const LEAST_PIECE: usize = 48;
/// What a segment carries on most paths.
const FULL: usize = 1448;
/// Models look at so many segments of a flow.
const LOOKED_AT: usize = 64;
/// What the first piece of all has at least, one or the other, for the look of a prefix is in it.
const LEAST_FIRST: [i64; 2] = [200, 700];

/// What a connection's first write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Cut like others.
    Any,
    /// In the look that its protocol gave it, such as a ClientHello.
    Whole,
}

/// A network whose connections begin so. The same seed splits the same way.
pub struct Splitting {
    network: Arc<dyn Network>,
    seed: Seed,
    first: First,
    connections: AtomicU32,
}

impl Splitting {
    /// Splits what is sent over the connections of `network`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, seed: Seed, first: First) -> Self {
        Self { network, seed, first, connections: AtomicU32::new(0) }
    }
}

impl Network for Splitting {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = self.network.connect(to).await?;
            let number = self.connections.fetch_add(1, Ordering::Relaxed);
            let prng = Prng::derived(&self.seed, &number.to_string());
            Ok(Box::new(Split::new(stream, prng, self.first)) as Stream)
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

/// A connection that begins so.
pub(crate) struct Split {
    inner: Stream,
    /// `None` once no more is cut.
    cutting: Option<Box<Cutting>>,
}

struct Cutting {
    prng: Prng,
    /// Segments so far, of both directions.
    seen: usize,
    first: Option<First>,
    /// Pieces of the write in hand that are still to be made.
    left: usize,
}

impl Split {
    fn new(inner: Stream, prng: Prng, first: First) -> Self {
        Self { inner, cutting: Some(Box::new(Cutting { prng, seen: 0, first: Some(first), left: 0 })) }
    }

    /// The connection itself.
    pub(crate) fn as_tcp(&self) -> Option<&TcpStream> {
        self.inner.as_tcp()
    }

    fn poll_write_piece(&mut self, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        match self.inner.as_tcp() {
            Some(tcp) => poll_write_segment(tcp, cx, piece),
            None => Pin::new(&mut self.inner).poll_write(cx, piece),
        }
    }

    fn note(&mut self, note: impl FnOnce(&mut Cutting)) {
        if let Some(cutting) = &mut self.cutting {
            note(cutting);
            if cutting.seen >= LOOKED_AT {
                self.cutting = None;
            }
        }
    }
}

impl Cutting {
    /// How much of so many bytes to write next.
    fn piece(&mut self, len: usize) -> usize {
        if self.first == Some(First::Whole) {
            return len;
        }
        if self.left == 0 {
            self.left = LEAST + usize::try_from(self.prng.range(0, MORE)).unwrap_or(0);
        }
        self.left = self.left.min(len / LEAST_PIECE).max(1);
        if segments(len) >= self.left {
            return len;
        }
        // The parts of an even division, give or take a half.
        let part = i64::try_from(len / self.left).unwrap_or(0);
        let piece = usize::try_from(self.prng.range(part / 2, part + part / 2)).unwrap_or(len);
        let [one, other] = if self.first.is_some() { LEAST_FIRST } else { [1, 1] };
        let least = usize::try_from(self.prng.range(one, other)).unwrap_or(len);
        piece.max(least).min(len)
    }

    /// Of so many bytes, so many were sent.
    fn sent(&mut self, len: usize, bytes: usize) {
        self.first = None;
        self.seen += segments(bytes);
        self.left = if bytes >= len { 0 } else { self.left.saturating_sub(segments(bytes)) };
    }
}

fn segments(bytes: usize) -> usize {
    bytes.div_ceil(FULL)
}

/// Writes what the system must not put into one segment with what comes later, even if it still waits to be sent then (`MSG_EOR`).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn poll_write_segment(tcp: &TcpStream, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        let send = || socket2::SockRef::from(tcp).send_with_flags(piece, libc::MSG_EOR | libc::MSG_NOSIGNAL);
        match tcp.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Writes at once; what the system then makes of it is its own.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn poll_write_segment(tcp: &TcpStream, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_write(piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

impl AsyncRead for Split {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let received = buf.filled().len().saturating_sub(before);
        if received > 0 {
            self.note(|cutting| cutting.seen += segments(received));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Split {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(cutting) = &mut this.cutting else { return Pin::new(&mut this.inner).poll_write(cx, bytes) };
        let len = cutting.piece(bytes.len());
        let piece = bytes.get(..len).unwrap_or(bytes);
        let written = ready!(this.poll_write_piece(cx, piece))?;
        this.note(|cutting| cutting.sent(bytes.len(), written));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.cutting.is_none() {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        }
        let first = parts.iter().find(|part| !part.is_empty());
        self.poll_write(cx, first.map_or(&[], |part| part))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::OsNetwork;

    /// Sizes in which the writes arrived at a peer that reads at once, over real sockets.
    async fn exchange(first: First, bursts: &[usize]) -> Vec<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Endpoint::Address(listener.local_addr().unwrap());
        let network = Splitting::new(Arc::new(OsNetwork), Seed::from_bytes([3; 32]), first);
        let mut near = network.connect(&to).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut calls = Vec::new();
        for burst in bursts {
            let bytes = vec![7; *burst];
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let written = near.write(rest).await.unwrap();
                calls.push(written);
                rest = &rest[written..];
            }
            far.read_exact(&mut vec![0; *burst]).await.unwrap();
            far.write_all(&[1; 300]).await.unwrap();
            near.read_exact(&mut [0; 300]).await.unwrap();
        }
        calls
    }

    #[tokio::test]
    async fn a_write_is_several_segments_until_nobody_looks() {
        let bursts = [600, 600, 80, 2000, 20_000, 1];
        let calls = exchange(First::Whole, &bursts).await;
        assert_eq!(calls[0], 600, "the first is as it is");
        let mut calls = calls.into_iter().skip(1);
        for burst in &bursts[1..] {
            let (mut sum, mut count) = (0, 0);
            while sum < *burst {
                let written = calls.next().unwrap();
                sum += written;
                count += segments(written);
            }
            assert!(count >= LEAST.min(burst / LEAST_PIECE), "{burst} bytes in {count} segments");
        }
        // When so many were seen, nothing is cut any more.
        let calls = exchange(First::Any, &[2000; 60]).await;
        assert!((200..1500).contains(&calls[0]), "{calls:?}");
        assert!(calls.ends_with(&[2000; 30]), "{calls:?}");
    }
}
