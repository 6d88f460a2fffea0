//! One TCP connection: two streams of bytes that arrive later than they were sent, and the ways in which they do not arrive.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::world::Path;

/// Bytes under way in one direction; beyond it a writer waits.
const MOST_UNDER_WAY: usize = 256 * 1024;
/// What a lost segment costs: TCP's least retransmission timeout.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// What both ends share.
pub(crate) struct Wire(Mutex<State>);

struct State {
    path: Path,
    prng: Prng,
    /// Nothing arrives any more, and nobody is told.
    is_cut: bool,
    is_reset: bool,
    directions: [Direction; 2],
}

#[derive(Default)]
struct Direction {
    under_way: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    last: Option<Instant>,
    /// The writer has ended, which arrives then.
    ended: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

impl Wire {
    /// Ends the connection for both, as RST does.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        state.is_reset = true;
        state.directions.iter_mut().for_each(Direction::wake);
    }

    /// From now on nothing arrives.
    pub(crate) fn cut(&self) {
        self.lock().is_cut = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of a connection.
pub struct Pipe {
    wire: Arc<Wire>,
    /// The direction that this end writes to.
    out: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Both ends of a connection over a path.
pub fn pair(path: Path, seed: &Seed) -> (Pipe, Pipe) {
    let state = State {
        path,
        prng: Prng::new(seed),
        is_cut: false,
        is_reset: false,
        directions: [Direction::default(), Direction::default()],
    };
    let wire = Arc::new(Wire(Mutex::new(state)));
    (Pipe { wire: wire.clone(), out: 0, timer: None }, Pipe { wire, out: 1, timer: None })
}

impl Pipe {
    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { wire, out, timer } = self.get_mut();
        loop {
            let mut state = wire.lock();
            if state.is_reset {
                return reset();
            }
            let is_cut = state.is_cut;
            let direction = &mut state.directions[1 - *out];
            direction.reader = Some(cx.waker().clone());
            let now = Instant::now();
            let arrives = match direction.under_way.front_mut() {
                _ if is_cut => None,
                Some((at, bytes)) if *at <= now => {
                    let taken = bytes.len().min(buf.remaining());
                    buf.put_slice(&bytes[..taken]);
                    bytes.drain(..taken);
                    if bytes.is_empty() {
                        direction.under_way.pop_front();
                    }
                    direction.bytes -= taken;
                    direction.writer.take().into_iter().for_each(Waker::wake);
                    return Poll::Ready(Ok(()));
                }
                Some((at, _)) => Some(*at),
                None => direction.ended,
            };
            if arrives.is_some_and(|at| at <= now) {
                return Poll::Ready(Ok(()));
            }
            drop(state);
            let Some(at) = arrives else { return Poll::Pending };
            let timer = timer.insert(Box::pin(sleep_until(at)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.wire.lock();
        let state = &mut *state;
        if state.is_reset {
            return reset();
        }
        let direction = &mut state.directions[self.out];
        let room = MOST_UNDER_WAY.saturating_sub(direction.bytes);
        if room == 0 {
            direction.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = data.len().min(room);
        let mut at = Instant::now() + state.path.delay;
        while state.prng.flip_weighted_coin(state.path.loss) {
            at += RETRANSMISSION + state.path.delay;
        }
        // What comes behind something that was lost waits for it.
        let at = direction.last.map_or(at, |last| last.max(at));
        direction.last = Some(at);
        direction.bytes += taken;
        direction.under_way.push_back((at, data[..taken].to_vec()));
        direction.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.wire.lock();
        let at = Instant::now() + state.path.delay;
        let direction = &mut state.directions[self.out];
        let at = direction.last.map_or(at, |last| last.max(at));
        direction.ended.get_or_insert(at);
        direction.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut state = self.wire.lock();
        let at = Instant::now() + state.path.delay;
        let direction = &mut state.directions[self.out];
        direction.ended.get_or_insert(at);
        direction.wake();
    }
}
