//! The traffic rules file: its table of settings and what they become. The whole schema of the reference is accepted;
//! what is not applied yet is remarked on if it is set. Meaning of the rules: `crate::rules`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use culvert_protocol::json_position::Step;
use serde_json::Value;

use super::document::{self, Document, Loaded, Members, Strictness};
use super::finding::{ConfigError, Problem};
use super::schema::{Key, Kind};
use crate::generate::json::Json;
use crate::rules::{PortList, SessionRate, Subnet, TrafficRules, UdpRules};
use Kind::{Flag, Integer, Object, ObjectList, Text, TextList, TextListMap};

const DEFAULT_RULES: Key = Key::applied("DefaultRules", Object(RULES)).about("The rules for everyone.");
const FILTERED_RULES: Key = Key::later("FilteredRules", ObjectList(FILTERED))
    .about("Rules for some; the first whose filter fits sets what it names.");
const METER_HISTORY: Key = Key::applied("MeekRateLimiterHistorySize", Integer)
    .about("How many requests of one address are remembered; 0 is off.");
const METER_WINDOW: Key = Key::applied("MeekRateLimiterThresholdSeconds", Integer)
    .about("Within how many seconds; needed with a history.");
const METER_PROTOCOLS: Key =
    Key::applied("MeekRateLimiterTunnelProtocols", TextList).about("For which protocols; all when empty.");

pub(super) const FILE: &[Key] = &[
    DEFAULT_RULES,
    FILTERED_RULES,
    METER_HISTORY,
    METER_WINDOW,
    METER_PROTOCOLS,
    Key::later("MeekRateLimiterRegions", TextList).about("For clients of which countries; all when empty."),
    Key::later("MeekRateLimiterISPs", TextList).about("For clients of which providers; all when empty."),
    Key::later("MeekRateLimiterASNs", TextList).about("For clients of which networks; all when empty."),
    Key::later("MeekRateLimiterCities", TextList).about("For clients of which cities; all when empty."),
    Key::moot("MeekRateLimiterGarbageCollectionTriggerCount", Integer)
        .about("After how many requests memory is collected; there is nothing to collect here."),
    Key::moot("MeekRateLimiterReapHistoryFrequencySeconds", Integer)
        .about("How often what is remembered is cleaned up."),
    Key::moot("MeekRateLimiterMaxEntries", Integer).about("How many addresses are remembered."),
];

const FILTERED: &[Key] = &[
    Key::applied("Filter", Object(FILTER)).about("Whose rules these are."),
    Key::applied("ExceptFilter", Object(FILTER)).about("Whose they are not although the filter says so."),
    Key::applied("Rules", Object(RULES)).about("The rules that they set."),
];

const FILTER: &[Key] = &[
    Key::applied("TunnelProtocols", TextList).about("Clients by tunnel protocol; any when empty."),
    Key::applied("Regions", TextList).about("Clients by country; any when empty."),
    Key::applied("ISPs", TextList).about("Clients by the name of their provider; any when empty."),
    Key::applied("ASNs", TextList).about("Clients by network; any when empty."),
    Key::applied("Cities", TextList).about("Clients by city; any when empty."),
    Key::applied("APIProtocol", Text)
        .about("Clients by how their API requests travel, ssh or web; any when empty."),
    Key::applied("HandshakeParameters", TextListMap)
        .about("Clients by what they say in the handshake, with * for anything."),
    Key::applied("AuthorizedAccessTypes", TextList)
        .about("Clients with a valid authorization of one of these types."),
    Key::applied("ActiveAuthorizationIDs", TextList).about("Clients with one of these authorizations."),
    Key::applied("AuthorizationsRevoked", Flag).about("Clients whose authorization was revoked."),
    Key::applied("ProviderIDs", TextList).about("Servers by hosting provider; any when empty."),
    Key::applied("MinClientVersion", Integer).about("Clients of no lower version."),
    Key::applied("MaxClientVersion", Integer).about("Clients of no higher version."),
];

const DIAL_TIMEOUT: Key = Key::applied("DialTCPPortForwardTimeoutMilliseconds", Integer)
    .about("How long connecting to a destination may take, waiting for it included. Default: 10000.");
const IDLE_TIMEOUT: Key = Key::applied("IdleTCPPortForwardTimeoutMilliseconds", Integer)
    .about("After how long without data TCP is closed; 0 is never. Default: 30000.");
const MOST_DIALING: Key = Key::applied("MaxTCPDialingPortForwardCount", Integer)
    .about("How many destinations a client may be connecting to at a time; 0 is any. Default: 64.");
const MOST_FLOWS: Key = Key::applied("MaxTCPPortForwardCount", Integer).about(
    "How many TCP flows a client may have; more close the one that was used least lately. Default: 512.",
);
const IDLE_UDP_TIMEOUT: Key = Key::applied("IdleUDPPortForwardTimeoutMilliseconds", Integer)
    .about("After how long without data UDP is closed; 0 is never. Default: 30000.");
const MOST_UDP_FLOWS: Key =
    Key::applied("MaxUDPPortForwardCount", Integer).about("The same of UDP. Default: 32.");
const ALLOW_TCP_PORTS: Key = Key::applied("AllowTCPPorts", Kind::PortList)
    .about("Ports that TCP may go to; all when there is no list.");
const DISALLOW_TCP_PORTS: Key = Key::applied("DisallowTCPPorts", Kind::PortList)
    .about("Ports that TCP may not go to, also where it is allowed.");
const ALLOW_UDP_PORTS: Key = Key::applied("AllowUDPPorts", Kind::PortList)
    .about("Ports that UDP may go to; all when there is no list.");
const DISALLOW_UDP_PORTS: Key = Key::applied("DisallowUDPPorts", Kind::PortList)
    .about("Ports that UDP may not go to, also where it is allowed.");
const ALLOW_SUBNETS: Key =
    Key::applied("AllowSubnets", TextList).about("Address blocks that may be reached on any port.");
const DISALLOW_SUBNETS: Key =
    Key::applied("DisallowSubnets", TextList).about("Address blocks that may not be reached.");
const ALLOW_ASNS: Key = Key::later("AllowASNs", TextList).about("Networks that may be reached on any port.");
const DISALLOW_ASNS: Key = Key::later("DisallowASNs", TextList).about("Networks that may not be reached.");
const RATE_LIMITS: Key = Key::later("RateLimits", Object(RATES)).about("How fast a client may be.");

const RULES: &[Key] = &[
    RATE_LIMITS,
    DIAL_TIMEOUT,
    IDLE_TIMEOUT,
    IDLE_UDP_TIMEOUT,
    MOST_DIALING,
    MOST_FLOWS,
    MOST_UDP_FLOWS,
    ALLOW_TCP_PORTS,
    ALLOW_UDP_PORTS,
    DISALLOW_TCP_PORTS,
    DISALLOW_UDP_PORTS,
    ALLOW_SUBNETS,
    ALLOW_ASNS,
    DISALLOW_SUBNETS,
    DISALLOW_ASNS,
    Key::moot("DisableDiscovery", Flag).about("Clients are not told of other servers."),
];

const RATES: &[Key] = &[
    Key::applied("ReadUnthrottledBytes", Integer).about("How much a client may send before the limit holds."),
    Key::applied("ReadBytesPerSecond", Integer).about("How fast it may send; 0 is any."),
    Key::applied("WriteUnthrottledBytes", Integer).about("How much it may receive before the limit holds."),
    Key::applied("WriteBytesPerSecond", Integer).about("How fast it may receive; 0 is any."),
    Key::applied("CloseAfterExhausted", Flag).about("Close its tunnel then, instead of slowing it down."),
    Key::applied("EstablishmentReadBytesPerSecond", Integer)
        .about("How fast it may send before its handshake."),
    Key::applied("EstablishmentWriteBytesPerSecond", Integer)
        .about("How fast it may receive before its handshake."),
    Key::applied("UnthrottleFirstTunnelOnly", Flag)
        .about("Only the first tunnel of a session has what goes before the limit."),
];

/// Reads the file that `TrafficRulesFilename` names.
pub fn load(file: &Path, strictness: Strictness) -> Result<Loaded<TrafficRules>, ConfigError> {
    parse(file, &document::read(file)?, strictness)
}

/// The default rules of a traffic rules file's text; `file` is for messages.
pub fn parse(file: &Path, text: &str, strictness: Strictness) -> Result<Loaded<TrafficRules>, ConfigError> {
    let (mut document, object) = Document::parse(file, text, FILE)?;
    let members = Members::new(&object);
    not_negative(&mut document, &members, &[], &[METER_HISTORY, METER_WINDOW]);
    let history = members.integer(&METER_HISTORY).unwrap_or(0);
    if history > 0 && members.integer(&METER_WINDOW).unwrap_or(0) == 0 {
        document.find_at(&METER_WINDOW, Problem::NeededPositive { other: METER_HISTORY.name });
    }
    let mut default_rules = TrafficRules::default();
    if let Some(rules) = members.members(&DEFAULT_RULES) {
        default_rules = read_rules(&mut document, rules, &[Step::from(DEFAULT_RULES.name)]);
    }
    default_rules.meek_sessions = session_rate(&mut document, &members);
    for (index, filtered) in members.list(&FILTERED_RULES).enumerate() {
        let rules =
            filtered.as_object().map(Members::new).and_then(|filtered| filtered.members(&FILTERED_RULE));
        if let Some(rules) = rules {
            let path = [Step::from(FILTERED_RULES.name), Step::Index(index), Step::from(FILTERED_RULE.name)];
            // Checked already, so that a mistake does not wait for the build that applies it.
            read_rules(&mut document, rules, &path);
        }
    }
    document.finish(Some(default_rules), strictness)
}

/// So many beginnings in so many seconds, evenly spread.
fn session_rate(document: &mut Document<'_>, members: &Members<'_>) -> Option<SessionRate> {
    let mut protocols = Vec::new();
    for name in members.list(&METER_PROTOCOLS).filter_map(Value::as_str) {
        match name.parse() {
            Ok(protocol) => protocols.push(protocol),
            Err(_) => document
                .find_at(&METER_PROTOCOLS, Problem::UnknownProtocol { found: name.to_owned(), near: None }),
        }
    }
    let positive = |key| members.integer(key).and_then(|set| u32::try_from(set).ok()).filter(|set| *set > 0);
    let (history, window) = (positive(&METER_HISTORY)?, positive(&METER_WINDOW)?);
    Some(SessionRate { every: Duration::from_secs(window.into()) / history, protocols })
}

const FILTERED_RULE: Key = Key::applied("Rules", Object(RULES)).about("The rules that they set.");

fn read_rules(document: &mut Document<'_>, rules: Members<'_>, path: &[Step]) -> TrafficRules {
    let counts = [DIAL_TIMEOUT, IDLE_TIMEOUT, IDLE_UDP_TIMEOUT, MOST_DIALING, MOST_FLOWS, MOST_UDP_FLOWS];
    not_negative(document, &rules, path, &counts);
    if let Some(rates) = rules.members(&RATE_LIMITS) {
        let path = [path, &[Step::from(RATE_LIMITS.name)]].concat();
        not_negative(document, &rates, &path, RATES);
    }
    for key in [ALLOW_ASNS, DISALLOW_ASNS] {
        for (path, text) in texts(&rules, path, &key) {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                document.find(&path, Problem::NotAnAsn { found: text.to_owned() });
            }
        }
    }
    let defaults = TrafficRules::default();
    TrafficRules {
        dial_timeout: milliseconds(&rules, &DIAL_TIMEOUT, defaults.dial_timeout),
        idle_timeout: milliseconds(&rules, &IDLE_TIMEOUT, defaults.idle_timeout),
        most_dialing: count(&rules, &MOST_DIALING, defaults.most_dialing),
        most_flows: count(&rules, &MOST_FLOWS, defaults.most_flows),
        // The reference takes an empty list for no list.
        allow_ports: Some(ports(document, &rules, path, &ALLOW_TCP_PORTS)).filter(|ports| !ports.is_empty()),
        disallow_ports: ports(document, &rules, path, &DISALLOW_TCP_PORTS),
        allow_subnets: subnets(document, &rules, path, &ALLOW_SUBNETS),
        disallow_subnets: subnets(document, &rules, path, &DISALLOW_SUBNETS),
        udp: UdpRules {
            idle_timeout: milliseconds(&rules, &IDLE_UDP_TIMEOUT, defaults.udp.idle_timeout),
            most_flows: count(&rules, &MOST_UDP_FLOWS, defaults.udp.most_flows),
            allow_ports: Some(ports(document, &rules, path, &ALLOW_UDP_PORTS))
                .filter(|ports| !ports.is_empty()),
            disallow_ports: ports(document, &rules, path, &DISALLOW_UDP_PORTS),
        },
        meek_sessions: None,
    }
}

fn not_negative(document: &mut Document<'_>, members: &Members<'_>, path: &[Step], keys: &[Key]) {
    for key in keys {
        if let Some(found) = members.integer(key).filter(|found| *found < 0) {
            let path = [path, &[Step::from(key.name)]].concat();
            document.find(&path, Problem::OutOfRange { found, least: 0, most: i64::MAX });
        }
    }
}

/// 0 is no timeout, as the reference documents (for the dial timeout it then refuses every flow).
fn milliseconds(rules: &Members<'_>, key: &Key, default: Option<Duration>) -> Option<Duration> {
    match rules.integer(key) {
        None => default,
        Some(set) => u64::try_from(set).ok().filter(|set| *set > 0).map(Duration::from_millis),
    }
}

/// 0 is no limit.
fn count(rules: &Members<'_>, key: &Key, default: Option<NonZeroUsize>) -> Option<NonZeroUsize> {
    match rules.integer(key) {
        None => default,
        Some(set) => usize::try_from(set).ok().and_then(NonZeroUsize::new),
    }
}

fn texts<'v>(rules: &Members<'v>, path: &[Step], key: &Key) -> Vec<(Vec<Step>, &'v str)> {
    let path = [path, &[Step::from(key.name)]].concat();
    let of_element = |(index, value): (usize, &'v Value)| {
        let mut path = path.clone();
        path.push(Step::Index(index));
        Some((path, value.as_str()?))
    };
    rules.list(key).enumerate().filter_map(of_element).collect()
}

fn subnets(document: &mut Document<'_>, rules: &Members<'_>, path: &[Step], key: &Key) -> Vec<Subnet> {
    let mut subnets = Vec::new();
    for (path, text) in texts(rules, path, key) {
        match text.parse() {
            Ok(subnet) => subnets.push(subnet),
            Err(_) => document.find(&path, Problem::NotASubnet { found: text.to_owned() }),
        }
    }
    subnets
}

fn ports(document: &mut Document<'_>, rules: &Members<'_>, path: &[Step], key: &Key) -> PortList {
    let port =
        |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let mut ranges = Vec::new();
    for (index, value) in rules.list(key).enumerate() {
        let range = match value.as_array().map(Vec::as_slice) {
            None => port(value).map(|port| (port, port)),
            Some([first, last]) => port(first).zip(port(last)).filter(|(first, last)| first <= last),
            Some(_) => None,
        };
        match range {
            Some(range) => ranges.push(range),
            None => {
                let path = [path, &[Step::from(key.name), Step::Index(index)]].concat();
                document.find(&path, Problem::NotAPortRange);
            }
        }
    }
    PortList::new(ranges)
}

/// The rules of a new server, which are the defaults written out: every setting stands there, to be found and changed.
pub(crate) fn generated() -> Json {
    let zeros =
        ["ReadUnthrottledBytes", "ReadBytesPerSecond", "WriteUnthrottledBytes", "WriteBytesPerSecond"];
    let rates = RATES
        .iter()
        .map(|key| (key.name, if zeros.contains(&key.name) { Json::from(0) } else { Json::null() }));
    let mut rates = Some(Json::object(rates));
    let rules = RULES.iter().map(|key| {
        let value = match key.name {
            name if name == RATE_LIMITS.name => rates.take().unwrap_or_else(Json::null),
            name if name == IDLE_TIMEOUT.name || name == IDLE_UDP_TIMEOUT.name => Json::from(30_000),
            name if name == MOST_FLOWS.name => Json::from(512),
            name if name == MOST_UDP_FLOWS.name => Json::from(32),
            _ => Json::null(),
        };
        (key.name, value)
    });
    let mut rules = Some(Json::object(rules));
    Json::object(FILE.iter().map(|key| match key.kind {
        Integer => (key.name, Json::from(0)),
        Object(_) => (key.name, rules.take().unwrap_or_else(Json::null)),
        _ => (key.name, Json::null()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str, strictness: Strictness) -> Result<Loaded<TrafficRules>, String> {
        parse(Path::new("r"), text, strictness).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read() {
        let text = r#"{"DefaultRules": {"DialTCPPortForwardTimeoutMilliseconds": 0, "MaxTCPPortForwardCount": 0,
            "IdleTCPPortForwardTimeoutMilliseconds": null, "AllowTCPPorts": [80, [443, 445]], "DisallowTCPPorts": [25],
            "AllowSubnets": ["8.8.8.0/24"], "DisallowSubnets": null}}"#;
        let rules = parse_text(text, Strictness::Check).unwrap().value;
        assert_eq!(rules.dial_timeout, None);
        assert_eq!(rules.idle_timeout, Some(Duration::from_secs(30)));
        assert_eq!((rules.most_flows, rules.most_dialing), (None, NonZeroUsize::new(64)));
        assert_eq!(rules.allow_ports, Some(PortList::new([(80, 80), (443, 445)])));
        assert_eq!(rules.disallow_ports, PortList::new([(25, 25)]));
        assert_eq!(rules.allow_subnets.len(), 1);
        assert_eq!(rules.udp, UdpRules::default());
        let udp = r#"{"DefaultRules": {"AllowUDPPorts": [53], "DisallowUDPPorts": [[1, 9]],
            "MaxUDPPortForwardCount": 0, "IdleUDPPortForwardTimeoutMilliseconds": 1000}}"#;
        let udp = parse_text(udp, Strictness::Check).unwrap().value.udp;
        assert_eq!((udp.most_flows, udp.idle_timeout), (None, Some(Duration::from_secs(1))));
        assert_eq!(udp.allow_ports, Some(PortList::new([(53, 53)])));
        assert_eq!(udp.disallow_ports, PortList::new([(1, 9)]));
        assert_eq!(parse_text("{}", Strictness::Check).unwrap().value, TrafficRules::default());
        let empty = r#"{"DefaultRules": {"AllowTCPPorts": []}}"#;
        assert_eq!(parse_text(empty, Strictness::Check).unwrap().value.allow_ports, None);
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, message) in [
            (
                "{\"DefaultRules\": {\"AllowTCPPorts\": [0]}}",
                "r:1:37: DefaultRules.AllowTCPPorts[0]: must be a port",
            ),
            ("{\"DefaultRules\": {\"DisallowTCPPorts\": [[9, 3]]}}", "DisallowTCPPorts[0]: must be a port"),
            (
                "{\"DefaultRules\": {\"AllowTCPPorts\": 80}}",
                "must be a list of ports and [FIRST, LAST] pairs, not a number",
            ),
            (
                "{\"DefaultRules\":\n {\"DisallowSubnets\": [\"10/8\"]}}",
                "r:2:23: DefaultRules.DisallowSubnets[0]: \"10/8\" is not a subnet",
            ),
            ("{\"DefaultRules\": {\"MaxTCPPortForwardCount\": -1}}", "-1 is out of range"),
            (
                "{\"FilteredRules\": [{\"Rules\": {\"AllowSubnets\": [\"x\"]}}]}",
                "FilteredRules[0].Rules.AllowSubnets[0]",
            ),
            (
                "{\"DefaultRules\": {\"RateLimits\": {\"ReadBytesPerSecond\": -5}}}",
                "RateLimits.ReadBytesPerSecond: -5",
            ),
            (
                "{\"DefaultRules\": {\"AllowASNs\": [\"AS1\"]}}",
                "AllowASNs[0]: \"AS1\" is not the decimal number",
            ),
            ("{\"MeekRateLimiterHistorySize\": 5}", "MeekRateLimiterThresholdSeconds: must be positive when"),
        ] {
            let error = parse_text(text, Strictness::Run).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn what_has_no_effect_yet_is_said_only_when_set() {
        let set = r#"{"DefaultRules": {"RateLimits": {"WriteBytesPerSecond": 1000}}, "FilteredRules": [{"Rules": {"DisallowTCPPorts": [25]}}]}"#;
        let warnings = parse_text(set, Strictness::Check).unwrap().warnings;
        let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("DefaultRules.RateLimits: is understood but has no effect"), "{texts:?}");
        assert!(texts[1].contains("FilteredRules"), "{texts:?}");
        let unset = r#"{"DefaultRules": {"RateLimits": {"WriteBytesPerSecond": 0, "CloseAfterExhausted": null}}, "FilteredRules": null}"#;
        assert!(parse_text(unset, Strictness::Check).unwrap().warnings.is_empty());
    }

    #[test]
    fn misspelt_rules_are_noticed() {
        let text = "{\"DefaultRules\": {\"DisalowTCPPorts\": [25]}}";
        let warnings = parse_text(text, Strictness::Run).unwrap().warnings;
        let expected =
            "r:1:19: DefaultRules.DisalowTCPPorts: unknown setting (did you mean DisallowTCPPorts?)";
        assert_eq!(warnings[0].to_string(), expected);
        assert_eq!(parse_text(text, Strictness::Check).unwrap_err(), expected);
    }
}
