//! The client's config file: typed values for the rest of the client, problems with file, line and column for the
//! person who wrote it. Not the defaults of the wire protocol: what the file leaves open stays `None` here.
//!
//! Source: the reference's client configuration (keys in `keys.rs`). Keys are matched in any letter case, `null` means
//! "not set", unknown keys are warned about (an error in [`check`]).

mod about;
mod build;
mod files;
mod json_schema;
pub mod keys;
mod local;
mod parameters;
mod problem;
mod read;
mod rules;
mod secret;
#[cfg(test)]
mod tests;
mod unix_path;
mod upstream;

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use culvert_protocol::TunnelProtocol;
use culvert_protocol::api::SessionId;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::server_entry::VerifyingKey;

use culvert_transport::upstream::CustomHeaders;
pub use json_schema::json_schema;
pub use problem::{ConfigError, Fault, Problem};
pub use secret::Secret;
pub use unix_path::{InvalidUnixPath, UnixPath};
pub use upstream::Upstream;
use zeroize::Zeroizing;

/// Config files beyond this size are refused.
pub const LARGEST_FILE: u64 = 4 << 20;

/// All settings of a client, grouped by the part that uses them.
#[derive(Debug, Clone)]
pub struct Config {
    pub identity: Identity,
    /// `None`: the working directory.
    pub data_root_directory: Option<PathBuf>,
    pub old_paths: OldPaths,
    pub local: LocalProxies,
    pub servers: ServerChoice,
    pub establish: Establish,
    pub api: Api,
    pub notices: NoticeSettings,
    pub network_id: String,
    /// `None`: dials go straight to servers.
    pub upstream: Option<Upstream>,
    /// Further headers of meek requests.
    pub meek_headers: CustomHeaders,
    pub ssh: SshSettings,
    /// Everything about dialing that tactics may tune too.
    pub parameters: Parameters,
}

/// What the client tells the server about itself.
#[derive(Debug, Clone)]
pub struct Identity {
    pub propagation_channel_id: String,
    pub sponsor_id: String,
    pub client_version: i64,
    pub client_platform: String,
    pub client_features: Vec<String>,
    /// Two letters, or empty.
    pub device_region: String,
    /// A geohash, or empty.
    pub device_location: String,
    /// `None`: a random one per run.
    pub session_id: Option<SessionId>,
    /// Signed access tokens, base64.
    pub authorizations: Vec<Secret<String>>,
}

/// The local proxies, where they listen and for whom.
#[derive(Debug, Clone)]
pub struct LocalProxies {
    pub socks: LocalPort,
    pub http: LocalPort,
    pub interface: ListenInterface,
    /// Both proxies are served where SOCKS listens; what a connection says first decides.
    pub one_port: bool,
    /// `None`: no login is needed.
    pub login: Option<LocalLogin>,
    /// Users of this system who may use the proxies; empty for all.
    pub allowed_users: Vec<u32>,
    /// What servers take for their UDP gateway; `None` switches UDP off.
    pub udp_gateway: Option<SocketAddr>,
}

impl Default for LocalProxies {
    fn default() -> Self {
        Self {
            socks: LocalPort::Any,
            http: LocalPort::Any,
            interface: ListenInterface::Loopback,
            one_port: false,
            login: None,
            allowed_users: Vec::new(),
            udp_gateway: Some(Self::UDP_GATEWAY),
        }
    }
}

impl LocalProxies {
    /// What servers are generated with. PROTOCOL.md 7.1.
    pub const UDP_GATEWAY: SocketAddr =
        SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 7300));

    /// Whether one listener serves both proxies.
    pub fn is_one_place(&self) -> bool {
        self.one_port && self.socks != LocalPort::Off && self.http != LocalPort::Off
    }
}

/// What applications say to be let in.
#[derive(Debug, Clone)]
pub struct LocalLogin {
    pub username: String,
    pub password: Secret<String>,
}

/// Whether and where one local proxy listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalPort {
    Off,
    /// The operating system chooses.
    Any,
    Fixed(u16),
    /// Not a port at all.
    Unix(UnixPath),
}

/// The addresses that the local proxies listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenInterface {
    Loopback,
    All,
    Named(String),
}

impl From<&str> for ListenInterface {
    fn from(text: &str) -> Self {
        match text {
            "" => Self::Loopback,
            "any" => Self::All,
            name => Self::Named(name.to_owned()),
        }
    }
}

/// Which servers may be used.
#[derive(Debug, Clone)]
pub struct ServerChoice {
    /// Two letters, or empty for any.
    pub egress_region: String,
    /// Use exactly this encoded entry.
    pub target: Option<Secret<String>>,
    /// Allowed tunnel protocols; empty for all.
    pub limit_protocols: Vec<TunnelProtocol>,
    /// The key of whoever signs server entries: what is signed otherwise is not used.
    pub entry_signature_key: Option<VerifyingKey>,
}

/// How long and how patiently to try.
#[derive(Debug, Clone)]
pub struct Establish {
    /// No server is dialed: tactics and lists are fetched, and that is all.
    pub off: bool,
    /// Every dial is made anew; what worked is stored all the same.
    pub replay_off: bool,
    /// Fewer servers are tried at a time than the parameter says.
    pub most_workers: Option<u32>,
}

/// How the client talks to the server's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Off: a bare tunnel, without handshake or reports.
    pub enabled: bool,
    pub encoding: ApiEncoding,
}

/// The encoding of API messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiEncoding {
    Cbor,
    Json,
}

/// How much the client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeSettings {
    pub detail: crate::notice::Detail,
    pub topics: std::collections::BTreeSet<crate::notice::Topic>,
    /// Write them to files in the data folder too.
    pub files: Option<crate::notice::NoticeFileLimits>,
}

/// Where earlier versions kept what is in the data folder now; it is moved there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OldPaths {
    pub homepage: Option<PathBuf>,
    pub notices: Option<PathBuf>,
    pub data_store_folder: Option<PathBuf>,
    pub server_list: Option<PathBuf>,
    pub obfuscated_server_list_folder: Option<PathBuf>,
    pub upgrade: Option<PathBuf>,
}

/// Settings of the SSH connection inside the tunnel. `None` leaves the default.
#[derive(Debug, Clone, Default)]
pub struct SshSettings {
    /// Take whatever cipher and key exchange is drawn, also a slow one; ours, not the reference's.
    pub any_cipher: bool,
    /// Tell applications of their flow only when it is open; ours, not the reference's.
    pub optimistic_open_off: bool,
    /// Change keys after this many bytes in a direction; ours, not the reference's.
    pub rekey_bytes: Option<u64>,
    /// What windows may grow by, all tunnels together.
    pub windows: WindowMemory,
    /// Key exchange, cipher, MAC and host key algorithm, one name each.
    pub algorithms: Option<[String; 4]>,
    pub keep_alive: KeepAliveSettings,
}

/// How much memory flows may have beyond their first windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowMemory {
    /// What a phone has to spare.
    #[default]
    Usual,
    /// None: for devices with little memory, or many clients in a process.
    Least,
}

/// Whether idle tunnels are probed. When is in the parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAliveSettings {
    pub periodic_off: bool,
}

/// A usable config and what is questionable about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Unknown keys, keys in other letter case, repeated keys.
    pub warnings: Vec<Problem>,
    /// Keys that are set but have no effect yet.
    pub without_effect: Vec<&'static str>,
}

/// Reads a config file for a run.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let file = path.display().to_string();
    let text = read_text(path, &file)?;
    parse(&file, &text)
}

/// Reads a config file strictly: what [`load`] warns about is an error.
pub fn check(path: &Path) -> Result<Loaded, ConfigError> {
    let file = path.display().to_string();
    let text = read_text(path, &file)?;
    parse_strictly(&file, &text)
}

/// Parses the text of a config; `file` is only for messages.
pub fn parse(file: &str, text: &str) -> Result<Loaded, ConfigError> {
    let mut fields = read::Fields::read(file, text)?;
    let config = build::config(&mut fields);
    rules::check(&mut fields);
    match config {
        Some(config) if fields.errors.is_empty() => {
            let without_effect = fields.without_effect();
            Ok(Loaded { config, warnings: fields.warnings, without_effect })
        }
        _ => Err(ConfigError { problems: fields.errors }),
    }
}

/// Parses the text of a config; unknown, repeated and wrongly spelled keys are errors too.
pub fn parse_strictly(file: &str, text: &str) -> Result<Loaded, ConfigError> {
    let mut fields = read::Fields::read(file, text)?;
    let config = build::config(&mut fields);
    rules::check(&mut fields);
    let mut problems = std::mem::take(&mut fields.errors);
    problems.append(&mut fields.warnings);
    problems.sort_by_key(|problem| problem.position);
    match config {
        Some(config) if problems.is_empty() => {
            let without_effect = fields.without_effect();
            Ok(Loaded { config, warnings: Vec::new(), without_effect })
        }
        _ => Err(ConfigError { problems }),
    }
}

/// Wiped when dropped: there may be servers in it.
fn read_text(path: &Path, file: &str) -> Result<Zeroizing<String>, ConfigError> {
    let unreadable =
        |error: std::io::Error| ConfigError::of_file(file, None, Fault::Unreadable(error.kind()));
    let mut bytes = Zeroizing::new(Vec::new());
    let opened = std::fs::File::open(path).map_err(unreadable)?;
    opened.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(ConfigError::of_file(file, None, Fault::TooLarge { limit: LARGEST_FILE }));
    }
    match String::from_utf8(std::mem::take(&mut bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            *bytes = error.into_bytes();
            Err(ConfigError::of_file(file, None, Fault::NotText))
        }
    }
}
