//! The server's configuration: `psiphond.config` and the files that it names, typed. Every mistake in them is found at
//! once, with its place. Not the tables of settings, which stand beside, and not how settings act.

pub mod blocklist;
mod check;
pub(crate) mod data_files;
mod document;
mod finding;
mod firewall;
mod json_schema;
mod key_files;
mod load_limits;
mod meek;
#[cfg(test)]
mod mistakes_tests;
mod operation;
pub mod psinet;
pub(crate) mod schema;
mod secret;
mod server;
pub(crate) mod server_keys;
mod tactics;
pub mod traffic_rules;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::authorization::VerificationKeyRing;
use culvert_protocol::proxy_header::HeaderKey;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_ssh::host_key::HostKey;
use culvert_transport::tls::TicketSecret;

use crate::forward::blocklist::Blocklist;
use crate::geoip::GeoIp;
use crate::log::{Keeping, Level, LogError, LogTarget, Logger, Origin};
use crate::panics::Drill;
use crate::psinet::Psinet;
use crate::rules::RulesFile;
pub use check::{FileKind, check};
pub(crate) use document::read as read_text;
pub use document::{Loaded, Strictness};
pub use finding::{ConfigError, Finding, Problem, Severity};
pub use firewall::FirewallConfig;
pub use key_files::check_modes;
pub use load_limits::LoadLimits;
pub use meek::{MeekConfig, MeekPrivateKey};
pub use secret::Secret;
pub use server::{control_socket, load, parse};
pub(crate) use server::{is_inside_tls, protocol};
pub use tactics::Tactics;
pub(crate) use tactics::load as load_tactics;

/// The name of the main file unless told otherwise.
pub const DEFAULT_FILE: &str = "psiphond.config";

/// The tunnel protocols that this build can listen for.
pub const SUPPORTED: &[TunnelProtocol] = &[
    TunnelProtocol::SSH,
    TunnelProtocol::OSSH,
    TunnelProtocol::SHADOWSOCKS_OSSH,
    TunnelProtocol::TLS_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_HTTPS_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_SESSION_TICKET_OSSH,
    TunnelProtocol::FRONTED_MEEK_OSSH,
    TunnelProtocol::FRONTED_MEEK_HTTP_OSSH,
    TunnelProtocol::FRONTED_MEEK_QUIC_OSSH,
    TunnelProtocol::QUIC_OSSH,
];

/// Everything that the files say. Parts are handed to those who use them; nobody is given the whole.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The address to bind and to be known by.
    pub address: IpAddr,
    /// At least one; protocols and ports are unique.
    pub listeners: Vec<Listener>,
    pub log: LogConfig,
    pub figures: FiguresConfig,
    pub ssh: SshConfig,
    /// The obfuscation keyword; always there when an obfuscated protocol is listened for.
    pub obfuscated_ssh_key: Option<Secret>,
    /// The password of Shadowsocks streams; always there when they are listened for.
    pub shadowsocks_key: Option<Secret>,
    /// Always there when something inside TLS is listened for.
    pub tls: Option<TlsConfig>,
    pub tactics: Tactics,
    /// Always there when a kind of meek is listened for.
    pub meek: Option<MeekConfig>,
    /// Who serves those that are no clients of a protocol, `host:port`.
    pub sites: BTreeMap<TunnelProtocol, String>,
    /// `None` leaves the host's firewall alone.
    pub firewall: Option<FirewallConfig>,
    pub load_limits: LoadLimits,
    pub egress: EgressConfig,
    pub traffic_rules: RulesFile,
    /// Which may be read again while the server runs.
    pub files: DataFiles,
    /// This server as clients see it, by tag.
    pub own_entries: BTreeMap<String, ServerEntry>,
    /// Where addresses are.
    pub geoip: GeoIp,
    /// What clients are offered.
    pub psinet: Psinet,
    /// What authorizations are verified with.
    pub authorization_keys: VerificationKeyRing,
    /// Where to keep what must survive a restart.
    pub state_directory: PathBuf,
    /// Where commands may be given to the running server; `None` is in the state directory.
    pub control_socket: Option<PathBuf>,
    /// For tests: no file sets it.
    #[doc(hidden)]
    pub drill: Drill,
}

/// The files that a configuration consists of, where they are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataFiles {
    /// `None` for a configuration that was not read from a file.
    pub main: Option<PathBuf>,
    pub traffic_rules: Option<PathBuf>,
    pub osl: Option<PathBuf>,
    pub tactics: Option<PathBuf>,
    pub geoip: Vec<PathBuf>,
    pub blocklist: Option<PathBuf>,
    pub psinet: Option<PathBuf>,
}

impl ServerConfig {
    /// Where the control socket is unless set.
    pub fn default_control_socket(&self) -> PathBuf {
        self.state_directory.join(crate::control::DEFAULT_NAME)
    }
}

/// The ID of the hosting provider that a server's own entries name, by which rules may be meant for servers; empty if none does.
pub(crate) fn provider_of(own_entries: &BTreeMap<String, ServerEntry>) -> &str {
    own_entries.values().find_map(|entry| entry.text("providerID")).unwrap_or_default()
}

/// What protocols inside TLS need.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// What clients prove to have.
    pub key: Secret,
    /// Clients prove it in the older form, which a recorded ClientHello can repeat for ever.
    pub legacy_passthrough: bool,
    /// What clients make tickets from, if the key is fit for it.
    pub ticket_secret: Option<TicketSecret>,
}

/// One protocol to listen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    pub protocol: TunnelProtocol,
    pub address: SocketAddr,
}

/// What and where to log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub level: Level,
    pub target: LogTarget,
    pub keeping: Keeping,
    pub origin: Origin,
    /// How often to report load; `None` is never.
    pub load_period: Option<Duration>,
}

impl LogConfig {
    /// The log that it asks for.
    pub fn open(&self) -> Result<Logger, LogError> {
        Logger::open(self.target.clone(), self.keeping, self.level, self.origin.clone())
    }
}

/// Where figures are asked for, and what of.
#[derive(Clone, Debug, Default)]
pub struct FiguresConfig {
    /// A loopback address for `/metrics`; `None` is nowhere.
    pub address: Option<SocketAddr>,
    /// Those whose tunnels are counted by themselves, by two capital letters.
    pub countries: Vec<String>,
    /// Dials or look-ups of a tunnel, fewer of which are no rate of failures.
    pub least_sample: u64,
    /// Reports of load tell resolvers apart.
    pub by_resolver: bool,
    /// Where snapshots go on SIGUSR2.
    pub snapshots: Option<PathBuf>,
}

/// The SSH server's identity, its one user, and the limits on handshakes.
#[derive(Clone, Debug)]
pub struct SshConfig {
    pub host_key: Arc<HostKey>,
    /// The identification line without its end. An obfuscation key decides it; the setting is for servers without.
    pub identification: String,
    pub user: Secret,
    pub password: Secret,
    pub handshakes: HandshakeLimits,
    /// Renews keys after so many bytes in a direction instead of when the cipher needs it.
    pub rekey_bytes: Option<u64>,
    /// What windows may grow to, all tunnels together; `None` goes by the machine's memory.
    pub window_memory: Option<u64>,
}

/// `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    pub wait_for_slot: Option<Duration>,
    pub duration: Option<Duration>,
    pub at_once: Option<NonZeroUsize>,
    /// How long a peer without the obfuscation key is kept waiting at most.
    pub probe_hold: Option<Duration>,
}

/// Where flows may go besides the traffic rules.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the file, and none excludes another")]
pub struct EgressConfig {
    pub allow_bogons: bool,
    /// The pseudo destination that means the UDP gateway.
    pub udp_gateway: Option<SocketAddr>,
    /// Datagrams are kept from scanning and flooding others.
    pub limits_udp: bool,
    pub dns_resolver: Option<IpAddr>,
    pub blocklist: Blocklist,
    /// What is listed is refused, not only reported.
    pub blocklist_active: bool,
    /// By sponsor, what destinations are told with who their client is.
    pub header_keys: BTreeMap<String, HeaderKey>,
    /// How often bytes by destination are logged; `None` is never.
    pub destination_bytes_period: Option<Duration>,
    pub family_order: FamilyOrder,
}

/// Which of a name's addresses are tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyOrder {
    #[default]
    Ipv4First,
    Ipv6First,
}

/// For messages: `SSH, OSSH`.
fn supported_names() -> String {
    SUPPORTED.iter().map(|protocol| protocol.name()).collect::<Vec<_>>().join(", ")
}
