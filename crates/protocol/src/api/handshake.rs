//! The handshake request. PROTOCOL.md 4.5.

use std::fmt;

use serde_json::Value as Json;

use super::handshake_reply::RESPONSE_VERSION;
use super::{BaseParams, DialParams, Padding, ParamError, SpeedTestSample, validate_handshake};
use crate::packed::{Params, Value};
use crate::server_entry::Tag;

/// The request that each tunnel starts with.
#[derive(Clone, Default, PartialEq)]
pub struct HandshakeRequest {
    /// Who the client is.
    pub base: BaseParams,
    /// How it dialled.
    pub dial: DialParams,
    /// Padding of request and reply.
    pub padding: Padding,
    /// What the client's copy of the server's entry lacks.
    pub missing: MissingMembers,
    /// Asks for, or forbids, PROXY protocol headers on port forwards.
    pub proxy_protocol_headers: Option<bool>,
    /// What the client knows of tactics, if it uses them.
    pub tactics: Option<TacticsParams>,
    /// Flows to the client's own region shall not use the tunnel.
    pub split_tunnel_own_region: bool,
    /// Flows to these regions shall not use the tunnel.
    pub split_tunnel_regions: Vec<String>,
    /// Authorizations, as text. Secrets of the user.
    pub authorizations: Vec<String>,
}

/// The tag of the entry in use, where the entry lacks something that a fresh copy would have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MissingMembers {
    /// Sent if the entry is not signed.
    pub signature: Option<Tag>,
    /// Sent if the entry names no provider.
    pub provider_id: Option<Tag>,
}

/// What the client knows of tactics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TacticsParams {
    /// The tag of the stored tactics; empty if none are stored.
    pub stored_tag: String,
    /// Recent speed tests.
    pub speed_test_samples: Vec<SpeedTestSample>,
    /// True to get a reply in CBOR, which may hold compressed tactics.
    pub compress: bool,
}

impl HandshakeRequest {
    /// The parameters to send.
    #[must_use]
    pub fn to_params(&self) -> Params {
        let mut params = self.without_dial();
        self.dial.write(&mut params);
        params
    }

    /// Validates and reads the parameters of a request.
    ///
    /// # Errors
    /// The first parameter that is missing or wrong.
    pub fn parse(params: &Params) -> Result<Self, ParamError> {
        validate_handshake(params)?;
        let tag = |name| params.text(name).map(Tag::explicit);
        let flag = |name| params.text(name).map(|text| text == "1");
        let number = |name| params.text(name).and_then(|text| text.parse().ok());
        let authorizations = match params.get("authorizations") {
            None => Vec::new(),
            Some(Value::TextList(list)) => list.clone(),
            Some(_) => return Err(ParamError::Type { name: "authorizations" }),
        };
        Ok(Self {
            base: BaseParams::read(params),
            dial: DialParams::read(params),
            padding: Padding {
                request: params.text("padding").map(str::len),
                response: number("pad_response"),
            },
            missing: MissingMembers {
                signature: tag("missing_server_entry_signature"),
                provider_id: tag("missing_server_entry_provider_id"),
            },
            proxy_protocol_headers: flag("enable_proxy_protocol_headers"),
            tactics: TacticsParams::read(params),
            split_tunnel_own_region: flag("split_tunnel").unwrap_or_default(),
            split_tunnel_regions: params.text_list("split_tunnel_regions").unwrap_or_default().to_vec(),
            authorizations,
        })
    }

    fn without_dial(&self) -> Params {
        let mut params = Params::default();
        self.base.write(&mut params);
        self.padding.write(&mut params);
        for (name, tag) in [
            ("missing_server_entry_signature", &self.missing.signature),
            ("missing_server_entry_provider_id", &self.missing.provider_id),
        ] {
            if let Some(tag) = tag {
                params.set(name, tag.as_str());
            }
        }
        if let Some(enabled) = self.proxy_protocol_headers {
            params.set("enable_proxy_protocol_headers", if enabled { "1" } else { "0" });
        }
        if let Some(tactics) = &self.tactics {
            tactics.write(&mut params);
        }
        if self.split_tunnel_own_region {
            params.set("split_tunnel", "1");
        }
        if !self.split_tunnel_regions.is_empty() {
            params.set("split_tunnel_regions", self.split_tunnel_regions.clone());
        }
        // The reference sends null rather than an empty list.
        let none = self.authorizations.is_empty();
        let list = if none { Value::Json(Json::Null) } else { self.authorizations.clone().into() };
        params.set("authorizations", list);
        params
    }
}

/// Shows neither authorizations nor values of dial parameters, which may be addresses.
impl fmt::Debug for HandshakeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeRequest")
            .field("base", &self.base)
            .field("dial", &self.dial)
            .field("padding", &self.padding)
            .field("missing", &self.missing)
            .field("tactics", &self.tactics)
            .field("split_tunnel_regions", &self.split_tunnel_regions)
            .field("authorizations", &self.authorizations.len())
            .finish_non_exhaustive()
    }
}

impl TacticsParams {
    fn write(&self, params: &mut Params) {
        params.set("stored_tactics_tag", self.stored_tag.as_str());
        let samples = self.speed_test_samples.iter().map(SpeedTestSample::to_json).collect::<Vec<_>>();
        let samples = if samples.is_empty() { Json::Null } else { Json::Array(samples) };
        params.set("speed_test_samples", Value::Json(samples));
        if self.compress {
            params.set(RESPONSE_VERSION.0, RESPONSE_VERSION.1);
        }
    }

    /// Samples that cannot be read are dropped: the reference does not validate them either.
    fn read(params: &Params) -> Option<Self> {
        let stored_tag = params.text("stored_tactics_tag")?.to_owned();
        let samples = match params.get("speed_test_samples") {
            Some(Value::Json(Json::Array(items))) => items.as_slice(),
            _ => &[],
        };
        let speed_test_samples = samples.iter().filter_map(SpeedTestSample::from_json).collect();
        Some(Self { stored_tag, speed_test_samples, compress: super::reply_encoding(params).is_cbor() })
    }
}
