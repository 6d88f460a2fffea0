//! A client's session: one round trip after the other, with what is to be sent as the request's body and what is received as the
//! response's; retries of round trips that broke; polls when there is nothing to send. Source: TRANSPORTS.md 2.5 to 2.8, 2.12.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culvert_obfuscation::Prng;
use culvert_protocol::parameters::Meek;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, ExchangeError};
use super::pace::{Pace, Retries};
use super::pipe::{Depot, Worth};
use super::request::{HeadWriter, RequestPart};
use super::route::Route;
use super::stale::{Beginning, Verdict};
use super::wire::{PaddingError, PaddingReceiver, PaddingSender};
use crate::{DialError, Network};

/// After a response, for the layer above to write what it has to say to it: a request that leaves earlier carries nothing, and the
/// server keeps it for as long as any other. TRANSPORTS.md 2.12.
const SETTLE: Duration = Duration::from_millis(1);
/// Behind larger responses the layer above has more to say than what it says first.
const BULK: usize = 16 * 1024;
/// For the last words of a stream that was closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a session is over.
#[derive(Debug, Error)]
pub enum SessionError {
    /// A round trip failed, and so did its retries.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server, or the front, does not want it, or does not know the session any more.
    #[error("the server, or what stands before it, answered a request with status {0}")]
    Status(u16),
    /// Nothing was heard.
    #[error("the server did not answer a request in time")]
    Silence,
    /// Payload padding.
    #[error(transparent)]
    Padding(#[from] PaddingError),
}

impl SessionError {
    fn is_final(&self) -> bool {
        match self {
            Self::Exchange(error) => matches!(error, ExchangeError::Head(_) | ExchangeError::Headers(_)),
            Self::Status(_) | Self::Padding(_) => true,
            Self::Dial(_) | Self::Silence => false,
        }
    }
}

/// Where its requests go.
pub(super) struct Line {
    pub(super) network: Arc<dyn Network>,
    pub(super) route: Route,
    /// The one to use next.
    pub(super) connection: Option<Connection>,
}

/// Padding of bodies.
pub(super) struct Padding {
    pub(super) sender: PaddingSender,
    pub(super) receiver: PaddingReceiver,
    pub(super) prng: Prng,
}

/// A session.
pub(super) struct Session {
    pub(super) line: Line,
    pub(super) head: HeadWriter,
    /// The cookie's value: what the client asks for, then the session's name.
    pub(super) cookie: String,
    pub(super) parameters: Arc<Meek>,
    pub(super) latency_multiplier: f64,
    pub(super) pace: Pace,
    pub(super) padding: Option<Padding>,
    /// What decides whether the next request takes a new connection.
    pub(super) redial: Prng,
    /// Bytes of the last response.
    pub(super) last_response: usize,
    /// How the last response began.
    pub(super) last_beginning: Beginning,
}

/// How far a round trip is, over all its tries.
#[derive(Default)]
struct Progress {
    failures: u32,
    /// The server has the request's body.
    acknowledged: bool,
    /// Bytes of the response.
    received: u64,
    beginning: Beginning,
    /// Whether any of them were payload.
    payload: bool,
}

impl Session {
    /// Runs until the stream is closed or the session fails.
    pub(super) async fn run(mut self, depot: Depot) {
        let farewell = async {
            depot.abandoned().await;
            sleep(FAREWELL).await;
        };
        let result = tokio::select! {
            result = self.relay(&depot) => result,
            () = farewell => Ok(()),
        };
        depot.end(result.map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error)));
    }

    async fn relay(&mut self, depot: &Depot) -> Result<(), SessionError> {
        loop {
            self.wait(depot).await;
            if depot.is_done() {
                return Ok(());
            }
            let payload = depot.take();
            let sends = !payload.is_empty();
            let body = self.body(payload);
            let Some(progress) = self.round_trip(body, depot).await? else { continue };
            self.last_response = usize::try_from(progress.received).unwrap_or(usize::MAX);
            self.last_beginning = progress.beginning;
            self.pace.round_trip_done(sends || progress.payload);
            if self.redial.flip_weighted_coin(self.parameters.redial_tls_probability.get()) {
                self.line.connection = None;
            }
        }
    }

    /// Waits for something to send, or until it is time to poll.
    async fn wait(&mut self, depot: &Depot) {
        let interval = self.pace.interval();
        // Either way: when time is over, whatever there is is sent.
        if interval.is_zero() {
            let worth = if self.last_response < BULK { Worth::Any } else { Worth::Large };
            let _ = timeout(SETTLE, depot.payload(worth)).await;
        } else {
            self.line.rest();
            let _ = timeout(interval, depot.payload(Worth::Any)).await;
        }
    }

    /// The body of a request, the same in all its tries. TRANSPORTS.md 2.8.
    fn body(&mut self, payload: Bytes) -> Bytes {
        let Some(padding) = &mut self.padding else { return payload };
        if payload.is_empty() {
            let of = &self.parameters;
            if padding.prng.flip_weighted_coin(of.payload_padding_omit_probability.get()) {
                return payload;
            }
            let size = padding.prng.range_u32(of.payload_padding_min_size, of.payload_padding_max_size);
            let bytes = padding.prng.bytes(usize::try_from(size).unwrap_or_default());
            return padding.sender.padding_body(&bytes).into();
        }
        let mut body = Vec::with_capacity(1 + payload.len());
        body.extend_from_slice(&padding.sender.before_payload());
        body.extend_from_slice(&payload);
        body.into()
    }

    /// `None`: the server has answered with the response before, and still has to be asked for the next.
    async fn round_trip(&mut self, mut body: Bytes, depot: &Depot) -> Result<Option<Progress>, SessionError> {
        let started = Instant::now();
        let mut retries = Retries::new(Arc::clone(&self.parameters), self.latency_multiplier);
        let mut progress = Progress::default();
        if let Some(padding) = &mut self.padding {
            padding.receiver.begin_body();
        }
        loop {
            let error = match self.attempt(&body, &mut progress, depot).await {
                Ok(Verdict::Stale) => return Ok(None),
                Ok(_) => return Ok(Some(progress)),
                Err(error) => error,
            };
            self.line.connection = None;
            if error.is_final() {
                return Err(error);
            }
            let Some(pause) = retries.failed(started.elapsed()) else { return Err(error) };
            sleep(pause).await;
            progress.failures += 1;
            // Whoever asks again from the beginning shows again what it asked with: a server could take it for a new request otherwise.
            if progress.acknowledged && progress.received > 0 {
                body.clear();
            }
        }
    }

    async fn attempt(
        &mut self,
        body: &Bytes,
        progress: &mut Progress,
        depot: &Depot,
    ) -> Result<Verdict, SessionError> {
        let range = (progress.failures > 0).then_some(progress.received);
        let part = RequestPart { cookie: &self.cookie, length: body.len(), range };
        let asked = async {
            let connection = self.line.usable().await?;
            Ok(connection.ask(&self.head, part, body.clone()).await?)
        };
        let silence = self.parameters.round_trip_timeout.scaled(self.latency_multiplier);
        let answer = timeout(silence, asked).await.unwrap_or(Err(SessionError::Silence))?;
        match answer.status {
            200 => {}
            // Some servers answer a retry with 200.
            206 if progress.failures > 0 => {}
            other => return Err(SessionError::Status(other)),
        }
        if let Some(cookie) = answer.cookie {
            self.cookie = cookie;
        }
        progress.acknowledged = true;
        // Only then can it be the response before.
        let verdict = if range == Some(0) && body.is_empty() { Verdict::Open } else { Verdict::New };
        self.receive(verdict, silence, progress, depot).await
    }

    /// Takes a response. What may be the one before is held until that is clear, and then passed over.
    async fn receive(
        &mut self,
        mut verdict: Verdict,
        silence: Duration,
        progress: &mut Progress,
        depot: &Depot,
    ) -> Result<Verdict, SessionError> {
        let (mut beginning, mut held) = (Beginning::default(), Vec::new());
        while let Some(connection) = &mut self.line.connection {
            let piece = timeout(silence, connection.piece()).await.map_err(|_| SessionError::Silence)??;
            let Some(piece) = piece else { break };
            if verdict == Verdict::Open {
                beginning.extend(&piece);
                verdict = beginning.judge(&self.last_beginning);
            }
            match verdict {
                Verdict::Open => held.push(piece),
                Verdict::Stale => held.clear(),
                Verdict::New => {
                    held.push(piece);
                    self.accept(&mut held, progress, depot).await?;
                }
            }
        }
        self.accept(&mut held, progress, depot).await?;
        Ok(verdict)
    }

    /// Uses pieces of a response.
    async fn accept(
        &mut self,
        pieces: &mut Vec<Bytes>,
        progress: &mut Progress,
        depot: &Depot,
    ) -> Result<(), SessionError> {
        for mut piece in pieces.drain(..) {
            progress.received += piece.len() as u64;
            progress.beginning.extend(&piece);
            if let Some(padding) = &mut self.padding {
                let payload = padding.receiver.receive(&piece)?.len();
                piece = piece.split_off(piece.len().saturating_sub(payload));
            }
            progress.payload |= !piece.is_empty();
            depot.deliver(piece).await;
        }
        Ok(())
    }
}

impl Line {
    /// The connection to use: the last one, if it still is one, else a new one.
    async fn usable(&mut self) -> Result<&mut Connection, SessionError> {
        let kept = match self.connection.take() {
            Some(mut connection) => connection.is_usable().await.then_some(connection),
            None => None,
        };
        let connection = match kept {
            Some(connection) => connection,
            None => self.route.connect(self.network.as_ref()).await?.0,
        };
        Ok(self.connection.insert(connection))
    }

    fn rest(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.rest();
        }
    }
}
