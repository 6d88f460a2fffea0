//! The application's side: open channels, ask, and hear what the peer wants.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use culvert_ssh::{ChannelId, ChannelOpen, Negotiated, PreambleFacts, Refused, Reply, ReplyToken};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use crate::channel::ChannelStream;
use crate::driver::End;
use crate::shared::{ChannelIo, Shared};

/// RFC 4253 section 11.1.
const DISCONNECT_BY_APPLICATION: u32 = 11;

/// What the peer wants, or what has been achieved, in order.
pub enum Incoming {
    /// Server: a valid preamble.
    Preamble(PreambleFacts),
    /// A key exchange is complete.
    Keyed {
        /// What was agreed.
        negotiated: Negotiated,
        /// False for a re-key.
        first: bool,
    },
    /// Login is complete. The password field carries the session's identity (server only).
    Authenticated {
        /// The password field.
        password: Zeroizing<Vec<u8>>,
    },
    /// A channel to accept or reject.
    Channel(IncomingChannel),
    /// A request to answer.
    Request(IncomingRequest),
}

impl Incoming {
    /// Bytes whose number the peer chose.
    pub(crate) fn chosen_by_peer(&self) -> usize {
        match self {
            Self::Channel(channel) => channel.kind.len().saturating_add(channel.payload.len()),
            Self::Request(request) => request.name.len().saturating_add(request.payload.len()),
            Self::Preamble(_) | Self::Keyed { .. } | Self::Authenticated { .. } => 0,
        }
    }
}

/// The one receiver of [`Incoming`]; gives out handles.
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A handle for tasks that open channels and ask.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// The next thing, or `None` when the connection is over.
    pub async fn next(&mut self) -> Option<Incoming> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(incoming) = state.take_incoming() {
                return Poll::Ready(Some(incoming));
            }
            if state.ended.is_some() {
                return Poll::Ready(None);
            }
            state.incoming_waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Session {
    /// Whoever drops the receiver wants no more of the connection.
    fn drop(&mut self) {
        self.handle().close();
        // Offers that nobody will answer refer back to the shared state.
        let waiting = std::mem::take(&mut self.shared.lock().incoming);
        drop(waiting);
    }
}

/// Traffic of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Bytes read from the stream.
    pub read: u64,
    /// Bytes written to the stream.
    pub written: u64,
    /// Time since something was read.
    pub idle: Duration,
}

/// The connection is over.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the tunnel is closed: {0}")]
pub struct TunnelEnded(pub Arc<End>);

/// Why a channel was not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenFailure {
    /// The peer refused.
    #[error("refused by the peer (reason {reason})")]
    Refused {
        /// RFC 4254 section 5.1, or a private code.
        reason: u32,
        /// The peer's text.
        description: Vec<u8>,
    },
    /// This side's limit, or login is not complete.
    #[error(transparent)]
    Local(#[from] culvert_ssh::OpenError),
    /// The connection ended first.
    #[error(transparent)]
    Ended(#[from] TunnelEnded),
}

/// Opens channels and asks; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Opens a channel. Dropping the future before it is done closes what was opened.
    pub async fn open(&self, kind: &str, payload: &[u8]) -> Result<ChannelStream, OpenFailure> {
        let (sender, answer) = oneshot::channel();
        let stream = {
            let mut state = self.shared.lock();
            if let Some(end) = &state.ended {
                return Err(TunnelEnded(end.clone()).into());
            }
            let id = state.connection.open_channel(ChannelOpen { kind, payload })?;
            state.channels.insert(id, ChannelIo { opening: Some(sender), ..ChannelIo::default() });
            state.wake_driver();
            ChannelStream::new(self.shared.clone(), id)
        };
        match answer.await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(self.ended_error().into()),
        }
    }

    /// Sends a global request and waits for its answer.
    pub async fn request(&self, name: &str, body: &[u8]) -> Result<Reply, TunnelEnded> {
        let answer = {
            let mut state = self.shared.lock();
            if let Some(end) = &state.ended {
                return Err(TunnelEnded(end.clone()));
            }
            let (sender, answer) = oneshot::channel();
            if let Some(id) = state.connection.request(name.as_bytes(), true, body) {
                state.replies.insert(id, sender);
            }
            state.wake_driver();
            answer
        };
        answer.await.map_err(|_| self.ended_error())
    }

    /// Sends a global request that wants no answer.
    pub fn notify(&self, name: &str, body: &[u8]) {
        let mut state = self.shared.lock();
        state.connection.request(name.as_bytes(), false, body);
        state.wake_driver();
    }

    /// Ends the connection after what is queued.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closing = true;
        state.wake_driver();
    }

    /// Tells the peer, then ends the connection: where the end of a stream does not reach it by itself. RFC 4253 section 11.1.
    pub fn disconnect(&self) {
        self.shared.lock().connection.disconnect(DISCONNECT_BY_APPLICATION, "");
        self.close();
    }

    /// Traffic so far.
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        let idle = Instant::now().saturating_duration_since(state.last_read);
        Stats { read: state.read, written: state.written, idle }
    }

    /// Completes when something was written to the stream so long ago, and nothing has been read since. For one task at a time.
    /// Costs nothing while nothing is written.
    pub async fn unanswered_for(&self, limit: Duration) {
        loop {
            let since = poll_fn(|cx| {
                let mut state = self.shared.lock();
                if let Some(since) = state.unanswered {
                    return Poll::Ready(since);
                }
                state.write_waker = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
            let now = Instant::now();
            if now.saturating_duration_since(since) >= limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }

    /// Why the connection is over, if it is.
    pub fn end(&self) -> Option<Arc<End>> {
        self.shared.lock().ended.clone()
    }

    fn ended_error(&self) -> TunnelEnded {
        TunnelEnded(self.end().unwrap_or_else(|| Arc::new(End::Local)))
    }
}

/// A channel that the peer wants; dropping it rejects it.
pub struct IncomingChannel {
    shared: Arc<Shared>,
    id: Option<ChannelId>,
    /// Channel type.
    pub kind: Vec<u8>,
    /// Type-specific data.
    pub payload: Vec<u8>,
}

/// RFC 4254 section 5.1; PROTOCOL.md 3.7: what the reference answers, whatever the cause.
const ADMINISTRATIVELY_PROHIBITED: u32 = 1;

impl IncomingChannel {
    pub(crate) fn new(shared: Arc<Shared>, id: ChannelId, kind: Vec<u8>, payload: Vec<u8>) -> Self {
        Self { shared, id: Some(id), kind, payload }
    }

    /// Accepts the channel. `None` when the connection is already over.
    pub fn accept(mut self) -> Option<ChannelStream> {
        let id = self.id.take()?;
        let mut state = self.shared.lock();
        if state.ended.is_some() {
            return None;
        }
        state.connection.accept_channel(id);
        state.channels.insert(id, ChannelIo::default());
        state.wake_driver();
        drop(state);
        Some(ChannelStream::new(self.shared.clone(), id))
    }

    /// Rejects the channel with a reason code and a text.
    pub fn reject(mut self, reason: u32, description: &str) {
        self.reject_with(reason, description);
    }

    fn reject_with(&mut self, reason: u32, description: &str) {
        if let Some(id) = self.id.take() {
            let mut state = self.shared.lock();
            state.connection.reject_channel(id, reason, description);
            state.wake_driver();
        }
    }
}

impl Drop for IncomingChannel {
    fn drop(&mut self) {
        self.reject_with(ADMINISTRATIVELY_PROHIBITED, "administratively prohibited");
    }
}

/// A global request; dropping one that wants an answer refuses it.
pub struct IncomingRequest {
    shared: Arc<Shared>,
    /// Request name.
    pub name: Vec<u8>,
    /// Its body.
    pub payload: Vec<u8>,
    token: Option<ReplyToken>,
}

impl IncomingRequest {
    pub(crate) fn new(
        shared: Arc<Shared>,
        name: Vec<u8>,
        payload: Vec<u8>,
        token: Option<ReplyToken>,
    ) -> Self {
        Self { shared, name, payload, token }
    }

    /// True when the peer waits for an answer.
    pub fn wants_reply(&self) -> bool {
        self.token.is_some()
    }

    /// Answers; without effect when no answer is wanted.
    pub fn reply(mut self, reply: Reply) {
        self.answer(reply);
    }

    fn answer(&mut self, reply: Reply) {
        if let Some(token) = self.token.take() {
            let mut state = self.shared.lock();
            state.connection.reply(token, reply);
            state.wake_driver();
        }
    }
}

impl Drop for IncomingRequest {
    fn drop(&mut self) {
        self.answer(Err(Refused));
    }
}
