//! What an operator sees of a server: figures over HTTP while tunnels come and go, and reports of load.

use std::net::SocketAddr;

use culvert_server::log::Level;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::server::{Plan, SOON, Server};

/// Where a server gives its figures.
pub(crate) fn port(server: &Server) -> SocketAddr {
    let text = server.lines();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(|line| line["msg"] == "serving figures").unwrap();
    line["localAddress"].as_str().unwrap().parse().unwrap()
}

async fn started(name: &str) -> (Server, SocketAddr) {
    let server = Server::start(name, |config| {
        config.figures.address = Some("127.0.0.1:0".parse().unwrap());
        config.figures.countries = vec!["IR".to_owned()];
        // Periods cut the dials of a test anywhere.
        config.figures.least_sample = 1;
        config.log.load_period = Some(std::time::Duration::from_secs(1));
    })
    .await;
    let port = port(&server);
    (server, port)
}

/// The answer to a request, with its head.
async fn get(from: SocketAddr, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(from).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

pub(crate) async fn figures(from: SocketAddr) -> String {
    get(from, "/metrics", "localhost").await
}

/// The value of a sample, by its name and labels.
pub(crate) fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

/// Asks until a sample has a value.
async fn until(from: SocketAddr, sample: &str, wanted: f64) -> String {
    let reached = async {
        loop {
            let text = figures(from).await;
            if (value(&text, sample) - wanted).abs() < 1e-9 {
                return text;
            }
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{sample} is not {wanted}"))
}

#[tokio::test]
async fn what_clients_do_is_counted() {
    let (mut server, port) = started("figures").await;
    assert!(get(port, "/readyz", "localhost").await.ends_with("\r\n\r\nready\n"));
    assert!(get(port, "/healthz", "localhost").await.ends_with("\r\n\r\nok\n"));
    assert!(get(port, "/metrics", "attacker.example").await.starts_with("HTTP/1.1 421 "));

    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Plan::default().tunnel(&server).await;
    let mut flow = client.flow(origin.local_addr().unwrap()).await.unwrap();
    let (mut destination, _) = origin.accept().await.unwrap();
    flow.write_all(b"hello").await.unwrap();
    destination.read_exact(&mut [0; 5]).await.unwrap();
    destination.write_all(b"and back").await.unwrap();
    flow.read_exact(&mut [0; 8]).await.unwrap();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    assert!(client.flow(closed).await.is_err());
    // A stranger.
    let mut stranger = TcpStream::connect(server.ossh).await.unwrap();
    stranger.write_all(&[b'x'; 9000]).await.unwrap();

    let text = until(port, "culvert_connections{protocol=\"OSSH\"}", 2.0).await;
    for (sample, expected) in [
        ("culvert_tunnels{protocol=\"OSSH\"}", 1.0),
        ("culvert_tunnels{protocol=\"SSH\"}", 0.0),
        ("culvert_tunnels_by_country{country=\"IR\"}", 0.0),
        ("culvert_tunnels_by_country{country=\"other\"}", 1.0),
        ("culvert_connections_accepted_total{protocol=\"OSSH\"}", 2.0),
        ("culvert_handshake_duration_seconds_count{protocol=\"OSSH\"}", 1.0),
        ("culvert_flows{kind=\"tcp\"}", 1.0),
        ("culvert_flows_opened_total{kind=\"tcp\"}", 1.0),
        ("culvert_flows_refused_total{kind=\"tcp\",reason=\"connection_refused\"}", 1.0),
        ("culvert_dial_duration_seconds_count{family=\"ipv4\",outcome=\"connected\"}", 1.0),
        ("culvert_dial_duration_seconds_count{family=\"ipv4\",outcome=\"failed\"}", 1.0),
        ("culvert_flow_bytes_total{kind=\"tcp\",direction=\"up\"}", 5.0),
        ("culvert_flow_bytes_total{kind=\"tcp\",direction=\"down\"}", 8.0),
        ("culvert_last_reload_successful", 1.0),
        ("culvert_accepting_tunnels", 1.0),
        ("culvert_strangers_held{how=\"silence\"}", 1.0),
    ] {
        assert!((value(&text, sample) - expected).abs() < 1e-9, "{sample}\n{text}");
    }
    assert!(value(&text, "culvert_tunnel_bytes_total{direction=\"up\"}") > 500.0);
    // Each thread has one for each port and two of its own, and the tunnel some more.
    let tasks = value(&text, "culvert_tasks");
    assert!((3.0..1000.0).contains(&tasks), "{tasks}");
    // It is here, and so is its processor's time; another host would not know its own names.
    assert!(value(&text, "process_resident_memory_bytes") > 1e6 && value(&text, "process_open_fds") > 5.0);
    for address in [origin.local_addr().unwrap(), closed, server.ossh] {
        assert!(!text.contains(&address.to_string()) && !text.contains("127.0.0.1"), "{text}");
    }

    drop((flow, client, stranger));
    let text = until(port, "culvert_tunnels{protocol=\"OSSH\"}", 0.0).await;
    assert!((value(&text, "culvert_flow_bytes_total{kind=\"tcp\",direction=\"up\"}") - 5.0).abs() < 1e-9);
    server.stop().await;
    assert!(TcpStream::connect(port).await.is_err());
}

/// The fields of the reference's own event, of a server that runs the same protocols, and the kind of each.
const SERVER_LOAD: &[(&str, &str)] = &[
    ("ALL", "object"),
    ("OSSH", "object"),
    ("SSH", "object"),
    ("build_rev", "string"),
    ("cpu_percent", "number"),
    ("dialing_tcp_port_forwards", "number"),
    ("dns_count", "object"),
    ("dns_duration", "object"),
    ("dns_failed_count", "object"),
    ("dns_failed_duration", "object"),
    ("establish_tunnels", "boolean"),
    ("establish_tunnels_limited_count", "number"),
    ("event_name", "string"),
    ("heap_alloc", "number"),
    ("heap_idle", "number"),
    ("heap_inuse", "number"),
    ("heap_objects", "number"),
    ("heap_released", "number"),
    ("heap_sys", "number"),
    ("host_id", "string"),
    ("last_gc", "string"),
    ("network_bytes_received", "number"),
    ("network_bytes_sent", "number"),
    ("num_forced_gc", "number"),
    ("num_gc", "number"),
    ("num_goroutine", "number"),
    ("replay_delete_replay_count", "number"),
    ("replay_failed_replay_count", "number"),
    ("replay_get_replay_hit_count", "number"),
    ("replay_get_replay_miss_count", "number"),
    ("replay_max_cache_entries", "number"),
    ("replay_set_replay_count", "number"),
    ("server_entry_tag", "string"),
    ("server_tactics_cache_hit_count", "number"),
    ("server_tactics_cache_miss_count", "number"),
    ("server_tactics_max_cache_entries", "number"),
    ("server_tactics_max_parameter_references", "number"),
    ("tcp_ipv4_port_forward_dialed_count", "number"),
    ("tcp_ipv4_port_forward_dialed_duration", "number"),
    ("tcp_ipv4_port_forward_failed_count", "number"),
    ("tcp_ipv4_port_forward_failed_duration", "number"),
    ("tcp_ipv6_port_forward_dialed_count", "number"),
    ("tcp_ipv6_port_forward_dialed_duration", "number"),
    ("tcp_ipv6_port_forward_failed_count", "number"),
    ("tcp_ipv6_port_forward_failed_duration", "number"),
    ("tcp_port_forward_dialed_count", "number"),
    ("tcp_port_forward_dialed_duration", "number"),
    ("tcp_port_forward_failed_count", "number"),
    ("tcp_port_forward_failed_duration", "number"),
    ("tcp_port_forward_rejected_dialing_limit_count", "number"),
    ("tcp_port_forward_rejected_disallowed_count", "number"),
    ("tcp_port_forwards", "number"),
    ("timestamp", "string"),
    ("total_tcp_port_forwards", "number"),
    ("total_udp_port_forwards", "number"),
    ("udp_port_forward_rejected_disallowed_count", "number"),
    ("udp_port_forwards", "number"),
];

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[tokio::test]
async fn load_is_reported_in_the_reference_s_words() {
    let (mut server, _) = started("load").await;
    let client = Plan::default().tunnel(&server).await;
    let other = Plan { session: 2, obfuscated: false, ..Plan::default() }.tunnel(&server).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _flow = client.flow(listener.local_addr().unwrap()).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for _ in 0..12 {
        assert!(client.flow(closed).await.is_err());
    }
    let of = |event: &Value, protocol: &str, name: &str| event[protocol][name].as_u64().unwrap();
    // Some period has seen it all by then.
    let seen = async {
        loop {
            let events = server.events("server_load");
            let whole: Vec<_> =
                events.iter().filter(|event| event.get("region").is_none()).cloned().collect();
            let failed: u64 =
                whole.iter().map(|event| event["tcp_port_forward_failed_count"].as_u64().unwrap()).sum();
            let both = |event: &Value| of(event, "ALL", "established_clients") == 2;
            if failed == 12 && whole.last().is_some_and(both) {
                return events;
            }
            sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let events = timeout(SOON, seen).await.unwrap();
    let last = events.iter().rfind(|event| event.get("region").is_none()).unwrap();
    let fields: Vec<_> =
        last.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), kind(value))).collect();
    assert_eq!(fields, SERVER_LOAD);
    for (protocol, clients) in [("ALL", 2), ("OSSH", 1), ("SSH", 1)] {
        assert_eq!(of(last, protocol, "established_clients"), clients);
        assert_eq!(of(last, protocol, "accepted_clients"), clients);
    }
    assert_eq!((&last["tcp_port_forwards"], &last["total_tcp_port_forwards"]), (&1.into(), &1.into()));
    assert_eq!(last["dns_count"], serde_json::json!({ "ALL": 0 }));
    let region = events.iter().rfind(|event| event.get("region").is_some()).unwrap();
    assert_eq!((&region["region"], of(region, "SSH", "established_clients")), (&"None".into(), 1));

    drop((client, other));
    server.stop().await;
    let reports = server.events("server_tunnel");
    let report = reports.iter().find(|report| report["relay_protocol"] == "OSSH").unwrap();
    assert!(report["peak_tcp_port_forward_failure_rate"].as_f64().unwrap() > 0.5, "{report}");
    assert!(report["peak_tcp_port_forward_failure_rate_sample_size"].as_u64().unwrap() >= 1, "{report}");
    assert_eq!(report["peak_concurrent_proximate_accepted_clients"], 1);
    assert!(report.get("peak_concurrent_proximate_established_clients").is_none(), "nowhere is not near");
    assert!(report.get("peak_dns_failure_rate").is_none());
}

#[tokio::test]
async fn destinations_are_named_at_level_debug_alone() {
    for (level, lines) in [(Level::Info, 0), (Level::Debug, 1)] {
        let mut server = Server::start("destinations-logged", |_| {}).await;
        server.set_level(level);
        let client = Plan::default().tunnel(&server).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(client.flow(closed).await.is_err());
        server.stop().await;
        let text = server.lines();
        let named: Vec<_> = text.lines().filter(|line| line.contains(&closed.to_string())).collect();
        assert_eq!(named.len(), lines, "{text}");
        for line in named {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["level"], &line["reason"]), (&"debug".into(), &"connection_refused".into()));
        }
    }
}
