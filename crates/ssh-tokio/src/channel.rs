//! A channel as a byte stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use culvert_ssh::ChannelId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::meter::Meter;
use crate::shared::{Reading, Shared};

/// One channel. `shutdown` ends our direction (half-close); dropping closes the channel after what was
/// written.
pub struct ChannelStream {
    shared: Arc<Shared>,
    id: ChannelId,
    /// Our direction was ended: nothing more can be written.
    finished: bool,
}

impl ChannelStream {
    pub(crate) fn new(shared: Arc<Shared>, id: ChannelId) -> Self {
        Self { shared, id, finished: false }
    }

    /// Closes at once; what was written and not yet sent is lost.
    pub fn abort(self) {
        self.shared.lock().connection.abort(self.id);
    }

    /// Counts the channel's bytes from here on.
    pub fn count_with(&self, meter: Meter) {
        if let Some(channel) = self.shared.lock().channels.get_mut(&self.id) {
            channel.meter = Some(meter);
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let Some(channel) = state.channels.get_mut(&self.id) else { return Poll::Ready(Ok(())) };
        if !channel.received.is_empty() {
            let taken = channel.received.take_with(|part| {
                let fitting = part.len().min(buf.remaining());
                buf.put_slice(&part[..fitting]);
                fitting
            });
            state.consumed(self.id, taken);
            return Poll::Ready(Ok(()));
        }
        if channel.reading != Reading::Flowing {
            return Poll::Ready(Ok(()));
        }
        if state.ended.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        channel.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        if state.ended.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(channel) = state.channels.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if channel.reading == Reading::Closed || self.finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let taken = state.connection.write(self.id, data);
        if taken == 0 {
            channel.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.count_sent(self.id, taken);
        state.wake_driver();
        Poll::Ready(Ok(taken))
    }

    /// Nothing to do: the driver sends what is queued as soon as it can.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        let mut state = self.shared.lock();
        state.connection.finish(self.id);
        state.wake_driver();
        Poll::Ready(Ok(()))
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let unread = state.channels.remove(&self.id).map_or(0, |channel| channel.received.len());
        state.connection.consume(self.id, unread);
        state.connection.close(self.id);
        state.wake_driver();
    }
}
