//! The handshake: once a tunnel, before anything else. Source: PROTOCOL.md 4.2, 4.5.

use std::sync::Arc;

use culvert_obfuscation::Prng;
use culvert_protocol::api::{HandshakeReply, HandshakeRequest, HostRegex, reply_encoding, response_padding};
use culvert_protocol::packed;
use culvert_protocol::timestamp;

use super::words::Words;
use super::{ApiError, Context};
use crate::authorizations::Granted;
use crate::psinet::{Platform, Visitor};
use crate::rules::{HandshakeFacts, TextParameters};

/// What is kept of a handshake.
#[derive(Debug)]
pub(crate) struct Handshaken {
    /// For reports.
    pub(crate) words: Arc<Words>,
    /// On what pages depend.
    pub(crate) visitor: Visitor,
    /// How names of sites are counted, as the client was told.
    pub(crate) host_regexes: Arc<[HostRegex]>,
    /// What the client says of headers that tell destinations of it.
    pub(crate) wants_headers: Option<bool>,
    pub(crate) granted: Granted,
    /// Another session has taken over what was granted.
    pub(crate) revoked: bool,
    /// What rules may ask for.
    parameters: TextParameters,
}

impl Handshaken {
    /// What filters of rules see of it.
    pub(crate) fn facts(&self) -> HandshakeFacts<'_> {
        HandshakeFacts {
            parameters: &self.parameters,
            access_types: &self.granted.access_types,
            authorization_ids: &self.granted.ids,
            revoked: self.revoked,
        }
    }
}

/// Judges a request and writes the reply.
pub(super) fn answer(payload: &[u8], context: &Context<'_>) -> Result<(Handshaken, Vec<u8>), ApiError> {
    let params = packed::decode(payload)?;
    let request = HandshakeRequest::parse(&params)?;
    let psinet = context.psinet.get();
    let visitor = Visitor {
        sponsor: request.base.sponsor_id.clone(),
        device_region: request.base.device_region.clone(),
        platform: Platform::of(&request.base.client_platform),
    };
    let shaken = Handshaken {
        words: Arc::new(Words::new(&params)),
        host_regexes: psinet.host_regexes(&visitor.sponsor),
        visitor,
        wants_headers: request.proxy_protocol_headers,
        granted: context.authorizations.judge(&request.authorizations, context.now),
        revoked: false,
        parameters: TextParameters::new(&params),
    };
    let rates = (context.rules)(shaken.facts()).rates.limits;
    let rate = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let visitor = &shaken.visitor;
    let reply = HandshakeReply {
        homepages: psinet.home_pages(visitor, context.place, &mut Prng::new(context.order)),
        upgrade_client_version: psinet
            .upgrade(visitor.platform, &request.base.client_version)
            .unwrap_or_default(),
        https_request_regexes: shaken.host_regexes.to_vec(),
        encoded_server_list: own_entries(&request, context),
        client_region: context.place.country.clone().into_owned(),
        client_address: context.client.to_string(),
        server_timestamp: timestamp::to_second(context.now),
        active_authorization_ids: shaken.granted.ids.clone(),
        upstream_bytes_per_second: rate(rates.read_bytes_per_second),
        downstream_bytes_per_second: rate(rates.write_bytes_per_second),
        padding: response_padding(&params),
        culvert_extensions: context.extensions.iter().map(|name| (*name).to_owned()).collect(),
        ..HandshakeReply::default()
    };
    let encoded = reply.encode(reply_encoding(&params))?;
    Ok((shaken, encoded))
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
