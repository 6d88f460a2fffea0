//! The settings of the traffic rules file: the one table of them. All names are the reference's.

use super::super::schema::{Key, Kind};
use crate::generate::json::Json;
use Kind::{Flag, Integer, Object, ObjectList, Text, TextList, TextListMap};

pub(super) const DEFAULT_RULES: Key =
    Key::applied("DefaultRules", Object(RULES)).about("The rules for everyone.");
pub(super) const FILTERED_RULES: Key = Key::applied("FilteredRules", ObjectList(FILTERED))
    .about("Rules for some; the first whose filter fits sets what it names.");
pub(super) const METER_HISTORY: Key = Key::applied("MeekRateLimiterHistorySize", Integer)
    .about("How many requests of one address are remembered; 0 is off.");
pub(super) const METER_WINDOW: Key = Key::applied("MeekRateLimiterThresholdSeconds", Integer)
    .about("Within how many seconds; needed with a history.");
pub(super) const METER_PROTOCOLS: Key =
    Key::applied("MeekRateLimiterTunnelProtocols", TextList).about("For which protocols; all when empty.");

pub(super) const METER_REGIONS: Key =
    Key::applied("MeekRateLimiterRegions", TextList).about("For clients of which countries; all when empty.");

pub(super) const METER_ISPS: Key =
    Key::applied("MeekRateLimiterISPs", TextList).about("For clients of which providers; all when empty.");

pub(super) const METER_ASNS: Key =
    Key::applied("MeekRateLimiterASNs", TextList).about("For clients of which networks; all when empty.");

pub(super) const METER_CITIES: Key =
    Key::applied("MeekRateLimiterCities", TextList).about("For clients of which cities; all when empty.");

pub(in crate::config) const FILE: &[Key] = &[
    DEFAULT_RULES,
    FILTERED_RULES,
    METER_HISTORY,
    METER_WINDOW,
    METER_PROTOCOLS,
    METER_REGIONS,
    METER_ISPS,
    METER_ASNS,
    METER_CITIES,
    Key::moot("MeekRateLimiterGarbageCollectionTriggerCount", Integer)
        .about("After how many requests memory is collected; there is nothing to collect here."),
    Key::moot("MeekRateLimiterReapHistoryFrequencySeconds", Integer)
        .about("How often what is remembered is cleaned up."),
    Key::moot("MeekRateLimiterMaxEntries", Integer).about("How many addresses are remembered."),
];

pub(super) const FILTER_KEY: Key = Key::applied("Filter", Object(FILTER)).about("Whose rules these are.");
pub(super) const EXCEPT_FILTER: Key =
    Key::applied("ExceptFilter", Object(FILTER)).about("Whose they are not although the filter says so.");
pub(super) const FILTERED_RULE: Key = Key::applied("Rules", Object(RULES)).about("The rules that they set.");
pub(super) const FILTERED: &[Key] = &[FILTER_KEY, EXCEPT_FILTER, FILTERED_RULE];

pub(super) const PROTOCOLS: Key =
    Key::applied("TunnelProtocols", TextList).about("Clients by tunnel protocol; any when empty.");
pub(super) const REGIONS: Key =
    Key::applied("Regions", TextList).about("Clients by country; any when empty.");
pub(super) const ISPS: Key =
    Key::applied("ISPs", TextList).about("Clients by the name of their provider; any when empty.");
pub(super) const ASNS: Key = Key::applied("ASNs", TextList).about("Clients by network; any when empty.");
pub(super) const CITIES: Key = Key::applied("Cities", TextList).about("Clients by city; any when empty.");
pub(super) const API_PROTOCOL: Key = Key::applied("APIProtocol", Text)
    .about("Clients by how their API requests travel, ssh or web; any when empty.");
pub(super) const PARAMETERS: Key = Key::applied("HandshakeParameters", TextListMap)
    .about("Clients by what they say in the handshake, with * for anything.");
pub(super) const ACCESS_TYPES: Key = Key::applied("AuthorizedAccessTypes", TextList)
    .about("Clients with a valid authorization of one of these types.");
pub(super) const AUTHORIZATION_IDS: Key =
    Key::applied("ActiveAuthorizationIDs", TextList).about("Clients with one of these authorizations.");
pub(super) const REVOKED: Key =
    Key::applied("AuthorizationsRevoked", Flag).about("Clients whose authorization was revoked.");
pub(super) const PROVIDERS: Key =
    Key::applied("ProviderIDs", TextList).about("Servers by hosting provider; any when empty.");
pub(super) const MIN_VERSION: Key =
    Key::applied("MinClientVersion", Integer).about("Clients of no lower version.");
pub(super) const MAX_VERSION: Key =
    Key::applied("MaxClientVersion", Integer).about("Clients of no higher version.");
pub(super) const FILTER: &[Key] = &[
    PROTOCOLS,
    REGIONS,
    ISPS,
    ASNS,
    CITIES,
    API_PROTOCOL,
    PARAMETERS,
    ACCESS_TYPES,
    AUTHORIZATION_IDS,
    REVOKED,
    PROVIDERS,
    MIN_VERSION,
    MAX_VERSION,
];

pub(super) const DIAL_TIMEOUT: Key = Key::applied("DialTCPPortForwardTimeoutMilliseconds", Integer)
    .about("How long connecting to a destination may take, waiting for it included. Default: 10000.");
pub(super) const IDLE_TIMEOUT: Key = Key::applied("IdleTCPPortForwardTimeoutMilliseconds", Integer)
    .about("After how long without data TCP is closed; 0 is never. Default: 30000.");
pub(super) const MOST_DIALING: Key = Key::applied("MaxTCPDialingPortForwardCount", Integer)
    .about("How many destinations a client may be connecting to at a time; 0 is any. Default: 64.");
pub(super) const MOST_FLOWS: Key = Key::applied("MaxTCPPortForwardCount", Integer).about(
    "How many TCP flows a client may have; more close the one that was used least lately. Default: 512.",
);
pub(super) const IDLE_UDP_TIMEOUT: Key = Key::applied("IdleUDPPortForwardTimeoutMilliseconds", Integer)
    .about("After how long without data UDP is closed; 0 is never. Default: 30000.");
pub(super) const MOST_UDP_FLOWS: Key =
    Key::applied("MaxUDPPortForwardCount", Integer).about("The same of UDP. Default: 32.");
pub(super) const ALLOW_TCP_PORTS: Key = Key::applied("AllowTCPPorts", Kind::PortList)
    .about("Ports that TCP may go to; all when there is no list.");
pub(super) const DISALLOW_TCP_PORTS: Key = Key::applied("DisallowTCPPorts", Kind::PortList)
    .about("Ports that TCP may not go to, also where it is allowed.");
pub(super) const ALLOW_UDP_PORTS: Key = Key::applied("AllowUDPPorts", Kind::PortList)
    .about("Ports that UDP may go to; all when there is no list.");
pub(super) const DISALLOW_UDP_PORTS: Key = Key::applied("DisallowUDPPorts", Kind::PortList)
    .about("Ports that UDP may not go to, also where it is allowed.");
pub(super) const ALLOW_SUBNETS: Key =
    Key::applied("AllowSubnets", TextList).about("Address blocks that may be reached on any port.");
pub(super) const DISALLOW_SUBNETS: Key =
    Key::applied("DisallowSubnets", TextList).about("Address blocks that may not be reached.");
pub(super) const ALLOW_ASNS: Key =
    Key::applied("AllowASNs", TextList).about("Networks that may be reached on any port.");
pub(super) const DISALLOW_ASNS: Key =
    Key::applied("DisallowASNs", TextList).about("Networks that may not be reached.");
pub(super) const RATE_LIMITS: Key =
    Key::applied("RateLimits", Object(RATES)).about("How fast a client may be.");

pub(super) const DISABLE_DISCOVERY: Key =
    Key::applied("DisableDiscovery", Flag).about("Clients are not told of other servers.");

pub(super) const RULES: &[Key] = &[
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
    DISABLE_DISCOVERY,
];

pub(super) const READ_FREE: Key =
    Key::applied("ReadUnthrottledBytes", Integer).about("How much a client may send before the limit holds.");
pub(super) const READ_RATE: Key =
    Key::applied("ReadBytesPerSecond", Integer).about("How fast it may send; 0 is any.");
pub(super) const WRITE_FREE: Key =
    Key::applied("WriteUnthrottledBytes", Integer).about("How much it may receive before the limit holds.");
pub(super) const WRITE_RATE: Key =
    Key::applied("WriteBytesPerSecond", Integer).about("How fast it may receive; 0 is any.");
pub(super) const CLOSE: Key = Key::applied("CloseAfterExhausted", Flag)
    .about("Close its tunnel then, instead of slowing it down; at once where nothing goes before.");
pub(super) const EARLY_READ_RATE: Key = Key::applied("EstablishmentReadBytesPerSecond", Integer)
    .about("How fast it may send before its handshake.");
pub(super) const EARLY_WRITE_RATE: Key = Key::applied("EstablishmentWriteBytesPerSecond", Integer)
    .about("How fast it may receive before its handshake.");
pub(super) const FIRST_ONLY: Key = Key::applied("UnthrottleFirstTunnelOnly", Flag)
    .about("Only the first tunnel of a session has what goes before the limit.");
pub(super) const RATES: &[Key] =
    &[READ_FREE, READ_RATE, WRITE_FREE, WRITE_RATE, CLOSE, EARLY_READ_RATE, EARLY_WRITE_RATE, FIRST_ONLY];

/// What mail is brought to other servers by: without it nobody can send unwanted mail from here.
const HARMFUL_TCP_PORTS: &[u16] = &[25];
/// Services of local networks and of the past whose answers are many times as large as what is asked, and which have no use across
/// the Internet: qotd, chargen, portmap, NetBIOS, SNMP, CLDAP, RIP, SSDP, WS-Discovery, mDNS, memcached.
const HARMFUL_UDP_PORTS: &[u16] = &[17, 19, 111, 137, 138, 161, 389, 520, 1900, 3702, 5353, 11211];

/// The rules of a new server, which are the defaults written out, and ports that are good for nothing but harm: every setting stands
/// there, to be found and changed.
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
            name if name == DISALLOW_TCP_PORTS.name => Json::list(HARMFUL_TCP_PORTS),
            name if name == DISALLOW_UDP_PORTS.name => Json::list(HARMFUL_UDP_PORTS),
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
