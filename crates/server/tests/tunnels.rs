//! The whole server over loopback sockets, in this process: what a client gets, what strangers do not get, and how
//! tunnels and the server end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod admission;
mod bugs;
mod canary;
mod destinations;
mod figures;
mod meek;
mod offers;
mod passthrough;
mod reload;
mod rules;
mod secrets;
mod server;
mod strangers;
mod udp_gateway;

use std::net::SocketAddr;
use std::time::Duration;

use culvert_ssh::direct_tcpip::{DirectTcpip, MAX_FIRST_BYTES};
use culvert_ssh_tokio::OpenFailure;
use server::{HANDSHAKE, Plan, SOON, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// As the programs have it.
#[global_allocator]
static ALLOCATOR: culvert_ssh_tokio::Forgetful = culvert_ssh_tokio::Forgetful;

const OPAQUE: &str = "administratively prohibited";

/// Reads to the end, then sends back what was read, then ends.
async fn echo_after_end() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
            });
        }
    });
    address
}

/// A listener that accepts nobody and has no room for more.
struct Full {
    at: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

async fn full_listener() -> Full {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(at)).await {
        queued.push(connected.unwrap());
    }
    Full { at, _listener: listener, _queued: queued }
}

fn open_with(to: SocketAddr, first_bytes: &[u8]) -> Vec<u8> {
    let host = to.ip().to_string();
    DirectTcpip { host: host.as_bytes(), port: to.port().into(), first_bytes }.encode()
}

async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    timeout(SOON, stream.read_to_end(&mut all)).await.expect("an end").unwrap();
    all
}

#[tokio::test]
async fn a_flow_carries_data_and_each_direction_ends_on_its_own() {
    let mut server = Server::start("flow", |_| {}).await;
    let origin = echo_after_end().await;
    for obfuscated in [true, false] {
        let client = Plan { obfuscated, ..Plan::default() }.tunnel(&server).await;
        let mut flow = client.flow(origin).await.unwrap();
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        flow.write_all(&sent).await.unwrap();
        flow.shutdown().await.unwrap();
        assert_eq!(to_end(&mut flow).await, sent);
    }
    server.stop().await;
    let reports = server.events("server_tunnel");
    assert_eq!(reports.len(), 2);
    for report in &reports {
        assert_eq!(report["bytes_up_tcp"], 1_000_000);
        assert_eq!(report["bytes_down_tcp"], 1_000_000);
        assert_eq!(report["handshake_completed"], true);
        assert_eq!(report["client_version"], 42);
    }
    assert!(!server.lines().replace(&server.ossh.to_string(), "").contains(&origin.to_string()));
}

#[tokio::test]
async fn a_closed_flow_is_closed_at_its_destination_too() {
    let server = Server::start("closed", |_| {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Plan::default().tunnel(&server).await;
    for half_closes_first in [false, true] {
        let mut flow = client.flow(listener.local_addr().unwrap()).await.unwrap();
        let (mut destination, _) = listener.accept().await.unwrap();
        if half_closes_first {
            flow.shutdown().await.unwrap();
            assert_eq!(to_end(&mut destination).await, b"");
            destination.write_all(b"late").await.unwrap();
            let mut answer = [0; 4];
            flow.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"late");
        }
        drop(flow);
        assert_eq!(to_end(&mut destination).await, b"");
        // Well before the flow would have been closed for being idle.
        let refused = async {
            while destination.write_all(b"more").await.is_ok() {
                tokio::task::yield_now().await
            }
        };
        timeout(SOON, refused).await.expect("the destination's connection is closed");
    }
}

#[tokio::test]
async fn a_lost_tunnel_is_no_end_of_what_was_sent() {
    let server = Server::start("lost", |_| {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for taken_over in [false, true] {
        let client = Plan::default().tunnel(&server).await;
        let mut flow = client.flow(listener.local_addr().unwrap()).await.unwrap();
        let (mut destination, _) = listener.accept().await.unwrap();
        flow.write_all(b"half").await.unwrap();
        let mut half = [0; 4];
        timeout(SOON, destination.read_exact(&mut half)).await.unwrap().unwrap();
        let successor = match taken_over {
            true => Some(Plan::default().tunnel(&server).await),
            false => {
                drop(client.session);
                None
            }
        };
        let end = timeout(SOON, destination.read(&mut half)).await.expect("an end");
        assert!(end.is_err(), "{taken_over}: {end:?}");
        drop(successor);
    }
}

#[tokio::test]
async fn before_the_handshake_there_is_little() {
    let server = Server::start("before", |_| {}).await;
    let origin = echo_after_end().await;
    let mut client = Plan::default().connect(&server).await.unwrap();
    assert!(client.ask("keepalive@openssh.com", "abc").await.unwrap().len() >= 16);
    assert!(client.ask("psiphon-connected", HANDSHAKE).await.is_none());
    for _ in 0..2 {
        assert_eq!(client.flow(origin).await.err().unwrap(), OPAQUE);
    }
    let alert = ("psiphon-alert".to_owned(), r#"{"reason":"disallowed-traffic"}"#.to_owned());
    assert_eq!(client.asked().await, alert);
    let mut random = client.open("random@psiphon.ca", br#"{"u":10,"d":20}"#).await.unwrap();
    random.write_all(&[0; 10]).await.unwrap();
    assert_eq!(to_end(&mut random).await.len(), 20);
    assert_eq!(client.open("random@psiphon.ca", br#"{"u":10,"d":20}"#).await.err().unwrap(), OPAQUE);
    for kind in ["session", "tun@psiphon.ca", "direct-tcpip", ""] {
        assert_eq!(client.open(kind, b"").await.err().unwrap(), OPAQUE, "{kind}");
    }
    assert!(client.ask("psiphon-handshake", HANDSHAKE).await.is_some());
    assert!(client.flow(origin).await.is_ok());
    assert!(client.ask("psiphon-handshake", HANDSHAKE).await.is_none());
    client.ended().await;
}

#[tokio::test]
async fn refusals_say_why_to_those_who_understand() {
    let server = Server::start("why", |config| {
        config.traffic_rules.default.disallow_tcp_ports =
            Some(culvert_server::rules::PortList::new([(25, 25)]));
    })
    .await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ours = Plan { session: 1, capabilities: &["culvert-refusal-reasons"], ..Plan::default() };
    let theirs = Plan { session: 2, ..Plan::default() };
    let (ours, theirs) = (ours.tunnel(&server).await, theirs.tunnel(&server).await);
    for (host, port, reason) in [
        ("127.0.0.1", closed.port(), "culvert:connection-refused"),
        ("127.0.0.1", 25, "culvert:rules"),
        ("printer.local", 80, "culvert:rules"),
        ("0x7f.1", 80, "culvert:name-not-found"),
    ] {
        assert_eq!(ours.flow_to(host, port).await.err().unwrap(), reason, "{host}");
        assert_eq!(theirs.flow_to(host, port).await.err().unwrap(), OPAQUE, "{host}");
    }
    // The gateway for UDP that the configuration names is the server itself: nothing listens there, nor is refused.
    ours.flow_to("127.0.0.1", 7300).await.unwrap();
}

/// A client that offers what PROTOCOL.md 12 has.
fn ours() -> Plan {
    Plan { capabilities: &["culvert-refusal-reasons", "culvert-first-bytes"], ..Plan::default() }
}

#[tokio::test]
async fn an_open_may_carry_bytes_for_those_who_offered() {
    let mut server = Server::start("first-bytes", |_| {}).await;
    let origin = echo_after_end().await;
    let client = ours().connect(&server).await.unwrap();
    let reply = client.ask("psiphon-handshake", HANDSHAKE).await.unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!(reply["culvert_extensions"], serde_json::json!(["culvert-first-bytes"]));
    for len in [1, 5000, MAX_FIRST_BYTES] {
        let first = vec![7; len];
        let mut flow = client.flow_with(&origin.ip().to_string(), origin.port(), &first).await.unwrap();
        flow.write_all(b"rest").await.unwrap();
        flow.shutdown().await.unwrap();
        assert_eq!(to_end(&mut flow).await, [&first[..], b"rest"].concat());
    }
    // They have reached the destination by the time at which the flow is confirmed, and were asked for by nobody else.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let _flow = client.flow_with(&at.ip().to_string(), at.port(), b"hello").await.unwrap();
    let mut received = [0; 5];
    let (mut destination, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    timeout(SOON, destination.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(&received, b"hello");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = client.flow_with("127.0.0.1", closed.port(), b"lost").await;
    assert_eq!(refused.err().unwrap(), "culvert:connection-refused");
    let too_long = vec![7; MAX_FIRST_BYTES + 1];
    let refused = client.flow_with(&origin.ip().to_string(), origin.port(), &too_long).await;
    assert_eq!(refused.err().unwrap(), OPAQUE);
    drop(client);
    server.stop().await;
    let report = &server.events("server_tunnel")[0];
    assert_eq!(report["bytes_up_tcp"], 1 + 5000 + MAX_FIRST_BYTES + 3 * "rest".len() + "hello".len());
}

#[tokio::test]
async fn an_open_carries_nothing_for_others() {
    let server = Server::start("no-first-bytes", |_| {}).await;
    let origin = echo_after_end().await;
    let client = Plan::default().connect(&server).await.unwrap();
    let reply = client.ask("psiphon-handshake", HANDSHAKE).await.unwrap();
    assert!(!String::from_utf8(reply).unwrap().contains("culvert"));
    let refused = client.flow_with(&origin.ip().to_string(), origin.port(), b"x").await;
    assert_eq!(refused.err().unwrap(), OPAQUE);
    // Neither before the handshake's reply.
    let client = Plan { session: 2, ..ours() }.connect(&server).await.unwrap();
    let refused = client.flow_with(&origin.ip().to_string(), origin.port(), b"x").await;
    assert_eq!(refused.err().unwrap(), OPAQUE);
}

/// Opens to a destination that never answers hold what they carry, up to a bound for the tunnel.
#[tokio::test]
async fn too_many_first_bytes_are_refused_in_words() {
    let server = Server::start("no-room", |config| {
        config.traffic_rules.default.most_dialing = Some(1);
        config.traffic_rules.default.dial_milliseconds = Some(60_000);
    })
    .await;
    let client = ours().tunnel(&server).await;
    // The first waits for a place in the destination's queue, the others for the first.
    let full = full_listener().await;
    let open = open_with(full.at, &[7; MAX_FIRST_BYTES]);
    for _ in 0..16 {
        // Given up by the client, they still wait at the server.
        let answer = timeout(Duration::from_millis(20), client.handle.open("direct-tcpip", &open)).await;
        assert!(answer.is_err(), "one of sixteen was answered");
    }
    let answer = timeout(SOON, client.handle.open("direct-tcpip", &open)).await.expect("an answer");
    let refused = answer.err().expect("no connection");
    assert!(matches!(refused, OpenFailure::Refused { description, .. } if description == b"culvert:no-room"));
    let plain = open_with(full.at, b"");
    let waits = timeout(Duration::from_millis(100), client.handle.open("direct-tcpip", &plain)).await;
    assert!(waits.is_err(), "one without first bytes waits like the others");
}

#[tokio::test]
async fn wrong_logins_are_refused_and_counted() {
    let mut server = Server::start("login", |_| {}).await;
    for _ in 0..3 {
        let wrong = Plan { password: Some("wrong"), ..Plan::default() };
        assert!(wrong.connect(&server).await.is_none());
    }
    server.stop().await;
    let lines = server.lines();
    let failures = lines.lines().filter(|line| line.contains("authentication failures"));
    let counts: Vec<u64> = failures
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1, 2]);
    assert!(server.events("server_tunnel").is_empty());
}

#[tokio::test]
async fn a_session_has_one_tunnel() {
    let mut server = Server::start("takeover", |_| {}).await;
    let mut first = Plan::default().tunnel(&server).await;
    let other = Plan { session: 2, ..Plan::default() }.tunnel(&server).await;
    let second = Plan::default().tunnel(&server).await;
    first.ended().await;
    assert!(second.ask("keepalive@openssh.com", "").await.is_some());
    assert!(other.ask("keepalive@openssh.com", "").await.is_some());
    server.stop().await;
    let firsts =
        server.events("server_tunnel").iter().filter(|e| e["is_first_tunnel_in_session"] == true).count();
    assert_eq!((server.events("server_tunnel").len(), firsts), (3, 2));
}

#[tokio::test]
async fn flows_beyond_the_limit_replace_the_least_used() {
    let server = Server::start("limit", |config| config.traffic_rules.default.most_tcp = Some(2)).await;
    let origin = echo_after_end().await;
    let client = Plan::default().tunnel(&server).await;
    let mut first = client.flow(origin).await.unwrap();
    let mut second = client.flow(origin).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.write_all(b"used").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _third = client.flow(origin).await.unwrap();
    assert_eq!(to_end(&mut second).await, b"");
    first.shutdown().await.unwrap();
    assert_eq!(to_end(&mut first).await, b"used");
}

#[tokio::test]
async fn idle_flows_end() {
    let server =
        Server::start("idle", |config| config.traffic_rules.default.idle_tcp_milliseconds = Some(50)).await;
    let origin = echo_after_end().await;
    let client = Plan::default().tunnel(&server).await;
    let mut flow = client.flow(origin).await.unwrap();
    assert_eq!(to_end(&mut flow).await, b"");
}

#[tokio::test]
async fn strangers_get_no_byte_and_an_orderly_end() {
    let mut server = Server::start("strangers", |_| {}).await;
    let kinds: [&[u8]; 5] =
        [b"", b"\0", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", &[0x5a; 300_000]];
    for kind in kinds {
        let mut stream = TcpStream::connect(server.ossh).await.unwrap();
        stream.write_all(kind).await.unwrap();
        let mut answer = [0];
        let waited = timeout(Duration::from_millis(300), stream.read(&mut answer)).await;
        assert!(waited.is_err(), "{} bytes were answered", kind.len());
        stream.shutdown().await.unwrap();
        assert_eq!(to_end(&mut stream).await, b"", "{} bytes", kind.len());
    }
    server.stop().await;
    let kinds: Vec<_> =
        server.events("irregular_tunnel").iter().map(|e| e["tunnel_error"].to_string()).collect();
    assert_eq!(kinds, [r#""invalid preamble""#]);
}

#[tokio::test]
async fn replays_are_strangers() {
    let mut server = Server::start("replay", |_| {}).await;
    let mut first_flight = Vec::new();
    let now = tokio::time::Instant::now().into_std();
    Plan::default().connection(&server).poll_transmit(&mut first_flight, now);
    for replay in [false, true] {
        let mut stream = TcpStream::connect(server.ossh).await.unwrap();
        stream.write_all(&first_flight).await.unwrap();
        let mut answer = [0];
        let answered = timeout(Duration::from_millis(500), stream.read(&mut answer)).await;
        assert_eq!(answered.is_err(), replay);
    }
    server.stop().await;
    assert_eq!(server.events("irregular_tunnel")[0]["tunnel_error"], "replayed preamble");
}

#[tokio::test]
async fn a_configured_deadline_is_the_same_for_all_strangers() {
    let hold = Some(Duration::from_millis(300));
    let server = Server::start("deadline", |config| config.ssh.handshakes.probe_hold = hold).await;
    for kind in [&b""[..], &[0x5a; 100]] {
        let mut stream = TcpStream::connect(server.ossh).await.unwrap();
        let began = tokio::time::Instant::now();
        stream.write_all(kind).await.unwrap();
        assert_eq!(to_end(&mut stream).await, b"");
        assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn plain_ssh_answers_at_once_and_not_for_ever() {
    let limit = Some(Duration::from_millis(300));
    let server = Server::start("plain", |config| config.ssh.handshakes.duration = limit).await;
    let mut stream = TcpStream::connect(server.ssh).await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with(b"SSH-2.0-OpenSSH_"));
}

#[tokio::test]
async fn the_server_stops_with_tunnels_up_and_strangers_waiting() {
    let mut server = Server::start("stop", |_| {}).await;
    let origin = echo_after_end().await;
    // First, so that it is accepted before the client is, and so before the end.
    let mut stranger = TcpStream::connect(server.ossh).await.unwrap();
    stranger.write_all(&[0x5a; 1000]).await.unwrap();
    let mut client = Plan::default().tunnel(&server).await;
    let _flow = client.flow(origin).await.unwrap();
    let waiting = tokio::spawn(async move { to_end(&mut stranger).await });
    let began = tokio::time::Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    client.ended().await;
    assert_eq!(waiting.await.unwrap(), b"");
    assert_eq!(server.events("server_tunnel").len(), 1);
}
