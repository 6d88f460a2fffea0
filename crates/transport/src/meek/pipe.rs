//! What lies between the byte stream and the session's task: what is to be sent, at most one body, and what was received and not
//! read yet, bounded. No timers, no HTTP.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bodies of this size get a response without a wait for more. TRANSPORTS.md 2.6.
pub(super) const LARGE_BODY: usize = 8192;

/// The stream that a dial ends in.
pub(super) struct MeekStream(Arc<Shared>);

/// The session's side of it.
pub(super) struct Depot(Arc<Shared>);

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    /// To be sent; at most `most_sent` bytes.
    outgoing: BytesMut,
    most_sent: usize,
    above: Above,
    writer: Option<Waker>,
    /// Received, in order.
    incoming: VecDeque<Bytes>,
    incoming_len: usize,
    /// What may be received and not read yet; beyond that the response is not read on. TRANSPORTS.md 2.7.
    most_received: usize,
    reader: Option<Waker>,
    session: Option<Waker>,
    watcher: Option<Waker>,
    end: Option<SessionEnd>,
}

/// What the layer above is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Above {
    /// Writing: there may be more.
    #[default]
    Writing,
    /// It has no more for now.
    Flushed,
    /// It will write no more.
    Closed,
    /// It is gone.
    Gone,
}

/// How a session is over.
enum SessionEnd {
    /// As asked for, or told already.
    Quiet,
    /// For this reason.
    Failed(io::Error),
}

/// A stream and the session's side of it; bodies have at most `most_sent` bytes, and `most_received` may wait to be read.
pub(super) fn pipe(most_sent: usize, most_received: usize) -> (MeekStream, Depot) {
    let shared = Arc::new(Shared::default());
    {
        let mut state = shared.lock();
        state.most_sent = most_sent.max(1);
        state.most_received = most_received.max(1);
    }
    (MeekStream(Arc::clone(&shared)), Depot(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn wait<T>(place: &mut Option<Waker>, cx: &Context<'_>) -> Poll<T> {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
    Poll::Pending
}

/// What the session waits for before it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// Any payload that is complete for now.
    Any,
    /// Payload for which the server answers at once.
    Large,
}

impl Depot {
    /// Waits until there is payload that is worth a request, or until the stream is closed.
    pub(super) async fn payload(&self, worth: Worth) {
        poll_fn(|cx| {
            let state = &mut *self.0.lock();
            let least = if worth == Worth::Large { LARGE_BODY } else { 1 };
            let len = state.outgoing.len();
            let complete = len >= least.min(state.most_sent) && state.above == Above::Flushed;
            if state.above >= Above::Closed || complete || len >= state.most_sent {
                return Poll::Ready(());
            }
            wait(&mut state.session, cx)
        })
        .await;
    }

    /// Takes all that is to be sent.
    pub(super) fn take(&self) -> Bytes {
        let mut state = self.0.lock();
        wake(&mut state.writer);
        state.outgoing.split().freeze()
    }

    /// Whether the stream is closed and all that was written is taken.
    pub(super) fn is_done(&self) -> bool {
        let state = self.0.lock();
        state.above >= Above::Closed && state.outgoing.is_empty()
    }

    /// Waits until nobody reads or writes any more.
    pub(super) async fn abandoned(&self) {
        poll_fn(|cx| {
            let state = &mut *self.0.lock();
            if state.above == Above::Gone { Poll::Ready(()) } else { wait(&mut state.watcher, cx) }
        })
        .await;
    }

    /// Hands over received bytes as soon as there is room.
    pub(super) async fn deliver(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        poll_fn(|cx| {
            let state = &mut *self.0.lock();
            if state.incoming_len >= state.most_received && state.above != Above::Gone {
                return wait(&mut state.session, cx);
            }
            Poll::Ready(())
        })
        .await;
        let mut state = self.0.lock();
        if state.above != Above::Gone {
            state.incoming_len += bytes.len();
            state.incoming.push_back(bytes);
            wake(&mut state.reader);
        }
    }

    /// The session is over; what was received can still be read.
    pub(super) fn end(self, result: io::Result<()>) {
        self.0.lock().end(match result {
            Ok(()) => SessionEnd::Quiet,
            Err(error) => SessionEnd::Failed(error),
        });
    }
}

impl Drop for Depot {
    /// Also when the task was aborted.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            state.end(SessionEnd::Quiet);
        }
    }
}

impl State {
    fn end(&mut self, end: SessionEnd) {
        self.end = Some(end);
        wake(&mut self.reader);
        wake(&mut self.writer);
    }

    fn close(&mut self, above: Above) {
        self.above = self.above.max(above);
        wake(&mut self.session);
        wake(&mut self.watcher);
    }

    fn hand_on(&mut self, to: &mut ReadBuf<'_>) {
        while let Some(front) = self.incoming.front_mut() {
            let len = front.len().min(to.remaining());
            if len == 0 {
                return;
            }
            to.put_slice(front.get(..len).unwrap_or_default());
            front.advance(len);
            self.incoming_len -= len;
            if front.is_empty() {
                self.incoming.pop_front();
            }
        }
    }
}

impl AsyncRead for MeekStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.lock();
        if state.incoming_len > 0 || to.remaining() == 0 {
            let was_full = state.incoming_len >= state.most_received;
            state.hand_on(to);
            if was_full && state.incoming_len < state.most_received {
                wake(&mut state.session);
            }
            return Poll::Ready(Ok(()));
        }
        match state.end.replace(SessionEnd::Quiet) {
            Some(SessionEnd::Failed(error)) => Poll::Ready(Err(error)),
            Some(SessionEnd::Quiet) => Poll::Ready(Ok(())),
            None => {
                state.end = None;
                wait(&mut state.reader, cx)
            }
        }
    }
}

impl AsyncWrite for MeekStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.lock();
        if state.end.is_some() || state.above >= Above::Closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = state.most_sent.saturating_sub(state.outgoing.len());
        if room == 0 {
            return wait(&mut state.writer, cx);
        }
        let part = data.get(..room).unwrap_or(data);
        state.outgoing.extend_from_slice(part);
        state.above = Above::Writing;
        if part.len() == room {
            wake(&mut state.session);
        }
        Poll::Ready(Ok(part.len()))
    }

    /// What is written is on its way; a session sends on its own time.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.lock();
        state.above = state.above.max(Above::Flushed);
        if !state.outgoing.is_empty() {
            wake(&mut state.session);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the session has sent what is left and has ended.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.lock();
        if state.end.is_some() {
            return Poll::Ready(Ok(()));
        }
        state.close(Above::Closed);
        wait(&mut state.writer, cx)
    }
}

impl Drop for MeekStream {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.incoming.clear();
        state.incoming_len = 0;
        state.close(Above::Gone);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    const MOST_RECEIVED: usize = 4 << 20;
    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn payload_is_taken_when_it_is_complete_or_a_body_is_full() {
        let (mut stream, depot) = pipe(10, MOST_RECEIVED);
        assert!(timeout(MOMENT, depot.payload(Worth::Any)).await.is_err());
        stream.write_all(b"abc").await.unwrap();
        assert!(timeout(MOMENT, depot.payload(Worth::Any)).await.is_err(), "there may be more");
        stream.flush().await.unwrap();
        depot.payload(Worth::Any).await;
        assert!(timeout(MOMENT, depot.payload(Worth::Large)).await.is_err(), "it is little");
        assert!(
            timeout(MOMENT, stream.write_all(b"0123456789")).await.is_err(),
            "there is room for one body"
        );
        depot.payload(Worth::Large).await;
        assert_eq!(depot.take().as_ref(), b"abc0123456");
        stream.write_all(b"x").await.unwrap();
        drop(stream);
        depot.payload(Worth::Large).await;
        assert!(!depot.is_done());
        assert_eq!(depot.take().as_ref(), b"x");
        assert!(depot.is_done());
    }

    #[tokio::test]
    async fn what_is_received_is_bounded_and_outlives_the_session() {
        let (mut stream, depot) = pipe(10, MOST_RECEIVED);
        depot.deliver(vec![7; MOST_RECEIVED].into()).await;
        assert!(timeout(MOMENT, depot.deliver(Bytes::from_static(b"more"))).await.is_err());
        let mut first = [0; 10];
        stream.read_exact(&mut first).await.unwrap();
        timeout(MOMENT, depot.deliver(Bytes::from_static(b"more"))).await.unwrap();
        depot.end(Err(io::ErrorKind::ConnectionReset.into()));
        let mut rest = vec![0; MOST_RECEIVED - 10 + 4];
        stream.read_exact(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"\x07more"));
        assert_eq!(stream.read(&mut first).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(stream.read(&mut first).await.unwrap(), 0);
        assert!(stream.write_all(b"x").await.is_err());
    }

    #[tokio::test]
    async fn nobody_waits_for_who_is_gone() {
        let (stream, depot) = pipe(10, MOST_RECEIVED);
        depot.deliver(vec![7; MOST_RECEIVED].into()).await;
        drop(stream);
        timeout(MOMENT, depot.deliver(Bytes::from_static(b"more"))).await.unwrap();
        timeout(MOMENT, depot.abandoned()).await.unwrap();
        let (mut stream, depot) = pipe(10, MOST_RECEIVED);
        drop(depot);
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap(), 0);
    }
}
