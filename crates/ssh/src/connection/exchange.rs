//! Key exchange, first and later ones, both roles.
//!
//! Our KEXINIT leaves as early as it may; from there until our NEWKEYS nothing but key exchange messages is
//! sent, and from the peer's KEXINIT until its NEWKEYS nothing else is accepted.
//!
//! Source: RFC 4253 sections 7 to 9; OpenSSH PROTOCOL 1.10 for the strict form; PROTOCOL.md 3.3 and 3.4.

use super::{Connection, Side};
use crate::cipher::{Opener, Sealer};
use crate::config::ServerKind;
use crate::error::{Error, Misbehaviour};
use crate::event::Event;
use crate::kex::{self, ClientExchange, ExchangeHash, ExchangeInputs, KeySource, SharedSecret};
use crate::kexinit::{self, Direction, KexInit, Negotiated, OfferPolicy, Role};
use crate::messages::{self, Layer, number};
use crate::names::KexName;
use crate::wire::WireError;

/// Exchanges that a peer may begin without anything to protect: each costs a server a signature.
const FREE_EXCHANGES: u64 = 32;
/// Traffic that earns the peer one more. An exchange of its own is less.
const BYTES_PER_EXCHANGE: u64 = 4096;

/// Where the exchange stands, with what later ones need to know of the first.
#[derive(Default)]
pub(super) struct Exchange {
    state: State,
    established: Option<Established>,
}

/// What the first exchange settled.
struct Established {
    /// The first exchange hash.
    session_id: ExchangeHash,
    strict: bool,
    /// Bytes after which the ciphers in use want new keys.
    rekey_limit: u64,
    /// Exchanges that the peer may still begin.
    allowed: u64,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// Our KEXINIT was sent.
    Offered(Box<Offer>),
    /// Both KEXINITs are known.
    Running(Box<Running>),
    /// Our NEWKEYS was sent; the peer's is due.
    Finishing { opener: Box<Opener>, negotiated: Negotiated, first: bool },
}

struct Offer {
    kexinit: KexInit,
    payload: Vec<u8>,
    /// The client's half, if its message has left already.
    early: Option<Early>,
}

struct Early {
    kex: KexName,
    exchange: ClientExchange,
}

struct Running {
    negotiated: Negotiated,
    client_kexinit: Vec<u8>,
    server_kexinit: Vec<u8>,
    /// The client's half; none on the server.
    client: Option<ClientExchange>,
    /// The peer guessed wrong: its next key exchange packet is not meant for this exchange.
    skip_next: bool,
}

impl Exchange {
    /// True once keys have been agreed on.
    pub(super) fn is_keyed(&self) -> bool {
        self.established.is_some()
    }

    /// True from our KEXINIT to our NEWKEYS.
    pub(super) fn blocks_sending(&self) -> bool {
        self.established.is_none() || matches!(self.state, State::Offered(_) | State::Running(_))
    }

    /// The byte limit of the ciphers in use; `None` while no re-key may start.
    pub(super) fn rekey_limit(&self) -> Option<u64> {
        match (&self.state, &self.established) {
            (State::Idle, Some(established)) => Some(established.rekey_limit),
            _ => None,
        }
    }

    /// True until NEWKEYS was received for the first time.
    fn in_first(&self) -> bool {
        self.established.is_none() || matches!(self.state, State::Finishing { first: true, .. })
    }

    fn is_strict(&self) -> bool {
        self.established.as_ref().is_some_and(|established| established.strict)
    }

    /// Is a message of this layer allowed now? RFC 4253 section 7.1 and the strict rules.
    pub(super) fn check_allowed(&self, message: u8, layer: Layer) -> Result<(), Error> {
        let peer_sent_kexinit = matches!(self.state, State::Running(_) | State::Finishing { .. });
        let unexpected = Err(Error::Peer(Misbehaviour::UnexpectedMessage(message)));
        match layer {
            Layer::KeyExchange => Ok(()),
            // DISCONNECT is always heard.
            Layer::Transport if message == number::DISCONNECT => Ok(()),
            // Others would let somebody in between shift sequence numbers before keys are in use, and then
            // cut as many packets off the start of the encrypted stream (CVE-2023-48795). The strict form
            // forbids them; no peer sends them in the first exchange without it either, so that a marker
            // which shaping dropped (PROTOCOL.md 3.1) costs no safety.
            Layer::Transport if self.in_first() => Err(Error::Peer(Misbehaviour::StrictKex)),
            Layer::Transport => Ok(()),
            Layer::Authentication | Layer::Connection | Layer::Unknown => {
                if self.established.is_none() || peer_sent_kexinit { unexpected } else { Ok(()) }
            }
        }
    }
}

impl Connection {
    /// Sends our KEXINIT, and what can follow it at once.
    pub(super) fn start_exchange(&mut self) {
        if !matches!(self.exchange.state, State::Idle) {
            return;
        }
        let policy = self.offer_policy();
        let mut cookie = [0; 16];
        self.rng.fill(&mut cookie);
        let kexinit = KexInit {
            cookie,
            lists: kexinit::offer(&policy, self.exchange.established.is_none()),
            first_kex_packet_follows: false,
        };
        let payload = kexinit.encode();
        self.outbound.message(&payload);
        let early = self.start_early(&policy, &kexinit);
        self.exchange.state = State::Offered(Box::new(Offer { kexinit, payload, early }));
    }

    /// Sends the client's key exchange message before the server's KEXINIT is known, where the outcome is.
    ///
    /// PROTOCOL.md 3.4: without `first_kex_packet_follows`, because the first name that the server supports wins
    /// wherever it stands.
    fn start_early(&mut self, policy: &OfferPolicy, kexinit: &KexInit) -> Option<Early> {
        let Side::Client(config) = &self.side else { return None };
        if config.algorithms.server != ServerKind::Predictable || self.exchange.established.is_some() {
            return None;
        }
        // Where no agreement is to be expected, the server's KEXINIT will tell.
        let kex = kexinit::predict(policy, &kexinit.lists).ok()?.kex;
        let exchange = ClientExchange::start(kex, self.keys.as_mut()).ok()?;
        self.outbound.message(&exchange.init_message());
        Some(Early { kex, exchange })
    }

    fn offer_policy(&self) -> OfferPolicy {
        let (algorithms, host_key_names) = match &self.side {
            Side::Client(config) => (&config.algorithms, Vec::new()),
            Side::Server(config) => (&config.algorithms, OfferPolicy::rsa_host_key_names()),
        };
        OfferPolicy {
            role: self.side.role(),
            no_encrypt_then_mac: algorithms.no_encrypt_then_mac,
            seed: algorithms.seed.clone(),
            peer_seed: algorithms.peer_seed.clone(),
            host_key_names,
        }
    }

    pub(super) fn on_key_exchange(&mut self, message: u8, payload: &[u8]) -> Result<(), Error> {
        match message {
            number::KEXINIT => self.on_kexinit(payload),
            // Outside encryption nothing else would notice bytes that became payload on the way.
            number::NEWKEYS if payload.len() > 1 => Err(Error::Wire(WireError::TrailingBytes)),
            number::NEWKEYS => self.on_newkeys(message),
            number::KEX_FIRST..=number::KEX_LAST => self.on_method_message(message, payload),
            _ => Err(Error::Peer(Misbehaviour::UnexpectedMessage(message))),
        }
    }

    fn on_kexinit(&mut self, payload: &[u8]) -> Result<(), Error> {
        let first = self.exchange.established.is_none();
        let was_first_packet = self.inbound.last_sequence() == 0;
        self.check_frequency()?;
        self.start_exchange();
        let State::Offered(offer) = std::mem::take(&mut self.exchange.state) else {
            return Err(Error::Peer(Misbehaviour::UnexpectedMessage(number::KEXINIT)));
        };
        let theirs = KexInit::decode(payload)?;
        let role = self.side.role();
        let (client, server) = match role {
            Role::Client => (&offer.kexinit, &theirs),
            Role::Server => (&theirs, &offer.kexinit),
        };
        let negotiated = kexinit::negotiate(role, client, server)?;
        // The strict form requires KEXINIT to be the very first packet.
        if first && negotiated.strict && !was_first_packet {
            return Err(Error::Peer(Misbehaviour::StrictKex));
        }
        let (client_kexinit, server_kexinit) = match role {
            Role::Client => (offer.payload, payload.to_vec()),
            Role::Server => (payload.to_vec(), offer.payload),
        };
        let client = match (role, offer.early) {
            (Role::Client, Some(early)) if early.kex == negotiated.kex => Some(early.exchange),
            (Role::Client, Some(_)) => return Err(Error::Mispredicted),
            (Role::Client, None) => {
                let exchange = ClientExchange::start(negotiated.kex, self.keys.as_mut())?;
                self.outbound.message(&exchange.init_message());
                Some(exchange)
            }
            (Role::Server, _) => None,
        };
        let skip_next = negotiated.guess_wrong;
        let running = Running { negotiated, client_kexinit, server_kexinit, client, skip_next };
        self.exchange.state = State::Running(Box::new(running));
        Ok(())
    }

    /// Exchanges before login serve nobody, and later ones must be in proportion to traffic. Those that we
    /// asked for are free.
    fn check_frequency(&mut self) -> Result<(), Error> {
        let asked = !matches!(self.exchange.state, State::Idle);
        let Some(established) = &mut self.exchange.established else { return Ok(()) };
        let moved = self.inbound.since_keys().0.saturating_add(self.outbound.since_keys().0);
        let earned = established.allowed.saturating_add(moved / BYTES_PER_EXCHANGE).min(FREE_EXCHANGES);
        let cost = u64::from(!asked);
        match earned.checked_sub(cost) {
            Some(left) if asked || self.authentication.is_done() => {
                established.allowed = left;
                Ok(())
            }
            Some(_) | None => Err(Error::Peer(Misbehaviour::RekeyStorm)),
        }
    }

    fn on_method_message(&mut self, message: u8, payload: &[u8]) -> Result<(), Error> {
        let State::Running(mut running) = std::mem::take(&mut self.exchange.state) else {
            return Err(Error::Peer(Misbehaviour::UnexpectedMessage(message)));
        };
        if std::mem::take(&mut running.skip_next) {
            self.exchange.state = State::Running(running);
            return Ok(());
        }
        match running.client.take() {
            Some(exchange) => self.finish_as_client(exchange, &running, payload),
            None => self.finish_as_server(&running, payload),
        }
    }

    fn finish_as_client(
        &mut self,
        exchange: ClientExchange,
        running: &Running,
        payload: &[u8],
    ) -> Result<(), Error> {
        let Side::Client(config) = &self.side else { return Err(Error::Peer(Misbehaviour::StrictKex)) };
        let negotiated = running.negotiated;
        let reply = kex::Reply::parse(negotiated.kex, payload)?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(reply.host_key_blob, &config.host_key).is_err() {
            return Err(Error::HostKeyMismatch);
        }
        let client_public = exchange.public().to_vec();
        let secret = exchange.finish(reply.server_public)?;
        let inputs = self.inputs(running, reply.host_key_blob, &client_public, reply.server_public);
        let hash = kex::exchange_hash(negotiated.kex, &inputs, &secret);
        crate::host_key::verify(negotiated.host_key, reply.host_key_blob, hash.as_bytes(), reply.signature)?;
        let first = self.exchange.established.is_none();
        self.change_keys(negotiated, &hash, &secret)?;
        if first {
            self.start_authentication();
        }
        Ok(())
    }

    fn finish_as_server(&mut self, running: &Running, payload: &[u8]) -> Result<(), Error> {
        let Side::Server(config) = &self.side else { return Err(Error::Peer(Misbehaviour::StrictKex)) };
        let host_key = config.host_key.clone();
        let negotiated = running.negotiated;
        let client_public = kex::parse_init(negotiated.kex, payload)?;
        let (server_public, secret) = kex::respond(negotiated.kex, client_public, self.keys.as_mut())?;
        let blob = host_key.public_blob();
        let inputs = self.inputs(running, blob, client_public, &server_public);
        let hash = kex::exchange_hash(negotiated.kex, &inputs, &secret);
        let signature = host_key.sign(negotiated.host_key, hash.as_bytes())?;
        let reply = kex::Reply { host_key_blob: blob, server_public: &server_public, signature: &signature };
        self.outbound.message(&reply.encode(negotiated.kex));
        let first = self.exchange.established.is_none();
        self.change_keys(negotiated, &hash, &secret)?;
        if first && negotiated.client_wants_ext_info {
            // RFC 8308 section 2.4: right after the first NEWKEYS.
            self.outbound.message(&messages::server_ext_info());
        }
        Ok(())
    }

    fn inputs<'a>(
        &'a self,
        running: &'a Running,
        host_key_blob: &'a [u8],
        client_public: &'a [u8],
        server_public: &'a [u8],
    ) -> ExchangeInputs<'a> {
        let own = self.side.ident().as_bytes();
        let peer = self.peer_ident.as_ref().map_or(&[][..], crate::Ident::as_bytes);
        let (client_ident, server_ident) = match self.side.role() {
            Role::Client => (own, peer),
            Role::Server => (peer, own),
        };
        ExchangeInputs {
            client_ident,
            server_ident,
            client_kexinit: &running.client_kexinit,
            server_kexinit: &running.server_kexinit,
            host_key_blob,
            client_public,
            server_public,
        }
    }

    /// Sends NEWKEYS, switches our direction and prepares the other.
    fn change_keys(
        &mut self,
        negotiated: Negotiated,
        hash: &ExchangeHash,
        secret: &SharedSecret,
    ) -> Result<(), Error> {
        let role = self.side.role();
        let first = self.exchange.established.is_none();
        let rekey_limit = negotiated.cipher_c2s.rekey_bytes().min(negotiated.cipher_s2c.rekey_bytes());
        let established = self.exchange.established.get_or_insert(Established {
            session_id: *hash,
            strict: negotiated.strict,
            rekey_limit,
            allowed: FREE_EXCHANGES,
        });
        established.rekey_limit = rekey_limit;
        let source = KeySource { secret, hash, session_id: &established.session_id };
        let keys = |direction: Direction| kex::derive_keys(&source, direction, negotiated.suite(direction));
        let sealer = Sealer::new(&keys(role.sends()))?;
        let opener = Box::new(Opener::new(&keys(role.receives()))?);
        let strict = established.strict;
        self.outbound.message(&messages::start(number::NEWKEYS));
        self.outbound.rekey(sealer, strict);
        self.exchange.state = State::Finishing { opener, negotiated, first };
        Ok(())
    }

    fn on_newkeys(&mut self, message: u8) -> Result<(), Error> {
        let State::Finishing { opener, negotiated, first } = std::mem::take(&mut self.exchange.state) else {
            return Err(Error::Peer(Misbehaviour::UnexpectedMessage(message)));
        };
        self.inbound.rekey(*opener, self.exchange.is_strict());
        self.events.push_back(Event::Keyed { negotiated, first });
        self.release_held();
        Ok(())
    }
}
