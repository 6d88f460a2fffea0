//! Parameters of what may be used: protocols, ports, providers; and of candidates that are held off. A list with a
//! probability beside it is read through [`Probability::gate`](super::Probability::gate). PROTOCOL.md 6.5.

use std::collections::BTreeMap;
use std::time::Duration;

use super::declare::{YEAR, parameters};
use super::{Probability, ProtocolPorts};
use crate::TunnelProtocol;

/// Most candidates that anything is said of.
const MOST_CANDIDATES: u32 = 100_000;

parameters! {
    /// Which protocols and ports are used, and first.
    pub struct Limits {
        /// Which protocols may be used; all when empty.
        protocols: Vec<TunnelProtocol> = Vec::new(), "LimitTunnelProtocols";
        /// How likely that list is obeyed.
        protocols_probability: Probability = Probability::ALWAYS, "LimitTunnelProtocolsProbability";
        /// Which protocols the first candidates may be of; all when empty.
        initial_protocols: Vec<TunnelProtocol> = Vec::new(), "InitialLimitTunnelProtocols";
        /// How likely that list is obeyed.
        initial_protocols_probability: Probability = Probability::ALWAYS, "InitialLimitTunnelProtocolsProbability";
        /// How many candidates that list is for.
        initial_candidate_count: u32 = 0, within 0..=MOST_CANDIDATES, "InitialLimitTunnelProtocolsCandidateCount";
        /// Which protocols are taken first where a server has several; any when empty.
        prioritized_protocols: Vec<TunnelProtocol> = Vec::new(), "PrioritizeTunnelProtocols";
        /// How likely that list is obeyed.
        prioritized_protocols_probability: Probability = Probability::ALWAYS, "PrioritizeTunnelProtocolsProbability";
        /// How many candidates that list is for.
        prioritized_candidate_count: u32 = 10, within 0..=MOST_CANDIDATES, "PrioritizeTunnelProtocolsCandidateCount";
        /// Which ports of servers may be dialed, by protocol.
        dial_ports: ProtocolPorts = ProtocolPorts::default(), "LimitTunnelDialPortNumbers";
        /// How likely that list is obeyed.
        dial_ports_probability: Probability = Probability::ALWAYS, "LimitTunnelDialPortNumbersProbability";
    }
}

parameters! {
    /// Whose servers are not used at all.
    pub struct Restrict {
        /// Fronting providers.
        fronting_providers: Vec<String> = Vec::new(), "RestrictFrontingProviderIDs";
        /// How likely a candidate of theirs is left out.
        fronting_probability: Probability = Probability::NEVER, "RestrictFrontingProviderIDsClientProbability";
        /// Hosting providers of servers that are reached directly, each with regions, or `""` for all.
        direct_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "RestrictDirectProviderRegions";
        /// How likely a candidate of theirs is left out.
        direct_probability: Probability = Probability::NEVER, "RestrictDirectProviderIDsClientProbability";
        /// Hosting providers of servers behind in-proxies, each with regions, or `""` for all.
        inproxy_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "RestrictInproxyProviderRegions";
        /// How likely a candidate of theirs is left out.
        inproxy_probability: Probability = Probability::NEVER, "RestrictInproxyProviderIDsClientProbability";
    }
}

parameters! {
    /// Which connected candidates wait, so that others may win.
    pub struct HoldOff {
        /// Which protocols wait.
        protocol_names: Vec<TunnelProtocol> = Vec::new(), "HoldOffTunnelProtocolNames";
        /// How likely one of them does.
        protocol_probability: Probability = Probability::NEVER, "HoldOffTunnelProtocolProbability";
        /// Shortest wait of these protocols.
        protocol_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffTunnelProtocolMinDuration";
        /// Longest wait of these protocols.
        protocol_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffTunnelProtocolMaxDuration";
        /// Which fronting providers wait.
        fronting_providers: Vec<String> = Vec::new(), "HoldOffFrontingTunnelProviderIDs";
        /// How likely a candidate of theirs does.
        fronting_probability: Probability = Probability::NEVER, "HoldOffFrontingTunnelProbability";
        /// Shortest wait of fronted candidates.
        fronting_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffFrontingTunnelMinDuration";
        /// Longest wait of fronted candidates.
        fronting_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffFrontingTunnelMaxDuration";
        /// Which hosting providers of direct servers wait, each with regions, or `""` for all.
        direct_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "HoldOffDirectTunnelProviderRegions";
        /// How likely a candidate of theirs does.
        direct_probability: Probability = Probability::NEVER, "HoldOffDirectTunnelProbability";
        /// Shortest wait of direct candidates.
        direct_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffDirectTunnelMinDuration";
        /// Longest wait of direct candidates.
        direct_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffDirectTunnelMaxDuration";
        /// Which hosting providers of servers behind in-proxies wait, each with regions, or `""` for all.
        inproxy_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "HoldOffInproxyTunnelProviderRegions";
        /// How likely a candidate of theirs does.
        inproxy_probability: Probability = Probability::NEVER, "HoldOffInproxyTunnelProbability";
        /// Shortest wait of candidates behind in-proxies.
        inproxy_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffInproxyTunnelMinDuration";
        /// Longest wait of candidates behind in-proxies.
        inproxy_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffInproxyTunnelMaxDuration";
        /// The protocols that older clients hold off. Not read: `HoldOffTunnelProtocolNames` is.
        legacy_protocols: Vec<TunnelProtocol> = Vec::new(), "HoldOffTunnelProtocols";
        /// The fronting providers that older clients hold off. Not read.
        legacy_fronting_providers: Vec<String> = Vec::new(), "HoldOffTunnelFrontingProviderIDs";
        /// How likely older clients hold off. Not read.
        legacy_probability: Probability = Probability::NEVER, "HoldOffTunnelProbability";
        /// Shortest wait of older clients. Not read.
        legacy_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffTunnelMinDuration";
        /// Longest wait of older clients. Not read.
        legacy_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffTunnelMaxDuration";
    }
    ordered {
        protocol_min <= protocol_max,
        fronting_min <= fronting_max,
        direct_min <= direct_max,
        inproxy_min <= inproxy_max,
    }
}
