//! The rules for request parameters: the one table from which requests are validated and logged.
//!
//! PROTOCOL.md 4.4, 4.5, 4.6, 4.7. What the rules mean is in `validate` and `log_fields`.

use super::validate::Validator;
use LogAs::{AsFlag, AsFlagOrFalse, AsFloat, AsInt, AsIs, AsLength, IfIndirect, IfTransformed, Never};

/// The rule for one parameter.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// What its text, or each text of its list, must be.
    pub validator: Validator,
    /// True if the request fails without it.
    pub required: bool,
    /// What kind of value it is.
    pub shape: Shape,
    /// How it is logged.
    pub log: LogAs,
}

/// What kind of value a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// A list of text.
    List,
    /// Any JSON, checked by whoever uses it.
    Json,
}

/// How a parameter is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAs {
    /// Unchanged.
    AsIs,
    /// Not at all.
    Never,
    /// As a whole number.
    AsInt,
    /// As a number.
    AsFloat,
    /// As its length in bytes.
    AsLength,
    /// As true or false.
    AsFlag,
    /// As true or false, false also when absent.
    AsFlagOrFalse,
    /// Unchanged, if the tunnel's protocol is fronted or Conjure: otherwise it would be the server's address.
    IfIndirect,
    /// Unchanged, unless the protocol is unfronted meek with the server's own address as host header.
    IfTransformed,
}

/// A request, or a record inside a status request, with rules for its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// `psiphon-handshake`.
    Handshake,
    /// `psiphon-connected`.
    Connected,
    /// The part of `psiphon-connected` that is logged for a unique user.
    UniqueUser,
    /// `psiphon-status`.
    Status,
    /// A record in `remote_server_list_stats`.
    RemoteServerList,
    /// A record in `failed_tunnel_stats`.
    FailedTunnel,
    /// What of a handshake describes client and dial, and is kept for the tunnel's own log event.
    BaseAndDial,
}

impl RequestKind {
    /// The rules, in the order in which they are applied.
    pub fn specs(self) -> impl Iterator<Item = &'static Spec> {
        let lists: &[&'static [Spec]] = match self {
            Self::Handshake => const { &[&HANDSHAKE, &BASE, &DIAL, &INPROXY, &TACTICS] },
            Self::Connected => const { &[&CONNECTED, &UNIQUE_USER, &BASE] },
            Self::UniqueUser => const { &[&UNIQUE_USER, &BASE] },
            Self::Status => const { &[&BASE] },
            Self::RemoteServerList => const { &[&REMOTE_SERVER_LIST, &BASE] },
            Self::FailedTunnel => const { &[&FAILED_TUNNEL, &BASE, &DIAL, &INPROXY] },
            Self::BaseAndDial => const { &[&BASE, &DIAL, &INPROXY] },
        };
        lists.iter().copied().flatten()
    }
}

const fn required(name: &'static str, validator: Validator, log: LogAs) -> Spec {
    Spec { name, validator, required: true, shape: Shape::Text, log }
}

const fn optional(name: &'static str, validator: Validator, log: LogAs) -> Spec {
    Spec { name, validator, required: false, shape: Shape::Text, log }
}

impl Spec {
    const fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }
}

/// Sent with every request.
#[rustfmt::skip]
pub static BASE: [Spec; 12] = [
    required("propagation_channel_id", Validator::HexDigits, AsIs),
    required("sponsor_id", Validator::SponsorId, AsIs),
    required("client_version", Validator::Int, AsInt),
    required("client_platform", Validator::ClientPlatform, AsIs),
    optional("client_features", Validator::Any, AsIs).shaped(Shape::List),
    optional("client_build_rev", Validator::HexDigits, AsIs),
    optional("device_region", Validator::Any, AsIs),
    optional("device_location", Validator::GeoHash, AsIs),
    optional("egress_region", Validator::RegionCode, AsIs),
    optional("network_type", Validator::Any, AsIs),
    optional("applied_tactics_tag", Validator::Any, AsIs),
    optional("compress_response", Validator::Int, Never),
];

/// How the tunnel was dialled; sent with the handshake and with failed tunnels.
#[rustfmt::skip]
pub static DIAL: [Spec; 79] = [
    required("relay_protocol", Validator::RelayProtocol, AsIs),
    optional("ssh_client_version", Validator::Any, AsIs),
    optional("upstream_proxy_type", Validator::UpstreamProxyType, AsIs),
    optional("upstream_proxy_custom_header_names", Validator::Any, AsIs).shaped(Shape::List),
    optional("fronting_provider_id", Validator::Any, AsIs),
    optional("meek_dial_address", Validator::DialAddress, IfIndirect),
    optional("meek_resolved_ip_address", Validator::IpAddress, IfIndirect),
    optional("meek_sni_server_name", Validator::Domain, AsIs),
    optional("meek_host_header", Validator::HostHeader, IfTransformed),
    optional("meek_transformed_host_name", Validator::Flag, AsFlag),
    optional("user_agent", Validator::Any, AsIs),
    optional("tls_profile", Validator::Any, AsIs),
    optional("tls_version", Validator::Any, AsIs),
    optional("server_entry_region", Validator::RegionCode, AsIs),
    optional("server_entry_source", Validator::EntrySource, AsIs),
    optional("server_entry_timestamp", Validator::Iso8601, AsIs),
    optional("dial_port_number", Validator::Int, AsInt),
    optional("quic_version", Validator::Any, AsIs),
    optional("quic_dial_sni_address", Validator::Any, AsIs),
    optional("quic_disable_client_path_mtu_discovery", Validator::Flag, AsFlag),
    optional("upstream_bytes_fragmented", Validator::Int, AsInt),
    optional("upstream_min_bytes_written", Validator::Int, AsInt),
    optional("upstream_max_bytes_written", Validator::Int, AsInt),
    optional("upstream_min_delayed", Validator::Int, AsInt),
    optional("upstream_max_delayed", Validator::Int, AsInt),
    optional("padding", Validator::Any, AsLength),
    optional("pad_response", Validator::Int, AsInt),
    optional("is_replay", Validator::Flag, AsFlagOrFalse),
    optional("replay_ignored_change", Validator::Flag, AsFlagOrFalse),
    optional("dsl_prioritized", Validator::Flag, AsFlagOrFalse),
    optional("dsl_prioritized_reason", Validator::Any, AsIs),
    optional("dsl_prioritized_tunnel_protocol", Validator::RelayProtocol, AsIs),
    optional("dial_duration", Validator::Int, AsInt),
    optional("candidate_number", Validator::Int, AsInt),
    optional("established_tunnels_count", Validator::Int, AsInt),
    optional("upstream_ossh_padding", Validator::Int, AsInt),
    optional("meek_cookie_size", Validator::Int, AsInt),
    optional("meek_limit_request", Validator::Int, AsInt),
    optional("meek_redial_probability", Validator::Float, AsFloat),
    optional("meek_tls_padding", Validator::Int, AsInt),
    optional("network_latency_multiplier", Validator::Float, AsFloat),
    optional("client_bpf", Validator::Any, AsIs),
    optional("conjure_cached", Validator::Flag, AsFlag),
    optional("conjure_delay", Validator::Int, AsInt),
    optional("conjure_transport", Validator::Any, AsIs),
    optional("conjure_prefix", Validator::Any, AsIs),
    optional("conjure_stun", Validator::Any, AsIs),
    optional("conjure_empty_packet", Validator::Flag, AsFlag),
    optional("conjure_network", Validator::Any, AsIs),
    optional("conjure_port_number", Validator::Any, AsIs),
    optional("split_tunnel", Validator::Flag, AsFlag),
    optional("split_tunnel_regions", Validator::RegionCode, AsIs).shaped(Shape::List),
    optional("dns_preresolved", Validator::Any, AsIs),
    optional("dns_preferred", Validator::Any, AsIs),
    optional("dns_transform", Validator::Any, AsIs),
    optional("dns_qname_random_casing", Validator::Flag, AsFlag),
    optional("dns_qname_must_match", Validator::Flag, AsFlag),
    optional("dns_qname_mismatches", Validator::Int, AsInt),
    optional("dns_attempt", Validator::Int, AsInt),
    optional("http_transform", Validator::Any, AsIs),
    optional("seed_transform", Validator::Any, AsIs),
    optional("ossh_prefix", Validator::Any, AsIs),
    optional("shadowsocks_prefix", Validator::Any, AsIs),
    optional("tls_fragmented", Validator::Flag, AsFlag),
    optional("tls_padding", Validator::Int, AsInt),
    optional("tls_ossh_sni_server_name", Validator::Domain, AsIs),
    optional("tls_ossh_transformed_host_name", Validator::Flag, AsFlag),
    optional("steering_ip", Validator::IpAddress, IfIndirect),
    optional("tls_sent_ticket", Validator::Flag, AsFlag),
    optional("tls_did_resume", Validator::Flag, AsFlag),
    optional("quic_sent_ticket", Validator::Flag, AsFlag),
    optional("quic_did_resume", Validator::Flag, AsFlag),
    optional("quic_dial_early", Validator::Flag, AsFlag),
    optional("quic_obfuscated_psk", Validator::Flag, AsFlag),
    optional("server_entry_count", Validator::Int, AsInt),
    optional("unique_candidate_estimate", Validator::Int, AsInt),
    optional("candidates_moved_to_front", Validator::Int, AsInt),
    optional("first_fronted_meek_candidate", Validator::Int, AsInt),
    optional("tunnel_personal_light_proxy_id", Validator::Any, AsIs),
];

/// How the in-proxy hop was dialled.
#[rustfmt::skip]
pub static INPROXY: [Spec; 55] = [
    optional("inproxy_connection_id", Validator::Base64Unpadded, Never),
    optional("inproxy_relay_packet", Validator::Base64Unpadded, Never),
    optional("inproxy_broker_is_replay", Validator::Flag, AsFlag),
    optional("inproxy_broker_transport", Validator::Any, AsIs),
    optional("inproxy_broker_fronting_provider_id", Validator::Any, AsIs),
    optional("inproxy_broker_dial_address", Validator::Any, AsIs),
    optional("inproxy_broker_resolved_ip_address", Validator::Any, AsIs),
    optional("inproxy_broker_sni_server_name", Validator::Any, AsIs),
    optional("inproxy_broker_host_header", Validator::Any, AsIs),
    optional("inproxy_broker_transformed_host_name", Validator::Flag, AsFlag),
    optional("inproxy_broker_user_agent", Validator::Any, AsIs),
    optional("inproxy_broker_tls_profile", Validator::Any, AsIs),
    optional("inproxy_broker_tls_version", Validator::Any, AsIs),
    optional("inproxy_broker_tls_fragmented", Validator::Flag, AsFlag),
    optional("inproxy_broker_client_bpf", Validator::Any, AsIs),
    optional("inproxy_broker_upstream_bytes_fragmented", Validator::Int, AsInt),
    optional("inproxy_broker_http_transform", Validator::Any, AsIs),
    optional("inproxy_broker_dns_preresolved", Validator::Any, AsIs),
    optional("inproxy_broker_dns_preferred", Validator::Any, AsIs),
    optional("inproxy_broker_dns_transform", Validator::Any, AsIs),
    optional("inproxy_broker_dns_qname_random_casing", Validator::Flag, AsFlag),
    optional("inproxy_broker_dns_qname_must_match", Validator::Flag, AsFlag),
    optional("inproxy_broker_dns_qname_mismatches", Validator::Int, AsInt),
    optional("inproxy_broker_dns_attempt", Validator::Int, AsInt),
    optional("inproxy_webrtc_dns_preresolved", Validator::Any, AsIs),
    optional("inproxy_webrtc_dns_preferred", Validator::Any, AsIs),
    optional("inproxy_webrtc_dns_transform", Validator::Any, AsIs),
    optional("inproxy_webrtc_dns_qname_must_match", Validator::Flag, AsFlag),
    optional("inproxy_webrtc_dns_qname_mismatches", Validator::Int, AsInt),
    optional("inproxy_webrtc_dns_attempt", Validator::Int, AsInt),
    optional("inproxy_webrtc_stun_server", Validator::Any, AsIs),
    optional("inproxy_webrtc_stun_server_resolved_ip_address", Validator::Any, AsIs),
    optional("inproxy_webrtc_stun_server_RFC5780", Validator::Any, AsIs),
    optional("inproxy_webrtc_stun_server_RFC5780_resolved_ip_address", Validator::Any, AsIs),
    optional("inproxy_webrtc_randomize_dtls", Validator::Flag, AsFlag),
    optional("inproxy_webrtc_dtls_fingerprint", Validator::Any, AsIs),
    optional("inproxy_proxy_webrtc_dtls_fingerprint", Validator::Any, AsIs),
    optional("inproxy_webrtc_padded_messages_sent", Validator::Int, AsInt),
    optional("inproxy_webrtc_padded_messages_received", Validator::Int, AsInt),
    optional("inproxy_webrtc_decoy_messages_sent", Validator::Int, AsInt),
    optional("inproxy_webrtc_decoy_messages_received", Validator::Int, AsInt),
    optional("inproxy_webrtc_local_ice_candidate_type", Validator::Any, AsIs),
    optional("inproxy_webrtc_local_ice_candidate_is_initiator", Validator::Flag, AsFlag),
    optional("inproxy_webrtc_local_ice_candidate_is_IPv6", Validator::Flag, AsFlag),
    optional("inproxy_webrtc_local_ice_candidate_port", Validator::Int, AsInt),
    optional("inproxy_webrtc_remote_ice_candidate_type", Validator::Any, AsIs),
    optional("inproxy_webrtc_remote_ice_candidate_is_IPv6", Validator::Flag, AsFlag),
    optional("inproxy_webrtc_remote_ice_candidate_port", Validator::Int, AsInt),
    optional("inproxy_dial_nat_discovery_duration", Validator::Int, AsInt),
    optional("inproxy_dial_failed_attempts_duration", Validator::Int, AsInt),
    optional("inproxy_dial_webrtc_ice_gathering_duration", Validator::Int, AsInt),
    optional("inproxy_dial_broker_offer_duration", Validator::Int, AsInt),
    optional("inproxy_dial_webrtc_connection_duration", Validator::Int, AsInt),
    optional("inproxy_broker_is_reuse", Validator::Flag, AsFlag),
    optional("inproxy_webrtc_use_media_streams", Validator::Flag, AsFlag),
];

/// What the client knows of tactics; sent with the handshake.
#[rustfmt::skip]
pub static TACTICS: [Spec; 2] = [
    optional("stored_tactics_tag", Validator::Any, AsIs),
    optional("speed_test_samples", Validator::Any, AsIs).shaped(Shape::Json),
];

/// What only the handshake has.
#[rustfmt::skip]
pub static HANDSHAKE: [Spec; 3] = [
    optional("missing_server_entry_signature", Validator::Base64, AsIs),
    optional("missing_server_entry_provider_id", Validator::Base64, AsIs),
    optional("enable_proxy_protocol_headers", Validator::Flag, Never),
];

/// What only the connected request has, without [`UNIQUE_USER`].
#[rustfmt::skip]
pub static CONNECTED: [Spec; 7] = [
    optional("establishment_duration", Validator::Int, AsInt),
    optional("light_proxy_id", Validator::Any, AsIs),
    optional("light_proxy_entry_tracker", Validator::Int, AsInt),
    optional("light_proxy_dial_IPv4", Validator::Int, AsInt),
    optional("light_proxy_dial_IPv6", Validator::Int, AsInt),
    optional("light_proxy_dial_failed", Validator::Int, AsInt),
    optional("light_proxy_dial_canceled", Validator::Int, AsInt),
];

/// What decides if a user is counted.
#[rustfmt::skip]
pub static UNIQUE_USER: [Spec; 1] = [
    required("last_connected", Validator::LastConnected, AsIs),
];

/// A record of a download of a server list.
#[rustfmt::skip]
pub static REMOTE_SERVER_LIST: [Spec; 18] = [
    optional("session_id", Validator::HexDigits, AsIs),
    required("client_download_timestamp", Validator::Iso8601, AsIs),
    optional("tunneled", Validator::Flag, AsFlag),
    required("url", Validator::Any, AsIs),
    required("etag", Validator::Any, AsIs),
    optional("bytes", Validator::Int, AsInt),
    optional("duration", Validator::Int, AsInt),
    optional("authenticated", Validator::Flag, AsFlag),
    optional("fronting_provider_id", Validator::Any, AsIs),
    optional("meek_dial_address", Validator::DialAddress, AsIs),
    optional("meek_resolved_ip_address", Validator::IpAddress, AsIs),
    optional("meek_sni_server_name", Validator::Domain, AsIs),
    optional("meek_host_header", Validator::HostHeader, AsIs),
    optional("meek_transformed_host_name", Validator::Flag, AsFlag),
    optional("user_agent", Validator::Any, AsIs),
    optional("tls_profile", Validator::Any, AsIs),
    optional("tls_version", Validator::Any, AsIs),
    optional("tls_fragmented", Validator::Flag, AsFlag),
];

/// A record of a tunnel that failed.
#[rustfmt::skip]
pub static FAILED_TUNNEL: [Spec; 12] = [
    optional("server_entry_tag", Validator::Any, AsIs),
    required("session_id", Validator::HexDigits, AsIs),
    required("last_connected", Validator::LastConnected, AsIs),
    required("client_failed_timestamp", Validator::Iso8601, AsIs),
    optional("record_probability", Validator::Float, AsFloat),
    optional("liveness_test_upstream_bytes", Validator::Int, AsInt),
    optional("liveness_test_sent_upstream_bytes", Validator::Int, AsInt),
    optional("liveness_test_downstream_bytes", Validator::Int, AsInt),
    optional("liveness_test_received_downstream_bytes", Validator::Int, AsInt),
    optional("bytes_up", Validator::Int, AsInt),
    optional("bytes_down", Validator::Int, AsInt),
    required("tunnel_error", Validator::Any, AsIs),
];
