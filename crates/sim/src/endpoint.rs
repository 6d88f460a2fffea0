//! The least server that a client takes for one: obfuscated SSH with our own implementation of it, the handshake, and flows that
//! echo. Not our server: no rules, no reports, no strangers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use culvert_obfuscation::{GeneratedPrefix, Keyword, Prng, Seed};
use culvert_protocol::ServerEntry;
use culvert_protocol::api::{HandshakeReply, reply_encoding, request_name, speed_test_reply};
use culvert_protocol::packed;
use culvert_protocol::server_entry::{EntryFields, SSH_API_REQUESTS};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::FreshKeys;
use culvert_ssh::{
    Algorithms, Connection, Decisions, Ident, Limits, Preamble, Refused, Reply, ReplyPrefix, ServerConfig,
    ServerKind, ServerObfuscation,
};
use culvert_ssh_tokio::{ChannelStream, Incoming, IncomingRequest, run};
use data_encoding::BASE64;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::pipe::Pipe;
use crate::world::{Path, World};

const KEYWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A server in a world. Dropping it ends its program, and all its connections.
pub struct Endpoint {
    /// Where it is.
    pub at: SocketAddr,
    seen: Arc<Counts>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU32,
    handshakes: AtomicU32,
    keepalives: AtomicU32,
    flows: AtomicU32,
    sponsors: Mutex<Vec<String>>,
}

/// What came to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub connections: u32,
    pub handshakes: u32,
    pub keepalives: u32,
    pub flows: u32,
}

impl Endpoint {
    /// Starts a server.
    pub fn start(world: &World, at: SocketAddr, path: Path) -> Self {
        let seen = Arc::new(Counts::default());
        let mut connections = world.listen(at, path);
        let counts = seen.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Some(pipe) = connections.recv().await {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                tunnels.spawn(serve(pipe, counts.clone()));
            }
        });
        Self { at, seen, _serving: serving }
    }

    /// What came so far.
    pub fn seen(&self) -> Seen {
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        Seen {
            connections: count(&self.seen.connections),
            handshakes: count(&self.seen.handshakes),
            keepalives: count(&self.seen.keepalives),
            flows: count(&self.seen.flows),
        }
    }

    /// The sponsor that each handshake named.
    pub fn sponsors(&self) -> Vec<String> {
        self.seen.sponsors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The entry of a server at an address, whether or not there is one. All have the same keys.
    pub fn entry(at: SocketAddr, region: &str) -> ServerEntry {
        let mut fields = EntryFields::default();
        fields.set("ipAddress", at.ip().to_string());
        fields.set("webServerSecret", format!("secret of {at}"));
        fields.set("sshUsername", "psiphon");
        fields.set("sshPassword", "password");
        fields.set("sshHostKey", BASE64.encode(host_key().public_blob()));
        fields.set("sshObfuscatedKey", KEYWORD);
        fields.set("sshObfuscatedPort", at.port());
        fields.set("capabilities", vec![SSH_API_REQUESTS, "OSSH"]);
        fields.set("region", region);
        match fields.try_into() {
            Ok(entry) => entry,
            Err(error) => unreachable!("an entry of an address: {error}"),
        }
    }
}

/// One for all: making one takes long.
fn host_key() -> Arc<HostKey> {
    static KEY: OnceLock<Arc<HostKey>> = OnceLock::new();
    KEY.get_or_init(|| match HostKey::generate() {
        Ok(key) => Arc::new(key),
        Err(error) => unreachable!("this machine makes no keys: {error}"),
    })
    .clone()
}

fn connection() -> Option<Connection> {
    let seed = Seed::from_bytes([3; 32]);
    let config = ServerConfig {
        ident: Ident::local("SSH-2.0-OpenSSH_7.4").ok()?,
        algorithms: Algorithms {
            no_encrypt_then_mac: true,
            seed: None,
            peer_seed: None,
            server: ServerKind::Any,
        },
        host_key: host_key(),
        obfuscation: Some(ServerObfuscation {
            keyword: Keyword::new(KEYWORD),
            fallback_seed: seed.derive("fallback"),
            preamble: Preamble::Expected { admit: Box::new(|_| true) },
        }),
        decisions: Decisions {
            reply_prefix: Box::new(|_, seed| {
                let bytes = Prng::new(seed).bytes(24);
                let prefix = match GeneratedPrefix::new(bytes, 24) {
                    Ok(prefix) => prefix,
                    Err(_) => unreachable!("long enough"),
                };
                ReplyPrefix { prefix, split: None }
            }),
            authenticate: Box::new(|_, _| true),
        },
        limits: Limits::default(),
        seed: seed.derive("server"),
    };
    Some(Connection::server(config, Box::new(FreshKeys)))
}

async fn serve(pipe: Pipe, counts: Arc<Counts>) {
    let Some(connection) = connection() else { return };
    let (mut session, driver) = run(connection, pipe);
    let mut tasks = JoinSet::new();
    tasks.spawn(async { drop(driver.await) });
    while let Some(incoming) = session.next().await {
        match incoming {
            Incoming::Request(request) => answer(request, &counts),
            Incoming::Channel(channel) => {
                counts.flows.fetch_add(1, Ordering::Relaxed);
                tasks.spawn(echo(channel.accept()));
            }
            Incoming::Authenticated { .. } | Incoming::Keyed { .. } | Incoming::Preamble(_) => {}
        }
    }
}

async fn echo(stream: Option<ChannelStream>) {
    if let Some(stream) = stream {
        let (mut from, mut to) = tokio::io::split(stream);
        // A flow ends with its tunnel at the latest.
        let _ = tokio::io::copy(&mut from, &mut to).await;
    }
}

fn answer(request: IncomingRequest, counts: &Counts) {
    let reply: Reply = match std::str::from_utf8(&request.name).unwrap_or_default() {
        request_name::HANDSHAKE => {
            counts.handshakes.fetch_add(1, Ordering::Relaxed);
            handshake(&request.payload, counts).ok_or(Refused)
        }
        request_name::CONNECTED => Ok(br#"{"connected_timestamp":"2026-01-01T00:00:00Z"}"#.to_vec()),
        request_name::KEEPALIVE => {
            counts.keepalives.fetch_add(1, Ordering::Relaxed);
            Ok(speed_test_reply(OffsetDateTime::UNIX_EPOCH, &[]))
        }
        _ => Err(Refused),
    };
    request.reply(reply);
}

fn handshake(payload: &[u8], counts: &Counts) -> Option<Vec<u8>> {
    let params = packed::decode(payload).ok()?;
    let sponsor = params.text("sponsor_id").unwrap_or_default().to_owned();
    counts.sponsors.lock().unwrap_or_else(PoisonError::into_inner).push(sponsor);
    let reply = HandshakeReply {
        client_region: "CA".to_owned(),
        server_timestamp: "2026-01-01T00:00:00Z".to_owned(),
        ..HandshakeReply::default()
    };
    reply.encode(reply_encoding(&params)).ok()
}
