//! The status request: what a client counted and stored becomes log events, and it is told which servers are gone.
//! Source: PROTOCOL.md 4.7.

use std::collections::BTreeSet;
use std::time::SystemTime;

use culvert_protocol::api::{self, RequestKind, StatusReply, StatusRequest, response_padding};
use culvert_protocol::packed::Params;

use super::{ApiError, Context, Established, Event};
use crate::psinet::Psinet;

/// What records of old clients lack, which is taken from the request that brings them.
const INHERITED: [&str; 7] = [
    "propagation_channel_id",
    "sponsor_id",
    "client_version",
    "client_platform",
    "client_build_rev",
    "device_region",
    "device_location",
];

/// How often a client asked for servers that are gone, for its tunnel's report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TagChecks {
    pub(crate) requests: u64,
    pub(crate) tags: u64,
    pub(crate) invalid: u64,
}

pub(super) fn answer(
    established: &mut Established,
    params: &Params,
    context: &Context<'_>,
    report: &mut dyn FnMut(Event),
) -> Result<Vec<u8>, ApiError> {
    let request = StatusRequest::parse(params)?;
    let servers = Servers { psinet: &context.psinet.get(), now: context.now.into() };
    let mut invalid_tags = BTreeSet::new();
    // Only what the client was told to count, by what still holds.
    let regexes = &established.handshake.host_regexes;
    let current = context.psinet.get().host_regexes(&established.handshake.visitor.sponsor);
    if !regexes.is_empty() && *regexes == current {
        for (name, bytes) in &request.data.host_bytes {
            (context.count_site)(name, u64::try_from(*bytes).unwrap_or(0));
        }
    }
    for record in &request.data.remote_server_list_stats {
        report_list(record, params, report);
    }
    for record in &request.data.failed_tunnel_stats {
        invalid_tags.extend(report_failed(record, &servers, report));
    }
    let asked = &request.data.check_server_entry_tags;
    let gone: Vec<_> = asked.iter().filter(|tag| !servers.exists(tag)).cloned().collect();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let checks = &mut established.tag_checks;
    checks.requests += u64::from(!asked.is_empty());
    checks.tags = checks.tags.saturating_add(count(asked.len()));
    checks.invalid = checks.invalid.saturating_add(count(gone.len()));
    invalid_tags.extend(gone);
    let reply = StatusReply {
        invalid_server_entry_tags: invalid_tags.into_iter().collect(),
        padding: response_padding(params),
    };
    Ok(reply.to_json().into_bytes())
}

/// A malformed record costs only itself, and is not refused, so that the client does not send it for ever.
fn report_list(record: &Params, request: &Params, report: &mut dyn FnMut(Event)) {
    let mut record = record.clone();
    for name in INHERITED {
        if let (None, Some(value)) = (record.get(name), request.get(name)) {
            record.set(name, value.clone());
        }
    }
    let kind = RequestKind::RemoteServerList;
    if api::validate(kind, &record).is_ok() {
        let fields = api::log_fields(kind, &record, "");
        report(Event { name: "remote_server_list", is_stored: true, fields });
    }
}

/// Likewise. Tells the tag of a server that is gone.
fn report_failed(record: &Params, servers: &Servers<'_>, report: &mut dyn FnMut(Event)) -> Option<String> {
    let kind = RequestKind::FailedTunnel;
    api::validate(kind, record).ok()?;
    let mut fields = api::log_fields(kind, record, "");
    let tag = record.text("server_entry_tag");
    // No server can have an entry that is dialled at no port.
    let dialled_nowhere =
        record.text("dial_port_number").and_then(|port| port.parse::<i64>().ok()) == Some(0);
    let exists = tag.map(|tag| !dialled_nowhere && servers.exists(tag));
    if let Some(exists) = exists {
        fields.insert("server_entry_valid".into(), exists.into());
    }
    report(Event { name: "failed_tunnel", is_stored: true, fields });
    tag.filter(|_| exists == Some(false)).map(str::to_owned)
}

struct Servers<'p> {
    psinet: &'p Psinet,
    now: SystemTime,
}

impl Servers<'_> {
    /// As far as is known.
    fn exists(&self, tag: &str) -> bool {
        self.psinet.servers.is_valid(tag, self.now)
    }
}
