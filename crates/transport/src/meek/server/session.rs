//! One session: requests come one at a time, on whatever connections, and each carries bytes both ways. Source: TRANSPORTS.md 2.5, 2.6.

use std::future::{Future, pending, poll_fn};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cache::Cache;
use super::pace::Pace;
use super::pipe::{Fetched, Pipe};
use super::record::{Beginning, Carrier, Counting, SessionCounts, size};
use crate::meek::wire::{Fingerprint, PaddingReceiver, PaddingSender, SessionId};

/// Bytes of a response that are fetched at a time.
const BATCH: usize = 256 * 1024;
/// Whoever sends as much is uploading, and is not kept waiting for bytes that are not there.
const UPLOAD: usize = 8192;
/// How long a request waits for a tunnel that reads nothing.
const STUCK: Duration = Duration::from_secs(30);

/// The headers of payload padding in both directions.
pub(super) struct Padding {
    pub(super) receiver: PaddingReceiver,
    pub(super) sender: PaddingSender,
}

/// A client's session.
pub struct Session {
    id: SessionId,
    /// The value of the cookie that began it.
    cookie: String,
    peer: IpAddr,
    beginning: Beginning,
    pads_payload: bool,
    counting: Mutex<Counting>,
    pipe: Arc<Pipe>,
    transfer: Arc<AsyncMutex<Transfer>>,
    /// How many requests there were.
    newest: watch::Sender<u64>,
    requested: Mutex<Instant>,
}

/// What only the request whose turn it is may touch.
pub(super) struct Transfer {
    pub(super) cache: Cache,
    pub(super) pace: Pace,
    pub(super) padding: Option<Padding>,
    pub(super) last_body: Option<Fingerprint>,
    /// Whether the last request had no body.
    pub(super) last_was_poll: bool,
}

/// What makes a session.
pub(super) struct Parts {
    pub(super) id: SessionId,
    pub(super) cookie: String,
    pub(super) peer: IpAddr,
    pub(super) beginning: Beginning,
    pub(super) pipe: Arc<Pipe>,
    pub(super) transfer: Transfer,
}

/// The session is over: its tunnel has ended, or what the client lacks is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the meek session is over")]
pub struct SessionOver;

/// How a response is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 206, for a request with a position.
    Partial,
}

impl Session {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let Parts { id, cookie, peer, beginning, pipe, transfer } = parts;
        Arc::new(Self {
            id,
            cookie,
            peer,
            beginning,
            pads_payload: transfer.padding.is_some(),
            counting: Mutex::default(),
            pipe,
            transfer: Arc::new(AsyncMutex::new(transfer)),
            newest: watch::Sender::new(0),
            requested: Mutex::new(Instant::now()),
        })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The cookie that began it.
    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Who began it.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// What the request said that began it.
    #[must_use]
    pub fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// Whether bodies are padded.
    #[must_use]
    pub fn pads_payload(&self) -> bool {
        self.pads_payload
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> SessionCounts {
        self.counting().counts
    }

    /// Says which connection carries the next request.
    pub fn carried_by(&self, carrier: Carrier) {
        self.counting().carried_by(carrier);
    }

    fn count(&self, change: impl FnOnce(&mut SessionCounts)) {
        change(&mut self.counting().counts);
    }

    fn counting(&self) -> MutexGuard<'_, Counting> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a request whose body is complete. `None`: a newer one came meanwhile, which the client will look at.
    pub async fn turn(self: &Arc<Self>) -> Option<Turn> {
        let mut number = 0;
        self.newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        *self.requested.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let newest = self.newest.subscribe();
        let transfer = self.transfer.clone().lock_owned().await;
        let is_newest = *newest.borrow() == number;
        is_newest.then(|| Turn {
            session: self.clone(),
            transfer,
            newest,
            number,
            waiting: Vec::new(),
            phase: Phase::Idle,
            uploads: false,
        })
    }

    /// Ends the session.
    pub fn end(&self) {
        self.pipe.end_session();
    }

    /// Returns when its client has fetched what the tunnel wrote before it ended.
    pub async fn fetched(&self) {
        poll_fn(|cx| self.pipe.poll_fetched(cx)).await;
    }

    /// Ends it when no request has come for `patience`. Never completes.
    pub async fn end_when_idle(&self, patience: Duration) {
        while self.pipe.is_open() {
            let requested = *self.requested.lock().unwrap_or_else(PoisonError::into_inner);
            let limit = requested + patience;
            if limit <= Instant::now() {
                self.end();
            } else {
                sleep_until(limit).await;
            }
        }
        pending().await
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session([redacted])")
    }
}

/// The one request that a session serves at the moment.
pub struct Turn {
    session: Arc<Session>,
    transfer: OwnedMutexGuard<Transfer>,
    newest: watch::Receiver<u64>,
    number: u64,
    /// Of a response that was given before.
    waiting: Vec<Bytes>,
    phase: Phase,
    /// Whether the client is busy sending, and wants to go on.
    uploads: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No payload has moved.
    Idle,
    /// The request had some.
    Received,
    /// The response has some.
    Sent,
    /// The response is one that was given before.
    Again,
}

impl Turn {
    /// Takes the request's body, and the position from which it asks for a response.
    ///
    /// # Errors
    /// The session is over, and is of no more use.
    pub async fn receive(&mut self, body: Bytes, position: Option<u64>) -> Result<Status, SessionOver> {
        let received = self.try_receive(body, position).await;
        if received.is_err() {
            self.session.end();
        }
        received
    }

    async fn try_receive(&mut self, body: Bytes, position: Option<u64>) -> Result<Status, SessionOver> {
        self.transfer.pace.request(Instant::now());
        let repeats = self.take(body).await?;
        let Some(position) = position else {
            self.transfer.cache.reset();
            return Ok(Status::Ok);
        };
        self.session.count(|counts| counts.retries += 1);
        // A request that never arrived asks from 0, too, and then its body is new. TRANSPORTS.md 2.6.
        let kept = self.transfer.cache.from(position);
        match kept {
            Some(rest) if position > 0 || repeats => {
                let again = size(rest.iter().map(Bytes::len).sum());
                self.session.count(|counts| counts.largest_again = counts.largest_again.max(again));
                self.waiting = rest;
                self.phase = Phase::Again;
            }
            None if position > 0 => {
                self.session.count(|counts| counts.missed_position = counts.missed_position.max(position));
                return Err(SessionOver);
            }
            _ => self.transfer.cache.reset(),
        }
        Ok(Status::Partial)
    }

    /// Hands the payload to the tunnel, unless it was there before, which is told.
    async fn take(&mut self, body: Bytes) -> Result<bool, SessionOver> {
        let was_poll = std::mem::replace(&mut self.transfer.last_was_poll, body.is_empty());
        if body.is_empty() {
            // A client that saw a response's head does not send its body again, but then it saw payload, too, and asks from there. From 0 it asks
            // again for the answer to a poll, or for the first time.
            return Ok(was_poll);
        }
        let fingerprint = Fingerprint::of(&body);
        if self.transfer.last_body == Some(fingerprint) {
            return Ok(true);
        }
        let pipe = self.session.pipe.clone();
        let room = poll_fn(|cx| pipe.poll_room(cx));
        timeout_at(Instant::now() + STUCK, room).await.map_err(|_| SessionOver)?;
        let payload = match &mut self.transfer.padding {
            None => body,
            Some(padding) => {
                padding.receiver.begin_body();
                let payload = padding.receiver.receive(&body).map_err(|_| SessionOver)?;
                body.slice_ref(payload)
            }
        };
        self.transfer.last_body = Some(fingerprint);
        self.uploads = payload.len() >= UPLOAD;
        if !payload.is_empty() {
            self.phase = Phase::Received;
        }
        pipe.hand_over(payload);
        Ok(false)
    }

    /// Puts the next pieces of the response into `pieces`, which must be empty. False: there are none, and the response is complete.
    pub async fn next(&mut self, pieces: &mut Vec<Bytes>) -> bool {
        if self.phase == Phase::Again {
            pieces.append(&mut self.waiting);
            return !pieces.is_empty();
        }
        let room = self.transfer.cache.room().min(BATCH);
        if room == 0 || !self.fetch(room, pieces).await {
            return false;
        }
        for piece in &*pieces {
            self.transfer.cache.add(piece.clone());
        }
        // No response is longer than what is kept of it.
        let len = size(self.transfer.cache.len());
        self.session.count(|counts| counts.largest_response = counts.largest_response.max(len));
        self.phase = Phase::Sent;
        true
    }

    async fn fetch(&mut self, most: usize, pieces: &mut Vec<Bytes>) -> bool {
        let begins = self.phase != Phase::Sent;
        let wait = if begins { self.transfer.pace.first() } else { self.transfer.pace.gap() };
        let pipe = self.session.pipe.clone();
        let mut fetched = Vec::new();
        let found = if self.uploads {
            // The tunnel gets a moment to say what follows from what it was given, and no timer's: they are too coarse.
            tokio::task::yield_now().await;
            poll_fn(|cx| Poll::Ready(pipe.poll_fetch(cx, most, &mut fetched))).await
        } else {
            let fetching = poll_fn(|cx| pipe.poll_fetch(cx, most, &mut fetched));
            timeout_at(Instant::now() + wait, fetching).await.map_or(Poll::Pending, Poll::Ready)
        };
        if !matches!(found, Poll::Ready(Fetched::Some(_))) {
            return false;
        }
        if let Some(padding) = self.transfer.padding.as_mut().filter(|_| begins) {
            pieces.push(Bytes::copy_from_slice(&padding.sender.before_payload()));
        }
        pieces.append(&mut fetched);
        true
    }

    /// Returns when a newer request has come: the client does not look at this one's response any more.
    pub fn superseded(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut newest, number) = (self.newest.clone(), self.number);
        async move {
            // An error is the end of the session, which is not the case while there is a turn.
            let _ = newest.wait_for(|newest| *newest != number).await;
        }
    }

    /// The response is written, or could not be.
    pub fn finish(mut self) {
        let carried = self.phase != Phase::Idle;
        self.transfer.pace.response(carried, Instant::now());
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turn([redacted])")
    }
}
