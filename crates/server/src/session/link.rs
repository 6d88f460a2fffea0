//! A connection and its driver in one task: what is polled, and how it is ended.

use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::parameters::RateLimits;
use culvert_ssh::Connection;
use culvert_ssh_tokio::{Driver, End, Handle, Incoming, Session};
use culvert_transport::Stream;
use culvert_transport::throttle::Throttle;
use tokio::time::timeout;

use crate::hold;

/// How long what is queued for the peer may take to leave at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    session: Session,
    driver: Driver<Throttle<Stream>>,
}

/// What happened on a link.
pub(crate) enum Step {
    Incoming(Incoming),
    /// It is over; the stream may still have to be drained.
    Ended(Stream, Arc<End>),
}

impl Link {
    /// `received` was read from the stream before, and is for the connection.
    pub(crate) fn new(connection: Connection, received: Vec<u8>, stream: Throttle<Stream>) -> Self {
        let (session, driver) = culvert_ssh_tokio::run_from(connection, received, stream);
        Self { session, driver }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.session.handle()
    }

    /// Puts limits in place of those there were; they hold when the connection is driven further.
    pub(crate) fn limit(&mut self, limits: &RateLimits) {
        if let Some(stream) = self.driver.stream_mut() {
            stream.set(limits);
        }
    }

    /// Drives the connection to the next thing that happens. Must not be called after [`Step::Ended`].
    pub(crate) async fn next(&mut self) -> Step {
        tokio::select! {
            biased;
            Some(incoming) = self.session.next() => Step::Incoming(incoming),
            (stream, end) = &mut self.driver => Step::Ended(stream.into_inner(), end),
        }
    }

    /// Sends what is queued and closes without a reset.
    pub(crate) async fn close(self) {
        if let Some(stream) = self.end().await {
            hold::close(stream).await;
        }
    }

    /// Sends what is queued and ends the connection; the stream is to be closed. `None`: the peer reads nothing, and its
    /// stream is gone.
    pub(crate) async fn end(self) -> Option<Stream> {
        self.session.handle().close();
        timeout(LAST_WORDS, self.driver).await.ok().map(|(stream, _)| stream.into_inner())
    }
}
