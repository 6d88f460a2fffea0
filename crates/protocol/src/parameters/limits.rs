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
        /// How likely the list of protocols that may be used is obeyed.
        protocols_probability: Probability = Probability::ALWAYS, "LimitTunnelProtocolsProbability";
        /// Which protocols the first candidates may be of; all when empty.
        initial_protocols: Vec<TunnelProtocol> = Vec::new(), "InitialLimitTunnelProtocols";
        /// How likely the list for the first candidates is obeyed.
        initial_protocols_probability: Probability = Probability::ALWAYS, "InitialLimitTunnelProtocolsProbability";
        /// How many candidates that list is for.
        initial_candidate_count: u32 = 0, within 0..=MOST_CANDIDATES, "InitialLimitTunnelProtocolsCandidateCount";
        /// Which protocols are taken first where a server has several; any when empty.
        prioritized_protocols: Vec<TunnelProtocol> = Vec::new(), "PrioritizeTunnelProtocols";
        /// How likely the list of protocols to take first is obeyed.
        prioritized_protocols_probability: Probability = Probability::ALWAYS, "PrioritizeTunnelProtocolsProbability";
        /// How many candidates that list is for.
        prioritized_candidate_count: u32 = 10, within 0..=MOST_CANDIDATES, "PrioritizeTunnelProtocolsCandidateCount";
        /// Which ports of servers may be dialed, by protocol.
        dial_ports: ProtocolPorts = ProtocolPorts::default(), "LimitTunnelDialPortNumbers";
        /// How likely the list of ports is obeyed.
        dial_ports_probability: Probability = Probability::ALWAYS, "LimitTunnelDialPortNumbersProbability";
    }
}

parameters! {
    /// Whose servers are not used at all.
    pub struct Restrict {
        /// Fronting providers that are not used.
        fronting_providers: Vec<String> = Vec::new(), "RestrictFrontingProviderIDs";
        /// How likely a candidate of such a fronting provider is left out.
        fronting_probability: Probability = Probability::NEVER, "RestrictFrontingProviderIDsClientProbability";
        /// Hosting providers whose servers are not reached directly, each with regions, or `""` for all.
        direct_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "RestrictDirectProviderRegions";
        /// How likely a direct candidate of such a hosting provider is left out.
        direct_probability: Probability = Probability::NEVER, "RestrictDirectProviderIDsClientProbability";
        /// Hosting providers whose servers are not reached through in-proxies, each with regions, or `""` for all.
        inproxy_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "RestrictInproxyProviderRegions";
        /// How likely a candidate of such a hosting provider behind an in-proxy is left out.
        inproxy_probability: Probability = Probability::NEVER, "RestrictInproxyProviderIDsClientProbability";
    }
}

parameters! {
    /// Which connected candidates wait, so that others may win.
    pub struct HoldOff {
        /// Protocols whose connected tunnels wait.
        protocol_names: Vec<TunnelProtocol> = Vec::new(), "HoldOffTunnelProtocolNames";
        /// How likely a tunnel of one of these protocols waits.
        protocol_probability: Probability = Probability::NEVER, "HoldOffTunnelProtocolProbability";
        /// Shortest wait of these protocols.
        protocol_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffTunnelProtocolMinDuration";
        /// Longest wait of these protocols.
        protocol_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffTunnelProtocolMaxDuration";
        /// Fronting providers whose connected tunnels wait.
        fronting_providers: Vec<String> = Vec::new(), "HoldOffFrontingTunnelProviderIDs";
        /// How likely a tunnel through one of these providers waits.
        fronting_probability: Probability = Probability::NEVER, "HoldOffFrontingTunnelProbability";
        /// Shortest wait of fronted candidates.
        fronting_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffFrontingTunnelMinDuration";
        /// Longest wait of fronted candidates.
        fronting_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffFrontingTunnelMaxDuration";
        /// Which hosting providers of direct servers wait, each with regions, or `""` for all.
        direct_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "HoldOffDirectTunnelProviderRegions";
        /// How likely a direct tunnel to one of these providers waits.
        direct_probability: Probability = Probability::NEVER, "HoldOffDirectTunnelProbability";
        /// Shortest wait of direct candidates.
        direct_min: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffDirectTunnelMinDuration";
        /// Longest wait of direct candidates.
        direct_max: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "HoldOffDirectTunnelMaxDuration";
        /// Which hosting providers of servers behind in-proxies wait, each with regions, or `""` for all.
        inproxy_providers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "HoldOffInproxyTunnelProviderRegions";
        /// How likely a tunnel to one of these providers behind an in-proxy waits.
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
