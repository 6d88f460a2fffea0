//! The settings of meek, and who serves those that are no clients.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_protocol::json_position::Step;
use culvert_protocol::{Feature, TunnelProtocol};
use culvert_transport::meek::server::{HeadRules, SessionLimits};
use culvert_transport::meek::wire::KEY_LEN;
use data_encoding::BASE64;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Secret;
use super::document::{Document, Members};
use super::finding::Problem;
use super::schema::Key;
use super::server::{protocol, within};
use super::server_keys as keys;

/// The longest of the times that may be set: an hour.
const MOST_MILLISECONDS: i64 = 3_600_000;
/// The most that a session, and all together, may be told to keep.
const MOST_BYTES: i64 = 1 << 40;
const IO_TIMEOUT: Duration = Duration::from_secs(45);
const FRONTED_IO_TIMEOUT: Duration = Duration::from_secs(360);

/// What meek needs.
#[derive(Clone, Debug)]
pub struct MeekConfig {
    /// What hides cookies.
    pub obfuscated_key: Secret,
    /// What opens them.
    pub private_key: MeekPrivateKey,
    pub limits: SessionLimits,
    /// Prohibited and required headers.
    pub rules: HeadRules,
    /// A request without the required headers is served, but what it says of the client's address is not believed.
    pub rules_are_hints: bool,
    /// What clients behind a CDN may say that they use.
    pub fronted: Vec<TunnelProtocol>,
    /// Headers that hold the client's address behind a CDN, the most trusted first.
    pub forwarded_for: Vec<String>,
    /// How long reading or writing may take, straight and through a CDN.
    pub patience: Duration,
    pub fronted_patience: Duration,
}

/// The private half of the key that cookies are sealed for.
#[derive(Clone)]
pub struct MeekPrivateKey(Zeroizing<[u8; KEY_LEN]>);

impl MeekPrivateKey {
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).ok()?);
        bytes.as_slice().try_into().ok().map(Self::new)
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl std::fmt::Debug for MeekPrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted meek key]")
    }
}

/// The settings, if the keys are there.
pub(super) fn meek(
    document: &mut Document<'_>,
    members: &Members<'_>,
    listeners: &[(TunnelProtocol, u16)],
) -> Option<MeekConfig> {
    let limits = limits(document, members);
    let mut time = |key: &Key, default: Duration| {
        let set = within(document, members, key, MOST_MILLISECONDS).filter(|set| *set > 0);
        set.map_or(default, Duration::from_millis)
    };
    let patience = time(&keys::MEEK_IO_TIMEOUT, IO_TIMEOUT);
    let fronted_patience = time(&keys::MEEK_FRONTED_IO_TIMEOUT, FRONTED_IO_TIMEOUT);
    let texts = |key| members.list(key).filter_map(Value::as_str).map(str::to_owned).collect();
    let required = members.object(&keys::MEEK_REQUIRED_HEADERS);
    let required = required.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let rules = HeadRules { prohibited: texts(&keys::MEEK_PROHIBITED_HEADERS), required: required.collect() };
    let private_key = members.text(&keys::MEEK_COOKIE_ENCRYPTION_PRIVATE_KEY).and_then(|text| {
        let key = MeekPrivateKey::parse(text);
        if key.is_none() {
            document.find_at(&keys::MEEK_COOKIE_ENCRYPTION_PRIVATE_KEY, Problem::NotAMeekKey);
        }
        key
    });
    Some(MeekConfig {
        obfuscated_key: Secret::new(members.text(&keys::MEEK_OBFUSCATED_KEY)?),
        private_key: private_key?,
        limits,
        rules,
        rules_are_hints: members.flag(&keys::MEEK_REQUIRED_HEADERS_NON_STRICT),
        fronted: listeners
            .iter()
            .map(|(protocol, _)| *protocol)
            .filter(|it| it.has(Feature::Fronted))
            .collect(),
        forwarded_for: texts(&keys::MEEK_PROXY_FORWARDED_FOR_HEADERS),
        patience,
        fronted_patience,
    })
}

fn limits(document: &mut Document<'_>, members: &Members<'_>) -> SessionLimits {
    let default = SessionLimits::default();
    let mut number = |key: &Key, most| within(document, members, key, most).filter(|set| *set > 0);
    let idle = number(&keys::MEEK_MAX_SESSION_STALENESS, MOST_MILLISECONDS);
    let turn_around = number(&keys::MEEK_TURN_AROUND_TIMEOUT, MOST_MILLISECONDS);
    let mut bytes = |key| number(key, MOST_BYTES).and_then(|bytes| usize::try_from(bytes).ok());
    let kept_least = bytes(&keys::MEEK_CACHED_RESPONSE_BUFFER_SIZE).unwrap_or(default.kept_least);
    let buffer = bytes(&keys::MEEK_CACHED_RESPONSE_POOL_BUFFER_SIZE);
    let share = bytes(&keys::MEEK_CACHED_RESPONSE_POOL_BUFFER_CLIENT_LIMIT);
    let count = bytes(&keys::MEEK_CACHED_RESPONSE_POOL_BUFFER_COUNT);
    // The reference's pool is made of buffers of one size; only what they hold together matters here.
    let of_buffers = |set: Option<usize>, default: usize| match (buffer, set) {
        (None, None) => default,
        (size, count) => {
            let size = size.unwrap_or(default_buffer());
            size.saturating_mul(count.unwrap_or(default / default_buffer()))
        }
    };
    SessionLimits {
        idle: idle.map_or(default.idle, Duration::from_millis),
        turn_around: turn_around.map_or(default.turn_around, Duration::from_millis),
        kept_least,
        kept_most: of_buffers(share, default.kept_most),
        kept_together: of_buffers(count, default.kept_together),
        ..default
    }
}

fn default_buffer() -> usize {
    64 * 1024
}

/// Who serves those that are no clients of a protocol, as `host:port`.
pub(super) fn sites(document: &mut Document<'_>, members: &Members<'_>) -> BTreeMap<TunnelProtocol, String> {
    let key = &keys::TUNNEL_PROTOCOL_PASSTHROUGH_ADDRESSES;
    let mut sites = BTreeMap::new();
    for (name, address) in members.object(key) {
        let address = address.as_str().unwrap_or_default();
        let problem = match protocol(name) {
            Err(problem) => problem,
            Ok(protocol) if !protocol.has(Feature::Passthrough) => Problem::UnsupportedProtocol { protocol },
            Ok(_) if !is_host_and_port(address) => Problem::NotAHostAndPort { found: address.to_owned() },
            Ok(protocol) => {
                sites.insert(protocol, address.to_owned());
                continue;
            }
        };
        document.find(&[Step::from(key.name), Step::Key(name.clone())], problem);
    }
    sites
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}
