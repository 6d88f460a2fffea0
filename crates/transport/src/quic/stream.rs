//! The one stream of a connection, with the connection's end as its own. Source: TRANSPORTS.md 3.2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use quinn::{Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::settings::LEAST_SEND_WINDOW;

const NO_ERROR: VarInt = VarInt::from_u32(0);
/// How often it is looked at how much may be under way.
const LOOK_EVERY: usize = 256 << 10;
/// The library copies what is written at once into one allocation; larger ones the system's allocator does not keep.
const MOST_AT_ONCE: usize = 64 << 10;
const MOST_SEND_WINDOW: u64 = 16 << 20;

/// The stream. Dropping it closes the connection.
pub(super) struct QuicStream {
    send: SendStream,
    receive: RecvStream,
    connection: Connection,
    /// Alive as long as the stream, where nothing else keeps it.
    _endpoint: Option<Endpoint>,
    written: usize,
    /// Ready when the peer has all that was written.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl QuicStream {
    pub(super) fn new(
        streams: (SendStream, RecvStream),
        connection: Connection,
        endpoint: Option<Endpoint>,
    ) -> Self {
        let (send, receive) = streams;
        Self { send, receive, connection, _endpoint: endpoint, written: 0, ended: None }
    }

    /// Keeps as much as the path carries, and not more: what is written behind it waits longer.
    fn note_written(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= LOOK_EVERY {
            self.written = 0;
            let window = self.connection.stats().path.cwnd.saturating_mul(2);
            self.connection.set_send_window(window.clamp(LEAST_SEND_WINDOW, MOST_SEND_WINDOW));
        }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(match ready!(self.receive.poll_read_buf(cx, to)) {
            Err(ReadError::ConnectionLost(error)) if is_end(&error) => Ok(()),
            result => result.map_err(io::Error::from),
        })
    }
}

/// Whether a connection that ended so ended in order. An idle timeout counts, too: the other's close may have been lost.
fn is_end(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code == NO_ERROR,
        ConnectionError::TimedOut | ConnectionError::LocallyClosed => true,
        _ => false,
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let data = data.get(..MOST_AT_ONCE).unwrap_or(data);
        let written = ready!(AsyncWrite::poll_write(Pin::new(&mut self.send), cx, data))?;
        self.note_written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Waits until the peer has everything, because the connection's end discards what it has not.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let ended = this.ended.get_or_insert_with(|| {
            // An error is an end that was before.
            let _ = this.send.finish();
            let stopped = this.send.stopped();
            Box::pin(async move { drop(stopped.await) })
        });
        ended.as_mut().poll(cx).map(Ok)
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        self.connection.close(NO_ERROR, b"");
    }
}
