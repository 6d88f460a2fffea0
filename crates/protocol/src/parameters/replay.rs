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
        /// How likely it is.
        ignore_changed_config_state_probability: Probability = Probability::NEVER, "ReplayIgnoreChangedConfigStateProbability";
    }
}

parameters! {
    /// Which choices of a replayed plan stay; others are made anew.
    pub struct ReplayParts {
        /// Programs that filter what a socket receives.
        bpf: bool = true, "ReplayBPF";
        /// What SSH says of itself.
        ssh: bool = true, "ReplaySSH";
        /// Padding of preambles, cookies and ClientHellos.
        obfuscator_padding: bool = true, "ReplayObfuscatorPadding";
        /// How first bytes are cut.
        fragmentor: bool = true, "ReplayFragmentor";
        /// Whose ClientHello is sent.
        tls_profile: bool = true, "ReplayTLSProfile";
        /// Through which front.
        fronting: bool = true, "ReplayFronting";
        /// Which host names are shown.
        hostname: bool = true, "ReplayHostname";
        /// Which QUIC is spoken.
        quic_version: bool = true, "ReplayQUICVersion";
        /// How its packets are obfuscated.
        obfuscated_quic: bool = true, "ReplayObfuscatedQUIC";
        /// How their nonces are rewritten.
        obfuscated_quic_nonce: bool = true, "ReplayObfuscatedQUICNonceTransformer";
        /// A registration with Conjure.
        conjure_registration: bool = true, "ReplayConjureRegistration";
        /// What a registered address is dialed with.
        conjure_transport: bool = true, "ReplayConjureTransport";
        /// How much is sent to see whether a tunnel lives.
        liveness_test: bool = true, "ReplayLivenessTest";
        /// Which browser HTTP requests are from.
        user_agent: bool = true, "ReplayUserAgent";
        /// Padding of API requests.
        api_request_padding: bool = true, "ReplayAPIRequestPadding";
        /// Whether and how long it is held off.
        hold_off_tunnel: bool = true, "ReplayHoldOffTunnel";
        /// How names are resolved.
        resolve_parameters: bool = true, "ReplayResolveParameters";
        /// How HTTP requests are rewritten.
        http_transformer: bool = true, "ReplayHTTPTransformerParameters";
        /// How seeds of preambles are rewritten.
        ossh_seed_transformer: bool = true, "ReplayOSSHSeedTransformerParameters";
        /// What an OSSH connection begins with.
        ossh_prefix: bool = true, "ReplayOSSHPrefix";
        /// What a Shadowsocks connection begins with.
        shadowsocks_prefix: bool = true, "ReplayShadowsocksPrefix";
        /// Whether ClientHellos are split.
        tls_fragment_client_hello: bool = true, "ReplayTLSFragmentClientHello";
        /// What WebRTC looks like.
        inproxy_webrtc: bool = true, "ReplayInproxyWebRTC";
        /// Which STUN servers are asked.
        inproxy_stun: bool = true, "ReplayInproxySTUN";
        /// Padding of meek's payloads.
        meek_payload_padding: bool = true, "ReplayMeekPayloadPadding";
    }
}

parameters! {
    /// When the way to a web server behind fronts is used again, for what is not a tunnel.
    pub struct FrontedHttpReplay {
        /// How likely a way that worked is used again.
        dial_parameters_probability: Probability = Probability::ALWAYS, "FrontedHTTPClientReplayDialParametersProbability";
        /// For how long; 0 is off.
        dial_parameters_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "FrontedHTTPClientReplayDialParametersTTL";
        /// How often it is written down that it still works.
        update_frequency: Duration = Duration::from_secs(300), within Duration::ZERO..=YEAR, "FrontedHTTPClientReplayUpdateFrequency";
        /// How likely a way is kept that failed.
        retain_failed_probability: Probability = Probability::HALF, "FrontedHTTPClientReplayRetainFailedProbability";
    }
}
