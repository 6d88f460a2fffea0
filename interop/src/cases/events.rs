//! What servers write of their clients: ours writes what the reference's does, with the same kinds of values and, where nothing is drawn and
//! nothing is timed, the same values.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::traffic::download;
use super::{Case, Note, Protocols, case};
use crate::failure::{Doing, Failure, expect_eq};
use crate::lines::Cursor;
use crate::ports;
use crate::process::Signal;
use crate::programs::{Maker, Pairing};
use crate::scenario::{ClientPlan, Folder, STOP, Server, ServerEdits, Setting, TUNNEL, members};

pub(super) const CASES: &[Case] = &[
    case("events", events).over(Protocols::Each),
    case("failed_tunnel", failed_tunnel).over(Protocols::Streams),
    case("irregular_tunnel", irregular_tunnel).over(Protocols::OnlyOssh),
    case("server_replay", server_replay).over(Protocols::Uncoordinated),
];

type Fields = Map<String, Value>;

const SESSION: &str = "0123456789abcdef0123456789abcdef";
/// Records are sent with the first request for status, which the reference's client makes after 5 to 10 s, or when it ends.
const REPORTED: Duration = Duration::from_secs(40);

/// What ours writes and the reference's does not: flows that were refused, and flows that made room; how many strangers an event is about.
const OURS: [&str; 3] =
    ["count", "total_port_forward_refused_count_tcp", "total_port_forward_evicted_count_tcp"];
/// What the reference's writes and ours does not yet: it hands no tactics out.
const REFERENCES: [&str; 1] = ["new_tactics_tag"];
/// Numbers that the reference writes as text.
const NUMBERS: [&str; 1] = ["establishment_duration"];
/// What clients draw, or what depends on when somebody looked: there or not.
const SOMETIMES: [&str; 8] = [
    "meek_host_header",
    "meek_sni_server_name",
    "peak_concurrent_proximate_accepted_clients",
    "peak_concurrent_proximate_established_clients",
    "shadowsocks_prefix",
    "tls_ossh_sni_server_name",
    "tls_ossh_transformed_host_name",
    "tls_padding",
];

/// What has the same value on both servers, where both write it.
const SAME: &[&str] = &[
    "authorized_access_types",
    "bytes",
    "bytes_down_tcp",
    "bytes_down_udp",
    "bytes_up_tcp",
    "bytes_up_udp",
    "client_asn",
    "client_aso",
    "client_city",
    "client_isp",
    "client_platform",
    "client_region",
    "client_version",
    "dsl_prioritized",
    "establish_tunnels",
    "establish_tunnels_limited_count",
    "established_tunnels_count",
    "event_name",
    "handshake_completed",
    "host_id",
    "is_first_tunnel_in_session",
    "is_replay",
    "listener_protocol",
    "meek_cached_response_miss_position",
    "meek_client_retries",
    "meek_payload_padding",
    "meek_peak_cached_response_hit_size",
    "network_type",
    "peak_concurrent_dialing_port_forward_count_tcp",
    "peak_concurrent_port_forward_count_tcp",
    "peak_concurrent_port_forward_count_udp",
    "propagation_channel_id",
    "record_probability",
    "relay_protocol",
    "replay_ignored_change",
    "server_entry_source",
    "server_replay_fragmentation",
    "server_replay_packet_manipulation",
    "session_id",
    "sponsor_id",
    "total_domain_port_forward_count_tcp",
    "total_packet_tunnel_channel_count",
    "total_port_forward_count_tcp",
    "total_port_forward_count_udp",
    "total_udpgw_channel_count",
];

/// Events that a whole tunnel and a stranger give rise to.
fn events(setting: &Setting) -> Result<Note, Failure> {
    let seen = tunnel_events(setting)?;
    let tunnel = seen.get("server_tunnel").cloned().unwrap_or_default();
    for (field, expected) in [
        ("relay_protocol", json!(setting.protocol.name())),
        ("session_id", json!(SESSION)),
        ("handshake_completed", json!(true)),
        ("server_replay_fragmentation", json!(false)),
        ("server_replay_packet_manipulation", json!(false)),
        ("total_packet_tunnel_channel_count", json!(0)),
        ("total_port_forward_count_tcp", json!(1)),
    ] {
        expect_eq(format!("{field} of server_tunnel"), Some(&expected), tunnel.get(field))?;
    }
    let has_session = tunnel.contains_key("meek_underlying_connection_count");
    expect_eq("whether server_tunnel tells of a meek session", setting.protocol.is_meek(), has_session)?;
    compare(setting, &seen, tunnel_events)
}

/// Tunnels that did not come to be are reported by the next one that does.
fn failed_tunnel(setting: &Setting) -> Result<Note, Failure> {
    let seen = failed_events(setting)?;
    let failed = seen.get("failed_tunnel").cloned().unwrap_or_default();
    expect_eq("relay_protocol", Some(&json!(setting.protocol.name())), failed.get("relay_protocol"))?;
    expect_eq("record_probability", Some(1.0), failed.get("record_probability").and_then(Value::as_f64))?;
    expect_eq("whether there is an error", true, failed.get("tunnel_error").is_some_and(Value::is_string))?;
    compare(setting, &seen, failed_events)
}

/// Pieces that have worked for one client are made again for the next of its place and protocol, and both events say so.
fn server_replay(setting: &Setting) -> Result<Note, Failure> {
    const LONGEST_PIECE: u64 = 40;
    let tactics = members(json!({
        "FragmentorDownstreamProbability": 1.0,
        "FragmentorDownstreamMinTotalBytes": 500,
        "FragmentorDownstreamMaxTotalBytes": 3000,
        "FragmentorDownstreamMinWriteBytes": 20,
        "FragmentorDownstreamMaxWriteBytes": LONGEST_PIECE,
        "FragmentorDownstreamMinDelay": "1ms",
        "FragmentorDownstreamMaxDelay": "2ms",
        "ServerReplayFragmentor": true,
        "ServerReplayUnknownGeoIP": true,
        "ServerReplayTTL": "120s",
        "ServerReplayTargetWaitDuration": "2s",
        "ServerReplayTargetTunnelDuration": "1ms",
    }));
    let config = members(json!({ "LoadMonitorPeriodSeconds": 1 }));
    let mut server = setting.server(ServerEdits { config, tactics, ..ServerEdits::default() })?;
    let mut tunnels = Vec::new();
    let mut cursor = Cursor::default();
    for (counted, is_replay) in [("replay_set_replay_count", false), ("replay_get_replay_hit_count", true)] {
        let mut client = setting.connect(&setting.plan(&server))?;
        download(client.socks, setting.origin.bulk, 100_000)?;
        let count = |fields: &Fields| fields.get(counted).and_then(Value::as_u64) > Some(0);
        event(&mut server, "server_load", TUNNEL, count)?;
        client.stop(Signal::Terminate)?;
        let was_used = |fields: &Fields| fields.get("bytes").and_then(Value::as_u64) > Some(0);
        let tunnel = event_after(&mut server, &mut cursor, "server_tunnel", TUNNEL, was_used)?;
        let field = "server_replay_fragmentation";
        expect_eq(field, Some(&json!(is_replay)), tunnel.get(field))?;
        tunnels.push(tunnel);
    }
    let bytes = |tunnel: &Fields| tunnel.get("downstream_bytes_fragmented").and_then(Value::as_u64);
    let cut: Vec<_> = tunnels.iter().filter_map(bytes).collect();
    // How much is cut follows from the same draw; where the last piece ends depends on what was written.
    let is_again = matches!(cut[..], [first, again] if first.abs_diff(again) <= LONGEST_PIECE);
    expect_eq(format!("whether {cut:?} bytes in pieces are the same draw"), true, is_again)?;
    Ok(format!("{cut:?} bytes in pieces"))
}

/// Strangers, and authorizations that are used twice.
fn irregular_tunnel(setting: &Setting) -> Result<Note, Failure> {
    let seen = irregular_events(setting)?;
    compare(setting, &seen, irregular_events)
}

/// Events by name, of one pairing.
type Seen = BTreeMap<&'static str, Fields>;

/// Where the server is ours, the same client's events at the reference's are to be the same.
fn compare(
    setting: &Setting,
    ours: &Seen,
    see: fn(&Setting) -> Result<Seen, Failure>,
) -> Result<Note, Failure> {
    let reference = beside_reference(setting);
    if setting.pairing.server == Maker::Reference || setting.programs.missing(reference.pairing).is_some() {
        return Ok(Note::new());
    }
    let theirs = see(&reference)?;
    let differences: Vec<String> = ours
        .iter()
        .flat_map(|(name, ours)| {
            let theirs = theirs.get(name).cloned().unwrap_or_default();
            differences(ours, &theirs).into_iter().map(move |difference| format!("{name}: {difference}"))
        })
        .collect();
    expect_eq("differences to the reference's events", Vec::<String>::new(), differences)?;
    Ok(format!("{} fields compared", ours.values().map(Map::len).sum::<usize>()))
}

/// The same client with the reference's server.
fn beside_reference(setting: &Setting) -> Setting {
    Setting {
        programs: setting.programs.clone(),
        pairing: Pairing { server: Maker::Reference, ..setting.pairing },
        protocol: setting.protocol,
        origin: setting.origin,
        long: setting.long,
        journal: setting.journal.clone(),
    }
}

fn differences(ours: &Fields, theirs: &Fields) -> Vec<String> {
    let mut found = Vec::new();
    let names = ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name)));
    for name in names.map(String::as_str) {
        match (ours.get(name), theirs.get(name)) {
            (Some(_), None) if !OURS.contains(&name) && !SOMETIMES.contains(&name) => {
                found.push(format!("only ours has {name}"));
            }
            (None, Some(_)) if !REFERENCES.contains(&name) && !SOMETIMES.contains(&name) => {
                found.push(format!("only the reference's has {name}"));
            }
            (Some(ours), Some(theirs)) => {
                let as_number = NUMBERS.contains(&name) && ours.is_number();
                if kind(ours) != kind(theirs) && !as_number {
                    found.push(format!("{name} is {} and {}", kind(ours), kind(theirs)));
                } else if SAME.contains(&name) && !is_same(ours, theirs) {
                    found.push(format!("{name} is {ours} and {theirs}"));
                }
            }
            _ => {}
        }
    }
    found
}

/// The reference writes whole numbers without a point, whatever they count.
fn is_same(ours: &Value, theirs: &Value) -> bool {
    ours == theirs || ours.as_f64().is_some_and(|number| Some(number) == theirs.as_f64())
}

/// A value's type, and those of what is in it.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "a flag".into(),
        Value::Number(_) => "a number".into(),
        Value::String(_) => "a text".into(),
        Value::Array(items) => format!("a list of {:?}", items.iter().map(kind).collect::<Vec<_>>()),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| (name, kind(value))).collect();
            format!("an object of {members:?}")
        }
    }
}

fn tunnel_events(setting: &Setting) -> Result<Seen, Failure> {
    let config = members(json!({ "LoadMonitorPeriodSeconds": 1 }));
    let mut server = setting.server(ServerEdits { config, ..ServerEdits::default() })?;
    let plan = setting.plan(&server).with("SessionID", SESSION);
    let plan = plan.with("ClientPlatform", "Pairing").with("ClientVersion", "7");
    let mut client = setting.connect(&plan)?;
    download(client.socks, setting.origin.bulk, 100_000)?;
    let mut seen = Seen::new();
    seen.insert("unique_user", event(&mut server, "unique_user", STOP, |_| true)?);
    let is_up = |fields: &Fields| {
        let clients = fields.get("ALL").and_then(|all| all.get("established_clients"));
        clients.and_then(Value::as_u64) == Some(1)
    };
    seen.insert("server_load", event(&mut server, "server_load", STOP, is_up)?);
    client.stop(Signal::Terminate)?;
    // Sessions of requests would otherwise wait for more of them, since the reference's client does not say that it ends.
    server.process()?.signal(Signal::Terminate)?;
    // There may be attempts that lost a race, also behind a handshake.
    let was_used = |fields: &Fields| fields.get("bytes").and_then(Value::as_u64) > Some(0);
    seen.insert("server_tunnel", event(&mut server, "server_tunnel", STOP, was_used)?);
    Ok(seen)
}

fn irregular_events(setting: &Setting) -> Result<Seen, Failure> {
    let mut server = setting.plain_server()?;
    let mut stranger = TcpStream::connect(server.address(setting.protocol)).doing("connect as a stranger")?;
    // Longer than whatever may stand before a preamble. Who hangs up on it may do so before all is sent.
    let _ = stranger.write_all(&[b'x'; 400_000]);
    drop(stranger);
    Ok(Seen::from([("irregular_tunnel", event(&mut server, "irregular_tunnel", STOP, |_| true)?)]))
}

fn failed_events(setting: &Setting) -> Result<Seen, Failure> {
    let folder = Folder::new()?;
    let mut server = setting.plain_server()?;
    let plan = setting.plan(&server).with("NetworkID", "WIFI-pairing").with("SessionID", SESSION);
    let plan = match setting.pairing.client {
        Maker::Ours => {
            plan.with("Parameters", json!({ "RecordFailedTunnelPersistentStatsProbability": 1.0 }))
        }
        Maker::Reference => {
            learn_tactics(setting, &folder)?;
            plan
        }
    };
    let mut nowhere = plan.clone();
    nowhere.entry.set(setting.protocol.port_field(), ports::free());
    let mut client = setting.launch_in(&folder, &target(&nowhere), &[])?;
    client.wait_notice("a refused connection", TUNNEL, |notice| {
        let text = notice.data.to_string();
        // A round trip is tried again.
        (text.contains("refused") && !text.contains("round trip")).then_some(())
    })?;
    client.stop(Signal::Terminate)?;
    let mut client = setting.launch_in(&folder, &target(&plan), &[])?;
    client.wait_tunnels(1, TUNNEL)?;
    let fields = event(&mut server, "failed_tunnel", REPORTED, |_| true)?;
    Ok(Seen::from([("failed_tunnel", fields)]))
}

fn target(plan: &ClientPlan) -> ClientPlan {
    plan.clone().with("TargetServerEntry", plan.entry.encode())
}

/// The reference's client takes parameters from no file: a server has to say that failures are recorded.
fn learn_tactics(setting: &Setting, folder: &Folder) -> Result<(), Failure> {
    let setting = beside_reference(setting);
    let tactics = members(json!({ "RecordFailedTunnelPersistentStatsProbability": 1.0 }));
    let server = setting.server(ServerEdits { tactics, ..ServerEdits::default() })?;
    let plan = setting.plan(&server).with("NetworkID", "WIFI-pairing");
    let mut client = setting.launch_in(folder, &target(&plan), &[])?;
    client.wait_tunnels(1, TUNNEL)?;
    client.stop(Signal::Terminate)?;
    Ok(())
}

/// The first event of a name that fits, wherever it stands.
fn event(
    server: &mut Server,
    name: &str,
    limit: Duration,
    fits: impl Fn(&Fields) -> bool,
) -> Result<Fields, Failure> {
    event_after(server, &mut Cursor::default(), name, limit, fits)
}

/// The same, behind what was read before.
fn event_after(
    server: &mut Server,
    cursor: &mut Cursor,
    name: &str,
    limit: Duration,
    fits: impl Fn(&Fields) -> bool,
) -> Result<Fields, Failure> {
    server.process_mut()?.wait_line(cursor, limit, &format!("event {name}"), |line| {
        let fields: Fields = serde_json::from_str(line).ok()?;
        let is_it = fields.get("event_name").and_then(Value::as_str) == Some(name);
        (is_it && fits(&fields)).then_some(fields)
    })
}
