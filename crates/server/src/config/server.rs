//! From the text of `psiphond.config` to a `ServerConfig`: which settings are needed and what values they take.
//! Relative names of files are relative to the working directory, as in the reference; only our own state directory
//! defaults to a place beside the main file.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::server_identification;
use culvert_protocol::api::Validator;
use culvert_protocol::authorization::VerificationKeyRing;
use culvert_protocol::json_position::{Step, near_name};
use culvert_protocol::proxy_header::HeaderKey;
use culvert_protocol::{BaseProtocol, Feature, MeekKind, ServerEntry, TunnelProtocol};
use culvert_ssh::host_key::HostKey;
use culvert_transport::tls::TicketSecret;
use serde_json::Value;

use super::document::{self, Document, Loaded, Members, Strictness};
use super::finding::{ConfigError, Finding, Problem};
use super::firewall::firewall;
use super::load_limits::load_limits;
use super::meek::{meek, sites};
use super::schema::Key;
use super::server_keys as keys;
use super::{
    DataFiles, EgressConfig, FamilyOrder, HandshakeLimits, Listener, LogConfig, SUPPORTED, Secret,
    ServerConfig, SshConfig, Tactics, TlsConfig, blocklist, data_files, operation, psinet, tactics,
    traffic_rules,
};
use crate::forward::blocklist::Blocklist;
use crate::geoip::{self, GeoIp};
use crate::log::{Level, LogTarget, Origin};
use crate::panics::Drill;
use crate::psinet::Psinet;
use crate::rules::RulesFile;

/// The mode of a log file unless set. The reference does not create one then.
const LOG_FILE_MODE: u32 = 0o600;
/// In seconds, as in the reference.
const DESTINATION_BYTES_PERIOD: u64 = 300;
/// PROTOCOL.md 3.6.
const WAIT_FOR_SLOT: Duration = Duration::from_secs(1);
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Understands the main file's text; `file` is for messages and for the default place of the state directory. Reads
/// no file: the traffic rules are the defaults then.
pub fn parse(file: &Path, text: &str, strictness: Strictness) -> Result<Loaded<ServerConfig>, ConfigError> {
    understand(file, text, strictness, None)
}

/// Reads the main file and those that it names.
pub fn load(file: &Path, strictness: Strictness) -> Result<Loaded<ServerConfig>, ConfigError> {
    understand(file, &document::read(file)?, strictness, Some(data))
}

/// Where the server of this configuration takes commands. Of the file only that is understood: the rest may be wrong by now.
pub fn control_socket(file: &Path) -> Result<PathBuf, ConfigError> {
    let text = document::read(file)?;
    let (_, object) = Document::parse(file, &text, keys::ALL)?;
    let members = Members::new(&object);
    let set = members.text(&keys::CONTROL_SOCKET).map(PathBuf::from);
    Ok(set.unwrap_or_else(|| state_directory(file, &members).join(crate::control::DEFAULT_NAME)))
}

type ReadData = fn(&mut Document<'_>, &Members<'_>, &Path, Strictness) -> Data;

/// What the other files hold.
type Data = (RulesFile, Tactics, GeoIp, Blocklist, Psinet);

fn understand(
    file: &Path,
    text: &str,
    strictness: Strictness,
    read_data: Option<ReadData>,
) -> Result<Loaded<ServerConfig>, ConfigError> {
    let (mut document, object) = Document::parse(file, text, keys::ALL)?;
    let members = Members::new(&object);
    let address = address(&mut document, &members);
    let listeners = listeners(&mut document, &members);
    let log = log(&mut document, &members);
    let figures = operation::figures(&mut document, &members);
    let ssh = ssh(&mut document, &members);
    let uses_tls = listeners.iter().any(|(protocol, _)| is_inside_tls(*protocol));
    let sites = sites(&mut document, &members);
    let tls = tls(&mut document, &members, &listeners).filter(|_| uses_tls);
    let uses_meek = listeners.iter().any(|(protocol, _)| is_meek(*protocol));
    let meek = meek(&mut document, &members, &listeners).filter(|_| uses_meek);
    let firewall = firewall(&mut document, &members);
    let load_limits = load_limits(&mut document, &members);
    let mut egress = egress(&mut document, &members);
    let state_directory = state_directory(file, &members);
    let (traffic_rules, tactics, geoip, blocklist, psinet) = match read_data {
        Some(read) => read(&mut document, &members, &state_directory, strictness),
        None => Data::default(),
    };
    egress.blocklist = blocklist;
    let own_entries = own_entries(&mut document, &members);
    let authorization_keys = authorization_keys(&mut document, &members);
    require_keys(&mut document, &members, &listeners);
    let bound = |address: IpAddr| {
        let at = |(protocol, port)| Listener { protocol, address: SocketAddr::new(address, port) };
        listeners.into_iter().filter(|(protocol, _)| has_port(*protocol)).map(at).collect()
    };
    let config = address.zip(ssh).map(|(address, ssh)| ServerConfig {
        address,
        listeners: bound(address),
        log,
        figures,
        ssh,
        obfuscated_ssh_key: members.text(&keys::OBFUSCATED_SSH_KEY).map(Secret::new),
        tls,
        meek,
        sites,
        shadowsocks_key: members.text(&keys::SHADOWSOCKS_KEY).map(Secret::new),
        tactics,
        firewall,
        load_limits,
        egress,
        traffic_rules,
        files: if read_data.is_some() { files(file, &members) } else { DataFiles::default() },
        own_entries,
        geoip,
        psinet,
        authorization_keys,
        state_directory,
        control_socket: members.text(&keys::CONTROL_SOCKET).map(PathBuf::from),
        drill: Drill::default(),
    });
    document.finish(config, strictness)
}

fn address(document: &mut Document<'_>, members: &Members<'_>) -> Option<IpAddr> {
    let problem = match members.text(&keys::SERVER_IP_ADDRESS) {
        None => Problem::Missing { needed_by: None },
        Some(text) => match text.parse() {
            Ok(address) => return Some(address),
            Err(_) => Problem::NotAnAddress { found: text.to_owned() },
        },
    };
    document.find_at(&keys::SERVER_IP_ADDRESS, problem);
    None
}

fn listeners(document: &mut Document<'_>, members: &Members<'_>) -> Vec<(TunnelProtocol, u16)> {
    let key = &keys::TUNNEL_PROTOCOL_PORTS;
    let mut listeners: Vec<(TunnelProtocol, u16)> = Vec::new();
    let mut any = false;
    for (name, port) in members.object(key) {
        any = true;
        let path = [Step::from(key.name), Step::Key(name.clone())];
        let (protocol, port) = match protocol(name).and_then(|protocol| Ok((protocol, port_number(port)?))) {
            Ok(listener) => listener,
            Err(problem) => {
                document.find(&path, problem);
                continue;
            }
        };
        let carrier = TunnelProtocol::carrier_at_server;
        if port == 0 {
            continue;
        }
        let clashes = |(other, taken): &&(TunnelProtocol, u16)| {
            *taken == port && carrier(*other) == carrier(protocol) && has_port(protocol) && has_port(*other)
        };
        if let Some(other) = listeners.iter().find(clashes) {
            document.find(&path, Problem::PortTaken { port, by: other.0 });
        }
        listeners.push((protocol, port));
    }
    if !any && members.value(key).is_none_or(Value::is_object) {
        document.find_at(key, Problem::Missing { needed_by: None });
    }
    let is_fronted = |it: &TunnelProtocol| it.has(Feature::Fronted);
    let has = |wanted: fn(TunnelProtocol) -> bool| {
        listeners.iter().map(|(protocol, _)| *protocol).filter(is_fronted).find(|it| wanted(*it))
    };
    if let (Some(protocol), None) = (has(|it| !has_port(it)), has(has_port)) {
        let path = [Step::from(key.name), Step::Key(protocol.name().to_owned())];
        document.find(&path, Problem::NeedsFronted);
    }
    listeners.sort_unstable();
    listeners
}

/// Whether connections come to a port of the protocol's own. Behind a CDN all protocols come to the one that is inside TLS (TRANSPORTS.md 2.2).
fn has_port(protocol: TunnelProtocol) -> bool {
    !protocol.has(Feature::Fronted) || protocol.base().traits().meek == Some(MeekKind::Https)
}

/// The protocol of this name, if this build can listen for it.
pub(crate) fn protocol(name: &str) -> Result<TunnelProtocol, Problem> {
    let Ok(protocol) = name.parse::<TunnelProtocol>() else {
        let near = near_name(name, TunnelProtocol::all().map(TunnelProtocol::name));
        return Err(Problem::UnknownProtocol { found: name.to_owned(), near });
    };
    if SUPPORTED.contains(&protocol) { Ok(protocol) } else { Err(Problem::UnsupportedProtocol { protocol }) }
}

fn port_number(value: &Value) -> Result<u16, Problem> {
    // One that is no whole number was found before.
    let Some(found) = value.as_i64() else { return Ok(0) };
    match u16::try_from(found) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Problem::OutOfRange { found, least: 1, most: u16::MAX.into() }),
    }
}

/// Each missing key is reported once, for the first protocol that needs it.
fn require_keys(document: &mut Document<'_>, members: &Members<'_>, listeners: &[(TunnelProtocol, u16)]) {
    let Some((first, _)) = listeners.first().copied() else { return };
    let first_of =
        |wanted: fn(&TunnelProtocol) -> bool| listeners.iter().map(|(protocol, _)| *protocol).find(wanted);
    let obfuscated = first_of(|it| it.obfuscates_ssh());
    let shadowsocks = first_of(|it| it.base() == BaseProtocol::Shadowsocks);
    let tls = first_of(|it| it.base() == BaseProtocol::TlsOssh);
    let meek = first_of(|it| is_meek(*it));
    let has_version = members.text(&keys::OBFUSCATED_SSH_KEY).is_some();
    let needed = [
        (Some(first), &keys::SSH_PRIVATE_KEY),
        (Some(first), &keys::SSH_USER_NAME),
        (Some(first), &keys::SSH_PASSWORD),
        ((!has_version).then_some(first), &keys::SSH_SERVER_VERSION),
        (obfuscated, &keys::OBFUSCATED_SSH_KEY),
        (shadowsocks, &keys::SHADOWSOCKS_KEY),
        (tls.or(meek), &keys::MEEK_OBFUSCATED_KEY),
        (meek, &keys::MEEK_COOKIE_ENCRYPTION_PRIVATE_KEY),
    ];
    for (needed_by, key) in needed {
        if needed_by.is_some() && members.text(key).is_none() {
            document.find_at(key, Problem::Missing { needed_by });
        }
    }
}

fn is_meek(protocol: TunnelProtocol) -> bool {
    protocol.base().traits().meek.is_some()
}

fn log(document: &mut Document<'_>, members: &Members<'_>) -> LogConfig {
    let level = match members.text(&keys::LOG_LEVEL) {
        None => Level::Info,
        Some(text) => text.parse().unwrap_or_else(|_| {
            document.find_at(&keys::LOG_LEVEL, Problem::NotALevel { found: text.to_owned() });
            Level::Info
        }),
    };
    if let Some(format) = members.text(&keys::LOG_FORMAT).filter(|format| *format != "json") {
        document.find_at(&keys::LOG_FORMAT, Problem::NotALogFormat { found: format.to_owned() });
    }
    let create_mode = log_file_mode(document, members);
    let target = match members.text(&keys::LOG_FILENAME) {
        None => LogTarget::StandardError,
        Some(path) => LogTarget::File { path: path.into(), create_mode },
    };
    let period = within(document, members, &keys::LOAD_MONITOR_PERIOD_SECONDS, 366 * 86400).unwrap_or(0);
    let text = |key| members.text(key).unwrap_or_default().to_owned();
    let origin = Origin {
        host_id: text(&keys::HOST_ID),
        provider: text(&keys::HOST_PROVIDER),
        build_rev: crate::BUILD_REV,
    };
    let load_period = (period > 0).then(|| Duration::from_secs(period));
    LogConfig { level, target, keeping: operation::keeping(document, members), origin, load_period }
}

fn log_file_mode(document: &mut Document<'_>, members: &Members<'_>) -> u32 {
    let key = &keys::LOG_FILE_CREATE_MODE;
    let Some(found) = members.integer(key) else { return LOG_FILE_MODE };
    u32::try_from(found).ok().filter(|mode| *mode <= 0o777).unwrap_or_else(|| {
        document.find_at(key, Problem::NotAMode { found });
        LOG_FILE_MODE
    })
}

fn ssh(document: &mut Document<'_>, members: &Members<'_>) -> Option<SshConfig> {
    let host_key = members.text(&keys::SSH_PRIVATE_KEY).and_then(|pem| match HostKey::from_pem(pem) {
        Ok(key) => Some(Arc::new(key)),
        Err(error) => {
            document.find_at(&keys::SSH_PRIVATE_KEY, Problem::BadHostKey(error));
            None
        }
    });
    let secret = |key| Secret::new(members.text(key).unwrap_or_default());
    let mut limit = |key: &Key, default: Duration| match within(document, members, key, 86_400_000) {
        None => Some(default),
        Some(0) => None,
        Some(milliseconds) => Some(Duration::from_millis(milliseconds)),
    };
    let wait_for_slot = limit(&keys::SSH_BEGIN_HANDSHAKE_TIMEOUT, WAIT_FOR_SLOT);
    let duration = limit(&keys::SSH_HANDSHAKE_TIMEOUT, HANDSHAKE);
    let at_once = within(document, members, &keys::MAX_CONCURRENT_SSH_HANDSHAKES, u32::MAX.into());
    let at_once = at_once.and_then(|most| usize::try_from(most).ok()).and_then(NonZeroUsize::new);
    let hold = within(document, members, &keys::PROBE_HOLD_SECONDS, 366 * 86_400).filter(|hold| *hold > 0);
    let probe_hold = hold.map(Duration::from_secs);
    let rekey_bytes = within(document, members, &keys::SSH_REKEY_BYTES, i64::MAX).filter(|bytes| *bytes > 0);
    let window_memory =
        within(document, members, &keys::WINDOW_MEMORY_BYTES, i64::MAX).filter(|bytes| *bytes > 0);
    Some(SshConfig {
        host_key: host_key?,
        // PROTOCOL.md 3.2: clients predict it from the key.
        identification: match members.text(&keys::OBFUSCATED_SSH_KEY) {
            Some(key) => server_identification(key.as_bytes()),
            None => members.text(&keys::SSH_SERVER_VERSION).unwrap_or_default().to_owned(),
        },
        user: secret(&keys::SSH_USER_NAME),
        password: secret(&keys::SSH_PASSWORD),
        handshakes: HandshakeLimits { wait_for_slot, duration, at_once, probe_hold },
        rekey_bytes,
        window_memory,
    })
}

/// Whether a protocol is inside TLS, be it meek or not.
pub(crate) fn is_inside_tls(protocol: TunnelProtocol) -> bool {
    protocol.base() == BaseProtocol::TlsOssh || protocol.base().traits().meek == Some(MeekKind::Https)
}

fn tls(
    document: &mut Document<'_>,
    members: &Members<'_>,
    listeners: &[(TunnelProtocol, u16)],
) -> Option<TlsConfig> {
    let key = members.text(&keys::MEEK_OBFUSCATED_KEY)?;
    let ticket_secret = data_encoding::HEXLOWER_PERMISSIVE.decode(key.as_bytes()).ok();
    let ticket_secret = ticket_secret.and_then(|bytes| bytes.try_into().ok());
    let ticket_secret = ticket_secret.map(|bytes| TicketSecret::new(&bytes));
    let uses_tickets = listeners.iter().any(|(protocol, _)| protocol.has(Feature::SessionTicket));
    if uses_tickets && ticket_secret.is_none() {
        document.find_at(&keys::MEEK_OBFUSCATED_KEY, Problem::NotATicketKey);
    }
    Some(TlsConfig {
        key: Secret::new(key),
        legacy_passthrough: members.flag(&keys::LEGACY_PASSTHROUGH),
        ticket_secret,
    })
}

fn egress(document: &mut Document<'_>, members: &Members<'_>) -> EgressConfig {
    let gateway = members.text(&keys::UDP_INTERCEPT_UDPGW_SERVER_ADDRESS);
    let udp_gateway = gateway.and_then(|text| text.parse().ok());
    if let (Some(text), None) = (gateway, udp_gateway) {
        let problem = Problem::NotAnAddressAndPort { found: text.to_owned() };
        document.find_at(&keys::UDP_INTERCEPT_UDPGW_SERVER_ADDRESS, problem);
    }
    let resolver = members.text(&keys::DNS_RESOLVER_IP_ADDRESS);
    let dns_resolver = resolver.and_then(|text| text.parse().ok());
    if let (Some(text), None) = (resolver, dns_resolver) {
        document.find_at(&keys::DNS_RESOLVER_IP_ADDRESS, Problem::NotAnAddress { found: text.to_owned() });
    }
    let mut header_keys = BTreeMap::new();
    for (sponsor, key) in members.object(&keys::PROXY_PROTOCOL_HEADER_MAC_KEYS) {
        let key = if Validator::SponsorId.accepts(sponsor) {
            HeaderKey::parse(key.as_str().unwrap_or_default()).map_err(Problem::BadHeaderKey)
        } else {
            Err(Problem::NotASponsor { found: sponsor.clone() })
        };
        match key {
            Ok(key) => drop(header_keys.insert(sponsor.clone(), key)),
            Err(problem) => {
                let path = [keys::PROXY_PROTOCOL_HEADER_MAC_KEYS.name.into(), Step::Key(sponsor.clone())];
                document.find(&path, problem);
            }
        }
    }
    let period = within(document, members, &keys::DESTINATION_BYTES_PERIOD_SECONDS, 366 * 86400);
    let period = Duration::from_secs(period.unwrap_or(DESTINATION_BYTES_PERIOD));
    EgressConfig {
        header_keys,
        destination_bytes_period: (!period.is_zero()).then_some(period),
        allow_bogons: members.flag(&keys::ALLOW_BOGONS),
        limits_udp: !members.flag(&keys::UNLIMITED_UDP),
        udp_gateway,
        dns_resolver,
        blocklist: Blocklist::default(),
        blocklist_active: members.flag(&keys::BLOCKLIST_ACTIVE),
        family_order: match members.flag(&keys::PREFER_IPV6_DESTINATIONS) {
            true => FamilyOrder::Ipv6First,
            false => FamilyOrder::Ipv4First,
        },
    }
}

fn data(
    document: &mut Document<'_>,
    members: &Members<'_>,
    state_directory: &Path,
    strictness: Strictness,
) -> Data {
    let mut named = Named { document, members };
    let rules = named.read(&keys::TRAFFIC_RULES_FILENAME, |file| traffic_rules::load(file, strictness));
    let tactics = named.read(&keys::TACTICS_CONFIG_FILENAME, |file| tactics::load(file, strictness));
    let load_osl = |file: &Path| data_files::load(file, data_files::OSL, strictness);
    named.read(&keys::OSL_CONFIG_FILENAME, load_osl);
    let geoip = geoip::read(&databases(members), state_directory).unwrap_or_else(|error| {
        named.adopt(&keys::GEOIP_DATABASE_FILENAMES, error.findings);
        GeoIp::default()
    });
    let blocklist = named.read(&keys::BLOCKLIST_FILENAME, |file| {
        blocklist::read(file).map(|value| Loaded { value, warnings: Vec::new() })
    });
    let psinet = named.read(&keys::PSINET_DATABASE_FILENAME, |file| psinet::load(file, strictness));
    (
        rules.unwrap_or_default(),
        tactics.unwrap_or_default(),
        geoip,
        blocklist.unwrap_or_default(),
        psinet.unwrap_or_default(),
    )
}

/// The main file, whose settings name others.
struct Named<'d, 't, 'm> {
    document: &'d mut Document<'t>,
    members: &'d Members<'m>,
}

impl Named<'_, '_, '_> {
    /// What the file holds that the setting names, if it does; what was found about it goes to the document.
    fn read<T>(
        &mut self,
        key: &Key,
        load: impl FnOnce(&Path) -> Result<Loaded<T>, ConfigError>,
    ) -> Option<T> {
        match load(Path::new(self.members.text(key)?)) {
            Ok(loaded) => {
                self.adopt(key, loaded.warnings);
                Some(loaded.value)
            }
            Err(error) => {
                self.adopt(key, error.findings);
                None
            }
        }
    }

    /// Where no file can be read, the place to look at is that of its name.
    fn adopt(&mut self, key: &Key, findings: Vec<Finding>) {
        for finding in findings {
            match finding.problem {
                Problem::Unreadable(source) => {
                    let path = finding.file.display().to_string();
                    self.document.find_at(key, Problem::NamesUnreadable { path, source });
                }
                _ => self.document.adopt(finding),
            }
        }
    }
}

fn authorization_keys(document: &mut Document<'_>, members: &Members<'_>) -> VerificationKeyRing {
    let key = &keys::ACCESS_CONTROL_VERIFICATION_KEY_RING;
    let ring = members.value(key).map(|ring| VerificationKeyRing::from_json(&ring.to_string()));
    ring.unwrap_or_else(|| Ok(VerificationKeyRing::default())).unwrap_or_else(|error| {
        document.find_at(key, Problem::BadKeyRing(error));
        VerificationKeyRing::default()
    })
}

fn own_entries(document: &mut Document<'_>, members: &Members<'_>) -> BTreeMap<String, ServerEntry> {
    let key = &keys::OWN_ENCODED_SERVER_ENTRIES;
    let mut entries = BTreeMap::new();
    for (tag, line) in members.object(key) {
        match ServerEntry::decode(line.as_str().unwrap_or_default()) {
            Ok(entry) => {
                entries.insert(tag.clone(), entry);
            }
            Err(error) => {
                document.find(&[Step::from(key.name), Step::Key(tag.clone())], Problem::BadEntry(error));
            }
        }
    }
    for member in ["region", "providerID", "frontingProviderID"] {
        let mut values = entries.values().map(|entry| entry.text(member));
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            document.find_at(key, Problem::EntriesDisagree { member });
        }
    }
    entries
}

fn databases(members: &Members<'_>) -> Vec<PathBuf> {
    let names = members.list(&keys::GEOIP_DATABASE_FILENAMES).filter_map(Value::as_str);
    names.map(PathBuf::from).collect()
}

/// The files that are named.
fn files(main: &Path, members: &Members<'_>) -> DataFiles {
    let named = |key| members.text(key).map(PathBuf::from);
    DataFiles {
        main: Some(main.to_owned()),
        traffic_rules: named(&keys::TRAFFIC_RULES_FILENAME),
        osl: named(&keys::OSL_CONFIG_FILENAME),
        tactics: named(&keys::TACTICS_CONFIG_FILENAME),
        psinet: named(&keys::PSINET_DATABASE_FILENAME),
        geoip: databases(members),
        blocklist: named(&keys::BLOCKLIST_FILENAME),
    }
}

fn state_directory(file: &Path, members: &Members<'_>) -> PathBuf {
    match members.text(&keys::STATE_DIRECTORY) {
        Some(set) => set.into(),
        None => file.parent().unwrap_or(Path::new("")).join("psiphond-state"),
    }
}

/// A setting that must lie between 0 and `most`.
pub(super) fn within(
    document: &mut Document<'_>,
    members: &Members<'_>,
    key: &Key,
    most: i64,
) -> Option<u64> {
    let found = members.integer(key)?;
    if !(0..=most).contains(&found) {
        document.find_at(key, Problem::OutOfRange { found, least: 0, most });
    }
    u64::try_from(found).ok()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
