//! A peer made of the crate's parts below `Connection`, which says what a test tells it to, at any time.
//!
//! It does the key exchange and login by the book, in either role, unless a test steps in.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use culvert_obfuscation::{GeneratedPrefix, Seed};
use culvert_ssh::cipher::{Opener, Sealer};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::{
    self, ClientExchange, EphemeralKeys, ExchangeHash, ExchangeInputs, KexError, KeySource, Reply,
    SharedSecret,
};
use culvert_ssh::kexinit::{KexInit, NameLists, Role, negotiate};
use culvert_ssh::names::{HostKeyAlgorithm, wire_name};
use culvert_ssh::wire::WriteWire;
use culvert_ssh::{
    Algorithms, ChannelId, ChannelOpen, ClientConfig, Connection, Decisions, Error, Event, Ident, Limits,
    ReplyPrefix, ServerConfig,
};

pub(crate) const IDENT: &[u8] = b"SSH-2.0-OpenSSH_8.1";
pub(crate) const NEWKEYS: u8 = 21;
/// The window that the tested connection gives.
pub(crate) const WINDOW: usize = 128 * 1024;

/// The same secrets in every run.
pub(crate) struct FixedKeys;

impl EphemeralKeys for FixedKeys {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        secret.fill(0x42);
        Ok(())
    }
}

pub(crate) fn host_key() -> Arc<HostKey> {
    static KEY: OnceLock<Arc<HostKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(HostKey::generate().expect("key generation works"))).clone()
}

/// A list of names for KEXINIT.
pub(crate) fn names(list: &'static str) -> Vec<culvert_ssh::kexinit::Name> {
    list.split(',').map(Into::into).collect()
}

/// What a peer offers that wants no surprises: one name of each, and its marker of the strict exchange.
pub(crate) fn offer(tested: Role) -> KexInit {
    let kex = match tested {
        Role::Server => "curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com",
        Role::Client => "curve25519-sha256,kex-strict-s-v00@openssh.com",
    };
    let lists = NameLists {
        kex: names(kex),
        host_key: names(wire_name::RSA_SHA256),
        cipher_c2s: names(wire_name::AES128_GCM),
        cipher_s2c: names(wire_name::AES128_GCM),
        mac_c2s: names(wire_name::HMAC_SHA256),
        mac_s2c: names(wire_name::HMAC_SHA256),
        compression_c2s: names("none"),
        compression_s2c: names("none"),
    };
    KexInit { cookie: [7; 16], lists, first_kex_packet_follows: false }
}

/// The same without the marker.
pub(crate) fn offer_unmarked(tested: Role) -> KexInit {
    let mut offer = offer(tested);
    offer.lists.kex.truncate(1);
    offer
}

/// A connection that is tested, and what its peer has to know.
pub(crate) struct Raw {
    pub(crate) connection: Connection,
    pub(crate) role: Role,
    pub(crate) offer: KexInit,
    pub(crate) sealer: Sealer,
    opener: Opener,
    pub(crate) send_sequence: u32,
    receive_sequence: u32,
    session: Option<ExchangeHash>,
    strict: Option<bool>,
    theirs: Option<KexInit>,
    their_payload: Vec<u8>,
    /// Sent by the connection and not yet looked at.
    pub(crate) wire: Vec<u8>,
    input: Vec<u8>,
    pub(crate) events: Vec<Event>,
    /// Bytes of channel data that came out.
    pub(crate) received: usize,
    /// The application takes what comes at once.
    pub(crate) consumes: bool,
    /// The peer takes what the connection sends; a stalled peer does not.
    pub(crate) reads: bool,
    /// The clock of the connection.
    pub(crate) now: Instant,
}

impl Raw {
    /// Nothing was said yet.
    pub(crate) fn new(role: Role, offer: KexInit) -> Self {
        Self::with(role, offer, Limits::default(), Algorithms::default())
    }

    pub(crate) fn with(role: Role, offer: KexInit, limits: Limits, algorithms: Algorithms) -> Self {
        Self {
            connection: tested(role, limits, algorithms),
            role,
            offer,
            sealer: Sealer::clear(),
            opener: Opener::clear(),
            send_sequence: 0,
            receive_sequence: 0,
            session: None,
            strict: None,
            theirs: None,
            their_payload: Vec::new(),
            wire: Vec::new(),
            input: Vec::new(),
            events: Vec::new(),
            received: 0,
            consumes: true,
            reads: true,
            now: now(),
        }
    }

    /// Both identifications have been said.
    pub(crate) fn greeted(role: Role, offer: KexInit) -> Self {
        let mut raw = Self::new(role, offer);
        raw.greet();
        raw
    }

    /// The key exchange is over.
    pub(crate) fn keyed(role: Role) -> Self {
        let mut raw = Self::greeted(role, offer(role));
        raw.exchange().expect("the exchange is by the book");
        raw
    }

    /// Login is over.
    pub(crate) fn logged_in(role: Role) -> Self {
        let mut raw = Self::keyed(role);
        raw.log_in();
        raw
    }

    /// Login is over, and a channel is open both ways; its number is 0 on both sides.
    pub(crate) fn with_channel(role: Role) -> (Self, ChannelId) {
        let mut raw = Self::logged_in(role);
        let id = raw.channel(0);
        (raw, id)
    }

    pub(crate) fn greet(&mut self) {
        let line = [IDENT, b"\r\n"].concat();
        self.feed(&line).expect("the identification is valid");
        let end = self.wire.windows(2).position(|end| end == b"\r\n").expect("a line comes first");
        self.wire.drain(..end + 2);
    }

    /// Sends our KEXINIT and takes theirs.
    pub(crate) fn kexinit(&mut self) -> Result<(), Error> {
        self.say_kexinit()?;
        self.take_kexinit();
        Ok(())
    }

    /// Sends our KEXINIT only.
    pub(crate) fn say_kexinit(&mut self) -> Result<(), Error> {
        let payload = self.offer.encode();
        self.say(&payload)
    }

    pub(crate) fn take_kexinit(&mut self) {
        while self.theirs.is_none() {
            let payload = self.next().expect("a KEXINIT is due");
            if payload.first() == Some(&20) {
                self.theirs = Some(KexInit::decode(&payload).expect("it is valid"));
                self.their_payload = payload;
            }
        }
    }

    /// A whole exchange, first or later.
    pub(crate) fn exchange(&mut self) -> Result<(), Error> {
        self.kexinit()?;
        self.finish_exchange()
    }

    /// What follows both KEXINITs.
    pub(crate) fn finish_exchange(&mut self) -> Result<(), Error> {
        let (secret, hash) = self.methods()?;
        self.newkeys(&secret, &hash)
    }

    fn agreed(&self) -> culvert_ssh::kexinit::Negotiated {
        let theirs = self.theirs.as_ref().expect("taken");
        match self.role {
            Role::Server => negotiate(Role::Client, &self.offer, theirs),
            Role::Client => negotiate(Role::Server, theirs, &self.offer),
        }
        .expect("something is agreed")
    }

    /// The messages of the method, both ways.
    pub(crate) fn methods(&mut self) -> Result<(SharedSecret, ExchangeHash), Error> {
        let method = self.agreed().kex;
        let ours = self.offer.encode();
        match self.role {
            Role::Server => {
                let exchange = ClientExchange::start(method, &mut FixedKeys).expect("a key can be made");
                let public = exchange.public().to_vec();
                self.say(&exchange.init_message())?;
                let payload = self.next_of(31);
                let reply = Reply::parse(method, &payload).expect("the server answers");
                let secret = exchange.finish(reply.server_public).expect("the server's value is valid");
                let inputs = ExchangeInputs {
                    client_ident: IDENT,
                    server_ident: IDENT,
                    client_kexinit: &ours,
                    server_kexinit: &self.their_payload,
                    host_key_blob: reply.host_key_blob,
                    client_public: &public,
                    server_public: reply.server_public,
                };
                let hash = kex::exchange_hash(method, &inputs, &secret);
                Ok((secret, hash))
            }
            Role::Client => {
                let payload = self.next_of(30);
                let public = kex::parse_init(method, &payload).expect("the client begins").to_vec();
                let (reply, secret, hash) = self.reply(&public);
                self.say(&reply)?;
                Ok((secret, hash))
            }
        }
    }

    /// The reply of a server that owns the pinned key.
    fn reply(&self, public: &[u8]) -> (Vec<u8>, SharedSecret, ExchangeHash) {
        let method = self.agreed().kex;
        let (server_public, secret) =
            kex::respond(method, public, &mut FixedKeys).expect("the client's value is valid");
        let key = host_key();
        let inputs = ExchangeInputs {
            client_ident: IDENT,
            server_ident: IDENT,
            client_kexinit: &self.their_payload,
            server_kexinit: &self.offer.encode(),
            host_key_blob: key.public_blob(),
            client_public: public,
            server_public: &server_public,
        };
        let hash = kex::exchange_hash(method, &inputs, &secret);
        let signature = key.sign(HostKeyAlgorithm::RsaSha256, hash.as_bytes()).expect("the key signs");
        let reply =
            Reply { host_key_blob: key.public_blob(), server_public: &server_public, signature: &signature };
        (reply.encode(method), secret, hash)
    }

    /// NEWKEYS both ways, and the keys taken into use.
    pub(crate) fn newkeys(&mut self, secret: &SharedSecret, hash: &ExchangeHash) -> Result<(), Error> {
        let agreed = self.agreed();
        let session = *self.session.get_or_insert(*hash);
        let source = KeySource { secret, hash, session_id: &session };
        let keys = |direction| kex::derive_keys(&source, direction, agreed.suite(direction));
        self.next_of(NEWKEYS);
        self.opener = Opener::new(&keys(self.role.sends())).expect("the keys fit");
        let packet = self.packet(&[NEWKEYS]);
        self.sealer = Sealer::new(&keys(self.role.receives())).expect("the keys fit");
        if *self.strict.get_or_insert(agreed.strict) {
            self.send_sequence = 0;
            self.receive_sequence = 0;
        }
        self.theirs = None;
        self.feed(&packet)
    }

    pub(crate) fn log_in(&mut self) {
        for message in login(self.role) {
            self.say(&message).expect("login is by the book");
        }
        assert!(self.connection.is_authenticated());
        self.wire_is_read();
    }

    /// Opens a channel from our side, which the application accepts.
    pub(crate) fn channel(&mut self, sender: u32) -> ChannelId {
        self.say(&open(sender, u32::MAX, 32 * 1024)).expect("a channel may be asked for");
        let id = self.offered().expect("the application was asked");
        self.connection.accept_channel(id);
        self.wire_is_read();
        id
    }

    /// The channel that was offered last.
    pub(crate) fn offered(&self) -> Option<ChannelId> {
        self.events.iter().rev().find_map(|event| match event {
            Event::ChannelOffered { id, .. } => Some(*id),
            _ => None,
        })
    }

    /// The application asks for a channel.
    pub(crate) fn ask(&mut self) -> ChannelId {
        let id = self
            .connection
            .open_channel(ChannelOpen { kind: "direct-tcpip", payload: b"x" })
            .expect("a channel can be asked for");
        self.wire_is_read();
        id
    }

    /// A sealed packet.
    pub(crate) fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let padding = self.sealer.padding_len(payload.len());
        let mut packet = Sealer::header(payload.len(), padding).to_vec();
        packet.extend_from_slice(payload);
        packet.resize(self.sealer.packet_len(payload.len()), 0);
        self.seal(packet)
    }

    /// Seals a packet that is laid out already, with room for the tag.
    pub(crate) fn seal(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        self.sealer.seal(self.send_sequence, &mut packet).expect("the packet can be sealed");
        self.send_sequence = self.send_sequence.wrapping_add(1);
        packet
    }

    /// Sends a message.
    pub(crate) fn say(&mut self, payload: &[u8]) -> Result<(), Error> {
        let packet = self.packet(payload);
        self.feed(&packet)
    }

    /// Sends many in one piece, as a driver reads them.
    pub(crate) fn say_all(&mut self, payloads: impl IntoIterator<Item = Vec<u8>>) -> Result<(), Error> {
        for payload in payloads {
            let packet = self.packet(&payload);
            self.feed(&packet)?;
            self.events.clear();
            self.forget();
        }
        Ok(())
    }

    /// Gives bytes to the connection, and takes what it has to say.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.input.extend_from_slice(bytes);
        let mut at = 0;
        let result = loop {
            let progress = match self.connection.handle_input(&mut self.input[at..], self.now) {
                Ok(progress) => progress,
                Err(error) => break Err(error),
            };
            let consumed = progress.consumed;
            if let Some((id, len)) = progress.data.map(|data| (data.id, data.range.len())) {
                self.received += len;
                if self.consumes {
                    self.connection.consume(id, len);
                }
            }
            while let Some(event) = self.connection.poll_event() {
                self.events.push(event);
            }
            at += consumed;
            if consumed == 0 || at == self.input.len() {
                break Ok(());
            }
        };
        self.input.drain(..at);
        self.wire_is_read();
        result
    }

    /// Takes what the connection has to say, if the peer reads at all.
    pub(crate) fn wire_is_read(&mut self) {
        while self.reads && self.connection.poll_transmit(&mut self.wire, self.now) {}
        while let Some(event) = self.connection.poll_event() {
            self.events.push(event);
        }
    }

    /// The next message of the connection.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let head = self.wire.get_mut(..self.opener.header_len())?;
        let length = self.opener.packet_length(self.receive_sequence, head).expect("it sends valid lengths");
        let len = self.opener.packet_len(length);
        let packet = self.wire.get_mut(..len).expect("it sends whole packets");
        let payload = self.opener.open(self.receive_sequence, packet).expect("its packets open").to_vec();
        self.receive_sequence = self.receive_sequence.wrapping_add(1);
        self.wire.drain(..len);
        Some(payload)
    }

    /// The next message with that number; others are dropped.
    pub(crate) fn next_of(&mut self, number: u8) -> Vec<u8> {
        loop {
            let Some(payload) = self.next() else { unreachable!("message {number} is due") };
            if payload.first() == Some(&number) {
                return payload;
            }
        }
    }

    /// Opens and drops everything that the connection has said.
    pub(crate) fn forget(&mut self) {
        while self.next().is_some() {}
    }

    /// Everything that the connection has said and nobody looked at.
    pub(crate) fn heard(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// What the peer of a connection in `role` says to log in, or to be logged in to.
pub(crate) fn login(role: Role) -> Vec<Vec<u8>> {
    match role {
        Role::Server => vec![message(5, &[b"ssh-userauth"]), password(b"u", b"p")],
        Role::Client => vec![message(6, &[b"ssh-userauth"]), vec![52]],
    }
}

/// A message of strings.
pub(crate) fn message(number: u8, strings: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![number];
    strings.iter().for_each(|string| payload.put_string(string));
    payload
}

/// A message of numbers.
pub(crate) fn numbers(number: u8, values: &[u32]) -> Vec<u8> {
    let mut payload = vec![number];
    values.iter().for_each(|value| payload.put_u32(*value));
    payload
}

pub(crate) fn password(user: &[u8], password: &[u8]) -> Vec<u8> {
    let mut payload = message(50, &[user, b"ssh-connection", b"password"]);
    payload.put_bool(false);
    payload.put_string(password);
    payload
}

/// CHANNEL_OPEN.
pub(crate) fn open(sender: u32, window: u32, max_packet: u32) -> Vec<u8> {
    let mut payload = message(90, &[b"direct-tcpip"]);
    [sender, window, max_packet].into_iter().for_each(|value| payload.put_u32(value));
    payload
}

/// CHANNEL_OPEN_CONFIRMATION.
pub(crate) fn confirm(recipient: u32, sender: u32, window: u32, max_packet: u32) -> Vec<u8> {
    numbers(91, &[recipient, sender, window, max_packet])
}

/// CHANNEL_DATA.
pub(crate) fn data(recipient: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = numbers(94, &[recipient]);
    payload.put_string(bytes);
    payload
}

/// GLOBAL_REQUEST.
pub(crate) fn request(want_reply: bool, body: &[u8]) -> Vec<u8> {
    let mut payload = message(80, &[b"x@example.org"]);
    payload.put_bool(want_reply);
    payload.extend_from_slice(body);
    payload
}

#[expect(clippy::disallowed_methods, reason = "a test of a pure crate has to begin somewhere")]
fn now() -> Instant {
    Instant::now()
}

fn ident() -> Ident {
    Ident::local(std::str::from_utf8(IDENT).expect("it is ASCII")).expect("valid")
}

fn tested(role: Role, limits: Limits, algorithms: Algorithms) -> Connection {
    match role {
        Role::Client => {
            let config = ClientConfig {
                ident: ident(),
                algorithms,
                host_key: host_key().public_blob().to_vec(),
                user: b"u".to_vec(),
                password: b"p".to_vec().into(),
                obfuscation: None,
                limits,
                seed: Seed::from_bytes([1; 32]),
            };
            Connection::client(config, Box::new(FixedKeys))
        }
        Role::Server => {
            let config = ServerConfig {
                ident: ident(),
                algorithms,
                host_key: host_key(),
                obfuscation: None,
                decisions: Decisions {
                    reply_prefix: Box::new(|_, _| ReplyPrefix {
                        prefix: GeneratedPrefix::new(vec![b'p'; 24], 24).expect("long enough"),
                        split: None,
                    }),
                    authenticate: Box::new(|user, password| user == b"u" && password == b"p"),
                },
                limits,
                seed: Seed::from_bytes([2; 32]),
            };
            Connection::server(config, Box::new(FixedKeys))
        }
    }
}
