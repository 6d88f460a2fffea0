//! Parameters of a tunnel that is up: its windows, bursts and limits, and what the local proxies make of it.

use std::time::Duration;

use super::declare::{HOUR, MILLISECOND, MINUTE, SECOND, YEAR, parameters};
use super::{NamedSpec, Probability, RateLimits, ScaledDuration};

parameters! {
    /// What a tunnel carries, and how.
    pub struct Tunnel {
        /// How fast a tunnel may be.
        rate_limits: RateLimits = RateLimits::default(), "TunnelRateLimits";
        /// Channel window in packets of 32 KiB; 0 is the usual one.
        channel_window_size: u32 = 0, within 0..=128, "SSHChannelWindowSize";
        /// The same of the channel for whole packets; 0 is the usual one.
        packet_tunnel_channel_window_size: u32 = 0, within 0..=128, "SSHPacketTunnelChannelWindowSize";
        /// How long closing a tunnel may take, its last reports with it.
        shutdown_timeout: ScaledDuration = ScaledDuration::new(SECOND), within MILLISECOND..=YEAR, "TunnelOperateShutdownTimeout";
        /// How long opening a flow may take.
        port_forward_dial_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(10)), within MILLISECOND..=YEAR, "TunnelPortForwardDialTimeout";
        /// How long packets may be awaited before the tunnel is asked whether it lives.
        packet_tunnel_read_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(10)), within MILLISECOND..=YEAR, "PacketTunnelReadTimeout";
        /// After how many sent bytes the speed of a new tunnel is noted; 0 is off.
        burst_upstream_target_bytes: u32 = 0, within 0..=u32::MAX, "ClientBurstUpstreamTargetBytes";
        /// Within which time these bytes must be sent.
        burst_upstream_deadline: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ClientBurstUpstreamDeadline";
        /// After how many received bytes the speed is noted; 0 is off.
        burst_downstream_target_bytes: u32 = 0, within 0..=u32::MAX, "ClientBurstDownstreamTargetBytes";
        /// Within which time these bytes must be received.
        burst_downstream_deadline: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ClientBurstDownstreamDeadline";
        /// How likely a program filters what the socket of a tunnel receives.
        bpf_probability: Probability = Probability::HALF, "BPFClientTCPProbability";
        /// The program that filters what the socket of a tunnel receives, with a name.
        bpf_program: Option<NamedSpec> = None, "BPFClientTCPProgram";
    }
}

parameters! {
    /// What the proxies for applications do on their own.
    pub struct LocalProxies {
        /// How long the HTTP proxy waits for the head of a response.
        http_origin_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(15)), within Duration::ZERO..=YEAR, "HTTPProxyOriginServerTimeout";
        /// How many idle connections the HTTP proxy keeps to one site.
        http_max_idle_per_host: u32 = 50, within 0..=1000, "HTTPProxyMaxIdleConnectionsPerHost";
    }
}

parameters! {
    /// Destinations that are reached without the tunnel.
    pub struct SplitTunnel {
        /// For how long the server's word about a destination holds.
        classification_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "SplitTunnelClassificationTTL";
        /// About how many destinations it is kept.
        classification_max_entries: u32 = 65_536, within 0..=1_048_576, "SplitTunnelClassificationMaxEntries";
        /// Longest time for loading a list of routes. Older clients only.
        fetch_routes_timeout: ScaledDuration = ScaledDuration::new(MINUTE), within SECOND..=YEAR, "FetchSplitTunnelRoutesTimeout";
        /// Where the list of routes of a country is. Older clients only.
        routes_url_format: String = String::new(), "SplitTunnelRoutesURLFormat";
        /// What signs it. Older clients only.
        routes_signature_public_key: String = String::new(), "SplitTunnelRoutesSignaturePublicKey";
        /// Who resolves names for it. Older clients only.
        dns_server: String = String::new(), "SplitTunnelDNSServer";
    }
}
