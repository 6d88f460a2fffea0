//! Parameters that only servers read: what they replay, change in packets, resolve, count and refuse.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_obfuscation::PrefixSpec;

use super::declare::{YEAR, parameters};
use super::fault::{Fault, Problems};
use super::transforms::borrowed;
use super::{NamedSpec, Probability};
use crate::TunnelProtocol;
use crate::json_position::near_name;

parameters! {
    /// When a server treats a client as it did the last that worked from the same place.
    pub struct ServerReplay {
        /// For how long what worked for a client is replayed to others of its place; 0 is off.
        ttl: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ServerReplayTTL";
        /// How long a tunnel is given to prove that it works.
        target_wait_duration: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ServerReplayTargetWaitDuration";
        /// How long a tunnel must live to prove that it works.
        target_tunnel_duration: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ServerReplayTargetTunnelDuration";
        /// How much a tunnel must carry upstream to prove that it works.
        target_upstream_bytes: u32 = 0, within 0..=u32::MAX, "ServerReplayTargetUpstreamBytes";
        /// How much a tunnel must carry downstream to prove that it works.
        target_downstream_bytes: u32 = 0, within 0..=u32::MAX, "ServerReplayTargetDownstreamBytes";
        /// After how many failures what worked is forgotten; 0 is never.
        failed_count_threshold: u32 = 0, within 0..=1_000_000, "ServerReplayFailedCountThreshold";
        /// Whether changed packets are replayed.
        packet_manipulation: bool = true, "ServerReplayPacketManipulation";
        /// Whether the cutting of first bytes is.
        fragmentor: bool = true, "ServerReplayFragmentor";
        /// Whether it is done for clients whose place is unknown.
        unknown_geoip: bool = false, "ServerReplayUnknownGeoIP";
    }
}

parameters! {
    /// What a server does to packets of its sockets.
    pub struct ServerPackets {
        /// How likely a program filters what a listening socket receives.
        bpf_probability: Probability = Probability::HALF, "BPFServerTCPProbability";
        /// The program that filters what a listening socket receives, with a name.
        bpf_program: Option<NamedSpec> = None, "BPFServerTCPProgram";
        /// How likely the first packet that answers a client is changed.
        manipulation_probability: Probability = Probability::HALF, "ServerPacketManipulationProbability";
        /// How the first packet that answers a client may be changed, by name.
        manipulation_specs: Vec<NamedSpec> = Vec::new(), "ServerPacketManipulationSpecs";
        /// Which of these changes for which protocol, or `All`.
        protocol_manipulations: BTreeMap<String, Vec<String>> = BTreeMap::new(), "ServerProtocolPacketManipulations";
        /// What a client's prefix is answered with, by the name that the client says.
        prefix_specs: BTreeMap<String, Vec<[String; 2]>> = BTreeMap::new(), "ServerOSSHPrefixSpecs";
    }
    rules ServerPackets::specs_exist;
}

parameters! {
    /// What a server does for tunnels that are up.
    pub struct ServerServices {
        /// After how many bytes from a client its speed is noted; 0 is off.
        burst_upstream_target_bytes: u32 = 0, within 0..=u32::MAX, "ServerBurstUpstreamTargetBytes";
        /// Within which time these bytes must come.
        burst_upstream_deadline: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ServerBurstUpstreamDeadline";
        /// After how many bytes to a client the speed is noted; 0 is off.
        burst_downstream_target_bytes: u32 = 0, within 0..=u32::MAX, "ServerBurstDownstreamTargetBytes";
        /// Within which time these bytes must go.
        burst_downstream_deadline: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ServerBurstDownstreamDeadline";
        /// How many resolved names are kept.
        dns_cache_max_size: u32 = 32, within 0..=10_000_000, "ServerDNSResolverCacheMaxSize";
        /// For how long resolved names are kept.
        dns_cache_ttl: Duration = Duration::from_secs(10), within Duration::ZERO..=YEAR, "ServerDNSResolverCacheTTL";
        /// How servers are chosen that clients are told of: `classic` or `consistent`.
        discovery_strategy: String = String::new(), "ServerDiscoveryStrategy";
        /// A network to which bytes are counted. Not read: the next one is.
        destination_bytes_asn: String = String::new(), "DestinationBytesMetricsASN";
        /// Networks to which bytes are counted.
        destination_bytes_asns: Vec<String> = Vec::new(), "DestinationBytesMetricsASNs";
        /// How likely destinations are told who the client is where it did not say whether it likes that.
        proxy_protocol_default_enable_probability: Probability = Probability::NEVER, "ProxyProtocolHeaderDefaultEnableProbability";
        /// Which destinations are told, by sponsor.
        proxy_protocol_destinations: BTreeMap<String, Vec<String>> = BTreeMap::new(), "ProxyProtocolHeaderTargetDestinationAddresses";
    }
}

parameters! {
    /// Clients that a server refuses because of where it is.
    pub struct ServerRestrict {
        /// How likely a client is refused that came through a restricted front.
        fronting_probability: Probability = Probability::NEVER, "RestrictFrontingProviderIDsServerProbability";
        /// How likely a client is refused that came straight to a server of a restricted provider.
        direct_probability: Probability = Probability::NEVER, "RestrictDirectProviderIDsServerProbability";
        /// How likely a client is refused that came to a restricted provider through an in-proxy.
        inproxy_probability: Probability = Probability::NEVER, "RestrictInproxyProviderIDsServerProbability";
    }
}

/// Which of these changes for which protocol, or `All`.
const ALL: &str = "All";

impl ServerPackets {
    fn specs_exist(&self, problems: &mut Problems) {
        let name = "ServerProtocolPacketManipulations";
        for (label, specs) in &self.protocol_manipulations {
            if label != ALL && label.parse::<TunnelProtocol>().is_err() {
                let near = near_name(label, TunnelProtocol::all().map(TunnelProtocol::name).chain([ALL]));
                let near = near.map(str::to_owned);
                let fault = Fault::UnknownItem { what: "a tunnel protocol", name: label.clone(), near };
                problems.note(name, vec![label.as_str().into()], fault);
            }
            let known = |spec: &String| self.manipulation_specs.iter().any(|known| known.name == *spec);
            for (index, spec) in specs.iter().enumerate().filter(|(_, spec)| !known(spec)) {
                let inside = vec![label.as_str().into(), index.into()];
                problems.note(name, inside, Fault::UnknownSpec(spec.clone()));
            }
        }
        for (name, pairs) in &self.prefix_specs {
            if let Err(error) = PrefixSpec::new(&borrowed(pairs)) {
                problems.note("ServerOSSHPrefixSpecs", vec![name.as_str().into()], Fault::Pattern(error));
            }
        }
    }
}
