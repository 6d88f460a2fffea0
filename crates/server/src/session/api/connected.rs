//! The connected request: counts a user once a day. Source: PROTOCOL.md 4.6.

use culvert_protocol::api::{
    self, ConnectedReply, ConnectedRequest, NEVER_CONNECTED, RequestKind, response_padding,
};
use culvert_protocol::packed::Params;
use culvert_protocol::timestamp;
use serde_json::{Map, Value as Json};
use time::{Date, OffsetDateTime, UtcOffset};

use super::{ApiError, Context, Event};

/// The last request that counted.
#[derive(Debug)]
pub(crate) struct Connected {
    day: Date,
    timestamp: String,
    /// For the tunnel's report.
    pub(crate) log_fields: Map<String, Json>,
}

pub(super) fn answer(
    last: &mut Option<Connected>,
    params: &Params,
    context: &Context<'_>,
    report: &mut dyn FnMut(Event),
) -> Result<Vec<u8>, ApiError> {
    let request = ConnectedRequest::parse(params)?;
    let day = context.now.to_offset(UtcOffset::UTC).date();
    let counted = match last.take() {
        Some(earlier) if earlier.day == day => earlier,
        _ => {
            if is_new_today(&request.last_connected, context.now) {
                let fields = api::log_fields(RequestKind::UniqueUser, params, "");
                report(Event { name: "unique_user", is_stored: false, fields });
            }
            Connected { day, timestamp: timestamp::to_hour(context.now), log_fields: kept(params) }
        }
    };
    let reply =
        ConnectedReply { connected_timestamp: counted.timestamp.clone(), padding: response_padding(params) };
    *last = Some(counted);
    Ok(reply.to_json().into_bytes())
}

/// Whether the client was not counted on this day, here or by another server.
fn is_new_today(last_connected: &str, now: OffsetDateTime) -> bool {
    let hour = timestamp::hour_of(now);
    match timestamp::parse_iso8601(last_connected.as_bytes()) {
        _ if last_connected == NEVER_CONNECTED => true,
        Some(last) => last < hour && last.to_offset(UtcOffset::UTC).date() != hour.date(),
        // Not there, or it would not be valid.
        None => true,
    }
}

/// What only this request says, and what it says anew: how the first bytes were fragmented.
fn kept(params: &Params) -> Map<String, Json> {
    let mut fields = api::log_fields(RequestKind::Connected, params, "");
    fields.retain(|name, _| {
        matches!(name.as_str(), "last_connected" | "establishment_duration")
            || name.starts_with("light_proxy_")
    });
    let anew = ["upstream_bytes_fragmented", "upstream_min_", "upstream_max_"];
    let is_anew = |name: &str| anew.iter().any(|start| name.starts_with(start));
    let dial = api::log_fields(RequestKind::BaseAndDial, params, "");
    fields.extend(dial.into_iter().filter(|(name, _)| is_anew(name)));
    fields
}
