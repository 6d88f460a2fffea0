//! State that the driver, the session and the channels share.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use culvert_ssh::{ChannelId, Connection, Event, RequestId};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backlog::Backlog;
use crate::driver::End;
use crate::meter::Meter;
use crate::session::{Incoming, IncomingChannel, IncomingRequest, OpenFailure};

/// Events that may wait for the application; beyond it the driver stops reading.
const MAX_INCOMING: usize = 256;
/// The same in bytes that the peer chose: one open or request may be as long as a packet.
const MAX_INCOMING_BYTES: usize = 512 * 1024;

/// The lock around everything.
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            connection,
            channels: BTreeMap::new(),
            replies: BTreeMap::new(),
            incoming: VecDeque::new(),
            incoming_bytes: 0,
            incoming_waker: None,
            write_waker: None,
            driver: None,
            ended: None,
            closing: false,
            read: 0,
            written: 0,
            last_read: Instant::now(),
            unanswered: None,
            rekeyed: false,
        })))
    }

    /// A task that panicked while holding the lock has ended; what it left is still consistent enough to
    /// close channels with.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a channel's stream needs beside the connection.
#[derive(Default)]
pub(crate) struct ChannelIo {
    pub(crate) received: Backlog,
    pub(crate) reading: Reading,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) opening: Option<oneshot::Sender<Result<(), OpenFailure>>>,
    /// Where received data goes without being queued.
    pub(crate) socket: Option<Arc<TcpStream>>,
    pub(crate) meter: Option<Meter>,
}

/// What can still come from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    #[default]
    Flowing,
    /// EOF: the peer still reads.
    Finished,
    /// CLOSE: the peer is gone.
    Closed,
}

impl ChannelIo {
    pub(crate) fn wake_all(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Behind the lock.
pub(crate) struct State {
    pub(crate) connection: Connection,
    pub(crate) channels: BTreeMap<ChannelId, ChannelIo>,
    pub(crate) replies: BTreeMap<RequestId, oneshot::Sender<culvert_ssh::Reply>>,
    pub(crate) incoming: VecDeque<Incoming>,
    incoming_bytes: usize,
    pub(crate) incoming_waker: Option<Waker>,
    /// Of whoever waits for something to be written to the stream.
    pub(crate) write_waker: Option<Waker>,
    pub(crate) driver: Option<Waker>,
    pub(crate) ended: Option<Arc<End>>,
    /// The application asked for the end.
    pub(crate) closing: bool,
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) last_read: Instant,
    /// The first write that nothing read since then can be the answer to.
    pub(crate) unanswered: Option<Instant>,
    /// Keys have come into use since this was last asked.
    pub(crate) rekeyed: bool,
}

/// A path takes no longer than this for what comes later to be an answer.
const LONGEST_PATH: Duration = Duration::from_secs(1);

impl State {
    /// Something was read. What came sooner than one round trip after a write was on its way already.
    pub(crate) fn forget_what_is_answered(&mut self, now: Instant) {
        let path = self.connection.round_trip().unwrap_or_default().min(LONGEST_PATH);
        self.unanswered = self.unanswered.filter(|since| now.saturating_duration_since(*since) < path);
    }

    /// Lets the driver look for something to send.
    pub(crate) fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    /// Hands the connection's events to whom they concern.
    pub(crate) fn sort_events(&mut self, shared: &Arc<Shared>) {
        while let Some(event) = self.connection.poll_event() {
            self.sort_event(event, shared);
        }
    }

    fn sort_event(&mut self, event: Event, shared: &Arc<Shared>) {
        match event {
            Event::Preamble(facts) => self.deliver(Incoming::Preamble(facts)),
            Event::Keyed { negotiated, first } => {
                self.rekeyed = true;
                self.deliver(Incoming::Keyed { negotiated, first });
            }
            Event::Authenticated { password } => self.deliver(Incoming::Authenticated { password }),
            Event::ChannelOffered { id, kind, payload } => {
                let channel = IncomingChannel::new(shared.clone(), id, kind, payload);
                self.deliver(Incoming::Channel(channel));
            }
            Event::Request { name, payload, reply } => {
                let request = IncomingRequest::new(shared.clone(), name, payload, reply);
                self.deliver(Incoming::Request(request));
            }
            Event::ChannelOpened(id) => self.opened(id, Ok(())),
            Event::ChannelRefused { id, reason, description } => {
                self.opened(id, Err(OpenFailure::Refused { reason, description }));
            }
            Event::ChannelWritable(id) => {
                let writer = self.channels.get_mut(&id).and_then(|channel| channel.writer.take());
                writer.into_iter().for_each(Waker::wake);
            }
            Event::ChannelFinished(id) => self.stop_reading(id, Reading::Finished),
            Event::ChannelClosed(id) => self.stop_reading(id, Reading::Closed),
            Event::Reply { id, reply } => {
                if let Some(sender) = self.replies.remove(&id) {
                    // The asker may have given up meanwhile.
                    let _ = sender.send(reply);
                }
            }
        }
    }

    /// True while so much waits for the application that nothing more may be read.
    pub(crate) fn incoming_is_full(&self) -> bool {
        self.incoming.len() >= MAX_INCOMING || self.incoming_bytes >= MAX_INCOMING_BYTES
    }

    /// The next thing for the application.
    pub(crate) fn take_incoming(&mut self) -> Option<Incoming> {
        let was_full = self.incoming_is_full();
        let incoming = self.incoming.pop_front()?;
        self.incoming_bytes = self.incoming_bytes.saturating_sub(incoming.chosen_by_peer());
        // The driver may have stopped reading because of the queue.
        if was_full && !self.incoming_is_full() {
            self.wake_driver();
        }
        Some(incoming)
    }

    fn deliver(&mut self, incoming: Incoming) {
        self.incoming_bytes = self.incoming_bytes.saturating_add(incoming.chosen_by_peer());
        self.incoming.push_back(incoming);
        if let Some(waker) = self.incoming_waker.take() {
            waker.wake();
        }
    }

    fn opened(&mut self, id: ChannelId, result: Result<(), OpenFailure>) {
        if let Some(sender) = self.channels.get_mut(&id).and_then(|channel| channel.opening.take()) {
            // An asker that gave up drops its half; the stream it never got closes the channel.
            let _ = sender.send(result);
        }
    }

    fn stop_reading(&mut self, id: ChannelId, reading: Reading) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.reading = reading;
            channel.wake_all();
        }
    }

    /// Received data goes to its channel; the window opens when the application takes it.
    pub(crate) fn receive(&mut self, id: ChannelId, parts: &[IoSlice<'_>]) {
        let mut written = self.write_direct(id, parts);
        let Some(channel) = self.channels.get_mut(&id) else {
            // The application has let go of the channel.
            self.connection.consume(id, parts.iter().map(|part| part.len()).sum());
            return;
        };
        for part in parts {
            let skipped = written.min(part.len());
            written -= skipped;
            channel.received.push(&part[skipped..]);
        }
        if !channel.received.is_empty()
            && let Some(waker) = channel.reader.take()
        {
            waker.wake();
        }
    }

    /// The application has taken bytes of a channel.
    pub(crate) fn consumed(&mut self, id: ChannelId, bytes: usize) {
        if let Some(meter) = self.channels.get(&id).and_then(|channel| channel.meter.as_ref()) {
            meter.add_received(bytes);
        }
        self.connection.consume(id, bytes);
        if self.connection.wants_to_send() {
            self.wake_driver();
        }
    }

    /// The application has written bytes to a channel.
    pub(crate) fn count_sent(&mut self, id: ChannelId, bytes: usize) {
        if let Some(meter) = self.channels.get(&id).and_then(|channel| channel.meter.as_ref()) {
            meter.add_sent(bytes);
        }
    }

    /// Sets, or takes away, the socket that received data goes to.
    pub(crate) fn attach_socket(&mut self, id: ChannelId, socket: Option<Arc<TcpStream>>) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.socket = socket;
        }
    }

    /// The connection is over: everyone who waits learns it.
    pub(crate) fn end(&mut self, end: Arc<End>) {
        self.ended = Some(end);
        for channel in self.channels.values_mut() {
            channel.opening = None;
            channel.wake_all();
        }
        self.replies.clear();
        if let Some(waker) = self.incoming_waker.take() {
            waker.wake();
        }
    }
}
