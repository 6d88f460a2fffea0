//! The two directions of a session between its requests and its tunnel. Both are bounded, and what does not fit waits: a client that asks for
//! nothing makes its tunnel wait, a tunnel that reads nothing makes the next request wait. Source: TRANSPORTS.md 2.6.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait for requests at most.
const MOST_DOWN: usize = 256 * 1024;
/// Bytes that wait for the tunnel when a request may still add its own.
const MOST_UP: usize = 256 * 1024;
/// Smaller writes are gathered in pieces of this size.
const PIECE: usize = 16 * 1024;

/// Shared by the tunnel's end and the requests' end.
#[derive(Default)]
pub(super) struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    up: VecDeque<Bytes>,
    up_len: usize,
    down: VecDeque<Bytes>,
    /// Small writes, behind `down`.
    gathered: BytesMut,
    down_len: usize,
    end: End,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// There is one request at a time.
    request: Option<Waker>,
}

/// Who has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Neither,
    /// The tunnel: what it wrote is still to be fetched.
    Tunnel,
    /// The session, and with it both.
    Session,
}

/// What there is for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Some(usize),
    /// Nothing will come any more.
    End,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what the tunnel wrote, `most` bytes or so, to the end of `to`.
    pub(super) fn poll_fetch(&self, cx: &mut Context<'_>, most: usize, to: &mut Vec<Bytes>) -> Poll<Fetched> {
        let mut state = self.lock();
        let mut fetched = 0;
        while fetched < most {
            let Some(piece) = state.next_down(most - fetched) else { break };
            fetched += piece.len();
            to.push(piece);
        }
        if fetched > 0 {
            state.down_len -= fetched;
            state.request = None;
            wake(&mut state.writer);
            return Poll::Ready(Fetched::Some(fetched));
        }
        if state.end != End::Neither {
            return Poll::Ready(Fetched::End);
        }
        keep(&mut state.request, cx);
        Poll::Pending
    }

    /// Ready when a request may hand over its payload.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.up_len < MOST_UP || state.end != End::Neither {
            return Poll::Ready(());
        }
        keep(&mut state.request, cx);
        Poll::Pending
    }

    /// Hands a payload to the tunnel.
    pub(super) fn hand_over(&self, payload: Bytes) {
        let mut state = self.lock();
        if payload.is_empty() || state.end != End::Neither {
            return;
        }
        state.up_len += payload.len();
        state.up.push_back(payload);
        wake(&mut state.reader);
    }

    /// Ready when requests have fetched all that the tunnel wrote.
    pub(super) fn poll_fetched(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.down_len == 0 || state.end == End::Session {
            return Poll::Ready(());
        }
        // The tunnel has ended, so nobody else waits for room.
        keep(&mut state.writer, cx);
        Poll::Pending
    }

    /// Whether neither end has ended.
    pub(super) fn is_open(&self) -> bool {
        self.lock().end == End::Neither
    }

    /// Ends the session: the tunnel sees the end of its stream, requests get nothing more.
    pub(super) fn end_session(&self) {
        let mut state = self.lock();
        state.end = End::Session;
        state.down.clear();
        state.gathered = BytesMut::new();
        state.down_len = 0;
        state.wake_all();
    }

    fn end_tunnel(&self) {
        let mut state = self.lock();
        if state.end == End::Neither {
            state.end = End::Tunnel;
        }
        state.wake_all();
    }
}

impl State {
    fn next_down(&mut self, most: usize) -> Option<Bytes> {
        if self.down.is_empty() && !self.gathered.is_empty() {
            self.down.push_back(self.gathered.split().freeze());
        }
        let first = self.down.front_mut()?;
        if first.len() > most {
            return Some(first.split_to(most));
        }
        self.down.pop_front()
    }

    fn write(&mut self, data: &[u8]) {
        self.down_len += data.len();
        if data.len() < PIECE && self.gathered.len() + data.len() <= PIECE {
            if self.gathered.is_empty() {
                self.gathered.reserve(PIECE.min(data.len() * 4));
            }
            self.gathered.extend_from_slice(data);
            return;
        }
        if !self.gathered.is_empty() {
            self.down.push_back(self.gathered.split().freeze());
        }
        self.down.push_back(Bytes::copy_from_slice(data));
    }

    fn wake_all(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
        wake(&mut self.request);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(kept) => kept.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

/// The tunnel's end: a byte stream like that of any other transport.
pub struct SessionStream(Arc<Pipe>);

impl SessionStream {
    pub(super) fn new(pipe: Arc<Pipe>) -> Self {
        Self(pipe)
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let mut any = false;
        while to.remaining() > 0 {
            let Some(piece) = state.up.front_mut() else { break };
            let len = piece.len().min(to.remaining());
            to.put_slice(piece.get(..len).unwrap_or_default());
            piece.advance(len);
            if piece.is_empty() {
                state.up.pop_front();
            }
            state.up_len -= len;
            any = true;
        }
        if any {
            wake(&mut state.request);
            return Poll::Ready(Ok(()));
        }
        if state.end != End::Neither {
            return Poll::Ready(Ok(()));
        }
        keep(&mut state.reader, cx);
        Poll::Pending
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if state.end != End::Neither {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = MOST_DOWN.saturating_sub(state.down_len);
        if room == 0 && !data.is_empty() {
            keep(&mut state.writer, cx);
            return Poll::Pending;
        }
        let written = data.get(..room).unwrap_or(data);
        state.write(written);
        wake(&mut state.request);
        Poll::Ready(Ok(written.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.end_tunnel();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        self.0.end_tunnel();
    }
}
