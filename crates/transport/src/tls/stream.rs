//! The byte stream inside TLS. Reads as much as there is and opens it in place; what is written leaves in large pieces. Large buffers are held only
//! while bytes are in them.

use std::io;
use std::mem::take;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use culvert_tls::{Content, Opened, RecordError, Records};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers;

/// Payload sealed before more waits for the network.
const MOST_SEALED: usize = 128 * 1024;

/// So few bytes wait in memory of their own size, so that many peers that send a little and no more cost little.
const FEW: usize = 2048;

/// One end of a connection.
pub(super) struct TlsStream<S> {
    inner: S,
    records: Records,
    sending: Sending,
    input: Input,
    receiving: Receiving,
}

#[derive(Default)]
struct Sending {
    /// Sealed bytes; those before `start` were written.
    bytes: Vec<u8>,
    start: usize,
    /// They are the end of a handshake, which may wait for the first data.
    may_wait: bool,
    /// The end was sealed.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    /// The peer has said that nothing more comes.
    Ended,
    /// It cannot be understood any more: what still comes is thrown away, so that the connection does not end in a reset.
    Lost,
}

/// Received bytes.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Opened and not yet handed on.
    payload: Range<usize>,
}

impl<S> TlsStream<S> {
    /// What follows a handshake: `unsent` is its end, `received` what came behind it.
    pub(super) fn new(inner: S, records: Records, unsent: Vec<u8>, received: Vec<u8>) -> Self {
        let may_wait = !unsent.is_empty();
        let sending = Sending { bytes: unsent, start: 0, may_wait, ended: false };
        let input = Input { end: received.len(), bytes: received, ..Input::default() };
        Self { inner, records, sending, input, receiving: Receiving::Open }
    }
}

impl Sending {
    /// Writes all that is sealed.
    fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_wait = false;
        while self.start < self.bytes.len() {
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

    /// With room for what is sealed next.
    fn room(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() < buffers::LEN {
            let few = std::mem::replace(&mut self.bytes, buffers::lend_empty());
            self.bytes.extend_from_slice(&few);
        }
        &mut self.bytes
    }
}

impl Input {
    fn unread(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Opens the next record, if it is there.
    fn open(&mut self, records: &mut Records) -> Result<Option<Content>, RecordError> {
        let start = self.start;
        let Some(Opened { consumed, content }) = records.open(self.unread())? else { return Ok(None) };
        if let Content::Data(data) = &content {
            self.payload = start + data.start..start + data.end;
        }
        self.start = self.end.min(start + consumed);
        Ok(Some(content))
    }

    fn hand_on(&mut self, to: &mut ReadBuf<'_>) {
        let len = self.payload.len().min(to.remaining());
        let from = self.payload.start..self.payload.start + len;
        to.put_slice(self.bytes.get(from).unwrap_or_default());
        self.payload.start += len;
    }

    /// Reads behind what is there; everything opened must have been handed on. `0`: the peer has ended its direction.
    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let length = self.end - self.start;
        if self.bytes.len() == buffers::LEN {
            self.bytes.copy_within(self.start..self.end, 0);
        } else {
            let mut whole = buffers::lend_whole();
            if let Some(head) = whole.get_mut(..length) {
                head.copy_from_slice(self.unread());
            }
            self.bytes = whole;
        }
        (self.start, self.end) = (0, length);
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

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        loop {
            if !self.input.payload.is_empty() {
                self.input.hand_on(to);
                if to.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let opened = match self.receiving {
                Receiving::Open => self.input.open(&mut self.records),
                Receiving::Ended => return Poll::Ready(Ok(())),
                Receiving::Lost => {
                    self.input.start = self.input.end;
                    Ok(None)
                }
            };
            match opened {
                Ok(Some(Content::Data(_) | Content::Nothing)) => {}
                Ok(Some(Content::End)) => self.receiving = Receiving::Ended,
                Ok(None) if to.filled().len() > before => return Poll::Ready(Ok(())),
                Ok(None) => match self.input.poll_fill(&mut self.inner, cx)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(())),
                    Poll::Ready(_) => {}
                    Poll::Pending => {
                        // Whoever waits for the peer first has nothing to say along with the handshake's end.
                        if self.sending.may_wait {
                            let _drained = self.sending.poll_drain(&mut self.inner, cx)?;
                        }
                        return Poll::Pending;
                    }
                },
                Err(error) => {
                    self.receiving = Receiving::Lost;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.sending.may_wait {
            ready!(this.sending.poll_drain(&mut this.inner, cx))?;
        }
        let data = data.get(..MOST_SEALED).unwrap_or(data);
        this.records.seal(data, this.sending.room()).map_err(io::Error::other)?;
        match this.sending.poll_drain(&mut this.inner, cx) {
            // What is sealed is on its way; the next call waits for it.
            Poll::Pending | Poll::Ready(Ok(())) => Poll::Ready(Ok(data.len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.sending.poll_drain(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.sending.ended {
            this.sending.ended = true;
            // Without a key left to say so the end of the connection says it.
            let _sealed = this.records.seal_end(&mut this.sending.bytes);
        }
        ready!(this.sending.poll_drain(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
