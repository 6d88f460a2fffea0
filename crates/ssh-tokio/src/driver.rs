//! The driver: the one task that touches the stream.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::buffers::{self, BATCH};
use crate::shared::{MAX_INCOMING, Shared};

/// Batches read before other tasks of the thread get their turn.
const BATCHES_PER_POLL: usize = 4;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The application asked for it.
    #[error("closed by this side")]
    Local,
    /// The peer closed the stream.
    #[error("the peer closed the connection")]
    Closed,
    /// The network failed.
    #[error("network: {0}")]
    Network(#[source] io::Error),
    /// The protocol failed, or the peer broke it.
    #[error(transparent)]
    Protocol(culvert_ssh::Error),
}

/// Drives one connection to its end, then gives the stream back: a server drains it.
#[must_use = "nothing happens until the driver is polled"]
pub struct Driver<S> {
    shared: Arc<Shared>,
    stream: Option<S>,
    /// Received bytes that do not make a packet yet.
    partial: Vec<u8>,
    /// Sealed bytes that the stream did not take yet.
    unsent: Vec<u8>,
    sent: usize,
    needs_flush: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Driver<S> {
    pub(crate) fn new(shared: Arc<Shared>, stream: S) -> Self {
        Self {
            shared,
            stream: Some(stream),
            partial: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            needs_flush: false,
            timer: None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Driver<S> {
    type Output = (S, Arc<End>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(mut stream) = this.stream.take() else { return Poll::Pending };
        let end = match this.poll_stream(&mut stream, cx) {
            Poll::Pending => {
                this.stream = Some(stream);
                return Poll::Pending;
            }
            Poll::Ready(end) => Arc::new(end),
        };
        // What explains the end may still be queued (DISCONNECT): one attempt, without waiting.
        let _ = this.poll_write(&mut stream, cx);
        this.shared.lock().end(end.clone());
        Poll::Ready((stream, end))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    fn poll_stream(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<End> {
        self.shared.lock().driver = Some(cx.waker().clone());
        for round in 0..=BATCHES_PER_POLL {
            let progress = match self.poll_read(stream, cx) {
                Ok(progress) => progress,
                Err(end) => return Poll::Ready(end),
            };
            // Writing never waits for reading, nor reading for writing: each goes as far as it can.
            if let Err(end) = self.poll_write(stream, cx) {
                return Poll::Ready(end);
            }
            if !progress {
                break;
            }
            if round == BATCHES_PER_POLL {
                cx.waker().wake_by_ref();
            }
        }
        if self.shared.lock().closing && self.unsent.is_empty() {
            return Poll::Ready(End::Local);
        }
        self.poll_timer(cx);
        Poll::Pending
    }

    /// Reads one batch and handles it; false when the stream has nothing.
    fn poll_read(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.shared.lock().incoming.len() >= MAX_INCOMING {
            return Ok(false);
        }
        let mut buffer = buffers::for_reading();
        let kept = self.partial.len();
        if buffer.len() < kept + BATCH {
            buffer.resize(kept + BATCH, 0);
        }
        let (head, room) = buffer.split_at_mut(kept);
        let mut room = ReadBuf::new(room);
        let result = match Pin::new(stream).poll_read(cx, &mut room) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(End::Network(error)),
            Poll::Ready(Ok(())) if room.filled().is_empty() => Err(End::Closed),
            Poll::Ready(Ok(())) => {
                let filled = kept + room.filled().len();
                head.copy_from_slice(&self.partial);
                self.handle(&mut buffer[..filled], filled - kept).map(|()| true)
            }
        };
        buffers::done_reading(buffer);
        result
    }

    /// Feeds the connection; keeps what does not make a packet.
    fn handle(&mut self, input: &mut [u8], fresh: usize) -> Result<(), End> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.read += fresh as u64;
        state.last_read = now;
        let mut start = 0;
        loop {
            let progress = state.connection.handle_input(&mut input[start..], now.into_std());
            let progress = progress.map_err(|error| {
                state.sort_events(&self.shared);
                End::Protocol(error)
            })?;
            if progress.consumed == 0 {
                break;
            }
            let data = progress.data.map(|data| (data.id, data.bytes));
            start += progress.consumed;
            if let Some((id, bytes)) = data {
                state.receive(id, bytes);
            }
            state.sort_events(&self.shared);
        }
        drop(state);
        self.partial.clear();
        self.partial.extend_from_slice(&input[start..]);
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        Ok(())
    }

    /// Writes until nothing is left or the stream is full.
    fn poll_write(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            if self.sent == self.unsent.len() && !self.seal_batch() {
                return self.poll_flush(stream, cx);
            }
            match Pin::new(&mut *stream).poll_write(cx, &self.unsent[self.sent..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(End::Network(error)),
                Poll::Ready(Ok(0)) => return Err(End::Network(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.sent += written;
                    self.needs_flush = true;
                    self.shared.lock().written += written as u64;
                }
            }
        }
    }

    /// Fills `unsent` with the next batch; false when there is nothing to send.
    fn seal_batch(&mut self) -> bool {
        self.sent = 0;
        self.unsent.clear();
        let mut state = self.shared.lock();
        if !state.connection.wants_to_send() {
            buffers::done_writing(std::mem::take(&mut self.unsent));
            return false;
        }
        if self.unsent.capacity() == 0 {
            self.unsent = buffers::for_writing();
        }
        let now = Instant::now().into_std();
        let sealed = state.connection.poll_transmit(&mut self.unsent, BATCH, now);
        state.sort_events(&self.shared);
        if !sealed {
            buffers::done_writing(std::mem::take(&mut self.unsent));
        }
        sealed
    }

    fn poll_flush(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Result<(), End> {
        if self.needs_flush {
            match Pin::new(stream).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(error)) => return Err(End::Network(error)),
            }
        }
        Ok(())
    }

    /// Sleeps until the connection wants to be called again.
    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.shared.lock().connection.poll_timeout() else {
            self.timer = None;
            return;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at.into())));
        timer.as_mut().reset(at.into());
        if timer.as_mut().poll(cx).is_ready() {
            self.timer = None;
            self.shared.lock().connection.handle_timeout(Instant::now().into_std());
            cx.waker().wake_by_ref();
        }
    }
}

impl<S> Drop for Driver<S> {
    /// A driver that is dropped (its task was aborted) ends its session all the same.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.ended.is_none() {
            state.end(Arc::new(End::Local));
        }
    }
}
