//! Two connections joined in memory, with time and randomness chosen by the test.
//!
//! Bytes travel in pieces of random size. A failing test prints the seed that repeats it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use culvert_obfuscation::{
    ClientPreamble, GeneratedPrefix, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan, PrefixName,
    PrefixPlan, Prng, Seed, ServerSeedLabel,
};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::{EphemeralKeys, KexError};
use culvert_ssh::{
    Algorithms, ChannelId, ClientConfig, ClientObfuscation, Connection, Decisions, Error, Event, Ident,
    Limits, Preamble, ReplyPrefix, ServerConfig, ServerKind, ServerObfuscation,
};

pub(crate) const KEYWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const PASSWORD: &[u8] = b"{\"SessionId\":\"00\",\"SshPassword\":\"secret\"}";

/// Some instant: a test's clock starts anywhere and moves only when the test moves it.
#[expect(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
fn start_of_time() -> Instant {
    Instant::now()
}

/// Ephemeral keys from a seed, so that a run can be repeated (but for ML-KEM, whose seam is coarser).
struct SeededKeys(Prng);

impl EphemeralKeys for SeededKeys {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        self.0.fill(secret);
        Ok(())
    }
}

pub(crate) fn host_key() -> Arc<HostKey> {
    static KEY: OnceLock<Arc<HostKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(HostKey::generate().expect("key generation works"))).clone()
}

/// What comes before SSH.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Plain,
    Obfuscated,
    Prefixed,
}

/// What a scenario varies.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: Seed,
    pub(crate) opening: Opening,
    pub(crate) limits: Limits,
    pub(crate) password: Vec<u8>,
    pub(crate) pinned: Vec<u8>,
    /// The server takes the preamble for new.
    pub(crate) admit: bool,
}

impl Scenario {
    pub(crate) fn new(number: u64) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Self {
            seed: Seed::from_bytes(bytes),
            opening: Opening::Obfuscated,
            limits: Limits::default(),
            password: PASSWORD.to_vec(),
            pinned: host_key().public_blob().to_vec(),
            admit: true,
        }
    }

    fn algorithms(&self, client: bool) -> Algorithms {
        let derived = Seed::for_server(KEYWORD.as_bytes(), ServerSeedLabel::KeyExchange);
        let plain = self.opening == Opening::Plain;
        Algorithms {
            no_encrypt_then_mac: !plain,
            seed: if client { Some(self.seed.derive("kex")) } else { plain.then(|| derived.clone()) },
            peer_seed: (client && plain).then_some(derived),
            server: if client { ServerKind::Predictable } else { ServerKind::Any },
        }
    }

    fn client(&self) -> Connection {
        let keyword = Keyword::new(KEYWORD);
        let padding_seed = self.seed.derive("padding");
        let plan = PreamblePlan {
            obfuscator_seed: ObfuscatorSeed::from_bytes([9; 16]),
            padding_seed: padding_seed.clone(),
            padding: PaddingRange::new(None, None),
            prefix: (self.opening == Opening::Prefixed).then(|| PrefixPlan {
                name: PrefixName::new("p").expect("short"),
                prefix: GeneratedPrefix::new(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(), 37)
                    .expect("long"),
                split: Some(Duration::from_millis(5)),
            }),
        };
        let config = ClientConfig {
            ident: Ident::local("SSH-2.0-OpenSSH_8.1").expect("valid"),
            algorithms: self.algorithms(true),
            host_key: self.pinned.clone(),
            user: b"psiphon".to_vec(),
            password: self.password.clone().into(),
            obfuscation: (self.opening != Opening::Plain).then(|| ClientObfuscation {
                preamble: ClientPreamble::new(&keyword, &plan),
                padding_seed,
                keyword: keyword.clone(),
            }),
            limits: self.limits,
            seed: self.seed.derive("client"),
        };
        Connection::client(config, Box::new(SeededKeys(Prng::derived(&self.seed, "client-keys"))))
    }

    fn server(&self) -> Connection {
        let admit = self.admit;
        let config = ServerConfig {
            ident: Ident::local("SSH-2.0-OpenSSH_7.4").expect("valid"),
            algorithms: self.algorithms(false),
            host_key: host_key(),
            obfuscation: (self.opening != Opening::Plain).then(|| ServerObfuscation {
                keyword: Keyword::new(KEYWORD),
                fallback_seed: self.seed.derive("fallback"),
                preamble: Preamble::Expected { admit: Box::new(move |_| admit) },
            }),
            decisions: Decisions {
                reply_prefix: Box::new(|_, seed| ReplyPrefix {
                    prefix: GeneratedPrefix::new(Prng::new(seed).bytes(24), 24).expect("long enough"),
                    split: None,
                }),
                authenticate: Box::new(|user, password| user == b"psiphon" && password == PASSWORD),
            },
            limits: self.limits,
            seed: self.seed.derive("server"),
        };
        Connection::server(config, Box::new(SeededKeys(Prng::derived(&self.seed, "server-keys"))))
    }
}

/// One end, and what has come out of it.
pub(crate) struct End {
    pub(crate) connection: Connection,
    input: Vec<u8>,
    pub(crate) events: Vec<Event>,
    pub(crate) received: BTreeMap<ChannelId, Vec<u8>>,
    pub(crate) error: Option<Error>,
    /// Consumes received data at once.
    pub(crate) consumes: bool,
    /// Everything this end wrote.
    pub(crate) wire: Vec<u8>,
}

impl End {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            input: Vec::new(),
            events: Vec::new(),
            received: BTreeMap::new(),
            error: None,
            consumes: true,
            wire: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8], now: Instant) {
        self.input.extend_from_slice(bytes);
        while self.error.is_none() {
            let progress = match self.connection.handle_input(&mut self.input, now) {
                Ok(progress) => progress,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            };
            let consumed = progress.consumed;
            let data = progress.data.map(|data| (data.id, self.input[data.range].to_vec()));
            if let Some((id, bytes)) = data {
                if self.consumes {
                    self.connection.consume(id, bytes.len());
                }
                self.received.entry(id).or_default().extend_from_slice(&bytes);
            }
            while let Some(event) = self.connection.poll_event() {
                self.events.push(event);
            }
            if consumed == 0 {
                return;
            }
            self.input.drain(..consumed);
        }
    }
}

/// Changes bytes on their way: whether to the server, offset of the first byte, the bytes.
pub(crate) type Tamper = dyn FnMut(bool, usize, &mut Vec<u8>);

/// Both ends and the wire between them.
pub(crate) struct Pair {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) now: Instant,
    rng: Prng,
    pub(crate) tamper: Box<Tamper>,
}

impl Pair {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            client: End::new(scenario.client()),
            server: End::new(scenario.server()),
            now: start_of_time(),
            rng: Prng::derived(&scenario.seed, "wire"),
            tamper: Box::new(|_, _, _| {}),
        }
    }

    /// Moves bytes until neither end has anything to say.
    pub(crate) fn run(&mut self) {
        for _ in 0..1_000_000 {
            if !self.step(true) && !self.step(false) {
                let timeouts = [self.client.connection.poll_timeout(), self.server.connection.poll_timeout()];
                let Some(next) = timeouts.into_iter().flatten().min() else { return };
                self.now = self.now.max(next);
                self.client.connection.handle_timeout(self.now);
                self.server.connection.handle_timeout(self.now);
            }
        }
        unreachable!("the pair never came to rest");
    }

    fn step(&mut self, to_server: bool) -> bool {
        let (from, to) = if to_server {
            (&mut self.client, &mut self.server)
        } else {
            (&mut self.server, &mut self.client)
        };
        if from.error.is_some() {
            return false;
        }
        let mut bytes = Vec::new();
        if !from.connection.poll_transmit(&mut bytes, self.now) {
            return false;
        }
        while let Some(event) = from.connection.poll_event() {
            from.events.push(event);
        }
        (self.tamper)(to_server, from.wire.len(), &mut bytes);
        from.wire.extend_from_slice(&bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = self.rng.range(1, 40_000) as usize;
            let (piece, after) = rest.split_at(size.min(rest.len()));
            to.feed(piece, self.now);
            rest = after;
        }
        true
    }

    pub(crate) fn is_up(&self) -> bool {
        self.client.connection.is_authenticated() && self.server.connection.is_authenticated()
    }
}
