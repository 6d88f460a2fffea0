//! Carries bytes between an application and a flow in both directions. The end of one direction is passed on and the
//! other goes on (half-close); an error in one ends both. An idle relay holds no buffer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{AppSocket, AppStream};
use crate::flow::FlowStream;

/// How much is moved at once; on the stack while it is.
const CHUNK: usize = 32 * 1024;

/// How many chunks are moved before other tasks get a turn.
const TURN: usize = 32;

/// Relays between an application and a flow: over TCP through a tunnel without copies.
pub(super) async fn relay_socket(stream: AppStream, flow: FlowStream) -> io::Result<()> {
    match (flow, stream.into_socket()) {
        (FlowStream::Channel(channel), AppSocket::Tcp(socket)) => {
            culvert_ssh_tokio::splice(channel, socket).await
        }
        (mut flow, socket) => {
            let mut stream = AppStream::new(socket);
            let result = relay(&mut stream, &mut flow).await;
            if result.is_err() {
                // The application must not take a part for the whole.
                stream.reset_on_close();
            }
            result
        }
    }
}

/// Relays until both directions have ended, or one has failed.
pub async fn relay<A, B>(a: &mut A, b: &mut B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let mut forth = Direction::default();
    let mut back = Direction::default();
    poll_fn(|cx| {
        let forth = forth.poll(cx, &mut *a, &mut *b)?;
        let back = back.poll(cx, &mut *b, &mut *a)?;
        if forth.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// One direction of a relay.
#[derive(Default)]
struct Direction {
    /// Read, but not yet written.
    unwritten: Bytes,
    phase: Phase,
}

#[derive(Default, PartialEq)]
enum Phase {
    #[default]
    Flowing,
    /// Written since the last flush.
    Unflushed,
    /// The reader has ended; the writer has not been told.
    Ending,
    Ended,
}

impl Direction {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        if self.phase == Phase::Ended {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            while !self.unwritten.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.unwritten))?;
                self.advance(written)?;
            }
            self.unwritten = Bytes::new();
            if self.phase == Phase::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.phase = Phase::Ended;
                return Poll::Ready(Ok(()));
            }
            if self.read_some(cx, from, to)?.is_pending() {
                if self.phase == Phase::Unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.phase = Phase::Flowing;
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads a chunk and writes at once what the writer takes; the rest is kept.
    fn read_some<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut chunk = [MaybeUninit::<u8>::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(from).poll_read(cx, &mut chunk))?;
        if chunk.filled().is_empty() {
            self.phase = Phase::Ending;
            return Poll::Ready(Ok(()));
        }
        self.phase = Phase::Unflushed;
        let written = match Pin::new(to).poll_write(cx, chunk.filled())? {
            Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(written) => written,
            Poll::Pending => 0,
        };
        self.unwritten = Bytes::copy_from_slice(chunk.filled().get(written..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unwritten.advance(written.min(self.unwritten.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn the_reply_after_a_half_close_arrives() {
        let (mut application, mut near) = duplex(16);
        let (mut far, mut server) = duplex(7);
        let relaying = tokio::spawn(async move { relay(&mut near, &mut far).await });
        let serving = tokio::spawn(async move {
            let mut request = Vec::new();
            server.read_to_end(&mut request).await.unwrap();
            server.write_all(&request.repeat(1000)).await.unwrap();
        });
        application.write_all(b"a question that is longer than the buffers").await.unwrap();
        application.shutdown().await.unwrap();
        let mut reply = Vec::new();
        application.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply, b"a question that is longer than the buffers".repeat(1000));
        serving.await.unwrap();
        relaying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn large_transfers_in_both_directions_at_once_are_exact() {
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (application, mut near) = duplex(100_000);
        let (mut far, server) = duplex(5000);
        let relaying = tokio::spawn(async move { relay(&mut near, &mut far).await });
        let ends = [application, server].map(|end| {
            let data = data.clone();
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(end);
                let writing = tokio::spawn(async move {
                    writer.write_all(&data).await.unwrap();
                    writer.shutdown().await.unwrap();
                });
                let mut received = Vec::new();
                reader.read_to_end(&mut received).await.unwrap();
                writing.await.unwrap();
                received
            })
        });
        for end in ends {
            assert!(end.await.unwrap() == data, "what arrives is what was sent");
        }
        relaying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_error_in_one_direction_ends_the_relay() {
        let (mut application, mut near) = duplex(16);
        let (mut far, server) = duplex(16);
        let relaying = tokio::spawn(async move { relay(&mut near, &mut far).await });
        drop(server);
        application.write_all(b"x").await.unwrap();
        assert!(relaying.await.unwrap().is_err());
    }
}
