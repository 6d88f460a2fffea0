//! Moves bytes between a channel and a connection, each direction ending on its own. A direction holds memory only
//! while its receiving side cannot take what was read.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use culvert_ssh_tokio::ChannelStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;
/// Pieces that one direction moves before others get their turn.
const PIECES_PER_POLL: usize = 4;

thread_local! {
    /// Lent to whichever direction is being polled.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// Learns what was moved.
pub(crate) trait Moved {
    /// Bytes from the client to the destination.
    fn up(&self, bytes: usize);
    /// Bytes from the destination to the client.
    fn down(&self, bytes: usize);
}

/// Relays until both directions have ended, one has failed, the client has closed the channel, or nothing has moved for
/// `idle`.
pub(crate) async fn relay(
    mut channel: ChannelStream,
    mut target: TcpStream,
    moved: &impl Moved,
    idle: Option<Duration>,
) {
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    let mut last = Instant::now();
    let mut timer = idle.map(|limit| Box::pin(sleep_until(last + limit)));
    poll_fn(|cx| {
        let sent = up.poll(&mut channel, &mut target, cx);
        let received = down.poll(&mut target, &mut channel, cx);
        let (bytes_up, bytes_down) = (up.take_moved(), down.take_moved());
        if bytes_up + bytes_down > 0 {
            last = Instant::now();
            moved.up(bytes_up);
            moved.down(bytes_down);
        }
        match (&sent, &received) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
            // The client's end may have been all of it: the reference closes and never half-closes.
            (Poll::Ready(Ok(())), Poll::Pending) if channel.poll_closed(cx).is_ready() => {
                return Poll::Ready(());
            }
            _ => {}
        }
        poll_idle(&mut timer, last, idle, cx)
    })
    .await;
}

/// Ready when nothing has moved for too long.
fn poll_idle(
    timer: &mut Option<Pin<Box<Sleep>>>,
    last: Instant,
    idle: Option<Duration>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let (Some(timer), Some(idle)) = (timer, idle) else { return Poll::Pending };
    while timer.as_mut().poll(cx).is_ready() {
        let due = last + idle;
        if due <= Instant::now() {
            return Poll::Ready(());
        }
        timer.as_mut().reset(due);
    }
    Poll::Pending
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// What was read and not yet taken.
    waiting: Vec<u8>,
    taken: usize,
    moved: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Flowing,
    /// The source has ended; what waits must go out, and then the end.
    Ending,
    Done,
}

impl Pipe {
    fn take_moved(&mut self) -> usize {
        std::mem::take(&mut self.moved)
    }

    /// Ready when this direction has ended and its receiver was told so.
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.phase == Phase::Done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..PIECES_PER_POLL {
            ready!(self.poll_waiting(to, cx))?;
            if self.phase == Phase::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.phase = Phase::Done;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_piece(from, to, cx))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands on what waits.
    fn poll_waiting<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.taken..).filter(|rest| !rest.is_empty()) {
            let taken = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
            self.moved += taken;
        }
        if self.taken > 0 {
            self.waiting = Vec::new();
            self.taken = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a piece and hands on what the receiver takes of it; the rest waits.
    fn poll_piece<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let mut rest = buffer.filled();
            if rest.is_empty() {
                self.phase = Phase::Ending;
            }
            while !rest.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(taken)) => {
                        self.moved += taken;
                        rest = rest.get(taken..).unwrap_or_default();
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.waiting = rest.to_vec();
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }
}
