//! Radio servers that begin their answer with "ICY" instead of "HTTP/1.1". They are understood, and told on: a player that
//! came for radio may look for that word.
//!
//! Source: SHOUTcast's protocol, as its servers speak it; no specification is public.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::flow::FlowStream;

const ICY: &[u8] = b"ICY ";
/// How such an answer is to be taken: it ends with its connection.
const HTTP: &[u8] = b"HTTP/1.0 ";

/// Whether a server was one of those.
pub(super) type IsIcy = Arc<AtomicBool>;

/// A flow whose answer may begin with "ICY".
pub(super) struct IcyFlow {
    flow: FlowStream,
    is_icy: IsIcy,
    /// What was read of the first bytes, and then what is to be handed on instead.
    head: Vec<u8>,
    handed: usize,
    decided: bool,
}

impl IcyFlow {
    pub(super) fn new(flow: FlowStream, is_icy: IsIcy) -> Self {
        Self { flow, is_icy, head: Vec::new(), handed: 0, decided: false }
    }

    /// Reads until it is known how the answer begins.
    fn poll_decide(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.decided {
            let mut bytes = [0; ICY.len()];
            let wanted = bytes.get_mut(self.head.len()..).unwrap_or_default();
            let mut buf = ReadBuf::new(wanted);
            ready!(Pin::new(&mut self.flow).poll_read(cx, &mut buf))?;
            let ended = buf.filled().is_empty();
            self.head.extend_from_slice(buf.filled());
            if self.head == ICY {
                self.head = HTTP.to_vec();
                self.is_icy.store(true, Ordering::Relaxed);
                self.decided = true;
            }
            self.decided |= ended || !ICY.starts_with(&self.head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for IcyFlow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_decide(cx))?;
        let rest = self.head.get(self.handed..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.flow).poll_read(cx, buf);
        }
        let part = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..part).unwrap_or_default());
        self.handed += part;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for IcyFlow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.flow).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.flow).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.flow).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn only_the_word_is_replaced() {
        for (said, read, icy) in [
            (&b"ICY 200 OK\r\n"[..], &b"HTTP/1.0 200 OK\r\n"[..], true),
            (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n", false),
            (b"ICE", b"ICE", false),
            (b"IC", b"IC", false),
            (b"", b"", false),
        ] {
            for piece in [1, 3, 100] {
                let (near, mut far) = tokio::io::duplex(piece);
                let is_icy = IsIcy::default();
                let mut flow = IcyFlow::new(FlowStream::Other(Box::new(near)), is_icy.clone());
                let writing = tokio::spawn(async move {
                    far.write_all(said).await.unwrap();
                });
                let mut found = Vec::new();
                flow.read_to_end(&mut found).await.unwrap();
                writing.await.unwrap();
                assert_eq!((found.as_slice(), is_icy.load(Ordering::Relaxed)), (read, icy), "{piece}");
            }
        }
    }
}
