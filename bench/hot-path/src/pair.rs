//! A client and a server joined in memory as OSSH joins them, both halves of every path in one thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_obfuscation::{
    ClientPreamble, GeneratedPrefix, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan, Seed,
};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::{EphemeralKeys, KexError};
use culvert_ssh::kexinit::{OfferPolicy, offer, predict};
use culvert_ssh::names::{CipherName, KexName, MacName};
use culvert_ssh::{
    Algorithms, ChannelId, ChannelOpen, ClientConfig, ClientObfuscation, Connection, Decisions, Event, Ident,
    Limits, Preamble, ReplyPrefix, Role, ServerConfig, ServerKind, ServerObfuscation,
};

const KEYWORD: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const USER: &[u8] = b"psiphon";
const PASSWORD: &[u8] = b"secret";
/// A whole batch fits, so that bulk data go as they do once windows have grown.
const WINDOW: u32 = 2 << 20;
/// Between one turn and the next.
const TICK: Duration = Duration::from_micros(100);

/// How packets are protected.
pub(crate) type Suite = (CipherName, Option<MacName>);

pub(crate) fn keyword() -> Keyword {
    Keyword::new(KEYWORD)
}

/// The same secrets in every run.
pub(crate) struct FixedKeys;

impl EphemeralKeys for FixedKeys {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        secret.fill(0x42);
        Ok(())
    }
}

/// What does not change from one tunnel to the next.
pub(crate) struct Setup {
    host_key: Arc<HostKey>,
    kexinit_seed: Seed,
}

impl Setup {
    /// What is agreed on with this setup: curve25519, and the suite both ways.
    pub(crate) fn new(suite: Suite) -> Self {
        let host_key = HostKey::from_pem(include_str!("host_key.pem")).expect("the key is valid");
        Self { host_key: Arc::new(host_key), kexinit_seed: seed_for(suite) }
    }

    pub(crate) fn client(&self) -> Connection {
        let padding_seed = Seed::from_bytes([5; 32]);
        let config = ClientConfig {
            ident: Ident::local("SSH-2.0-OpenSSH_8.1").expect("it is valid"),
            algorithms: algorithms(Some(self.kexinit_seed.clone())),
            host_key: self.host_key.public_blob().to_vec(),
            user: USER.to_vec(),
            password: PASSWORD.to_vec().into(),
            obfuscation: Some(ClientObfuscation {
                preamble: ClientPreamble::new(&keyword(), &plan()),
                padding_seed,
                keyword: keyword(),
            }),
            limits: limits(),
            seed: Seed::from_bytes([1; 32]),
        };
        Connection::client(config, Box::new(FixedKeys))
    }

    pub(crate) fn server(&self) -> Connection {
        let config = ServerConfig {
            ident: Ident::local("SSH-2.0-OpenSSH_7.4").expect("it is valid"),
            algorithms: algorithms(None),
            host_key: Arc::clone(&self.host_key),
            obfuscation: Some(ServerObfuscation {
                keyword: keyword(),
                fallback_seed: Seed::from_bytes([3; 32]),
                preamble: Preamble::Expected { admit: Box::new(|_| true) },
            }),
            decisions: Decisions {
                reply_prefix: Box::new(|_, _| ReplyPrefix {
                    prefix: GeneratedPrefix::new(vec![b'p'; 24], 24).expect("it is long enough"),
                    split: None,
                }),
                authenticate: Box::new(|user, password| user == USER && password == PASSWORD),
            },
            limits: limits(),
            seed: Seed::from_bytes([2; 32]),
        };
        Connection::server(config, Box::new(FixedKeys))
    }
}

/// The client's first bytes, of a length in the middle of what there is.
pub(crate) fn plan() -> PreamblePlan {
    PreamblePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes([9; 16]),
        padding_seed: Seed::from_bytes([5; 32]),
        padding: PaddingRange::new(Some(4000), Some(4000)),
        prefix: None,
    }
}

fn limits() -> Limits {
    Limits { window: WINDOW, largest_window: WINDOW, ..Limits::default() }
}

fn algorithms(seed: Option<Seed>) -> Algorithms {
    Algorithms { no_encrypt_then_mac: true, seed, peer_seed: None, server: ServerKind::Predictable }
}

/// The first seed of a client's lists that leads to the suite.
fn seed_for(suite: Suite) -> Seed {
    let seeds = (0_u32..).map(|number| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Seed::from_bytes(bytes)
    });
    let leads = |seed: &Seed| {
        let policy = OfferPolicy {
            role: Role::Client,
            no_encrypt_then_mac: true,
            seed: Some(seed.clone()),
            peer_seed: None,
            host_key_names: Vec::new(),
        };
        predict(&policy, &offer(&policy, true)).is_ok_and(|agreed| {
            agreed.kex == KexName::Curve25519Sha256
                && [(agreed.cipher_c2s, agreed.mac_c2s), (agreed.cipher_s2c, agreed.mac_s2c)] == [suite; 2]
        })
    };
    seeds.take(100_000).find(leads).expect("some client agrees on the suite")
}

/// Both ends, logged in or on the way there.
pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) server: Connection,
    now: Instant,
    wire: Vec<u8>,
    /// Bytes of channel data that came out.
    pub(crate) received: usize,
}

impl Pair {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            client: setup.client(),
            server: setup.server(),
            now: some_instant(),
            wire: Vec::with_capacity(4 << 20),
            received: 0,
        }
    }

    /// A pair that is logged in.
    pub(crate) fn logged_in(setup: &Setup) -> Self {
        let mut pair = Self::new(setup);
        pair.settle();
        assert!(pair.client.is_authenticated() && pair.server.is_authenticated(), "login does not work");
        pair
    }

    /// Opens a channel from the client: its identifiers at the client and at the server.
    pub(crate) fn open(&mut self) -> (ChannelId, ChannelId) {
        let open = ChannelOpen { kind: "direct-tcpip", payload: b"" };
        let ours = self.client.open_channel(open).expect("a channel can be asked for");
        self.carry_up();
        let offered = std::iter::from_fn(|| self.server.poll_event()).find_map(|event| match event {
            Event::ChannelOffered { id, .. } => Some(id),
            _ => None,
        });
        let theirs = offered.expect("it was asked for");
        self.server.accept_channel(theirs);
        self.settle();
        (ours, theirs)
    }

    /// Moves what there is until nothing is left.
    pub(crate) fn settle(&mut self) {
        while self.carry_up() | self.carry_down() {}
        while self.client.poll_event().is_some() || self.server.poll_event().is_some() {}
    }

    pub(crate) fn carry_up(&mut self) -> bool {
        self.now += TICK;
        let (moved, received) = carry(&mut self.client, &mut self.server, &mut self.wire, self.now);
        self.received += received;
        moved
    }

    pub(crate) fn carry_down(&mut self) -> bool {
        self.now += TICK;
        let (moved, received) = carry(&mut self.server, &mut self.client, &mut self.wire, self.now);
        self.received += received;
        moved
    }
}

/// One write and the reads of it; received data is consumed at once. Whether anything moved, and how much data came out.
fn carry(from: &mut Connection, to: &mut Connection, wire: &mut Vec<u8>, now: Instant) -> (bool, usize) {
    from.prepare_output(now);
    // What the kernel would do.
    wire.clear();
    wire.extend_from_slice(from.output());
    from.advance_output(wire.len(), now);
    let (mut at, mut received) = (0, 0);
    while let Some(rest) = wire.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let progress = to.handle_input(rest, now).expect("both go by the book");
        if let Some(data) = progress.data {
            received += data.range.len();
            to.consume(data.id, data.range.len());
        }
        assert!(progress.consumed > 0, "a write ends with a whole packet");
        at += progress.consumed;
    }
    (at > 0, received)
}

/// Only the differences matter.
#[expect(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
fn some_instant() -> Instant {
    Instant::now()
}
