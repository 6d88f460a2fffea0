//! What a connection is told at its start. Plain data and decisions; nothing is read from the environment.

use std::fmt;
use std::sync::Arc;

use culvert_obfuscation::{
    ClientPreamble, GeneratedPrefix, Keyword, ObfuscatorSeed, PrefixName, Seed, ServerPreamble,
};
use zeroize::Zeroizing;

use crate::channel::MAX_DATA;
use crate::host_key::HostKey;
use crate::ident::Ident;

/// How the algorithm lists of KEXINIT are made. PROTOCOL.md 3.3.2.
#[derive(Clone, Debug, Default)]
pub struct Algorithms {
    /// Offer no encrypt-then-MAC names: every protocol but plain SSH.
    pub no_encrypt_then_mac: bool,
    /// Randomises the lists; `None` sends the default lists.
    pub seed: Option<Seed>,
    /// A client's prediction of the server's lists.
    pub peer_seed: Option<Seed>,
    /// How sure a client is of what the server will offer.
    pub server: ServerKind,
}

/// What a client knows of how its server makes its lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerKind {
    /// Nothing: any SSH server.
    #[default]
    Any,
    /// As the reference does. The outcome is known beforehand, so the client's key exchange message leaves with
    /// its KEXINIT and saves a round trip. PROTOCOL.md 3.4: if the server chooses another method, the
    /// connection is lost.
    Predictable,
}

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Channels that may exist at a time, both sides' together.
    pub channels: usize,
    /// Receive window of a channel in bytes, at first. Less is promised while many channels share what a
    /// connection may promise.
    pub window: u32,
    /// What a channel's window may grow to on long paths.
    pub largest_window: u32,
    /// Re-keys after this many bytes in a direction instead of the cipher's own limit; for tests and for
    /// users who ask for it.
    pub rekey_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        // PROTOCOL.md 3.7: the reference's window is 4 packets.
        Self { channels: 4096, window: 4 * MAX_DATA, largest_window: 32 << 20, rekey_bytes: None }
    }
}

/// Obfuscation on the client: the preamble to send first, and what follows from it. PROTOCOL.md 2.3 to 2.7.
pub struct ClientObfuscation {
    /// The preamble, already built from the dial plan.
    pub preamble: ClientPreamble,
    /// Key exchange padding comes from here (PROTOCOL.md 2.6).
    pub padding_seed: Seed,
    /// Needed to find the end of the server's prefix.
    pub keyword: Keyword,
}

/// A client's side of a connection.
pub struct ClientConfig {
    /// Our identification.
    pub ident: Ident,
    /// How KEXINIT lists are made.
    pub algorithms: Algorithms,
    /// The only host key accepted, as a public key blob. There is no trust on first use.
    pub host_key: Vec<u8>,
    /// SSH user name.
    pub user: Vec<u8>,
    /// Password field, as bytes.
    pub password: Zeroizing<Vec<u8>>,
    /// `None` for plain SSH.
    pub obfuscation: Option<ClientObfuscation>,
    /// Bounds.
    pub limits: Limits,
    /// Cookies and padding come from here, so that a run can be repeated.
    pub seed: Seed,
}

/// Answers that a server's core needs while a connection is being set up.
///
/// Each is asked at most a handful of times for a connection and must not block.
pub struct Decisions {
    /// The prefix to answer a client's prefix with. PROTOCOL.md 2.5.
    pub reply_prefix: Box<ChoosePrefix>,
    /// Is this user name and password right? Must compare in constant time. PROTOCOL.md 3.5.
    pub authenticate: Box<Authenticate>,
}

/// Judges a preamble's seed: false for one that was used before. PROTOCOL.md 2.4.
pub type Admit = dyn FnMut(&ObfuscatorSeed) -> bool + Send;
/// Chooses the prefix to answer with, by the client's name for its own and the padding seed.
pub type ChoosePrefix = dyn FnMut(&PrefixName, &Seed) -> ReplyPrefix + Send;
/// Judges a user name and a password.
pub type Authenticate = dyn FnMut(&[u8], &[u8]) -> bool + Send;

/// The server's answer to a prefix.
pub struct ReplyPrefix {
    /// What to send.
    pub prefix: GeneratedPrefix,
    /// Sends the prefix on its own and the rest after this pause.
    pub split: Option<std::time::Duration>,
}

/// Obfuscation on the server.
pub struct ServerObfuscation {
    /// The obfuscation key of the server entry, as text bytes.
    pub keyword: Keyword,
    /// Stands in for the client's padding seed when a client sent too little padding (PROTOCOL.md 2.4).
    pub fallback_seed: Seed,
    /// Who reads the preamble.
    pub preamble: Preamble,
}

/// Who reads a client's preamble.
pub enum Preamble {
    /// The connection, which spends a key derivation on whoever comes.
    Expected {
        /// A valid preamble was read: may its seed be used?
        admit: Box<Admit>,
    },
    /// The caller, who admitted its seed. What came behind it is the connection's first input.
    Read(Box<ServerPreamble>),
}

/// A server's side of a connection.
pub struct ServerConfig {
    /// Our identification.
    pub ident: Ident,
    /// How KEXINIT lists are made.
    pub algorithms: Algorithms,
    /// The one host key.
    pub host_key: Arc<HostKey>,
    /// `None` for plain SSH.
    pub obfuscation: Option<ServerObfuscation>,
    /// Answers needed on the way.
    pub decisions: Decisions,
    /// Bounds.
    pub limits: Limits,
    /// Cookies and padding come from here.
    pub seed: Seed,
}

/// What a server learned from the preamble, for its reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreambleFacts {
    /// Bytes of padding that the client sent.
    pub client_padding: usize,
    /// Bytes of identification padding that the server sent.
    pub server_padding: usize,
    /// Name of the prefix, as the client claims it.
    pub prefix: Option<String>,
}

impl PreambleFacts {
    pub(crate) fn of(preamble: &ServerPreamble, server_padding: usize) -> Self {
        Self {
            client_padding: preamble.padding_len,
            server_padding,
            prefix: preamble.prefix.as_ref().and_then(|name| name.as_str().map(str::to_owned)),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").field("ident", &self.ident).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("ident", &self.ident).finish_non_exhaustive()
    }
}
