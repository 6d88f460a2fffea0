//! Parameters of in-proxies, people's devices that pass clients on to servers: pairing by brokers, on both sides of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::declare::{HOUR, MINUTE, SECOND, YEAR, parameters};
use super::{BrokerSpec, CompartmentId, DtlsFingerprint, Probability, ScaledDuration, TrafficShaping};

parameters! {
    /// Whether in-proxies are used, how often, and by whom.
    pub struct Inproxy {
        /// Whether this device may be an in-proxy.
        allow_proxy: bool = false, "InproxyAllowProxy";
        /// How likely a candidate is reached through one, where it can be reached otherwise too.
        tunnel_protocol_selection_probability: Probability = Probability::ALWAYS, "InproxyTunnelProtocolSelectionProbability";
        /// How likely such protocols are preferred.
        tunnel_protocol_prefer_probability: Probability = Probability::NEVER, "InproxyTunnelProtocolPreferProbability";
        /// How many candidates are reached through one first.
        tunnel_protocol_force_selection_count: u32 = 0, within 0..=100_000, "InproxyTunnelProtocolForceSelectionCount";
        /// How many dials there are at a time where one's own in-proxy is used.
        personal_pairing_worker_pool_size: u32 = 2, within 1..=1000, "InproxyPersonalPairingConnectionWorkerPoolSize";
        /// Marks of the in-proxies that anyone may use.
        common_compartment_ids: Vec<CompartmentId> = Vec::new(), "InproxyCommonCompartmentIDs";
        /// Most marks that are told to a broker.
        max_compartment_id_list_length: u32 = 50, within 0..=10_000, "InproxyMaxCompartmentIDListLength";
        /// On which kinds of network no device is one.
        proxy_incompatible_network_types: Vec<String> = Vec::new(), "InproxyProxyIncompatibleNetworkTypes";
        /// On which kinds of network no client uses one.
        client_incompatible_network_types: Vec<String> = Vec::new(), "InproxyClientIncompatibleNetworkTypes";
        /// How likely a plan through one is kept that failed.
        replay_retain_failed_probability: Probability = Probability::ALWAYS, "InproxyReplayRetainFailedProbability";
        /// How long API requests through one wait for their answers.
        api_request_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(10)), within SECOND..=YEAR, "InproxyPsiphonAPIRequestTimeout";
        /// How many dials through in-proxies may begin in InproxyClientDialRateLimitInterval.
        client_dial_rate_limit_quantity: u32 = 2, within 0..=100_000, "InproxyClientDialRateLimitQuantity";
        /// The time for which dials through in-proxies are counted; 0 is no limit.
        client_dial_rate_limit_interval: Duration = Duration::from_millis(500), within Duration::ZERO..=YEAR, "InproxyClientDialRateLimitInterval";
        /// How likely other candidates go first when no in-proxy was found.
        client_no_match_failover_probability: Probability = Probability::HALF, "InproxyClientNoMatchFailoverProbability";
        /// How likely other candidates go first when one's own in-proxy was not found.
        client_no_match_failover_personal_probability: Probability = Probability::ALWAYS, "InproxyClientNoMatchFailoverPersonalProbability";
    }
}

parameters! {
    /// How brokers are reached.
    pub struct InproxyBroker {
        /// Brokers for anyone who has no list of their own below.
        specs: Vec<BrokerSpec> = Vec::new(), "InproxyBrokerSpecs";
        /// Brokers for pairing with one's own in-proxy.
        personal_pairing_specs: Vec<BrokerSpec> = Vec::new(), "InproxyPersonalPairingBrokerSpecs";
        /// Brokers of in-proxies.
        proxy_specs: Vec<BrokerSpec> = Vec::new(), "InproxyProxyBrokerSpecs";
        /// Brokers of in-proxies for their own clients.
        proxy_personal_pairing_specs: Vec<BrokerSpec> = Vec::new(), "InproxyProxyPersonalPairingBrokerSpecs";
        /// Brokers of clients.
        client_specs: Vec<BrokerSpec> = Vec::new(), "InproxyClientBrokerSpecs";
        /// Brokers of clients for their own in-proxy.
        client_personal_pairing_specs: Vec<BrokerSpec> = Vec::new(), "InproxyClientPersonalPairingBrokerSpecs";
        /// How many brokers are tried for one's own in-proxy.
        personal_pairing_max_spec_count: u32 = 3, within 0..=1000, "InproxyPersonalPairingMaxBrokerSpecCount";
        /// For how long the way to a broker may be used again; 0 is off.
        replay_dial_parameters_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "InproxyReplayBrokerDialParametersTTL";
        /// How often it is written down that the way to a broker still works.
        replay_update_frequency: Duration = Duration::from_secs(300), within Duration::ZERO..=YEAR, "InproxyReplayBrokerUpdateFrequency";
        /// How likely the way to a broker is used again.
        replay_dial_parameters_probability: Probability = Probability::ALWAYS, "InproxyReplayBrokerDialParametersProbability";
        /// How likely the way to a broker is kept when it failed.
        replay_retain_failed_probability: Probability = Probability::HALF, "InproxyReplayBrokerRetainFailedProbability";
        /// How long a broker may take to answer the first message.
        session_handshake_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(10)), within Duration::ZERO..=YEAR, "InproxySessionHandshakeRoundTripTimeout";
        /// A refusal that comes sooner than this is the broker's, a later one the front's.
        status_code_failure_threshold: ScaledDuration = ScaledDuration::new(Duration::from_secs(2)), within Duration::ZERO..=YEAR, "InproxyBrokerRoundTripStatusCodeFailureThreshold";
        /// Longest time of a client's request, by fronting provider.
        client_max_request_timeouts: BTreeMap<String, Duration> = BTreeMap::new(), "InproxyFrontingProviderClientMaxRequestTimeouts";
        /// Pause of an in-proxy before it tries another broker.
        on_client_failed_retry_period: Duration = Duration::from_secs(30), within Duration::ZERO..=YEAR, "InproxyProxyOnBrokerClientFailedRetryPeriod";
    }
}

parameters! {
    /// What is asked of brokers, and for how long.
    pub struct InproxyRequests {
        /// How long an in-proxy waits for a client.
        announce_request_timeout: Duration = Duration::from_secs(130), within Duration::ZERO..=YEAR, "InproxyProxyAnnounceRequestTimeout";
        /// Pause before an in-proxy offers itself again.
        announce_delay: Duration = Duration::from_millis(100), within Duration::ZERO..=YEAR, "InproxyProxyAnnounceDelay";
        /// What the pause before an in-proxy offers itself again grows to.
        announce_max_backoff_delay: Duration = MINUTE, within Duration::ZERO..=YEAR, "InproxyProxyAnnounceMaxBackoffDelay";
        /// By which part of itself the pause between an in-proxy's offers may vary.
        announce_delay_jitter: f64 = 0.5, within 0.0..=1.0, "InproxyProxyAnnounceDelayJitter";
        /// How many offers for anyone an in-proxy has open at a time; 0 is as many as it takes clients.
        announce_common_override: u32 = 0, within 0..=10_000, "InproxyProxyAnnounceCommonOverride";
        /// How many offers for its own clients an in-proxy has open at a time; 0 is as many as it takes.
        announce_personal_override: u32 = 2, within 0..=10_000, "InproxyProxyAnnouncePersonalOverride";
        /// How long an in-proxy waits for the broker to take its answer.
        answer_request_timeout: Duration = Duration::from_secs(20), within Duration::ZERO..=YEAR, "InproxyProxyAnswerRequestTimeout";
        /// How long a client waits for an in-proxy.
        offer_request_timeout: Duration = Duration::from_secs(20), within Duration::ZERO..=YEAR, "InproxyClientOfferRequestTimeout";
        /// How long a client waits for its own in-proxy.
        offer_request_personal_timeout: Duration = Duration::from_secs(15), within Duration::ZERO..=YEAR, "InproxyClientOfferRequestPersonalTimeout";
        /// Pause before a client asks for an in-proxy again.
        offer_retry_delay: Duration = Duration::from_millis(100), within Duration::ZERO..=YEAR, "InproxyClientOfferRetryDelay";
        /// By which part of itself the pause between a client's requests may vary.
        offer_retry_jitter: f64 = 0.5, within 0.0..=1.0, "InproxyClientOfferRetryJitter";
        /// How long a message to the server waits that the broker passes on.
        relayed_packet_request_timeout: Duration = Duration::from_secs(35), within Duration::ZERO..=YEAR, "InproxyClientRelayedPacketRequestTimeout";
        /// How long a request for servers waits that the broker passes on.
        dsl_request_timeout: Duration = Duration::from_secs(10), within Duration::ZERO..=YEAR, "InproxyClientDSLRequestTimeout";
    }
}

parameters! {
    /// How the connection between client and in-proxy looks, and how long it may take.
    pub struct InproxyWebRtc {
        /// Whose DTLS may be imitated; all when empty.
        limit_dtls_fingerprints: Vec<DtlsFingerprint> = Vec::new(), "InproxyLimitDTLSFingerprints";
        /// How likely the list of DTLS fingerprints is obeyed.
        limit_dtls_fingerprints_probability: Probability = Probability::ALWAYS, "InproxyLimitDTLSFingerprintsProbability";
        /// How likely DTLS is of random shape instead.
        dtls_select_randomized_probability: Probability = Probability::QUARTER, "InproxyDTLSFingerprintSelectRandomizedProbability";
        /// How likely a client that knows no shapes makes its DTLS random.
        dtls_randomization_probability: Probability = Probability::HALF, "InproxyDTLSRandomizationProbability";
        /// How likely data is sent as sound and pictures instead of messages.
        media_streams_probability: Probability = Probability::NEVER, "InproxyWebRTCMediaStreamsProbability";
        /// How likely messages are padded.
        data_channel_shaping_probability: Probability = Probability::HALF, "InproxyWebRTCDataChannelTrafficShapingProbability";
        /// How messages between client and in-proxy are padded.
        data_channel_shaping: TrafficShaping = TrafficShaping::usual(1500, 1500), "InproxyWebRTCDataChannelTrafficShapingParameters";
        /// How likely sound and pictures are padded.
        media_streams_shaping_probability: Probability = Probability::HALF, "InproxyWebRTCMediaStreamsTrafficShapingProbability";
        /// How sound and pictures between client and in-proxy are padded.
        media_streams_shaping: TrafficShaping = TrafficShaping::usual(254, 1200), "InproxyWebRTCMediaStreamsTrafficShapingParameters";
        /// Longest time for making an answer.
        answer_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(20)), within Duration::ZERO..=YEAR, "InproxyWebRTCAnswerTimeout";
        /// How long to wait for the router to map a port.
        await_port_mapping_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(2)), within Duration::ZERO..=YEAR, "InproxyWebRTCAwaitPortMappingTimeout";
        /// How long an in-proxy waits until the client is connected.
        proxy_await_ready_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(30)), within Duration::ZERO..=YEAR, "InproxyProxyWebRTCAwaitReadyToProxyTimeout";
        /// How long a client waits until it is connected.
        client_await_ready_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(20)), within Duration::ZERO..=YEAR, "InproxyClientWebRTCAwaitReadyToProxyTimeout";
        /// How long an in-proxy may take to dial the server.
        proxy_destination_dial_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(20)), within Duration::ZERO..=YEAR, "InproxyProxyDestinationDialTimeout";
        /// After which silence it closes a client's connection.
        proxy_relay_inactivity_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(300)), within Duration::ZERO..=YEAR, "InproxyProxyRelayInactivityTimeout";
        /// How often it tells its host how much it carried.
        proxy_total_activity_notice_period: Duration = Duration::from_secs(300), within SECOND..=YEAR, "InproxyProxyTotalActivityNoticePeriod";
    }
}

parameters! {
    /// How the two find each other behind routers.
    pub struct InproxyNat {
        /// Who is asked for one's own address.
        stun_server_addresses: Vec<String> = Vec::new(), "InproxySTUNServerAddresses";
        /// Who is asked for one's own address and the kind of router.
        stun_server_addresses_rfc5780: Vec<String> = Vec::new(), "InproxySTUNServerAddressesRFC5780";
        /// Whom in-proxies ask for their own address.
        proxy_stun_server_addresses: Vec<String> = Vec::new(), "InproxyProxySTUNServerAddresses";
        /// Whom in-proxies ask for their own address and the kind of router.
        proxy_stun_server_addresses_rfc5780: Vec<String> = Vec::new(), "InproxyProxySTUNServerAddressesRFC5780";
        /// Whom clients ask for their own address.
        client_stun_server_addresses: Vec<String> = Vec::new(), "InproxyClientSTUNServerAddresses";
        /// Whom clients ask for their own address and the kind of router.
        client_stun_server_addresses_rfc5780: Vec<String> = Vec::new(), "InproxyClientSTUNServerAddressesRFC5780";
        /// How likely a client finds out the kind of its router.
        client_discover_probability: Probability = Probability::NEVER, "InproxyClientDiscoverNATProbability";
        /// Longest time for a client to find out the kind of its router.
        client_discover_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(10)), within Duration::ZERO..=YEAR, "InproxyClientDiscoverNATTimeout";
        /// Longest time for an in-proxy to find out the kind of its router.
        proxy_discover_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(10)), within Duration::ZERO..=YEAR, "InproxyProxyDiscoverNATTimeout";
        /// Whether nobody is asked for addresses.
        disable_stun: bool = false, "InproxyDisableSTUN";
        /// Whether routers are not asked for ports.
        disable_port_mapping: bool = false, "InproxyDisablePortMapping";
        /// Whether neither STUN nor port mapping is used in mobile networks.
        disable_inbound_for_mobile_networks: bool = false, "InproxyDisableInboundForMobileNetworks";
        /// Whether addresses of IPv6 are not offered.
        disable_ipv6_candidates: bool = false, "InproxyDisableIPv6ICECandidates";
        /// Whether no in-proxy asks for addresses.
        proxy_disable_stun: bool = false, "InproxyProxyDisableSTUN";
        /// Whether no in-proxy asks routers for ports.
        proxy_disable_port_mapping: bool = false, "InproxyProxyDisablePortMapping";
        /// Whether no in-proxy uses STUN or port mapping in mobile networks.
        proxy_disable_inbound_for_mobile_networks: bool = false, "InproxyProxyDisableInboundForMobileNetworks";
        /// Whether no in-proxy offers addresses of IPv6.
        proxy_disable_ipv6_candidates: bool = false, "InproxyProxyDisableIPv6ICECandidates";
        /// Whether no client asks for addresses.
        client_disable_stun: bool = false, "InproxyClientDisableSTUN";
        /// Whether no client asks routers for ports.
        client_disable_port_mapping: bool = false, "InproxyClientDisablePortMapping";
        /// Whether no client uses STUN or port mapping in mobile networks.
        client_disable_inbound_for_mobile_networks: bool = false, "InproxyClientDisableInboundForMobileNetworks";
        /// Whether no client offers addresses of IPv6.
        client_disable_ipv6_candidates: bool = false, "InproxyClientDisableIPv6ICECandidates";
        /// Whether requests of an in-proxy do not wait for the first to greet the broker.
        proxy_disable_wait_to_share_session: bool = false, "InproxyProxyDisableWaitToShareSession";
        /// Whether requests of a client do not wait for the first to greet the broker.
        client_disable_wait_to_share_session: bool = true, "InproxyClientDisableWaitToShareSession";
    }
}
