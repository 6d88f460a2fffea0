//! What is reported about clients: one event for each tunnel, events that requests give rise to, and strangers in
//! numbers. No client address, and no destination, gets here. Field names are the reference's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::api::{RequestKind, SessionId};
use culvert_ssh::PreambleFacts;
use culvert_ssh_tokio::Stats;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::api::{Established, Event, TagChecks};
use crate::authorizations::Shared;
use crate::figures::Figures;
use crate::forward::flows::Flows;
use crate::forward::random::Moved;
use crate::geoip::Place;
use crate::log::{Field, Logger};

/// When a tunnel began, by the calendar and by the clock.
#[derive(Clone, Copy)]
pub(super) struct Began {
    at: OffsetDateTime,
    clock: Instant,
}

impl Began {
    pub(super) fn now() -> Self {
        Self { at: OffsetDateTime::now_utc(), clock: Instant::now() }
    }
}

/// Writes events of one client's requests.
pub(super) struct Reporter<'r> {
    pub(super) log: &'r Logger,
    pub(super) session: &'r SessionId,
    pub(super) place: &'r Place,
    pub(super) access_types: &'r [String],
}

impl Reporter<'_> {
    pub(super) fn write(&self, event: Event) {
        let mut fields = event.fields;
        if !event.is_stored {
            fields.insert("session_id".into(), self.session.as_str().into());
        }
        add_place(&mut fields, self.place);
        add_access_types(&mut fields, self.access_types);
        write(self.log, event.name, fields);
    }
}

/// Everything about a tunnel that has ended.
pub(super) struct TunnelReport<'r> {
    pub(super) log: &'r Logger,
    pub(super) own_tag: &'r str,
    pub(super) protocol: TunnelProtocol,
    pub(super) session: &'r SessionId,
    pub(super) place: &'r Place,
    pub(super) began: Began,
    pub(super) ended: Instant,
    pub(super) preamble: Option<&'r PreambleFacts>,
    /// What is below SSH, as it is reported.
    pub(super) carriage: Map<String, Json>,
    pub(super) is_first: bool,
    pub(super) established: Option<&'r Established>,
    pub(super) flows: &'r Flows,
    /// Random streams before the handshake, and after it.
    pub(super) moved: &'r [Arc<Moved>; 2],
    /// Of a client that may not have come to its handshake.
    pub(super) sponsor: Option<&'r str>,
}

impl TunnelReport<'_> {
    pub(super) fn write(mut self, stats: Stats) {
        let mut fields = Map::new();
        if let Some(established) = self.established {
            fields.extend(established.handshake.words.log_fields(RequestKind::BaseAndDial));
            fields.extend(established.connected.iter().flat_map(|connected| connected.log_fields.clone()));
            add_access_types(&mut fields, &established.handshake.granted.access_types);
            add_tag_checks(&mut fields, established.tag_checks);
        }
        add_place(&mut fields, self.place);
        self.add_identity(&mut fields);
        self.add_traffic(&mut fields, stats);
        fields.append(&mut self.carriage);
        self.add_peaks(&mut fields);
        write(self.log, "server_tunnel", fields);
    }

    fn add_identity(&self, fields: &mut Map<String, Json>) {
        let start = self.began.at.format(&Rfc3339).unwrap_or_default();
        // What the client says of its protocol is not checked; which port it came to is known.
        fields.insert("relay_protocol".into(), self.protocol.name().into());
        fields.insert("session_id".into(), self.session.as_str().into());
        fields.insert("start_time".into(), start.into());
        fields.insert("handshake_completed".into(), self.established.is_some().into());
        if let (None, Some(sponsor)) = (self.established, self.sponsor) {
            fields.insert("sponsor_id".into(), sponsor.into());
        }
        fields.insert("is_first_tunnel_in_session".into(), self.is_first.into());
        fields.insert("server_entry_tag".into(), self.own_tag.into());
        if let Some(preamble) = self.preamble {
            fields.insert("downstream_ossh_padding".into(), preamble.server_padding.into());
        }
    }

    fn add_traffic(&self, fields: &mut Map<String, Json>, stats: Stats) {
        let (up, down) = self.flows.bytes();
        let (udp_up, udp_down) = self.flows.udp_bytes();
        let carried = up + down + udp_up + udp_down;
        let totals = self.flows.totals();
        let wire = stats.read + stats.written;
        let duration = self.ended.saturating_duration_since(self.began.clock).saturating_sub(stats.idle);
        let mut add = |numbers: &[(&str, u64)]| {
            fields.extend(numbers.iter().map(|(name, number)| ((*name).to_owned(), (*number).into())));
        };
        add(&[
            ("duration", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            ("bytes", carried),
            ("ssh_protocol_bytes", wire),
            ("ssh_protocol_bytes_overhead", wire.saturating_sub(carried)),
        ]);
        // There are no flows before the handshake.
        let flows = [
            ("bytes_up_tcp", up),
            ("bytes_down_tcp", down),
            ("bytes_up_udp", udp_up),
            ("bytes_down_udp", udp_down),
            ("total_port_forward_count_tcp", totals.flows),
            ("total_domain_port_forward_count_tcp", totals.by_name),
            ("total_port_forward_count_udp", totals.udp_flows),
            ("total_port_forward_refused_count_tcp", totals.refused),
            ("total_port_forward_evicted_count_tcp", totals.evicted),
            ("peak_concurrent_port_forward_count_tcp", totals.peak_flows as u64),
            ("peak_concurrent_port_forward_count_udp", totals.peak_udp_flows as u64),
            ("total_udpgw_channel_count", totals.udp_gateways),
            // This server has no packet tunnels.
            ("total_packet_tunnel_channel_count", 0),
            ("peak_concurrent_dialing_port_forward_count_tcp", totals.peak_dialing as u64),
        ];
        if self.established.is_some() {
            add(&flows);
        }
        let [before, after] = self.moved;
        let moved = before.fields("pre_handshake_").into_iter().chain(after.fields(""));
        fields.extend(moved.map(|(name, number)| (name, number.into())));
    }

    /// What was seen of it when the server's load was looked at; nothing if it never was.
    fn add_peaks(&self, fields: &mut Map<String, Json>) {
        let peaks = self.flows.tally().peaks();
        let mut number = |name: &str, value: Option<u64>| {
            fields.extend(value.map(|value| (name.to_owned(), value.into())));
        };
        number("peak_concurrent_proximate_accepted_clients", peaks.accepted_nearby);
        number("peak_concurrent_proximate_established_clients", peaks.established_nearby);
        number("peak_tcp_port_forward_failure_rate_sample_size", peaks.failed_dials.map(|(_, size)| size));
        number("peak_dns_failure_rate_sample_size", peaks.failed_look_ups.map(|(_, size)| size));
        let mut rate = |name: &str, value: Option<(f64, u64)>| {
            fields.extend(value.map(|(rate, _)| (name.to_owned(), rate.into())));
        };
        rate("peak_tcp_port_forward_failure_rate", peaks.failed_dials);
        rate("peak_dns_failure_rate", peaks.failed_look_ups);
    }
}

/// As the reference reports it, without what a session is: an authorization that was used in two.
pub(super) fn shared_authorization(log: &Logger, own_tag: &str, shared: &Shared, place: &Place) {
    let mut fields = Map::new();
    fields.insert("tunnel_error".into(), "duplicate active authorization".into());
    fields.insert("duplicate_authorization_id".into(), shared.id.as_str().into());
    fields.insert("server_entry_tag".into(), own_tag.into());
    add_place(&mut fields, place);
    if shared.place != *place {
        let there = shared.place.log_fields("duplicate_authorization_client");
        fields.extend(there.map(|(name, value)| (name, value.into())));
    }
    write(log, "irregular_tunnel", fields);
}

fn add_access_types(fields: &mut Map<String, Json>, access_types: &[String]) {
    if !access_types.is_empty() {
        fields.insert("authorized_access_types".into(), access_types.into());
    }
}

fn add_tag_checks(fields: &mut Map<String, Json>, checks: TagChecks) {
    if checks.requests > 0 {
        fields.insert("request_check_server_entry_tags".into(), checks.requests.into());
        fields.insert("checked_server_entry_tags".into(), checks.tags.into());
        fields.insert("invalid_server_entry_tags".into(), checks.invalid.into());
    }
}

pub(super) fn add_place(fields: &mut Map<String, Json>, place: &Place) {
    fields.extend(place.log_fields("client").map(|(name, value)| (name, value.into())));
}

pub(super) fn write(log: &Logger, name: &'static str, fields: Map<String, Json>) {
    log.event(name, fields.iter().map(|(name, value)| (name.as_str(), Field::parameter(value.clone()))));
}

/// Counts strangers by port and kind, so that probing cannot fill the log.
pub(crate) struct Irregular {
    log: Logger,
    own_tag: String,
    figures: Arc<Figures>,
    windows: Mutex<BTreeMap<(u16, &'static str), Window>>,
}

struct Window {
    protocol: TunnelProtocol,
    began: Instant,
    /// Not written yet.
    count: u64,
}

impl Irregular {
    /// A kind is written this often at most.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(300);

    pub(crate) fn new(log: Logger, own_tag: &str, figures: Arc<Figures>) -> Self {
        Self { log, own_tag: own_tag.to_owned(), figures, windows: Mutex::default() }
    }

    /// Counts one: the first of its kind is written at once, those that follow together.
    pub(crate) fn record(&self, protocol: TunnelProtocol, port: u16, error: &'static str) {
        self.figures.irregular(protocol, error);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(&(port, error)) {
            window.count += 1;
            return;
        }
        windows.insert((port, error), Window { protocol, began: Instant::now(), count: 0 });
        self.write(protocol, port, error, 1);
    }

    /// Writes what has waited for so long.
    pub(crate) fn write_older_than(&self, age: Duration) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for ((port, error), window) in windows.extract_if(.., |_, window| window.began.elapsed() >= age) {
            if window.count > 0 {
                self.write(window.protocol, port, error, window.count);
            }
        }
    }

    fn write(&self, protocol: TunnelProtocol, port: u16, error: &'static str, count: u64) {
        let mut fields = Map::new();
        fields.insert("server_entry_tag".into(), self.own_tag.as_str().into());
        fields.insert("listener_protocol".into(), protocol.name().into());
        fields.insert("listener_port_number".into(), port.into());
        fields.insert("tunnel_error".into(), error.into());
        fields.insert("count".into(), count.into());
        add_place(&mut fields, &Place::UNKNOWN);
        write(&self.log, "irregular_tunnel", fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Level, Origin};

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_strangers_is_two_events() {
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let irregular = Irregular::new(log, "tag", Figures::new(&[]));
        for _ in 0..1000 {
            irregular.record(TunnelProtocol::OSSH, 443, "invalid preamble");
        }
        irregular.write_older_than(Irregular::INTERVAL);
        assert_eq!(captured.text().lines().count(), 1);
        tokio::time::advance(Irregular::INTERVAL).await;
        irregular.write_older_than(Irregular::INTERVAL);
        irregular.write_older_than(Duration::ZERO);
        let counts: Vec<u64> = captured
            .text()
            .lines()
            .map(|line| serde_json::from_str::<Json>(line).unwrap()["count"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, [1, 999]);
    }
}
