//! Plays the other end of an SSH connection with keys of its own, so that a target can send any message at all under encryption to the
//! connection that is tested. Built from the public parts of `ssh` below its `Connection`; no obfuscation.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use culvert_obfuscation::{GeneratedPrefix, Seed};
use culvert_ssh::cipher::{Opener, Sealer};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::{self, ClientExchange, ExchangeHash, ExchangeInputs, KeySource, Reply, SharedSecret};
use culvert_ssh::kexinit::{Direction, KexInit, NameLists, Role, Suite};
use culvert_ssh::names::{CipherName, HostKeyAlgorithm, KexName};
use culvert_ssh::{
    Algorithms, ClientConfig, Connection, Decisions, Error, Event, Ident, Limits, ReplyPrefix, ServerConfig,
};

use crate::ssh::FixedKeys;

const METHOD: KexName = KexName::Curve25519Sha256;
const SUITE: Suite = Suite { cipher: CipherName::Aes128Gcm, mac: None };
const IDENT: &[u8] = b"SSH-2.0-OpenSSH_8.1";
const NEWKEYS: u8 = 21;
/// What one call may make a connection send: more is out of proportion to what it was sent.
const MOST_SENT: usize = 1 << 20;

/// Of the run, not of the input: it decides nothing but signatures.
static HOST_KEY: LazyLock<Arc<HostKey>> =
    LazyLock::new(|| Arc::new(HostKey::generate().expect("a host key can be made")));

/// A connection whose peer is the fuzzer.
pub(crate) struct Tested {
    connection: Connection,
    now: Instant,
    sealer: Sealer,
}

impl Tested {
    /// A connection of a role, after the key exchange.
    pub(crate) fn keyed(role: Role, now: Instant) -> Self {
        let mut connection = match role {
            Role::Client => Connection::client(client_config(), Box::new(FixedKeys)),
            Role::Server => Connection::server(server_config(), Box::new(FixedKeys)),
        };
        let sealer = exchange(&mut connection, role, now);
        Self { connection, now, sealer }
    }

    /// Logs in: the peer of a server asks, that of a client grants.
    pub(crate) fn log_in(&mut self, role: Role) {
        let messages = match role {
            Role::Server => vec![
                [vec![5], string(b"ssh-userauth")].concat(),
                [
                    vec![50],
                    string(b"u"),
                    string(b"ssh-connection"),
                    string(b"password"),
                    vec![0],
                    string(b"p"),
                ]
                .concat(),
            ],
            Role::Client => vec![[vec![6], string(b"ssh-userauth")].concat(), vec![52]],
        };
        for message in messages {
            self.message(&message).expect("login is as the protocol says");
        }
        assert!(self.connection.is_authenticated(), "login did not work");
    }

    /// Sends one message and does what a driver does with what it brings.
    pub(crate) fn message(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut packet = crate::ssh::seal(&mut self.sealer, payload);
        feed(&mut self.connection, &mut packet, self.now)?;
        assert!(
            sent(&mut self.connection, self.now).len() <= MOST_SENT,
            "one message brought forth too much"
        );
        while let Some(event) = self.connection.poll_event() {
            self.answer(event);
        }
        Ok(())
    }

    /// Does something of its own on all that is open, as an application would.
    pub(crate) fn act(&mut self, action: u8) {
        if let Ok(id) =
            self.connection.open_channel(culvert_ssh::ChannelOpen { kind: "direct-tcpip", payload: b"x" })
        {
            self.connection.write(id, &[action; 100]);
            match action % 4 {
                0 => self.connection.finish(id),
                1 => self.connection.close(id),
                2 => self.connection.abort(id),
                _ => {}
            }
        }
        let _ = self.connection.request(b"keepalive@openssh.com", action.is_multiple_of(2), &[action]);
    }

    fn answer(&mut self, event: Event) {
        match event {
            Event::ChannelOffered { id, kind, .. } if kind.len().is_multiple_of(2) => {
                self.connection.accept_channel(id);
                self.connection.write(id, b"hello");
            }
            Event::ChannelOffered { id, .. } => self.connection.reject_channel(id, u32::MAX, "no"),
            Event::ChannelFinished(id) => self.connection.finish(id),
            Event::ChannelClosed(id) | Event::ChannelRefused { id, .. } => self.connection.close(id),
            Event::Request { reply: Some(token), payload, .. } => self.connection.reply(token, Ok(payload)),
            _ => {}
        }
    }
}

/// Gives the bytes to the connection until it wants more than there are.
pub(crate) fn feed(connection: &mut Connection, bytes: &mut [u8], now: Instant) -> Result<(), Error> {
    let mut at = 0;
    while at < bytes.len() {
        let progress = connection.handle_input(&mut bytes[at..], now)?;
        let consumed = progress.consumed;
        if let Some(data) = progress.data {
            let (id, len) = (data.id, data.range.len());
            connection.consume(id, len);
        }
        if consumed == 0 {
            break;
        }
        at += consumed;
    }
    Ok(())
}

/// All that the connection wants to send now.
pub(crate) fn sent(connection: &mut Connection, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() <= MOST_SENT && connection.poll_transmit(&mut out, now) {}
    out
}

/// The key exchange; returns what seals messages to the connection.
fn exchange(connection: &mut Connection, role: Role, now: Instant) -> Sealer {
    let mut opening = [IDENT, b"\r\n"].concat();
    feed(connection, &mut opening, now).expect("the identification is valid");
    let ours = ours().encode();
    let mut packet = crate::ssh::seal(&mut Sealer::clear(), &ours);
    feed(connection, &mut packet, now).expect("the KEXINIT is valid");
    let (hash, secret, to_server) = match role {
        Role::Server => as_client(connection, &ours, now),
        Role::Client => as_server(connection, &ours, now),
    };
    let mut packet = crate::ssh::seal(&mut Sealer::clear(), &[NEWKEYS]);
    feed(connection, &mut packet, now).expect("NEWKEYS is due");
    let source = KeySource { secret: &secret, hash: &hash, session_id: &hash };
    let direction = if to_server { Direction::ClientToServer } else { Direction::ServerToClient };
    Sealer::new(&kex::derive_keys(&source, direction, SUITE)).expect("the keys fit")
}

fn as_client(connection: &mut Connection, ours: &[u8], now: Instant) -> (ExchangeHash, SharedSecret, bool) {
    let exchange = ClientExchange::start(METHOD, &mut FixedKeys).expect("a key can be made");
    let public = exchange.public().to_vec();
    let mut packet = crate::ssh::seal(&mut Sealer::clear(), &exchange.init_message());
    feed(connection, &mut packet, now).expect("the key exchange is valid");
    let theirs = messages(&sent(connection, now));
    let reply = Reply::parse(METHOD, &theirs[1]).expect("the server answers");
    let secret = exchange.finish(reply.server_public).expect("the server's value is valid");
    let inputs = ExchangeInputs {
        client_ident: IDENT,
        server_ident: IDENT,
        client_kexinit: ours,
        server_kexinit: &theirs[0],
        host_key_blob: reply.host_key_blob,
        client_public: &public,
        server_public: reply.server_public,
    };
    (kex::exchange_hash(METHOD, &inputs, &secret), secret, true)
}

fn as_server(connection: &mut Connection, ours: &[u8], now: Instant) -> (ExchangeHash, SharedSecret, bool) {
    let theirs = messages(&sent(connection, now));
    let public = kex::parse_init(METHOD, &theirs[1]).expect("the client begins");
    let (server_public, secret) =
        kex::respond(METHOD, public, &mut FixedKeys).expect("the client's value is valid");
    let inputs = ExchangeInputs {
        client_ident: IDENT,
        server_ident: IDENT,
        client_kexinit: &theirs[0],
        server_kexinit: ours,
        host_key_blob: HOST_KEY.public_blob(),
        client_public: public,
        server_public: &server_public,
    };
    let hash = kex::exchange_hash(METHOD, &inputs, &secret);
    let signature = HOST_KEY.sign(HostKeyAlgorithm::RsaSha256, hash.as_bytes()).expect("the key signs");
    let reply =
        Reply { host_key_blob: HOST_KEY.public_blob(), server_public: &server_public, signature: &signature };
    let mut packet = crate::ssh::seal(&mut Sealer::clear(), &reply.encode(METHOD));
    feed(connection, &mut packet, now).expect("the reply is valid");
    (hash, secret, false)
}

/// The messages behind an identification line, up to NEWKEYS.
fn messages(wire: &[u8]) -> Vec<Vec<u8>> {
    let behind = wire.windows(2).position(|end| end == b"\r\n").expect("a line comes first") + 2;
    let mut rest = &wire[behind..];
    let mut found = Vec::new();
    while let Some((message, after)) = crate::ssh::open_first(&mut Opener::clear(), rest) {
        rest = after;
        if message == [NEWKEYS] {
            break;
        }
        found.push(message);
    }
    found
}

fn ours() -> KexInit {
    let one = |name: &'static str| vec![name.into()];
    let lists = NameLists {
        kex: one(METHOD.wire_name()),
        host_key: one(HostKeyAlgorithm::RsaSha256.wire_name()),
        cipher_c2s: one(SUITE.cipher.wire_name()),
        cipher_s2c: one(SUITE.cipher.wire_name()),
        mac_c2s: one("hmac-sha2-256"),
        mac_s2c: one("hmac-sha2-256"),
        compression_c2s: one("none"),
        compression_s2c: one("none"),
    };
    KexInit { cookie: [7; 16], lists, first_kex_packet_follows: false }
}

pub(crate) fn client_config() -> ClientConfig {
    ClientConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key: HOST_KEY.public_blob().to_vec(),
        user: b"u".to_vec(),
        password: b"p".to_vec().into(),
        obfuscation: None,
        limits: limits(),
        seed: Seed::from_bytes([1; 32]),
    }
}

pub(crate) fn server_config() -> ServerConfig {
    ServerConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key: Arc::clone(&HOST_KEY),
        obfuscation: None,
        decisions: Decisions {
            reply_prefix: Box::new(|_, _| ReplyPrefix {
                prefix: GeneratedPrefix::new(vec![b'p'; 24], 24).expect("the prefix is long enough"),
                split: None,
            }),
            authenticate: Box::new(|user, password| user == b"u" && password == b"p"),
        },
        limits: limits(),
        seed: Seed::from_bytes([2; 32]),
    }
}

fn limits() -> Limits {
    Limits { channels: 64, ..Limits::default() }
}

fn ident() -> Ident {
    Ident::local(std::str::from_utf8(IDENT).expect("it is ASCII")).expect("the identification is valid")
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}
