//! A new server: fresh keys, the five files that it runs from and that its clients need, in memory. Not writing them
//! (`files`). File and member names, kinds of value and lengths are the reference's; the JSON is indented normally.

mod entry;
pub(crate) mod files;
pub(crate) mod json;

use std::net::IpAddr;
use std::path::PathBuf;

use culvert_obfuscation::{Seed, ServerSeedLabel, server_identification};
use culvert_protocol::server_entry::DecodeError;
use culvert_protocol::{Feature, PortSource, ServerEntry, TunnelProtocol};
use culvert_ssh::Role;
use culvert_ssh::host_key::{HostKey, HostKeyError};
use culvert_ssh::kexinit::{self, OfferPolicy};
use culvert_ssh::names::KexName;
use data_encoding::BASE64;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::config::{self, Problem, server_keys as keys, traffic_rules};
use crate::keys::{KeyMaterialError, curve25519_pair, random_base64, random_hex};
use entry::EntryParts;
pub use files::WriteError;
use json::Json;

/// Lengths of secrets in bytes; hex or base64 makes them longer.
const SECRET: usize = 32;
const USER_NAME_SUFFIX: usize = 8;

/// What to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bound by the server and dialled by clients.
    pub address: IpAddr,
    pub listeners: Listeners,
    /// `None` logs to standard error.
    pub log_file: Option<PathBuf>,
    pub files: FileNames,
}

/// Where the files go. The names are also written into the main file as they are.
#[derive(Clone, Debug)]
pub struct FileNames {
    pub config: PathBuf,
    pub traffic_rules: PathBuf,
    pub osl: PathBuf,
    pub tactics: PathBuf,
    pub server_entry: PathBuf,
}

impl Default for FileNames {
    fn default() -> Self {
        Self {
            config: config::DEFAULT_FILE.into(),
            traffic_rules: "psiphond-traffic-rules.config".into(),
            osl: "psiphond-osl.config".into(),
            tactics: "psiphond-tactics.config".into(),
            server_entry: "server-entry.dat".into(),
        }
    }
}

/// The protocols to listen for: at least one, no protocol and no port twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners(Vec<(TunnelProtocol, u16)>);

/// Why there is nothing to generate. Without a note, the mistake is on the command line.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("no tunnel protocol given: name at least one as PROTOCOL:PORT, for example OSSH:9999")]
    NoProtocol,
    #[error("{given:?} is not of the form PROTOCOL:PORT, for example OSSH:9999")]
    NotProtocolAndPort { given: String },
    #[error("{given:?}: {problem}")]
    Protocol { given: String, problem: Problem },
    #[error("{given:?}: the port must be a number from 1 to 65535")]
    Port { given: String },
    #[error("{given:?}: {protocol} was given before; a server entry has room for one port each")]
    ProtocolTwice { given: String, protocol: TunnelProtocol },
    #[error(
        "{given:?}: a server entry has one field for the ports of this and of {other}; leave one of them out"
    )]
    OneFieldForBoth { given: String, other: TunnelProtocol },
    #[error("{given:?}: the port is already given to {by}; every protocol needs its own")]
    PortTwice { given: String, by: TunnelProtocol },
    #[error("{address} cannot be dialled by clients: give an address of this host")]
    Address { address: IpAddr },
    /// The machine's random source or library failed.
    #[error(transparent)]
    KeyMaterial(#[from] KeyMaterialError),
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// A bug.
    #[error("the generated server entry is not valid: {0}")]
    Entry(#[from] DecodeError),
}

impl Listeners {
    /// Reads `PROTOCOL:PORT` texts as given on a command line.
    pub fn parse<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Self, GenerateError> {
        let mut listeners: Vec<(TunnelProtocol, u16)> = Vec::new();
        for text in given {
            let given = || text.to_owned();
            let (name, port) =
                text.rsplit_once(':').ok_or_else(|| GenerateError::NotProtocolAndPort { given: given() })?;
            let protocol = config::protocol(name)
                .map_err(|problem| GenerateError::Protocol { given: given(), problem })?;
            let port: u16 = port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| GenerateError::Port { given: given() })?;
            for (other, taken) in &listeners {
                if *other == protocol {
                    return Err(GenerateError::ProtocolTwice { given: given(), protocol });
                }
                let is_field = matches!(protocol.port_source(), PortSource::Member(_));
                if is_field && protocol.port_source() == other.port_source() {
                    return Err(GenerateError::OneFieldForBoth { given: given(), other: *other });
                }
                // Fronts take all of their protocols to one port.
                let share = other.has(Feature::Fronted) && protocol.has(Feature::Fronted);
                if *taken == port && !share && other.carrier_at_server() == protocol.carrier_at_server() {
                    return Err(GenerateError::PortTwice { given: given(), by: *other });
                }
            }
            listeners.push((protocol, port));
        }
        if listeners.is_empty() {
            return Err(GenerateError::NoProtocol);
        }
        listeners.sort_unstable();
        Ok(Self(listeners))
    }

    /// Whether a client proves itself in a ClientHello.
    fn use_tls(&self) -> bool {
        self.iter().any(|(protocol, _)| protocol == TunnelProtocol::TLS_OSSH)
    }

    fn use_meek(&self) -> bool {
        self.iter().any(|(protocol, _)| protocol.base().traits().meek.is_some())
    }

    pub fn iter(&self) -> impl Iterator<Item = (TunnelProtocol, u16)> {
        self.0.iter().copied()
    }
}

/// A new server, not written yet. Holds secrets; Debug does not show them.
pub struct Generated {
    files: Vec<(PathBuf, Zeroizing<String>)>,
    /// What a client needs.
    pub entry: ServerEntry,
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Generated([redacted])")
    }
}

impl Generated {
    /// Writes all files, each complete or not at all, readable by their owner only. Files of the same names are
    /// replaced, as the reference does; links of these names are replaced, not followed.
    pub fn write(&self) -> Result<(), WriteError> {
        let files: Vec<_> = self.files.iter().map(|(path, text)| (path.as_path(), text.as_bytes())).collect();
        files::write_all(&files)
    }

    /// The text of one of the files.
    pub fn text(&self, file: &std::path::Path) -> Option<&str> {
        self.files.iter().find(|(path, _)| path == file).map(|(_, text)| text.as_str())
    }
}

/// Everything secret about a new server.
struct Identity {
    host_key: HostKey,
    user: String,
    password: Zeroizing<String>,
    obfuscated_key: Zeroizing<String>,
    shadowsocks_key: Zeroizing<String>,
    meek_obfuscated_key: Zeroizing<String>,
    meek_private_key: Zeroizing<String>,
    meek_public_key: String,
    web_secret: Zeroizing<String>,
    discovery_key: Zeroizing<String>,
    tactics: TacticsKeys,
}

struct TacticsKeys {
    public: String,
    private: Zeroizing<String>,
    obfuscated: Zeroizing<String>,
}

impl Identity {
    fn new() -> Result<Self, GenerateError> {
        let (tactics_private, tactics_public) = curve25519_pair()?;
        let (meek_private, meek_public) = curve25519_pair()?;
        let tactics = TacticsKeys {
            public: BASE64.encode(&tactics_public),
            private: Zeroizing::new(BASE64.encode(&tactics_private)),
            obfuscated: random_base64(SECRET)?,
        };
        Ok(Self {
            host_key: HostKey::generate()?,
            user: format!("psiphon_{}", *random_hex(USER_NAME_SUFFIX)?),
            password: random_hex(SECRET)?,
            obfuscated_key: obfuscated_key()?,
            shadowsocks_key: random_hex(SECRET)?,
            meek_obfuscated_key: random_hex(SECRET)?,
            meek_private_key: Zeroizing::new(BASE64.encode(&meek_private)),
            meek_public_key: BASE64.encode(&meek_public),
            web_secret: random_hex(SECRET)?,
            discovery_key: random_base64(SECRET)?,
            tactics,
        })
    }
}

/// A key from which plain SSH draws lists with a key exchange that is spoken here: about one in 4000 leaves only group exchange and
/// SHA-1. PROTOCOL.md 3.3.2.
fn obfuscated_key() -> Result<Zeroizing<String>, KeyMaterialError> {
    loop {
        let key = random_hex(SECRET)?;
        if has_key_exchange(key.as_bytes()) {
            return Ok(key);
        }
    }
}

fn has_key_exchange(key: &[u8]) -> bool {
    let policy = OfferPolicy {
        role: Role::Server,
        no_encrypt_then_mac: false,
        seed: Some(Seed::for_server(key, ServerSeedLabel::KeyExchange)),
        peer_seed: None,
        host_key_names: OfferPolicy::rsa_host_key_names(),
    };
    kexinit::offer(&policy, true).kex.iter().any(|name| KexName::parse(name).is_some())
}

/// Makes keys and composes the files. Takes a noticeable time, for the RSA key.
pub fn generate(options: &Options) -> Result<Generated, GenerateError> {
    if options.address.is_unspecified() || options.address.is_multicast() {
        return Err(GenerateError::Address { address: options.address });
    }
    let identity = Identity::new()?;
    let parts = EntryParts {
        tag: random_base64(SECRET)?,
        address: options.address,
        listeners: &options.listeners,
        identity: &identity,
    };
    let line = Zeroizing::new(parts.encode());
    let entry = ServerEntry::decode(&line)?;
    let names = &options.files;
    let main = main_file(options, &identity, &parts.tag, &line)?;
    let tactics = tactics_file(&identity.tactics);
    let files = vec![
        (names.config.clone(), main.to_text()),
        (names.traffic_rules.clone(), traffic_rules::generated().to_text()),
        (names.osl.clone(), Json::object([("Schemes", Json::null())]).to_text()),
        (names.tactics.clone(), tactics.to_text()),
        (names.server_entry.clone(), line),
    ];
    Ok(Generated { files, entry })
}

/// In the order of the reference.
fn main_file(options: &Options, identity: &Identity, tag: &str, line: &str) -> Result<Json, HostKeyError> {
    let path = |path: &PathBuf| Json::from(path.to_string_lossy().into_owned());
    let ports = options.listeners.iter().map(|(protocol, port)| (protocol.name(), Json::from(port)));
    let pem = identity.host_key.to_pem()?;
    let version = server_identification(identity.obfuscated_key.as_bytes());
    let mut members = vec![(keys::LOG_LEVEL, Json::from("info")), (keys::LOG_FORMAT, "json".into())];
    if let Some(log_file) = &options.log_file {
        members.push((keys::LOG_FILENAME, path(log_file)));
    }
    members.extend([
        (keys::LOG_FILE_CREATE_MODE, Json::from(0o600u16)),
        (keys::DISCOVERY_VALUE_HMAC_KEY, (*identity.discovery_key).clone().into()),
        (keys::HOST_ID, "example-host-id".into()),
        (keys::SERVER_IP_ADDRESS, options.address.to_string().into()),
        (keys::TUNNEL_PROTOCOL_PORTS, Json::object(ports)),
        (keys::SSH_PRIVATE_KEY, (*pem).clone().into()),
        (keys::SSH_SERVER_VERSION, version.into()),
        (keys::SSH_USER_NAME, identity.user.clone().into()),
        (keys::SSH_PASSWORD, (*identity.password).clone().into()),
        (keys::OBFUSCATED_SSH_KEY, (*identity.obfuscated_key).clone().into()),
        (keys::SHADOWSOCKS_KEY, (*identity.shadowsocks_key).clone().into()),
    ]);
    if options.listeners.use_meek() {
        let key = (*identity.meek_private_key).clone();
        members.push((keys::MEEK_COOKIE_ENCRYPTION_PRIVATE_KEY, key.into()));
    }
    if options.listeners.use_tls() || options.listeners.use_meek() {
        members.push((keys::MEEK_OBFUSCATED_KEY, (*identity.meek_obfuscated_key).clone().into()));
    }
    members.extend([
        (keys::MEEK_PROXY_FORWARDED_FOR_HEADERS, Json::Value(Value::from(vec!["X-Forwarded-For"]))),
        (keys::UDP_INTERCEPT_UDPGW_SERVER_ADDRESS, "127.0.0.1:7300".into()),
        (keys::DNS_RESOLVER_IP_ADDRESS, "8.8.8.8".into()),
        (keys::LOAD_MONITOR_PERIOD_SECONDS, Json::from(300u16)),
        (keys::TRAFFIC_RULES_FILENAME, path(&options.files.traffic_rules)),
        (keys::OSL_CONFIG_FILENAME, path(&options.files.osl)),
        (keys::TACTICS_CONFIG_FILENAME, path(&options.files.tactics)),
        (keys::OWN_ENCODED_SERVER_ENTRIES, Json::object([(tag, Json::from(line.to_owned()))])),
    ]);
    Ok(Json::object(members.into_iter().map(|(key, value)| (key.name, value))))
}

fn tactics_file(keys: &TacticsKeys) -> Json {
    let default_tactics = Json::object([
        ("TTL", Json::from("1m")),
        ("Probability", Json::from(0u16)),
        ("Parameters", Json::null()),
    ]);
    Json::object([
        ("RequestPublicKey", Json::from(keys.public.clone())),
        ("RequestPrivateKey", (*keys.private).clone().into()),
        ("RequestObfuscatedKey", (*keys.obfuscated).clone().into()),
        ("DefaultTactics", default_tactics),
        ("FilteredTactics", Json::null()),
    ])
}

#[cfg(test)]
mod tests;
