//! The connection: one state machine for both roles, without I/O.
//!
//! The driver feeds bytes with [`Connection::handle_input`], takes bytes with
//! [`Connection::prepare_output`] and [`Connection::output`], and asks for events with [`Connection::poll_event`]. Order of layers, from
//! the outside: preamble and prefix, identification, key exchange, authentication, then channels and
//! global requests.
//!
//! Source: RFC 4253, 4252, 4254; PROTOCOL.md 2 and 3.

mod authentication;
mod channels;
mod exchange;
mod opening;
mod output;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_obfuscation::Prng;

use crate::channel::Channels;
use crate::config::{ClientConfig, Decisions, Limits, ServerConfig};
use crate::credit::MemoryBudget;
use crate::error::{Error, Misbehaviour};
use crate::event::Event;
use crate::ident::Ident;
use crate::inbound::Inbound;
use crate::kex::EphemeralKeys;
use crate::kexinit::Role;
use crate::messages::{self, Layer, Message, number};
use crate::outbound::Outbound;
use crate::requests::{Reply, ReplyToken, Requests};

use authentication::Authentication;
use exchange::Exchange;
use opening::Opening;

pub use channels::{ChannelOpen, OpenError};
pub use output::BATCH;

/// What [`Connection::handle_input`] did.
#[derive(Debug)]
pub struct Progress {
    /// Bytes of input that are done with. Zero: more bytes are needed, and those given must be presented
    /// again, as they were left.
    pub consumed: usize,
    /// Channel data in the packet just read. The caller owns it now: it must either hand it on or keep it,
    /// and report it with [`Connection::consume`] when the application has taken it.
    pub data: Option<ChannelData>,
}

/// Received channel data, decrypted in the caller's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelData {
    /// The channel it belongs to.
    pub id: crate::ChannelId,
    /// Where in the input it lies.
    pub range: Range<usize>,
}

/// Channel data in a payload: the channel, and how many bytes at the payload's end.
type Received = (crate::ChannelId, usize);

/// What differs between the roles.
enum Side {
    Client(Box<ClientConfig>),
    Server(Box<ServerConfig>),
}

impl Side {
    fn role(&self) -> Role {
        match self {
            Self::Client(_) => Role::Client,
            Self::Server(_) => Role::Server,
        }
    }

    fn ident(&self) -> &Ident {
        match self {
            Self::Client(config) => &config.ident,
            Self::Server(config) => &config.ident,
        }
    }

    fn limits(&self) -> Limits {
        match self {
            Self::Client(config) => config.limits,
            Self::Server(config) => config.limits,
        }
    }

    fn decisions(&mut self) -> Option<&mut Decisions> {
        match self {
            Self::Client(_) => None,
            Self::Server(config) => Some(&mut config.decisions),
        }
    }
}

/// One SSH connection.
pub struct Connection {
    side: Side,
    keys: Box<dyn EphemeralKeys + Send>,
    rng: Prng,
    inbound: Inbound,
    outbound: Outbound,
    opening: Opening,
    peer_ident: Option<Ident>,
    exchange: Exchange,
    authentication: Authentication,
    channels: Channels,
    requests: Requests,
    /// Messages that must wait until a key exchange is over.
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
    /// Of what waits to be sent, bytes that the peer asked for.
    owed: usize,
    /// When keys were agreed on, until the peer's first message under them.
    keyed_at: Option<Instant>,
    events: VecDeque<Event>,
}

impl Connection {
    /// A client's connection. `keys` gives ephemeral key material.
    pub fn client(config: ClientConfig, keys: Box<dyn EphemeralKeys + Send>) -> Self {
        let seed = config.seed.clone();
        let mut connection = Self::new(Side::Client(Box::new(config)), keys, &seed);
        connection.open_as_client();
        connection
    }

    /// A server's connection.
    pub fn server(config: ServerConfig, keys: Box<dyn EphemeralKeys + Send>) -> Self {
        let seed = config.seed.clone();
        let mut connection = Self::new(Side::Server(Box::new(config)), keys, &seed);
        connection.open_as_server();
        connection
    }

    fn new(side: Side, keys: Box<dyn EphemeralKeys + Send>, seed: &culvert_obfuscation::Seed) -> Self {
        let channels = Channels::new(&side.limits());
        Self {
            side,
            keys,
            rng: Prng::derived(seed, "culvert-kexinit-cookie"),
            inbound: Inbound::new(),
            outbound: Outbound::new(seed),
            opening: Opening::default(),
            peer_ident: None,
            exchange: Exchange::default(),
            authentication: Authentication::default(),
            channels,
            requests: Requests::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            owed: 0,
            keyed_at: None,
            events: VecDeque::new(),
        }
    }

    /// Lets the connection's windows grow within a budget that it shares with others. Without one only its own
    /// bounds apply.
    #[must_use]
    pub fn with_budget(mut self, budget: Arc<MemoryBudget>) -> Self {
        self.channels.credit.set_budget(budget);
        self
    }

    /// Bytes that the peer can make this side hold on channels: sent and not taken, and what it may still send.
    pub fn claimed(&self) -> u64 {
        self.channels.credit.total()
    }

    /// Takes received bytes; stops after one packet, or one step of the opening.
    ///
    /// # Errors
    /// Any error ends the connection: drop it. Before [`Event::Keyed`] nothing may be sent in answer.
    pub fn handle_input(&mut self, input: &mut [u8], now: Instant) -> Result<Progress, Error> {
        if self.outbound.failed {
            return Err(Error::Seal);
        }
        if !self.opening.is_done() {
            return self.continue_opening(input, now).map(|consumed| Progress { consumed, data: None });
        }
        let Some(opened) = self.inbound.open(input)? else {
            return Ok(Progress { consumed: 0, data: None });
        };
        let consumed = opened.consumed;
        let data = self.dispatch(opened.payload, now)?.map(|(id, len)| {
            // Channel data ends its payload, behind which lie padding and tag.
            let end = opened.payload_at + opened.payload.len();
            ChannelData { id, range: end - len..end }
        });
        self.rekey_if_due();
        Ok(Progress { consumed, data })
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called, if at all.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.opening.held_until()
    }

    /// Time has passed: something held back may now be sent.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.opening.release(now);
    }

    /// Sends a global request. With `want_reply` the answer comes as [`Event::Reply`].
    pub fn request(&mut self, name: &[u8], want_reply: bool, body: &[u8]) -> Option<crate::RequestId> {
        self.send(messages::global_request(name, want_reply, body));
        want_reply.then(|| self.requests.sent())
    }

    /// Answers a request of the peer. Answers leave in the order of the requests.
    pub fn reply(&mut self, token: ReplyToken, reply: Reply) {
        self.requests.answer(&token, reply);
        while let Some(reply) = self.requests.next_answer() {
            self.answer(match reply {
                Ok(body) => messages::with_body(number::REQUEST_SUCCESS, &body),
                Err(_) => messages::start(number::REQUEST_FAILURE),
            });
        }
    }

    /// Tells the peer that the connection ends. RFC 4253 section 11.1.
    pub fn disconnect(&mut self, reason: u32, description: &str) {
        self.send(messages::disconnect(reason, description));
    }

    /// The shortest round trip seen so far.
    pub fn round_trip(&self) -> Option<Duration> {
        self.channels.round_trip.get()
    }

    /// True once the peer has proved who it is and channels may be opened.
    pub fn is_authenticated(&self) -> bool {
        self.authentication.is_done()
    }

    /// Queues or seals a message, depending on whether a key exchange is under way.
    fn send(&mut self, payload: Vec<u8>) {
        if self.exchange.blocks_sending() || !self.held.is_empty() {
            self.held_bytes += held_size(&payload);
            self.held.push_back(payload);
        } else {
            self.outbound.message(&payload);
        }
    }

    /// Sends what the peer asked for.
    fn answer(&mut self, payload: Vec<u8>) {
        // As much as it costs: a short message takes more room than its payload.
        self.owed += held_size(&payload);
        self.send(payload);
    }

    /// Sorts a packet by layer and checks that the layer is allowed now.
    fn dispatch(&mut self, payload: &[u8], now: Instant) -> Result<Option<Received>, Error> {
        let Some(&message) = payload.first() else {
            return Err(Error::Peer(Misbehaviour::PacketLength));
        };
        let layer = messages::layer(message);
        self.exchange.check_allowed(message, layer)?;
        self.measure_login(layer, now);
        match layer {
            Layer::KeyExchange => {
                let keyed = self.exchange.is_keyed();
                self.on_key_exchange(message, payload)?;
                if !keyed && self.exchange.is_keyed() {
                    self.keyed_at = Some(now);
                }
                Ok(None)
            }
            Layer::Unknown => {
                self.answer_unknown();
                Ok(None)
            }
            Layer::Transport | Layer::Authentication | Layer::Connection => {
                match messages::decode(payload)? {
                    Some(decoded) => self.on_message(message, layer, decoded, now),
                    None => {
                        self.answer_unknown();
                        Ok(None)
                    }
                }
            }
        }
        .and_then(|data| self.check_backlog().map(|()| data))
    }

    /// Login begins with a question or an answer that nothing else delays: the best measure of the path there is.
    fn measure_login(&mut self, layer: Layer, now: Instant) {
        if layer == Layer::Authentication
            && let Some(keyed) = self.keyed_at.take()
        {
            self.channels.round_trip.measured(now.saturating_duration_since(keyed));
        }
    }

    fn on_message(
        &mut self,
        number: u8,
        layer: Layer,
        message: Message<'_>,
        now: Instant,
    ) -> Result<Option<Received>, Error> {
        match layer {
            Layer::Authentication => self.on_authentication(number, &message).map(|()| None),
            Layer::Connection if self.authentication.is_done() => self.on_connection(message, now),
            Layer::Connection => Err(Error::Peer(Misbehaviour::UnexpectedMessage(number))),
            Layer::Transport | Layer::KeyExchange | Layer::Unknown => on_transport(&message).map(|()| None),
        }
    }

    /// RFC 4253 section 11.4.
    fn answer_unknown(&mut self) {
        let sequence = self.inbound.last_sequence();
        self.answer(messages::unimplemented(sequence));
    }

    /// A peer that asks for replies and reads none of them must not fill our memory. What applications of this
    /// side ask for does not count: however much it is, it is not the peer's fault.
    fn check_backlog(&self) -> Result<(), Error> {
        const MAX_OWED: usize = 512 * 1024;
        if self.owed > MAX_OWED {
            return Err(Error::Peer(Misbehaviour::RepliesUnread));
        }
        Ok(())
    }
}

/// Memory that a message takes while it waits, or on the wire.
fn held_size(payload: &[u8]) -> usize {
    payload.len() + 64
}

/// DISCONNECT ends the connection; IGNORE, DEBUG, UNIMPLEMENTED and EXT_INFO have no effect.
fn on_transport(message: &Message<'_>) -> Result<(), Error> {
    let Message::Disconnect { reason, description } = message else { return Ok(()) };
    let printable = |byte: &u8| (0x20..0x7f).contains(byte).then_some(char::from(*byte));
    let description = description.iter().take(255).filter_map(printable).collect();
    Err(Error::Disconnected { reason: *reason, description })
}
