//! Bodies that tell when they have been read to their end: requests start the origin's time limit then, answers
//! return their connection to the pool.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body with something to do at its end, or when it is dropped.
pub(super) struct Watched<B, F: FnOnce(End)> {
    body: B,
    at_end: Option<F>,
}

/// How a body came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// Dropped or failed before its end.
    Cut,
}

impl<B: Body, F: FnOnce(End)> Watched<B, F> {
    pub(super) fn new(body: B, at_end: F) -> Self {
        Self { body, at_end: Some(at_end) }
    }
}

impl<B, F> Body for Watched<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    F: FnOnce(End) + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = frame.is_none() || self.body.is_end_stream();
        if let Some(at_end) = self.at_end.take_if(|_| ended) {
            at_end(End::Complete);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B, F: FnOnce(End)> Drop for Watched<B, F> {
    fn drop(&mut self) {
        if let Some(at_end) = self.at_end.take() {
            at_end(End::Cut);
        }
    }
}
