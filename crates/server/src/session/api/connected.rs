//! The connected request: counts a user once a day. Source: PROTOCOL.md 4.6.

use culvert_protocol::api::{self, ConnectedReply, ConnectedRequest, RequestKind, response_padding};
use culvert_protocol::packed::Params;
use culvert_protocol::timestamp;
use serde_json::{Map, Value as Json};
use time::Date;

use super::{ApiError, Context, Event};

/// The last request that counted.
#[derive(Debug)]
pub(crate) struct Connected {
    day: Date,
    timestamp: String,
    /// `last_connected` and `establishment_duration`, for the tunnel's report.
    pub(crate) log_fields: Map<String, Json>,
}

pub(super) fn answer(
    last: &mut Option<Connected>,
    params: &Params,
    context: &Context<'_>,
    report: &mut dyn FnMut(Event),
) -> Result<Vec<u8>, ApiError> {
    let request = ConnectedRequest::parse(params)?;
    let day = context.now.to_offset(time::UtcOffset::UTC).date();
    let counted = match last.take() {
        Some(earlier) if earlier.day == day => earlier,
        _ => {
            let fields = api::log_fields(RequestKind::UniqueUser, params, "");
            report(Event { name: "unique_user", fields });
            Connected { day, timestamp: timestamp::to_hour(context.now), log_fields: kept(&request) }
        }
    };
    let reply =
        ConnectedReply { connected_timestamp: counted.timestamp.clone(), padding: response_padding(params) };
    *last = Some(counted);
    Ok(reply.to_json().into_bytes())
}

fn kept(request: &ConnectedRequest) -> Map<String, Json> {
    let mut fields = Map::new();
    fields.insert("last_connected".into(), request.last_connected.as_str().into());
    if let Some(duration) = request.establishment_milliseconds {
        // Text in the reference's log.
        fields.insert("establishment_duration".into(), duration.to_string().into());
    }
    fields
}
