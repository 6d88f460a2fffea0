//! An application's connection to a proxy: TCP, or a Unix socket. Not listening: see `listener.rs`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// The connection.
#[derive(Debug)]
pub(super) struct AppStream {
    socket: AppSocket,
    /// Was read to see what the application speaks, and is to be read again.
    first: Option<u8>,
    /// Whether the next answer of HTTP is to begin like a radio server's.
    says_icy: Option<Arc<AtomicBool>>,
    /// Such an answer's beginning, as far as it was not written yet.
    unsent: Vec<u8>,
}

/// The connection's socket.
#[derive(Debug)]
pub(super) enum AppSocket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl AppStream {
    pub(super) fn new(socket: AppSocket) -> Self {
        // Small writes of interactive applications must not wait for acknowledgements.
        if let AppSocket::Tcp(stream) = &socket {
            // Fails only for a connection that is gone, which the next read tells.
            let _ = stream.set_nodelay(true);
        }
        Self { socket, first: None, says_icy: None, unsent: Vec::new() }
    }

    /// Lets an HTTP answer begin with "ICY" when `says_icy` is set, which it then is no longer.
    pub(super) fn begin_as_told(&mut self, says_icy: Arc<AtomicBool>) {
        self.says_icy = Some(says_icy);
    }

    /// What is to be written instead of an answer's beginning, if it is to begin otherwise.
    fn as_icy(&self, data: &[u8]) -> Option<Vec<u8>> {
        let says = self.says_icy.as_ref().filter(|says| says.load(Ordering::Relaxed))?;
        let rest =
            [&b"HTTP/1.1 "[..], b"HTTP/1.0 "].into_iter().find_map(|begin| data.strip_prefix(begin))?;
        says.store(false, Ordering::Relaxed);
        Some([b"ICY ", rest].concat())
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(self.poll_socket_write(cx, &self.unsent.clone()))?;
            self.unsent.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_socket_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            AppSocket::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            #[cfg(unix)]
            AppSocket::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    /// The socket alone, of which nothing was read that is still to be read.
    pub(super) fn into_socket(self) -> AppSocket {
        self.socket
    }

    /// The first byte that the application sends, which stays to be read; `None` at its end.
    pub(super) async fn peek_first(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let count = self.read(&mut byte).await?;
        self.first = byte.first().copied().filter(|_| count > 0);
        Ok(self.first)
    }

    /// Makes the close a reset, so that the application does not take a part for the whole. Unix sockets have no such
    /// thing.
    pub(super) fn reset_on_close(&self) {
        if let AppSocket::Tcp(stream) = &self.socket {
            // Fails only for a connection that is gone.
            let _ = stream.set_zero_linger();
        }
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match &self.socket {
            AppSocket::Tcp(stream) => stream.ready(interest).await,
            #[cfg(unix)]
            AppSocket::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Reads what is there to the end of `buffer`.
    pub(super) fn try_read_buf(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &self.socket {
            AppSocket::Tcp(stream) => stream.try_read_buf(buffer),
            #[cfg(unix)]
            AppSocket::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    /// Both ends of a TCP connection: the proxy's and the application's.
    pub(super) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match &self.socket {
            AppSocket::Tcp(stream) => Some((stream.local_addr().ok()?, stream.peer_addr().ok()?)),
            #[cfg(unix)]
            AppSocket::Unix(_) => None,
        }
    }

    /// The user at the other end, as the system knows it.
    #[cfg(target_os = "linux")]
    pub(super) fn unix_user(&self) -> Option<u32> {
        match &self.socket {
            AppSocket::Tcp(_) => None,
            AppSocket::Unix(stream) => Some(stream.peer_cred().ok()?.uid()),
        }
    }
}

impl AsyncRead for AppStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        match &mut self.get_mut().socket {
            AppSocket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            AppSocket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        if let Some(instead) = this.as_icy(data) {
            this.unsent = instead;
            if let Poll::Ready(Err(error)) = this.poll_unsent(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(data.len()));
        }
        this.poll_socket_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.says_icy.as_ref().is_some_and(|says| says.load(Ordering::Relaxed)) || !this.unsent.is_empty()
        {
            let first = parts.iter().find(|part| !part.is_empty()).map(|part| &**part).unwrap_or_default();
            return Pin::new(this).poll_write(cx, first);
        }
        match &mut this.socket {
            AppSocket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            #[cfg(unix)]
            AppSocket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        match &mut this.socket {
            AppSocket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            AppSocket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        match &mut this.socket {
            AppSocket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            AppSocket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
