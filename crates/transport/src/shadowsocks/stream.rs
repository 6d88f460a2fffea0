//! The byte stream over the wire format. Reads as much as there is and opens it in place; what is written leaves in one piece
//! with the salt before it. Large buffers are held only while bytes are in them.

use std::io;
use std::mem::take;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::{Forged, Key, Opener, SALT_LEN, Salt, Sealer};
use crate::buffers;

/// Payload sealed before more waits for the network.
const MOST_SEALED: usize = 128 * 1024;

/// So few bytes wait in memory of their own size, so that many peers that send a little and no more cost little.
const FEW: usize = 2048;

/// One end of a connection.
pub(super) struct ShadowsocksStream<S> {
    inner: S,
    sending: Sending,
    receiving: Receiving,
    input: Input,
}

struct Sending {
    sealer: Sealer,
    /// Sealed bytes; those before `start` were written.
    bytes: Vec<u8>,
    start: usize,
}

/// How far the peer's direction is.
enum Receiving {
    /// Before its salt.
    Salt(Key),
    Chunks(Opener),
    /// It cannot be understood any more: what still comes is thrown away, so that the connection does not end in a reset.
    Lost,
}

/// Received bytes.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Opened and not yet handed on.
    payload: Range<usize>,
}

impl<S> ShadowsocksStream<S> {
    /// A client's end: the peer's salt is still to come.
    pub(super) fn of_client(inner: S, key: Key, salt: &Salt) -> Self {
        let sending = Sending::new(&key, salt);
        Self { inner, sending, receiving: Receiving::Salt(key), input: Input::default() }
    }

    /// A server's end, with what was received behind the client's salt.
    pub(super) fn of_server(inner: S, key: &Key, salt: &Salt, opener: Opener, input: Input) -> Self {
        Self { inner, sending: Sending::new(key, salt), receiving: Receiving::Chunks(opener), input }
    }
}

impl Sending {
    /// The salt leaves with the first chunk.
    fn new(key: &Key, salt: &Salt) -> Self {
        Self { sealer: Sealer::new(key, salt), bytes: salt.as_bytes().to_vec(), start: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Writes all that is sealed.
    fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let rest = self.bytes.get(self.start..).unwrap_or_default();
            let written = ready!(Pin::new(&mut *inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
        }
        buffers::give_back(take(&mut self.bytes));
        self.start = 0;
        Poll::Ready(Ok(()))
    }
}

impl Input {
    /// The bytes that were not understood yet.
    pub(super) fn unread(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.end.min(self.start.saturating_add(bytes));
    }

    /// Opens the next part, if it is there; true while there may be more.
    pub(super) fn open(&mut self, opener: &mut Opener) -> Result<bool, Forged> {
        let start = self.start;
        let Some(opened) = opener.open(self.unread())? else { return Ok(false) };
        self.payload = start + opened.payload.start..start + opened.payload.end;
        self.consume(opened.consumed);
        Ok(true)
    }

    pub(super) fn has_payload(&self) -> bool {
        !self.payload.is_empty()
    }

    fn hand_on(&mut self, to: &mut ReadBuf<'_>) {
        let len = self.payload.len().min(to.remaining());
        let from = self.payload.start..self.payload.start + len;
        to.put_slice(self.bytes.get(from).unwrap_or_default());
        self.payload.start += len;
    }

    /// Reads behind what is there; everything opened must have been handed on. `0`: the peer has ended its direction.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut whole =
            if self.bytes.len() == buffers::LEN { take(&mut self.bytes) } else { buffers::lend_whole() };
        if self.bytes.is_empty() {
            whole.copy_within(self.start..self.end, 0);
        } else if let Some(head) = whole.get_mut(..self.end - self.start) {
            head.copy_from_slice(self.unread());
        }
        self.bytes = whole;
        (self.start, self.end) = (0, self.end - self.start);
        let mut room = ReadBuf::new(self.bytes.get_mut(self.end..).unwrap_or_default());
        let result = Pin::new(inner).poll_read(cx, &mut room);
        let filled = room.filled().len();
        self.end += filled;
        if filled == 0 && self.end <= FEW {
            let few = self.unread().to_vec();
            buffers::give_back(std::mem::replace(&mut self.bytes, few));
        }
        result.map_ok(|()| filled)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ShadowsocksStream<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        loop {
            if self.input.has_payload() {
                self.input.hand_on(to);
                if to.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let more = match &mut self.receiving {
                Receiving::Chunks(opener) => self
                    .input
                    .open(opener)
                    .map_err(|forged| io::Error::new(io::ErrorKind::InvalidData, forged)),
                Receiving::Salt(key) => match self.input.unread().first_chunk::<SALT_LEN>() {
                    Some(salt) => {
                        self.receiving = Receiving::Chunks(Opener::new(key, &Salt::from_bytes(*salt)));
                        self.input.consume(SALT_LEN);
                        Ok(true)
                    }
                    None => Ok(false),
                },
                Receiving::Lost => {
                    self.input.consume(usize::MAX);
                    Ok(false)
                }
            };
            match more {
                Ok(true) => {}
                Ok(false) if to.filled().len() > before => return Poll::Ready(Ok(())),
                Ok(false) => {
                    if ready!(self.input.poll_fill(&mut self.inner, cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) => {
                    self.receiving = Receiving::Lost;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ShadowsocksStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if to.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_next(cx, to)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ShadowsocksStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // The salt waits for the first chunk.
        let waiting = this.sending.bytes.len() - this.sending.start;
        if waiting > SALT_LEN {
            ready!(this.sending.poll_drain(&mut this.inner, cx))?;
        }
        let data = data.get(..MOST_SEALED).unwrap_or(data);
        if this.sending.bytes.is_empty() {
            this.sending.bytes = buffers::lend_empty();
        }
        this.sending.sealer.seal(data, &mut this.sending.bytes);
        match this.sending.poll_drain(&mut this.inner, cx) {
            // What is sealed is on its way; the next call waits for it.
            Poll::Pending | Poll::Ready(Ok(())) => Poll::Ready(Ok(data.len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // A salt alone would be a write of its own size.
        if this.sending.bytes.len() > SALT_LEN || this.sending.start > 0 {
            ready!(this.sending.poll_drain(&mut this.inner, cx))?;
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
