//! The handshake: once a tunnel, before anything else. Source: PROTOCOL.md 4.2, 4.5.

use culvert_protocol::api::{
    self, HandshakeReply, HandshakeRequest, RequestKind, reply_encoding, response_padding,
};
use culvert_protocol::packed;
use culvert_protocol::timestamp;
use serde_json::{Map, Value as Json};

use super::{ApiError, Context};
use crate::rules::{HandshakeFacts, TextParameters};

/// What is kept of a handshake.
#[derive(Debug)]
pub(crate) struct Handshaken {
    /// The client and its dial, for the tunnel's report.
    pub(crate) log_fields: Map<String, Json>,
    /// What rules may ask for.
    parameters: TextParameters,
}

impl Handshaken {
    /// What filters of rules see of it.
    pub(crate) fn facts(&self) -> HandshakeFacts<'_> {
        let parameters = &self.parameters;
        HandshakeFacts { parameters, access_types: &[], authorization_ids: &[], revoked: false }
    }
}

/// Judges a request and writes the reply.
pub(super) fn answer(payload: &[u8], context: &Context<'_>) -> Result<(Handshaken, Vec<u8>), ApiError> {
    let params = packed::decode(payload)?;
    let request = HandshakeRequest::parse(&params)?;
    let log_fields = api::log_fields(RequestKind::BaseAndDial, &params, "");
    let handshake = Handshaken { log_fields, parameters: TextParameters::new(&params) };
    let limits = (context.rules)(handshake.facts()).rates.limits;
    let reply = HandshakeReply {
        encoded_server_list: own_entries(&request, context),
        client_region: context.place.country.clone().into_owned(),
        client_address: context.client.to_string(),
        server_timestamp: timestamp::to_second(context.now),
        padding: response_padding(&params),
        culvert_extensions: context.extensions.iter().map(|name| (*name).to_owned()).collect(),
        upstream_bytes_per_second: i64::try_from(limits.read_bytes_per_second).unwrap_or(i64::MAX),
        downstream_bytes_per_second: i64::try_from(limits.write_bytes_per_second).unwrap_or(i64::MAX),
        ..HandshakeReply::default()
    };
    let encoded = reply.encode(reply_encoding(&params))?;
    Ok((handshake, encoded))
}

/// A fresh copy of this server's entry for a client whose copy lacks something. A tag that is not ours gives nothing, so
/// that nobody can find out by the address which server this is.
fn own_entries(request: &HandshakeRequest, context: &Context<'_>) -> Vec<String> {
    let asked = [&request.missing.signature, &request.missing.provider_id];
    let owned = |tag: &&str| context.own_entries.get(*tag).map(|entry| entry.encode());
    asked
        .into_iter()
        .flatten()
        .map(culvert_protocol::server_entry::Tag::as_str)
        .find_map(|tag| owned(&tag))
        .into_iter()
        .collect()
}
