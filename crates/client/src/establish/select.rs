//! Which protocols a candidate may be dialed with, in the order in which they are to be tried, or why it is skipped.
//! Pure: entry and rules in, answer out. Not the order of candidates: see `candidates.rs`.
//!
//! Source: the reference's rules, as its config reference and parameters tell them.

use std::collections::BTreeMap;
use std::fmt;

use culvert_obfuscation::Prng;
use culvert_protocol::parameters::ProtocolPorts;
use culvert_protocol::server_entry::EntrySource;
use culvert_protocol::{BaseProtocol, Feature, ServerEntry, TunnelProtocol};

use super::Server;
use super::settings::provider_is_meant;
use super::standing::Experience;
use crate::store::ProtocolSet;

/// The tunnel protocols that this build can dial.
pub const SPOKEN: [TunnelProtocol; 11] = [
    TunnelProtocol::OSSH,
    TunnelProtocol::SHADOWSOCKS_OSSH,
    TunnelProtocol::TLS_OSSH,
    TunnelProtocol::QUIC_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_HTTPS_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_SESSION_TICKET_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_OSSH,
    TunnelProtocol::FRONTED_MEEK_OSSH,
    TunnelProtocol::FRONTED_MEEK_HTTP_OSSH,
    TunnelProtocol::FRONTED_MEEK_QUIC_OSSH,
    TunnelProtocol::SSH,
];

/// What limits the choice, the same for all candidates of an establishment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Empty: all but those that must be asked for.
    pub(crate) limit: Vec<TunnelProtocol>,
    /// For the first candidates.
    pub(crate) initial: InitialLimit,
    /// Ports that may be dialed.
    pub(crate) ports: ProtocolPorts,
    /// Providers whose servers are not to be dialed straight, with the regions meant; an empty region means all.
    pub(crate) restricted_direct: BTreeMap<String, Vec<String>>,
    /// With which probability that is obeyed.
    pub(crate) restricted_direct_probability: f64,
    /// Providers of fronts that are not to be used.
    pub(crate) restricted_fronting: Vec<String>,
    /// With which probability that is obeyed.
    pub(crate) restricted_fronting_probability: f64,
    /// The user's proxy.
    pub(crate) upstream: Upstream,
    /// The wanted region, or empty.
    pub(crate) region: String,
}

/// Other limits for the first candidates.
#[derive(Clone, Debug, Default)]
pub(crate) struct InitialLimit {
    pub(crate) protocols: Vec<TunnelProtocol>,
    pub(crate) candidates: u32,
}

/// The user's proxy, as far as it decides what can be dialed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Upstream {
    #[default]
    None,
    /// Only entries that came with the program or in a list may be dialed through it.
    ListedEntries,
    /// Any entry may be.
    AnyEntry,
}

/// Where an establishment stands when a candidate's turn comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'a> {
    /// Candidates before this one.
    pub(crate) earlier: u32,
    /// No more protocols that take much memory or processor time.
    pub(crate) spare: bool,
    /// Protocols that this server is being dialed with, or was in this round.
    pub(crate) tried: &'a [TunnelProtocol],
    /// What the server is best dialed with, from whoever recommended it.
    pub(crate) hint: Option<TunnelProtocol>,
}

/// Why a candidate is skipped. Each reason is told once in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Another region is wanted.
    Region,
    /// Nothing that this version speaks.
    NothingSpoken,
    /// Limits of protocols.
    Protocols,
    /// Limits of ports.
    Ports,
    /// The provider is restricted.
    Provider(String),
    /// The provider of its front is.
    FrontingProvider(String),
    /// Nothing that goes through a proxy.
    UpstreamProxy,
    /// The entry's source does not say that it may be dialed through a proxy.
    UpstreamProxySource(EntrySource),
    /// Not now: too much is being dialed that takes memory.
    Intensive,
    /// Not now: all of it was tried in this round.
    Tried,
}

impl Skip {
    /// True when it says something of the entry, and not of this moment.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Intensive | Self::Tried)
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region => f.write_str("not in the egress region"),
            Self::NothingSpoken => f.write_str("no tunnel protocol that this version speaks"),
            Self::Protocols => f.write_str("no tunnel protocol that is allowed"),
            Self::Ports => f.write_str("no dial port that is allowed"),
            Self::Provider(id) => write!(f, "restricted provider ID: {id}"),
            Self::FrontingProvider(id) => write!(f, "restricted fronting provider ID: {id}"),
            Self::UpstreamProxy => f.write_str("no tunnel protocol that goes through an upstream proxy"),
            Self::UpstreamProxySource(source) => {
                write!(f, "server entry source disallows upstream proxy: {source}")
            }
            Self::Intensive => f.write_str("too many resource intensive dials"),
            Self::Tried => f.write_str("every protocol was tried in this round"),
        }
    }
}

impl Rules {
    /// True when limits for the first candidates are in force.
    pub(crate) fn has_initial(&self) -> bool {
        self.initial.candidates > 0 && !self.initial.protocols.is_empty()
    }

    /// What the first candidates may be dialed with, and what the others.
    pub(crate) fn allowed(&self) -> [ProtocolSet; 2] {
        let of = |limit: &[TunnelProtocol]| {
            SPOKEN.into_iter().filter(|protocol| is_allowed(*protocol, limit)).collect()
        };
        let others = of(&self.limit);
        [if self.has_initial() { of(&self.initial.protocols) } else { others }, others]
    }

    /// Limits of protocols for the candidate that so many come before.
    fn limit(&self, earlier: u32) -> &[TunnelProtocol] {
        match self.has_initial() && earlier < self.initial.candidates {
            true => &self.initial.protocols,
            false => &self.limit,
        }
    }
}

/// The protocols that the server may be dialed with, best first.
pub(crate) fn select(
    server: &Server,
    rules: &Rules,
    turn: Turn<'_>,
    experience: &Experience,
    prng: &mut Prng,
) -> Result<Vec<TunnelProtocol>, Skip> {
    let (entry, source) = (&server.entry, &server.source);
    if !rules.region.is_empty() && entry.region() != Some(rules.region.as_str()) {
        return Err(Skip::Region);
    }
    upstream_source(entry, source, rules.upstream)?;
    let mut left = entry_protocols(entry, rules.limit(turn.earlier), rules)?;
    unrestricted(entry, rules, &mut left, prng)?;
    left.retain(|protocol| !turn.tried.contains(protocol));
    if left.is_empty() {
        return Err(Skip::Tried);
    }
    if turn.spare {
        left.retain(|protocol| !protocol.has(Feature::Intensive));
        if left.is_empty() {
            return Err(Skip::Intensive);
        }
    }
    Ok(ordered(left, turn.hint, experience, prng))
}

/// What entry, build, limits, ports and a proxy leave.
fn entry_protocols(
    entry: &ServerEntry,
    limit: &[TunnelProtocol],
    rules: &Rules,
) -> Result<Vec<TunnelProtocol>, Skip> {
    let mut left: Vec<_> = SPOKEN.into_iter().filter(|protocol| entry.supports(*protocol)).collect();
    let mut narrow = |keep: &dyn Fn(TunnelProtocol) -> bool, skip: Skip| {
        left.retain(|protocol| keep(*protocol));
        if left.is_empty() { Err(skip) } else { Ok(()) }
    };
    narrow(&|_| true, Skip::NothingSpoken)?;
    narrow(&|protocol| is_allowed(protocol, limit), Skip::Protocols)?;
    if rules.upstream != Upstream::None {
        narrow(&|protocol| protocol.has(Feature::UpstreamProxy), Skip::UpstreamProxy)?;
    }
    // A protocol without its port is found out when its plan is made, and told there.
    let port_fits =
        |protocol| entry.dial_port(protocol).map_or(true, |port| rules.ports.allows(protocol, port));
    narrow(&port_fits, Skip::Ports)?;
    Ok(left)
}

/// Protocols that must be asked for are used only if they are.
pub(crate) fn is_allowed(protocol: TunnelProtocol, limit: &[TunnelProtocol]) -> bool {
    match limit.is_empty() {
        true => !protocol.has(Feature::DefaultDisabled),
        false => limit.contains(&protocol),
    }
}

/// Entries that a user was given are not for networks that make one use a proxy, unless they say so.
fn upstream_source(entry: &ServerEntry, source: &EntrySource, upstream: Upstream) -> Result<(), Skip> {
    let allowed = upstream != Upstream::ListedEntries
        || source.allows_upstream_proxy()
        || entry.flag("allowUpstreamProxy");
    if allowed { Ok(()) } else { Err(Skip::UpstreamProxySource(source.clone())) }
}

/// Takes out what restrictions of providers forbid, each by its probability.
fn unrestricted(
    entry: &ServerEntry,
    rules: &Rules,
    left: &mut Vec<TunnelProtocol>,
    prng: &mut Prng,
) -> Result<(), Skip> {
    let provider = entry.text("providerID").unwrap_or_default();
    if provider_is_meant(entry, &rules.restricted_direct)
        && prng.flip_weighted_coin(rules.restricted_direct_probability)
    {
        left.retain(|protocol| !protocol.is_direct());
        if left.is_empty() {
            return Err(Skip::Provider(provider.to_owned()));
        }
    }
    let front = entry.text("frontingProviderID").unwrap_or_default();
    let is_meant = rules.restricted_fronting.iter().any(|it| it == front);
    if is_meant && prng.flip_weighted_coin(rules.restricted_fronting_probability) {
        left.retain(|protocol| !is_fronted(*protocol));
        if left.is_empty() {
            return Err(Skip::FrontingProvider(front.to_owned()));
        }
    }
    Ok(())
}

/// True if what is dialed is a front.
pub(crate) fn is_fronted(protocol: TunnelProtocol) -> bool {
    let fronted = [BaseProtocol::FrontedMeek, BaseProtocol::FrontedMeekHttp, BaseProtocol::FrontedMeekQuic];
    !protocol.uses_inproxy() && fronted.contains(&protocol.base())
}

/// Draws an order: each protocol is as likely to be next as any other, but for what is known of it on this network.
fn ordered(
    mut left: Vec<TunnelProtocol>,
    hint: Option<TunnelProtocol>,
    experience: &Experience,
    prng: &mut Prng,
) -> Vec<TunnelProtocol> {
    let mut order = Vec::with_capacity(left.len());
    if let Some(hinted) = hint.and_then(|hint| left.iter().position(|protocol| *protocol == hint)) {
        order.push(left.remove(hinted));
    }
    while !left.is_empty() {
        let weights: Vec<u32> = left.iter().map(|protocol| experience.weight(*protocol)).collect();
        let total: u32 = weights.iter().sum();
        let mut drawn = prng.range_u32(0, total.saturating_sub(1));
        let mut chosen = 0;
        for (index, weight) in weights.iter().enumerate() {
            chosen = index;
            if drawn < *weight {
                break;
            }
            drawn -= weight;
        }
        order.push(left.remove(chosen));
    }
    order
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
