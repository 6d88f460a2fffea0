//! Plays the other end of an SSH connection with keys of its own, in either role, plain or obfuscated, so that a target can say
//! anything at all at any time to the connection that is tested. Built from the public parts of `ssh` below its `Connection`.
//!
//! It reads by the book: what the connection sends must be whole packets under the keys that are due, and nothing but key exchange
//! messages between its KEXINIT and its NEWKEYS. What to say, and when, is the target's choice.

use std::collections::VecDeque;
use std::time::Instant;

use culvert_obfuscation::{ClientPreamble, Keystream, PreambleReader};
use culvert_ssh::cipher::{Opener, Sealer};
use culvert_ssh::kex::{self, ClientExchange, ExchangeHash, ExchangeInputs, KeySource, Reply, SharedSecret};
use culvert_ssh::kexinit::{KexInit, NameLists, NegotiateError, Negotiated, Role, negotiate};
use culvert_ssh::names::{CipherName, HostKeyAlgorithm, KexName, MacName, wire_name};
use culvert_ssh::{ChannelData, ClientConfig, Connection, Error, ServerConfig};

use crate::ssh::FixedKeys;
use crate::ssh_setup::{HOST_KEY, IDENT, PASSWORD, USER, keyword, preamble_plan, signature};

pub(crate) const KEXINIT: u8 = 20;
pub(crate) const NEWKEYS: u8 = 21;
const KEX_INIT: u8 = 30;
const KEX_REPLY: u8 = 31;
/// What one call may make a connection send: more is out of proportion to what it was sent.
const MOST_SENT: usize = 2 << 20;

/// What protects a direction now.
enum Sending {
    Clear,
    Hidden(Box<Keystream>),
    Keyed(Sealer),
}

enum Receiving {
    Clear,
    Hidden(Box<Keystream>),
    Keyed(Opener),
}

/// What the connection has said before packets.
enum Opening {
    Preamble(Box<PreambleReader>),
    Line(Vec<u8>),
    Done(Vec<u8>),
}

/// One exchange of keys, as far as it has come.
#[derive(Default)]
struct Exchange {
    /// Our KEXINIT, as it was said.
    ours: Option<Vec<u8>>,
    theirs: Option<Vec<u8>>,
    /// The client's half, when the connection is a server.
    started: Option<ClientExchange>,
    /// The message with the client's public value, when the connection is a client.
    asked: Option<Vec<u8>>,
    secrets: Option<(SharedSecret, ExchangeHash)>,
    said_newkeys: bool,
    heard_newkeys: bool,
}

/// The tested connection and its peer.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    /// Of the connection; ours is the other.
    pub(crate) role: Role,
    pub(crate) now: Instant,
    /// Input comes in pieces of so many bytes.
    pub(crate) piece: usize,
    sending: Sending,
    receiving: Receiving,
    send_sequence: u32,
    receive_sequence: u32,
    opening: Opening,
    exchange: Exchange,
    session: Option<ExchangeHash>,
    strict: bool,
    /// Sent by the connection and not yet looked at.
    wire: Vec<u8>,
    /// Given to the connection and not yet taken.
    input: Vec<u8>,
    /// Messages of the connection that are not about keys, oldest first.
    pub(crate) heard: VecDeque<Vec<u8>>,
    /// Channel data that came out, oldest first; the bytes are as they were.
    pub(crate) data: Vec<(ChannelData, Vec<u8>)>,
}

impl Peer {
    pub(crate) fn of_client(config: ClientConfig, now: Instant) -> Self {
        let hidden = config.obfuscation.is_some();
        let mut peer = Self::new(Connection::client(config, Box::new(FixedKeys)), Role::Client, now);
        if hidden {
            peer.opening = Opening::Preamble(Box::new(PreambleReader::new(keyword())));
        }
        peer.listen();
        peer
    }

    pub(crate) fn of_server(config: ServerConfig, now: Instant) -> Self {
        let hidden = config.obfuscation.is_some();
        let mut peer = Self::new(Connection::server(config, Box::new(FixedKeys)), Role::Server, now);
        if hidden {
            let preamble = ClientPreamble::new(&keyword(), &preamble_plan());
            peer.sending = Sending::Hidden(Box::new(preamble.to_server));
            peer.receiving = Receiving::Hidden(Box::new(preamble.from_server));
            peer.feed(&preamble.bytes).expect("the preamble is valid");
        }
        peer.listen();
        peer
    }

    fn new(connection: Connection, role: Role, now: Instant) -> Self {
        Self {
            connection,
            role,
            now,
            piece: usize::MAX,
            sending: Sending::Clear,
            receiving: Receiving::Clear,
            send_sequence: 0,
            receive_sequence: 0,
            opening: Opening::Line(Vec::new()),
            exchange: Exchange::default(),
            session: None,
            strict: false,
            wire: Vec::new(),
            input: Vec::new(),
            heard: VecDeque::new(),
            data: Vec::new(),
        }
    }

    /// Says the identification.
    pub(crate) fn greet(&mut self) -> Result<(), Error> {
        let mut line = [IDENT, b"\r\n"].concat();
        if let Sending::Hidden(keystream) = &mut self.sending {
            keystream.apply(&mut line);
        }
        self.feed(&line)
    }

    /// Says a KEXINIT, which need not be valid. What it says counts in the exchange.
    pub(crate) fn kexinit(&mut self, payload: Vec<u8>) -> Result<(), Error> {
        let packet = self.packet(&payload);
        self.exchange.ours.get_or_insert(payload);
        self.feed(&packet)
    }

    /// What both KEXINITs agree on, once both are known.
    pub(crate) fn agreed(&self) -> Option<Result<Negotiated, NegotiateError>> {
        let ours = KexInit::decode(self.exchange.ours.as_ref()?).ok()?;
        let theirs = KexInit::decode(self.exchange.theirs.as_ref()?).expect("its KEXINIT is valid");
        // Whose guess was wrong is judged as the connection judges it.
        Some(match self.role {
            Role::Server => negotiate(Role::Server, &ours, &theirs),
            Role::Client => negotiate(Role::Client, &theirs, &ours),
        })
    }

    /// The message of the method that is due from us: the client's value, or the server's reply to it.
    pub(crate) fn method_message(&mut self) -> Option<Vec<u8>> {
        let method = self.agreed()?.ok()?.kex;
        if self.exchange.secrets.is_some() {
            return None;
        }
        match self.role {
            Role::Server if self.exchange.started.is_none() => {
                let exchange = ClientExchange::start(method, &mut FixedKeys).expect("a key can be made");
                let message = exchange.init_message();
                self.exchange.started = Some(exchange);
                Some(message)
            }
            Role::Server => None,
            Role::Client => {
                let asked = self.exchange.asked.take()?;
                let public = kex::parse_init(method, &asked).expect("the client's value is valid");
                let (server_public, secret) =
                    kex::respond(method, public, &mut FixedKeys).expect("the client's value is valid");
                let hash = self.hash(&secret, HOST_KEY.public_blob(), public, &server_public);
                let reply = Reply {
                    host_key_blob: HOST_KEY.public_blob(),
                    server_public: &server_public,
                    signature: &signature(hash.as_bytes()),
                };
                let message = reply.encode(method);
                self.exchange.secrets = Some((secret, hash));
                Some(message)
            }
        }
    }

    /// Says what is due in an exchange of keys, if one has begun.
    pub(crate) fn tend(&mut self, offer: &KexInit) -> Result<(), Error> {
        loop {
            if self.is_asked() {
                self.kexinit(offer.encode())?;
            } else if let Some(message) = self.method_message() {
                self.say(&message)?;
            } else if self.owes_newkeys() {
                self.newkeys()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Says what is due until the connection is logged in, with an offer that fits.
    pub(crate) fn log_in(&mut self, offer: &KexInit) {
        self.greet().expect("the identification is valid");
        self.tend(offer).expect("the exchange is by the book");
        for message in login(self.role) {
            self.say(&message).expect("login is by the book");
        }
        assert!(self.connection.is_authenticated(), "login did not work");
    }

    /// NEWKEYS are due from us.
    pub(crate) fn owes_newkeys(&self) -> bool {
        self.exchange.secrets.is_some() && !self.exchange.said_newkeys
    }

    /// Says NEWKEYS and takes the keys into use.
    pub(crate) fn newkeys(&mut self) -> Result<(), Error> {
        let packet = self.packet(&[NEWKEYS]);
        let keys = self.keys(self.role.receives());
        self.sending = Sending::Keyed(Sealer::new(&keys).expect("the keys fit"));
        if self.strict {
            self.send_sequence = 0;
        }
        self.exchange.said_newkeys = true;
        self.end_exchange();
        self.feed(&packet)
    }

    /// Our KEXINIT was said and our NEWKEYS was not.
    pub(crate) fn is_exchanging(&self) -> bool {
        self.exchange.ours.is_some()
    }

    /// Theirs was heard and ours is not said.
    pub(crate) fn is_asked(&self) -> bool {
        self.exchange.theirs.is_some() && self.exchange.ours.is_none()
    }

    /// Keys protect what we say.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self.sending, Sending::Keyed(_))
    }

    /// Says a message under the keys in use.
    pub(crate) fn say(&mut self, payload: &[u8]) -> Result<(), Error> {
        let packet = self.packet(payload);
        self.feed(&packet)
    }

    /// A packet, which counts as sent.
    pub(crate) fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let sequence = self.send_sequence;
        self.send_sequence = sequence.wrapping_add(1);
        match &mut self.sending {
            Sending::Keyed(sealer) => crate::ssh::seal(sealer, sequence, payload),
            Sending::Clear => crate::ssh::seal(&mut Sealer::clear(), sequence, payload),
            Sending::Hidden(keystream) => {
                let mut packet = crate::ssh::seal(&mut Sealer::clear(), sequence, payload);
                keystream.apply(&mut packet);
                if payload == [NEWKEYS] {
                    self.sending = Sending::Clear;
                }
                packet
            }
        }
    }

    /// Gives bytes to the connection, in pieces, and hears what it has to say.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(self.piece) {
            self.input.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let progress = self.connection.handle_input(&mut self.input[at..], self.now)?;
                if let Some(data) = progress.data {
                    let bytes = self.input[at..][data.range.clone()].to_vec();
                    self.data.push((data, bytes));
                }
                if progress.consumed == 0 {
                    break;
                }
                at += progress.consumed;
            }
            self.input.drain(..at);
        }
        self.listen();
        Ok(())
    }

    /// Takes all that the connection wants to send now. False: nothing.
    pub(crate) fn listen(&mut self) -> bool {
        let before = self.wire.len();
        while self.connection.poll_transmit(&mut self.wire, self.now) {}
        let sent = self.wire.len() - before;
        assert!(sent <= MOST_SENT, "one message brought forth too much");
        self.read_opening();
        while let Opening::Done(_) = self.opening
            && let Some(payload) = self.open()
        {
            self.take(payload);
        }
        sent > 0
    }

    fn read_opening(&mut self) {
        if let Opening::Preamble(reader) = &mut self.opening {
            let (consumed, preamble) = reader.push(&self.wire).expect("its preamble is valid");
            self.wire.drain(..consumed);
            let Some(preamble) = preamble else { return };
            self.sending = Sending::Hidden(Box::new(preamble.to_client));
            self.receiving = Receiving::Hidden(Box::new(preamble.from_client));
            self.opening = Opening::Line(Vec::new());
        }
        while let Opening::Line(line) = &mut self.opening {
            let Some(mut byte) = self.wire.first().copied() else { return };
            self.wire.remove(0);
            if let Receiving::Hidden(keystream) = &mut self.receiving {
                keystream.apply(std::slice::from_mut(&mut byte));
            }
            line.push(byte);
            if let Some(text) = line.strip_suffix(b"\r\n") {
                let done = text.starts_with(b"SSH-");
                self.opening = if done { Opening::Done(text.to_vec()) } else { Opening::Line(Vec::new()) };
            }
        }
    }

    /// The next message of the connection.
    fn open(&mut self) -> Option<Vec<u8>> {
        if self.wire.is_empty() {
            return None;
        }
        let sequence = self.receive_sequence;
        self.receive_sequence = sequence.wrapping_add(1);
        let (payload, len) = match &mut self.receiving {
            Receiving::Keyed(opener) => {
                let head = self.wire.get_mut(..opener.header_len()).expect("it sends whole packets");
                let length = opener.packet_length(sequence, head).expect("it sends valid lengths");
                let len = opener.packet_len(length);
                let packet = self.wire.get_mut(..len).expect("it sends whole packets");
                (opener.open(sequence, packet).expect("its packets open").to_vec(), len)
            }
            Receiving::Clear => clear(&mut self.wire, |_| {}),
            Receiving::Hidden(keystream) => clear(&mut self.wire, |bytes| keystream.apply(bytes)),
        };
        self.wire.drain(..len);
        Some(payload)
    }

    fn take(&mut self, payload: Vec<u8>) {
        let exchange = &mut self.exchange;
        let number = *payload.first().expect("it sends no empty messages");
        let within = exchange.theirs.is_some() && !exchange.heard_newkeys;
        match number {
            KEXINIT => {
                assert!(!within, "a second KEXINIT in one exchange");
                exchange.theirs = Some(payload);
            }
            NEWKEYS => {
                assert!(within && exchange.secrets.is_some(), "NEWKEYS before the exchange was over");
                exchange.heard_newkeys = true;
                let keys = self.keys(self.role.sends());
                self.receiving = Receiving::Keyed(Opener::new(&keys).expect("the keys fit"));
                if self.strict {
                    self.receive_sequence = 0;
                }
                self.end_exchange();
            }
            // What it holds depends on the method, which may not be known yet.
            KEX_INIT if self.role == Role::Client => exchange.asked = Some(payload),
            KEX_REPLY if self.role == Role::Server => self.finish(&payload),
            30..=49 => unreachable!("message {number} is none of its role"),
            _ => {
                assert!(!within || number < KEXINIT, "message {number} between KEXINIT and NEWKEYS");
                self.heard.push_back(payload);
            }
        }
    }

    fn finish(&mut self, payload: &[u8]) {
        let method = self.agreed().expect("it answers").expect("it agreed").kex;
        let reply = Reply::parse(method, payload).expect("its reply is valid");
        let started = self.exchange.started.take().expect("it answers");
        let public = started.public().to_vec();
        let secret = started.finish(reply.server_public).expect("its value is valid");
        let hash = self.hash(&secret, reply.host_key_blob, &public, reply.server_public);
        self.exchange.secrets = Some((secret, hash));
    }

    fn hash(&mut self, secret: &SharedSecret, blob: &[u8], client: &[u8], server: &[u8]) -> ExchangeHash {
        let agreed = self.agreed().expect("both are known").expect("something is agreed on");
        let Opening::Done(their_ident) = &self.opening else { unreachable!("packets follow the line") };
        let ours = (IDENT, self.exchange.ours.as_deref().expect("both are known"));
        let theirs = (their_ident.as_slice(), self.exchange.theirs.as_deref().expect("both are known"));
        let (from_client, from_server) = match self.role {
            Role::Server => (ours, theirs),
            Role::Client => (theirs, ours),
        };
        let inputs = ExchangeInputs {
            client_ident: from_client.0,
            server_ident: from_server.0,
            client_kexinit: from_client.1,
            server_kexinit: from_server.1,
            host_key_blob: blob,
            client_public: client,
            server_public: server,
        };
        let hash = kex::exchange_hash(agreed.kex, &inputs, secret);
        if self.session.is_none() {
            self.session = Some(hash);
            self.strict = agreed.strict;
        }
        hash
    }

    fn keys(&self, direction: culvert_ssh::kexinit::Direction) -> kex::DirectionKeys {
        let (secret, hash) = self.exchange.secrets.as_ref().expect("the exchange came so far");
        let suite = self.agreed().expect("both are known").expect("something is agreed on").suite(direction);
        let session_id = self.session.as_ref().expect("the exchange came so far");
        kex::derive_keys(&KeySource { secret, hash, session_id }, direction, suite)
    }

    fn end_exchange(&mut self) {
        if self.exchange.said_newkeys && self.exchange.heard_newkeys {
            self.exchange = Exchange::default();
        }
    }
}

/// What the peer of a connection in `role` says to log in, or to be logged in to.
pub(crate) fn login(role: Role) -> [Vec<u8>; 2] {
    match role {
        Role::Server => [[&[5][..], &string(b"ssh-userauth")].concat(), password(PASSWORD)],
        Role::Client => [[&[6][..], &string(b"ssh-userauth")].concat(), vec![52]],
    }
}

pub(crate) fn password(password: &[u8]) -> Vec<u8> {
    let words = [string(USER), string(b"ssh-connection"), string(b"password")].concat();
    [&[50][..], &words, &[0], &string(password)].concat()
}

/// An offer of one name each.
pub(crate) fn offer(method: KexName, cipher: CipherName, mac: MacName) -> KexInit {
    let one = |name: &'static str| vec![name.into()];
    let (cipher, mac) = (cipher.wire_name(), mac.wire_name());
    let lists = NameLists {
        kex: vec![
            method.wire_name().into(),
            wire_name::EXT_INFO_C.into(),
            wire_name::KEX_STRICT_C.into(),
            wire_name::KEX_STRICT_S.into(),
        ],
        host_key: one(HostKeyAlgorithm::RsaSha256.wire_name()),
        cipher_c2s: one(cipher),
        cipher_s2c: one(cipher),
        mac_c2s: one(mac),
        mac_s2c: one(mac),
        compression_c2s: one(wire_name::COMPRESSION_NONE),
        compression_s2c: one(wire_name::COMPRESSION_NONE),
    };
    KexInit { cookie: [7; 16], lists, first_kex_packet_follows: false }
}

/// An offer that is fast.
pub(crate) fn usual_offer() -> KexInit {
    offer(KexName::Curve25519Sha256, CipherName::Aes128Gcm, MacName::HmacSha256)
}

/// The payload and the length of a packet that only `reveal` hides. Its padding may be of any length.
fn clear(wire: &mut [u8], mut reveal: impl FnMut(&mut [u8])) -> (Vec<u8>, usize) {
    let (head, _) = wire.split_first_chunk_mut::<4>().expect("it sends whole packets");
    reveal(head);
    let len = u32::from_be_bytes(*head) as usize + 4;
    let body = wire.get_mut(4..len).expect("it sends whole packets");
    reveal(body);
    let end = len - usize::from(body[0]);
    (wire[5..end].to_vec(), len)
}

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}
