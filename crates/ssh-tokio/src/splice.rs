//! Joins a channel and a TCP socket without copies in between: the socket is read straight into packets, and
//! decrypted packets are written straight to it. Only what a full socket refuses is queued.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use culvert_ssh::ChannelId;
use tokio::net::TcpStream;

use crate::buffers;
use crate::channel::ChannelStream;
use crate::shared::{Reading, State};

/// Batches moved before other tasks of the thread get their turn.
const BATCHES_PER_POLL: usize = 4;

/// Moves bytes both ways until both directions have ended, each half-closed as it ends. An error of either
/// side ends both.
pub async fn splice(channel: ChannelStream, socket: TcpStream) -> io::Result<()> {
    let socket = Arc::new(socket);
    channel.shared().lock().attach_socket(channel.id(), Some(socket.clone()));
    let mut splice = Splice { channel, socket, up: Direction::Flowing, down: Direction::Flowing };
    let result = poll_fn(|cx| splice.poll(cx)).await;
    splice.channel.shared().lock().attach_socket(splice.channel.id(), None);
    if result.is_err() {
        // The application at the socket's other end must not take a part for the whole.
        let _ = socket2::SockRef::from(&*splice.socket).set_linger(Some(Duration::ZERO));
        splice.channel.abort();
    }
    result
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Flowing,
    Ended,
}

struct Splice {
    channel: ChannelStream,
    socket: Arc<TcpStream>,
    up: Direction,
    down: Direction,
}

impl Splice {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.up == Direction::Flowing && self.poll_up(cx)?.is_ready() {
            self.up = Direction::Ended;
        }
        if self.down == Direction::Flowing && self.poll_down(cx)?.is_ready() {
            self.down = Direction::Ended;
        }
        match (self.up, self.down) {
            (Direction::Ended, Direction::Ended) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Socket to channel; ready at the socket's end.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..BATCHES_PER_POLL {
            let readable = self.socket.poll_read_ready(cx)?;
            let mut state = self.channel.shared().lock();
            let state = &mut *state;
            if state.ended.is_some() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let Some(io) = state.channels.get_mut(&self.channel.id()) else { return Poll::Ready(Ok(())) };
            if io.reading == Reading::Closed {
                // The peer reads no more: what the socket still says has no reader.
                return Poll::Ready(Ok(()));
            }
            if readable.is_pending() {
                io.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match read_into_packets(state, self.channel.id(), &self.socket) {
                None => {
                    if let Some(io) = state.channels.get_mut(&self.channel.id()) {
                        io.writer = Some(cx.waker().clone());
                    }
                    state.wake_driver();
                    return Poll::Pending;
                }
                Some(Ok(0)) => {
                    state.connection.finish(self.channel.id());
                    state.wake_driver();
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(sent)) => {
                    state.count_sent(self.channel.id(), sent);
                    state.wake_driver();
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Channel to socket, of what the driver could not write itself; ready at the channel's end.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            {
                let mut state = self.channel.shared().lock();
                let state = &mut *state;
                let Some(io) = state.channels.get_mut(&self.channel.id()) else {
                    return Poll::Ready(Ok(()));
                };
                if io.received.is_empty() {
                    if io.reading == Reading::Flowing && state.ended.is_none() {
                        io.reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    return Poll::Ready(self.end_down(io.reading));
                }
            }
            ready!(self.socket.poll_write_ready(cx))?;
            let mut state = self.channel.shared().lock();
            if let Err(error) = write_received(&mut state, self.channel.id(), &self.socket)
                && error.kind() != io::ErrorKind::WouldBlock
            {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// The channel's end becomes the socket's; a tunnel that was lost is an error, lest half an answer look
    /// whole.
    fn end_down(&self, reading: Reading) -> io::Result<()> {
        match reading {
            Reading::Flowing => Err(io::ErrorKind::ConnectionReset.into()),
            Reading::Finished | Reading::Closed => shutdown_write(&self.socket),
        }
    }
}

/// One readv into the packets of a batch. `None`: no room now.
fn read_into_packets(state: &mut State, id: ChannelId, socket: &TcpStream) -> Option<io::Result<usize>> {
    let spare = state.connection.lend_storage(buffers::lend());
    buffers::give_back(spare);
    let mut result = Ok(0);
    let asked = state.connection.write_from(id, |slots| {
        let mut room: Vec<IoSliceMut<'_>> = slots.iter_mut().map(|slot| IoSliceMut::new(slot)).collect();
        result = socket.try_read_vectored(&mut room);
        *result.as_ref().unwrap_or(&0)
    });
    asked.map(|_| result)
}

/// Writes what is queued for a socket.
fn write_received(state: &mut State, id: ChannelId, socket: &TcpStream) -> io::Result<()> {
    let Some(io) = state.channels.get_mut(&id) else { return Ok(()) };
    let written = socket.try_write_vectored(&io.received.parts())?;
    io.received.advance(written);
    state.consumed(id, written);
    Ok(())
}

/// Half-closes a socket that is shared.
fn shutdown_write(socket: &TcpStream) -> io::Result<()> {
    let result = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write);
    match result {
        // The other side is gone already: there is nobody left to tell.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

impl State {
    /// Writes decrypted data straight to a channel's socket, if it has one and nothing is queued before it;
    /// returns the bytes written.
    pub(crate) fn write_direct(&mut self, id: ChannelId, parts: &[IoSlice<'_>]) -> usize {
        let Some(io) = self.channels.get_mut(&id) else { return 0 };
        let (Some(socket), true) = (&io.socket, io.received.is_empty()) else { return 0 };
        // An error shows again when the splice writes what is left.
        let written = socket.try_write_vectored(parts).unwrap_or(0);
        self.consumed(id, written);
        written
    }
}
