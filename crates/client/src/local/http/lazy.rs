//! A flow that is opened by what is first written to it, so that the head of a request goes with the open.
//!
//! Source: PROTOCOL.md 12.2.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use culvert_ssh::direct_tcpip::MAX_FIRST_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::flow::{Destination, FlowOpener, FlowStream, OpenFailure};

/// The flow. Whoever gets an error from it finds the reason in what [`LazyFlow::new`] also returned.
pub(super) struct LazyFlow {
    state: State,
    failure: Arc<OnceLock<OpenFailure>>,
}

/// Why the flow could not be opened, once it could not.
pub(super) type Failure = Arc<OnceLock<OpenFailure>>;

enum State {
    Wanted(FlowOpener, Destination),
    Opening(Pin<Box<dyn Future<Output = Result<FlowStream, OpenFailure>> + Send>>),
    Open(FlowStream),
    Failed,
}

impl LazyFlow {
    pub(super) fn new(opener: FlowOpener, destination: Destination) -> (Self, Failure) {
        let failure = Failure::default();
        (Self { state: State::Wanted(opener, destination), failure: failure.clone() }, failure)
    }

    /// The flow, once it is open. `None`: nobody has written yet.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Pin<&mut FlowStream>>>> {
        if let State::Opening(opening) = &mut self.state {
            self.state = match ready!(opening.as_mut().poll(cx)) {
                Ok(flow) => State::Open(flow),
                Err(failure) => {
                    // The first failure is the only one.
                    let _ = self.failure.set(failure);
                    State::Failed
                }
            };
        }
        Poll::Ready(match &mut self.state {
            State::Open(flow) => Ok(Some(Pin::new(flow))),
            State::Wanted(..) => Ok(None),
            State::Opening(_) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Takes what goes with the open; `None` when that was done before.
    fn begin(&mut self, data: &[u8]) -> Option<usize> {
        let State::Wanted(opener, destination) = &self.state else { return None };
        let taken = data.len().min(MAX_FIRST_BYTES);
        let first_bytes = Bytes::copy_from_slice(data.get(..taken).unwrap_or_default());
        let (opener, destination) = (opener.clone(), destination.clone());
        self.state =
            State::Opening(Box::pin(async move { opener.open_with(destination, first_bytes).await }));
        Some(taken)
    }
}

impl AsyncRead for LazyFlow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.poll_open(cx))? {
            Some(flow) => flow.poll_read(cx, buf),
            // Whoever writes reads in the same task, and asks again after it has written.
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for LazyFlow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(taken) = self.begin(data) {
            return Poll::Ready(Ok(taken));
        }
        match ready!(self.poll_open(cx))? {
            Some(flow) => flow.poll_write(cx, data),
            None => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.poll_open(cx))? {
            Some(flow) => flow.poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.poll_open(cx))? {
            Some(flow) => flow.poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
