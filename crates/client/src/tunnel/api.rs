//! The server's API, as the client speaks it: handshake once, then connected, then reports.
//!
//! Source: PROTOCOL.md 4.

use std::time::Duration;

use culvert_obfuscation::Prng;
use culvert_protocol::ServerEntry;
use culvert_protocol::api::{
    BaseParams, ConnectedReply, ConnectedRequest, DialParams, HandshakeReply, HandshakeRequest,
    MissingMembers, NEVER_CONNECTED, Padding, PaddingRange, PaddingRanges, ReplyError, RequestEncoding,
    StatusData, StatusReply, StatusRequest, TacticsParams, reply_encoding, request_name,
};
use culvert_protocol::packed::{PackError, Params};
use culvert_protocol::parameters::Ossh;
use culvert_ssh_tokio::{Handle, TunnelEnded};
use tokio::time::timeout;

use crate::config::{ApiEncoding, Config};

/// Why a request of the API failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server said no, or closed the tunnel over it.
    #[error("the server refused {0}")]
    Refused(&'static str),
    /// The tunnel ended meanwhile.
    #[error(transparent)]
    Ended(#[from] TunnelEnded),
    /// No answer.
    #[error("the server did not answer {name} within {} s", .after.as_secs())]
    TimedOut {
        /// The request.
        name: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// The answer cannot be read.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The answer to `psiphon-connected` or `psiphon-status` cannot be read.
    #[error("the server's reply is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// A value of ours cannot be packed: a bug.
    #[error("bug: {0}")]
    Pack(#[from] PackError),
}

impl ApiError {
    /// Whether the server could be asked and said no.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Reply(_) | Self::Json(_) | Self::Pack(_))
    }
}

/// Speaks the API over one tunnel.
pub(crate) struct ApiClient {
    handle: Handle,
    /// Set for servers that read JSON only, whose requests carry it.
    server_secret: Option<String>,
    base: BaseParams,
    padding: Prng,
    ranges: PaddingRanges,
    limit: Duration,
    compress_tactics: bool,
}

impl ApiClient {
    /// For a tunnel to the server of `entry`.
    pub(crate) fn new(handle: Handle, entry: &ServerEntry, config: &Config, padding: Prng) -> Self {
        // PROTOCOL.md 4.1: servers that do not name the capability read JSON only.
        let packed = config.api.encoding == ApiEncoding::Cbor && entry.takes_ssh_api_requests();
        let server_secret = entry.text("webServerSecret").unwrap_or_default().to_owned();
        Self {
            handle,
            server_secret: (!packed).then_some(server_secret),
            base: base_params(config),
            padding,
            ranges: padding_ranges(&config.parameters.ossh),
            limit: config.parameters.api.request_timeout.scaled(config.parameters.latency.general()),
            compress_tactics: config.parameters.tactics.compress,
        }
    }

    /// The handshake, which each tunnel starts with.
    pub(crate) async fn handshake(
        &mut self,
        entry: &ServerEntry,
        dial: DialParams,
        authorizations: Vec<String>,
    ) -> Result<HandshakeReply, ApiError> {
        let tag = entry.tag();
        let request = HandshakeRequest {
            base: self.base.clone(),
            dial,
            padding: self.draw_padding(),
            missing: MissingMembers {
                signature: (!entry.fields().has_signature()).then(|| tag.clone()),
                provider_id: entry.text("providerID").is_none().then_some(tag),
            },
            tactics: Some(TacticsParams { compress: self.compress_tactics, ..TacticsParams::default() }),
            authorizations,
            ..HandshakeRequest::default()
        };
        let params = request.to_params();
        let expected = reply_encoding(&params);
        let reply = self.ask(request_name::HANDSHAKE, params).await?;
        Ok(HandshakeReply::decode(&reply, expected)?)
    }

    /// Tells that a tunnel is in use; the reply's time is what the next one tells as `last_connected`.
    pub(crate) async fn connected(
        &mut self,
        last_connected: Option<&str>,
        establishment: Duration,
    ) -> Result<ConnectedReply, ApiError> {
        let request = ConnectedRequest {
            base: self.base.clone(),
            padding: self.draw_padding(),
            last_connected: last_connected.unwrap_or(NEVER_CONNECTED).to_owned(),
            establishment_milliseconds: i64::try_from(establishment.as_millis()).ok(),
            upstream_fragmentor: DialParams::default(),
        };
        let reply = self.ask(request_name::CONNECTED, request.to_params()).await?;
        Ok(ConnectedReply::from_json(&reply)?)
    }

    /// Reports what was counted and stored.
    pub(crate) async fn status(&mut self, data: StatusData) -> Result<StatusReply, ApiError> {
        let request = StatusRequest { base: self.base.clone(), padding: self.draw_padding(), data };
        let reply = self.ask(request_name::STATUS, request.to_params()).await?;
        Ok(StatusReply::from_json(&reply)?)
    }

    fn draw_padding(&mut self) -> Padding {
        Padding::draw(&mut self.padding, self.ranges)
    }

    async fn ask(&self, name: &'static str, params: Params) -> Result<Vec<u8>, ApiError> {
        let encoding = match &self.server_secret {
            Some(server_secret) => RequestEncoding::Json { server_secret },
            None => RequestEncoding::Packed,
        };
        let body = encoding.encode(params)?;
        let answer = timeout(self.limit, self.handle.request(name, &body)).await;
        let reply = answer.map_err(|_| ApiError::TimedOut { name, after: self.limit })??;
        reply.map_err(|_| ApiError::Refused(name))
    }
}

/// Who the client is.
pub(crate) fn base_params(config: &Config) -> BaseParams {
    let identity = &config.identity;
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    BaseParams {
        propagation_channel_id: identity.propagation_channel_id.clone(),
        sponsor_id: identity.sponsor_id.clone(),
        client_version: identity.client_version.to_string(),
        client_platform: identity.client_platform.clone(),
        client_features: (!identity.client_features.is_empty()).then(|| identity.client_features.clone()),
        client_build_rev: String::new(),
        network_type: crate::network_type(&config.network_id).to_owned(),
        applied_tactics_tag: String::new(),
        device_region: given(&identity.device_region),
        device_location: given(&identity.device_location),
        egress_region: given(&config.servers.egress_region),
    }
}

fn padding_ranges(of: &Ossh) -> PaddingRanges {
    let range = |least: u32, most: u32| {
        let [min, max] = [least, most].map(|bytes| u16::try_from(bytes).unwrap_or(u16::MAX));
        PaddingRange { min, max }
    };
    PaddingRanges {
        upstream: range(of.api_request_min_padding, of.api_request_max_padding),
        downstream: range(of.api_reply_min_padding, of.api_reply_max_padding),
    }
}
