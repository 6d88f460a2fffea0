//! Parameters of meek. TRANSPORTS.md 2.

use std::time::Duration;

use super::declare::{MILLISECOND, SECOND, YEAR, parameters};
use super::{Probability, ScaledDuration};
use crate::TunnelProtocol;

/// Most padding that a ClientHello's extension can hold.
const MOST_TLS_PADDING: u32 = 65_535;
/// Most padding of a payload. TRANSPORTS.md 2.8.
const MOST_PAYLOAD_PADDING: u32 = 65_533;
/// Largest body of a request. TRANSPORTS.md 2.6.
const MOST_PAYLOAD: u32 = 65_536;
/// Most padding of a cookie that servers accept. TRANSPORTS.md 2.4.
const MOST_COOKIE_PADDING: u32 = 300;
/// Largest buffer of a connection.
const MOST_BUFFER: u32 = 64 << 20;

parameters! {
    /// How meek requests look and when they are made.
    pub struct Meek {
        /// Most padding of the cookie, in bytes.
        cookie_max_padding: u32 = 256, within 0..=MOST_COOKIE_PADDING, "MeekCookieMaxPadding";
        /// Pause after an empty response, at first.
        min_poll_interval: Duration = 100 * MILLISECOND, within MILLISECOND..=YEAR, "MeekMinPollInterval";
        /// By which part of itself the first pause may vary.
        min_poll_interval_jitter: f64 = 0.3, within 0.0..=1.0, "MeekMinPollIntervalJitter";
        /// What the pause after an empty response grows to.
        max_poll_interval: Duration = 5 * SECOND, within MILLISECOND..=YEAR, "MeekMaxPollInterval";
        /// By which part of itself the longest pause may vary.
        max_poll_interval_jitter: f64 = 0.1, within 0.0..=1.0, "MeekMaxPollIntervalJitter";
        /// By which factor the pause after an empty response grows.
        poll_interval_multiplier: f64 = 1.5, within 0.0..=1000.0, "MeekPollIntervalMultiplier";
        /// By which part of itself a grown pause may vary.
        poll_interval_jitter: f64 = 0.1, within 0.0..=1.0, "MeekPollIntervalJitter";
        /// How likely the pause grows after an empty response.
        apply_poll_interval_multiplier_probability: Probability = Probability::HALF, "MeekApplyPollIntervalMultiplierProbability";
        /// For how long a failed request is tried again.
        round_trip_retry_deadline: ScaledDuration = ScaledDuration::new(5 * SECOND), within MILLISECOND..=YEAR, "MeekRoundTripRetryDeadline";
        /// Pause before the first retry.
        round_trip_retry_min_delay: Duration = 50 * MILLISECOND, within Duration::ZERO..=YEAR, "MeekRoundTripRetryMinDelay";
        /// What the pause before a retry grows to.
        round_trip_retry_max_delay: Duration = SECOND, within Duration::ZERO..=YEAR, "MeekRoundTripRetryMaxDelay";
        /// By which factor the pause before a retry grows.
        round_trip_retry_multiplier: f64 = 2.0, within 0.0..=1000.0, "MeekRoundTripRetryMultiplier";
        /// Longest wait for a response.
        round_trip_timeout: ScaledDuration = ScaledDuration::new(20 * SECOND), within SECOND..=YEAR, "MeekRoundTripTimeout";
        /// How likely ClientHellos are padded and requests limited.
        traffic_shaping_probability: Probability = Probability::ALWAYS, "MeekTrafficShapingProbability";
        /// For which protocols; all when empty.
        traffic_shaping_limit_protocols: Vec<TunnelProtocol> = Vec::new(), "MeekTrafficShapingLimitProtocols";
        /// Least padding of a ClientHello, in bytes.
        min_tls_padding: u32 = 0, within 0..=MOST_TLS_PADDING, "MeekMinTLSPadding";
        /// Most padding of a ClientHello; 0 is off.
        max_tls_padding: u32 = 0, within 0..=MOST_TLS_PADDING, "MeekMaxTLSPadding";
        /// Least limit of a request's body, in bytes.
        min_limit_request_payload_length: u32 = MOST_PAYLOAD, within 1..=MOST_PAYLOAD, "MeekMinLimitRequestPayloadLength";
        /// Most limit of a request's body.
        max_limit_request_payload_length: u32 = MOST_PAYLOAD, within 1..=MOST_PAYLOAD, "MeekMaxLimitRequestPayloadLength";
        /// How likely TLS is dialed again behind a request.
        redial_tls_probability: Probability = Probability::NEVER, "MeekRedialTLSProbability";
        /// How likely the cookie's name is more than one letter.
        alternate_cookie_name_probability: Probability = Probability::HALF, "MeekAlternateCookieNameProbability";
        /// How likely the content type is another than the usual one.
        alternate_content_type_probability: Probability = Probability::HALF, "MeekAlternateContentTypeProbability";
        /// How likely payloads are padded, where the server can.
        payload_padding_probability: Probability = Probability::NEVER, "MeekPayloadPaddingProbability";
        /// For which protocols; all when empty.
        payload_padding_limit_protocols: Vec<TunnelProtocol> = Vec::new(), "MeekPayloadPaddingLimitTunnelProtocols";
        /// How likely a single request goes without.
        payload_padding_omit_probability: Probability = Probability::NEVER, "MeekPayloadPaddingClientOmitProbability";
        /// Least padding of a request.
        payload_padding_min_size: u32 = 0, within 0..=MOST_PAYLOAD_PADDING, "MeekPayloadPaddingClientMinSize";
        /// Most padding of a request.
        payload_padding_max_size: u32 = MOST_PAYLOAD_PADDING, within 0..=MOST_PAYLOAD_PADDING, "MeekPayloadPaddingClientMaxSize";
        /// Whether only fronts are dialed whose addresses are names.
        dial_domains_only: bool = false, "MeekDialDomainsOnly";
        /// Whether the smaller buffers are used, on devices with little memory.
        limit_buffer_sizes: bool = false, "MeekLimitBufferSizes";
        /// Most bytes of a response that wait to be read.
        full_receive_buffer_length: u32 = 4_194_304, within 1024..=MOST_BUFFER, "MeekFullReceiveBufferLength";
        /// Most bytes that are read from a response at once.
        read_payload_chunk_length: u32 = 65_536, within 1024..=MOST_BUFFER, "MeekReadPayloadChunkLength";
        /// The first of these where buffers are limited.
        limited_full_receive_buffer_length: u32 = 131_072, within 1024..=MOST_BUFFER, "MeekLimitedFullReceiveBufferLength";
        /// The second of these where buffers are limited.
        limited_read_payload_chunk_length: u32 = 4096, within 1024..=MOST_BUFFER, "MeekLimitedReadPayloadChunkLength";
    }
    ordered {
        min_poll_interval <= max_poll_interval,
        round_trip_retry_min_delay <= round_trip_retry_max_delay,
        min_tls_padding <= max_tls_padding,
        min_limit_request_payload_length <= max_limit_request_payload_length,
        payload_padding_min_size <= payload_padding_max_size,
    }
}

parameters! {
    /// How meek responses are padded, where a client asked for it.
    pub struct ServerMeekPadding {
        /// How likely a single response goes without.
        omit_probability: Probability = Probability::NEVER, "MeekPayloadPaddingServerOmitProbability";
        /// Least padding of a response.
        min_size: u32 = 0, within 0..=MOST_PAYLOAD_PADDING, "MeekPayloadPaddingServerMinSize";
        /// Most padding of a response.
        max_size: u32 = MOST_PAYLOAD_PADDING, within 0..=MOST_PAYLOAD_PADDING, "MeekPayloadPaddingServerMaxSize";
    }
    ordered { min_size <= max_size }
}
