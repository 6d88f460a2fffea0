//! One TLS port for meek and for TLS-OSSH: what is inside TLS tells them apart, by its first bytes. Source: TRANSPORTS.md 6.3.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use culvert_transport::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How many bytes tell.
const ENOUGH: usize = 4;
/// How requests begin. Noise does so once in 2^29 connections.
const METHODS: [&[u8; ENOUGH]; 8] = [b"POST", b"GET ", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN"];

/// Whether a request begins; `received` has what was read to tell, and all before.
pub(super) async fn is_request(stream: &mut Stream, received: &mut BytesMut) -> io::Result<bool> {
    while received.len() < ENOUGH {
        received.reserve(4096);
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(METHODS.iter().any(|method| received.starts_with(&method[..])))
}

/// A stream whose first bytes were read already.
pub(super) struct Prepended {
    received: BytesMut,
    stream: Stream,
}

impl Prepended {
    pub(super) fn new(received: BytesMut, stream: Stream) -> Self {
        Self { received, stream }
    }
}

impl AsyncRead for Prepended {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, to);
        }
        let len = self.received.len().min(to.remaining());
        to.put_slice(self.received.get(..len).unwrap_or_default());
        self.received.advance(len);
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prepended {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
