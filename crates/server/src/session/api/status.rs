//! The status request: what a client counted and stored becomes log events. Source: PROTOCOL.md 4.7.

use culvert_protocol::api::{self, RequestKind, StatusReply, StatusRequest, response_padding};
use culvert_protocol::packed::Params;

use super::{ApiError, Event};

pub(super) fn answer(params: &Params, report: &mut dyn FnMut(Event)) -> Result<Vec<u8>, ApiError> {
    let request = StatusRequest::parse(params)?;
    // Sites are counted only by rules that a handshake gave, and ours gives none.
    for record in &request.data.remote_server_list_stats {
        report_record("remote_server_list", RequestKind::RemoteServerList, record, report);
    }
    for record in &request.data.failed_tunnel_stats {
        report_record("failed_tunnel", RequestKind::FailedTunnel, record, report);
    }
    let reply =
        StatusReply { invalid_server_entry_tags: invalid_tags(&request), padding: response_padding(params) };
    Ok(reply.to_json().into_bytes())
}

/// A malformed record costs only itself, and is not refused, so that the client does not send it for ever.
fn report_record(name: &'static str, kind: RequestKind, record: &Params, report: &mut dyn FnMut(Event)) {
    if api::validate(kind, record).is_ok() {
        report(Event { name, fields: api::log_fields(kind, record, "") });
    }
}

/// Entries that were dialled at no port: no server can have such an entry.
fn invalid_tags(request: &StatusRequest) -> Vec<String> {
    let dialled_nowhere = |record: &&Params| record.text("dial_port_number") == Some("0");
    let records = request.data.failed_tunnel_stats.iter().filter(dialled_nowhere);
    let mut tags: Vec<String> =
        records.filter_map(|record| record.text("server_entry_tag")).map(str::to_owned).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}
