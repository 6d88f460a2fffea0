//! Parameters of using again what worked: which plans are kept, for how long, and which of their choices.

use std::time::Duration;

use super::declare::{HOUR, SECOND, YEAR, parameters};
use super::{AtMost, Probability};

parameters! {
    /// When a plan is used again.
    pub struct Replay {
        /// How many candidates of a round may be replayed ones; 0 is off.
        candidate_count: AtMost = AtMost::Of(10), "ReplayCandidateCount";
        /// How long a plan may be replayed after it worked last; 0 is off.
        dial_parameters_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "ReplayDialParametersTTL";
        /// How many bytes a tunnel must have sent for its plan to count as working.
        target_upstream_bytes: u32 = 0, within 0..=u32::MAX, "ReplayTargetUpstreamBytes";
        /// How many bytes a tunnel must have received for that.
        target_downstream_bytes: u32 = 0, within 0..=u32::MAX, "ReplayTargetDownstreamBytes";
        /// How long a tunnel must have lived for that.
        target_tunnel_duration: Duration = SECOND, within Duration::ZERO..=YEAR, "ReplayTargetTunnelDuration";
        /// How likely servers with a plan come first also in later rounds.
        later_round_move_to_front_probability: Probability = Probability::NEVER, "ReplayLaterRoundMoveToFrontProbability";
        /// How likely a plan is kept that failed.
        retain_failed_probability: Probability = Probability::HALF, "ReplayRetainFailedProbability";
        /// Whether a plan is replayed also when config and tactics are others than then.
        ignore_changed_config_state: bool = false, "ReplayIgnoreChangedConfigState";
        /// How likely a plan is replayed when config and tactics are others than then.
        ignore_changed_config_state_probability: Probability = Probability::NEVER, "ReplayIgnoreChangedConfigStateProbability";
    }
}

parameters! {
    /// Which choices of a replayed plan stay; others are made anew.
    pub struct ReplayParts {
        /// Whether programs that filter what a socket receives stay.
        bpf: bool = true, "ReplayBPF";
        /// Whether what SSH says of itself stays.
        ssh: bool = true, "ReplaySSH";
        /// Whether padding of preambles, cookies and ClientHellos stays.
        obfuscator_padding: bool = true, "ReplayObfuscatorPadding";
        /// Whether the cutting of first bytes stays.
        fragmentor: bool = true, "ReplayFragmentor";
        /// Whether the browser whose ClientHello is sent stays.
        tls_profile: bool = true, "ReplayTLSProfile";
        /// Whether the front stays.
        fronting: bool = true, "ReplayFronting";
        /// Whether the host names that are shown stay.
        hostname: bool = true, "ReplayHostname";
        /// Whether the version of QUIC stays.
        quic_version: bool = true, "ReplayQUICVersion";
        /// Whether the obfuscation of QUIC packets stays.
        obfuscated_quic: bool = true, "ReplayObfuscatedQUIC";
        /// Whether the rewriting of their nonces stays.
        obfuscated_quic_nonce: bool = true, "ReplayObfuscatedQUICNonceTransformer";
        /// Whether a registration with Conjure stays.
        conjure_registration: bool = true, "ReplayConjureRegistration";
        /// Whether what a registered address is dialed with stays.
        conjure_transport: bool = true, "ReplayConjureTransport";
        /// Whether the size of the test whether a tunnel lives stays.
        liveness_test: bool = true, "ReplayLivenessTest";
        /// Whether the browser that HTTP requests are from stays.
        user_agent: bool = true, "ReplayUserAgent";
        /// Whether padding of API requests stays.
        api_request_padding: bool = true, "ReplayAPIRequestPadding";
        /// Whether the time to be held off stays.
        hold_off_tunnel: bool = true, "ReplayHoldOffTunnel";
        /// Whether the way names are resolved stays.
        resolve_parameters: bool = true, "ReplayResolveParameters";
        /// Whether the rewriting of HTTP requests stays.
        http_transformer: bool = true, "ReplayHTTPTransformerParameters";
        /// Whether the rewriting of preambles' seeds stays.
        ossh_seed_transformer: bool = true, "ReplayOSSHSeedTransformerParameters";
        /// Whether the prefix of an OSSH connection stays.
        ossh_prefix: bool = true, "ReplayOSSHPrefix";
        /// Whether the prefix of a Shadowsocks connection stays.
        shadowsocks_prefix: bool = true, "ReplayShadowsocksPrefix";
        /// Whether the splitting of ClientHellos stays.
        tls_fragment_client_hello: bool = true, "ReplayTLSFragmentClientHello";
        /// Whether the look of WebRTC stays.
        inproxy_webrtc: bool = true, "ReplayInproxyWebRTC";
        /// Whether the STUN servers stay.
        inproxy_stun: bool = true, "ReplayInproxySTUN";
        /// Whether padding of meek's payloads stays.
        meek_payload_padding: bool = true, "ReplayMeekPayloadPadding";
    }
}

parameters! {
    /// When the way to a web server behind fronts is used again, for what is not a tunnel.
    pub struct FrontedHttpReplay {
        /// How likely a way that worked is used again.
        dial_parameters_probability: Probability = Probability::ALWAYS, "FrontedHTTPClientReplayDialParametersProbability";
        /// For how long a way that worked is used again; 0 is off.
        dial_parameters_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "FrontedHTTPClientReplayDialParametersTTL";
        /// How often it is written down that it still works.
        update_frequency: Duration = Duration::from_secs(300), within Duration::ZERO..=YEAR, "FrontedHTTPClientReplayUpdateFrequency";
        /// How likely a way is kept that failed.
        retain_failed_probability: Probability = Probability::HALF, "FrontedHTTPClientReplayRetainFailedProbability";
    }
}
