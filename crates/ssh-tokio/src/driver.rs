//! The driver: the one task that touches the stream.

use std::future::Future;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use culvert_ssh::{BATCH, ChannelId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::buffers;
use crate::shared::{Shared, State};
use crate::stack::forget_calls;

/// Batches read before other tasks of the thread get their turn.
const BATCHES_PER_POLL: usize = 4;

/// For what is queued to leave when the application has asked for the end.
const FAREWELL: Duration = Duration::from_secs(5);

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
    /// What was received before there was a driver.
    received: Vec<u8>,
    needs_flush: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Runs for a while after something was read or written: buffers that were needed then may go.
    trim: Option<Pin<Box<Sleep>>>,
    /// Times that it has yet to run.
    trims: u8,
    /// Runs once the application has asked for the end.
    farewell: Option<Pin<Box<Sleep>>>,
    /// Keys were made in calls that have returned.
    rekeyed: bool,
}

impl<S> Driver<S> {
    pub(crate) fn new(shared: Arc<Shared>, received: Vec<u8>, stream: S) -> Self {
        Self {
            shared,
            stream: Some(stream),
            partial: Vec::new(),
            received,
            needs_flush: false,
            timer: None,
            trim: None,
            trims: 0,
            farewell: None,
            rekeyed: false,
        }
    }

    /// What the connection runs over, to set something about it; `None` once it was given back.
    pub fn stream_mut(&mut self) -> Option<&mut S> {
        self.stream.as_mut()
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
                if std::mem::take(&mut this.rekeyed) {
                    forget_calls();
                }
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
        if !self.received.is_empty() {
            let mut received = std::mem::take(&mut self.received);
            let fresh = received.len();
            if let Err(end) = self.handle(&mut received, fresh) {
                return Poll::Ready(end);
            }
        }
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
            self.trims = 3;
            if round == BATCHES_PER_POLL {
                cx.waker().wake_by_ref();
            }
        }
        if self.poll_farewell(cx).is_ready() {
            return Poll::Ready(End::Local);
        }
        self.poll_timer(cx);
        self.poll_trim(cx);
        Poll::Pending
    }

    /// Reads one batch and handles it; false when the stream has nothing.
    fn poll_read(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.shared.lock().incoming_is_full() {
            return Ok(false);
        }
        let (mut buffer, is_new) = buffers::lend_for_a_try();
        let kept = self.partial.len();
        // A packet is at most as large as a batch: RFC 4253 section 6.1, PROTOCOL.md 3.4.
        if buffer.len() < kept + BATCH / 2 {
            buffer.resize(kept + BATCH / 2, 0);
        }
        let (head, room) = buffer.split_at_mut(kept);
        let mut room = ReadBuf::new(room);
        let result = match Pin::new(stream).poll_read(cx, &mut room) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(End::Network(error)),
            Poll::Ready(Ok(())) if room.filled().is_empty() => Err(End::Closed),
            Poll::Ready(Ok(())) => {
                let filled = kept + room.filled().len();
                buffers::needed();
                head.copy_from_slice(&self.partial);
                self.handle(&mut buffer[..filled], filled - kept).map(|()| true)
            }
        };
        // An idle thread keeps none, though it looks for something to read at times.
        if !is_new || !matches!(result, Ok(false)) {
            buffers::give_back(buffer);
        }
        result
    }

    /// Feeds the connection; keeps what does not make a packet.
    fn handle(&mut self, input: &mut [u8], fresh: usize) -> Result<(), End> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.read += fresh as u64;
        state.last_read = now;
        state.forget_what_is_answered(now);
        let mut start = 0;
        let mut run = Run::default();
        loop {
            let progress = match state.connection.handle_input(&mut input[start..], now.into_std()) {
                Ok(progress) => progress,
                Err(error) => {
                    run.deliver(&mut state, input);
                    state.sort_events(&self.shared);
                    return Err(End::Protocol(error));
                }
            };
            if progress.consumed == 0 {
                break;
            }
            if let Some(data) = progress.data {
                if run.is_full_or_of_another(data.id) {
                    run.deliver(&mut state, input);
                }
                run.push(data.id, start + data.range.start..start + data.range.end);
            } else {
                // Events may be about the channel whose data is still in hand.
                run.deliver(&mut state, input);
                state.sort_events(&self.shared);
            }
            start += progress.consumed;
        }
        run.deliver(&mut state, input);
        self.rekeyed |= std::mem::take(&mut state.rekeyed);
        drop(state);
        self.partial.clear();
        self.partial.extend_from_slice(&input[start..]);
        Ok(())
    }

    /// Writes until nothing is left or the stream is full.
    fn poll_write(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let mut state = self.shared.lock();
            let state = &mut *state;
            let now = Instant::now().into_std();
            if state.connection.wants_to_send() {
                let spare = state.connection.lend_storage(buffers::lend());
                buffers::give_back(spare);
                state.connection.prepare_output(now);
                state.sort_events(&self.shared);
            }
            if state.connection.output().is_empty() {
                if let Some(storage) = state.connection.reclaim_storage() {
                    buffers::give_back(storage);
                }
                break;
            }
            match Pin::new(&mut *stream).poll_write(cx, state.connection.output()) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(End::Network(error)),
                Poll::Ready(Ok(0)) => return Err(End::Network(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    self.trims = 3;
                    state.written += written as u64;
                    if state.unanswered.is_none() {
                        state.unanswered = Some(now.into());
                        state.write_waker.take().into_iter().for_each(Waker::wake);
                    }
                    state.connection.advance_output(written, now);
                    state.sort_events(&self.shared);
                }
            }
        }
        self.poll_flush(stream, cx)
    }

    /// Once the application has asked for the end: ready when all is sent, or when that takes too long, because
    /// a peer that reads nothing must not keep a connection alive.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = self.shared.lock();
        if !state.closing {
            return Poll::Pending;
        }
        if !state.connection.wants_to_send() {
            return Poll::Ready(());
        }
        drop(state);
        let limit = self.farewell.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + FAREWELL)));
        limit.as_mut().poll(cx)
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

    /// An idle tunnel has no timer: it ends when what was needed has gone.
    fn poll_trim(&mut self, cx: &mut Context<'_>) {
        while self.trims > 0 {
            match &mut self.trim {
                // It has our waker: asking costs less than polling, and this is asked very often.
                Some(timer) if !timer.is_elapsed() => return,
                Some(_) => {
                    buffers::trim(Instant::now());
                    if self.partial.is_empty() {
                        self.partial = Vec::new();
                    }
                    self.trims -= 1;
                    self.trim = None;
                }
                None => {
                    let timer = self.trim.insert(Box::pin(sleep_until(Instant::now() + buffers::KEEP)));
                    if timer.as_mut().poll(cx).is_pending() {
                        return;
                    }
                }
            }
        }
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

/// Data of one channel in consecutive packets: delivered together, so that a socket sees one write.
#[derive(Default)]
struct Run {
    id: Option<ChannelId>,
    ranges: Vec<Range<usize>>,
}

impl Run {
    /// Parts of one vectored write.
    const MOST: usize = 16;

    fn is_full_or_of_another(&self, id: ChannelId) -> bool {
        self.id.is_some_and(|own| own != id) || self.ranges.len() >= Self::MOST
    }

    fn push(&mut self, id: ChannelId, range: Range<usize>) {
        self.id = Some(id);
        self.ranges.push(range);
    }

    fn deliver(&mut self, state: &mut State, input: &[u8]) {
        if let Some(id) = self.id.take() {
            let parts: Vec<IoSlice<'_>> =
                self.ranges.drain(..).map(|range| IoSlice::new(&input[range])).collect();
            state.receive(id, &parts);
        }
    }
}

impl<S> Drop for Driver<S> {
    /// A driver that is dropped (its task was aborted) ends its session all the same. What the connection said is
    /// forgotten with it.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.ended.is_none() {
            state.end(Arc::new(End::Local));
        }
        drop(state);
        buffers::forget();
        forget_calls();
    }
}
