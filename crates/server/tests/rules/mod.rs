//! Traffic rules as clients meet them: how fast tunnels are, whose rules hold, and that other rules hold as soon as they are there.
//! Times are only bounded where a slow machine makes them longer, not shorter.

use std::time::Duration;

use culvert_protocol::api::{HandshakeReply, ReplyEncoding};
use culvert_protocol::udpgw::Flags;
use culvert_server::control::Answer;
use culvert_server::rules::PortList;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::reload::Reloaded;
use crate::server::{Client, HANDSHAKE, Plan, SOON, Server};
use crate::udp_gateway::{self, Gateway};
use crate::{OPAQUE, echo_after_end, to_end};

const PLAN: Plan = Plan {
    obfuscated: true,
    session: 1,
    capabilities: &["server-requests"],
    password: None,
    prefixed: false,
    source: std::net::Ipv4Addr::LOCALHOST,
};

/// Sends that much and reads as much back; how long each took.
async fn up_and_down(client: &Client, bytes: usize) -> [Duration; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut flow = client.flow(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let data = vec![7; bytes];
    let mut times = [Duration::ZERO; 2];
    let mut received = vec![0; bytes];
    let began = Instant::now();
    let (sent, _) = tokio::join!(flow.write_all(&data), far.read_exact(&mut received));
    sent.unwrap();
    times[0] = began.elapsed();
    let began = Instant::now();
    let (_, sent) = tokio::join!(flow.read_exact(&mut received), far.write_all(&data));
    sent.unwrap();
    times[1] = began.elapsed();
    assert_eq!(received, data);
    times
}

/// The rate that was reached is at most 5 % more than `per_second`, beside what may come in a burst after a pause, and not much
/// less where the machine has time.
fn assert_rate(bytes: usize, took: Duration, per_second: f64) {
    let burst = per_second / 16. + 4096.;
    let rate = (bytes as f64 - burst) / took.as_secs_f64();
    assert!(rate <= per_second * 1.05, "{rate:.0} B/s with a limit of {per_second:.0} B/s");
    assert!(rate >= per_second * 0.4, "only {rate:.0} B/s with a limit of {per_second:.0} B/s");
}

#[tokio::test]
async fn tunnels_are_as_fast_as_they_may_be_and_at_once_when_that_changes() {
    let reloaded = Reloaded::start("rules-rates").await;
    let client = PLAN.tunnel(&reloaded.server).await;
    let [up, down] = up_and_down(&client, 300_000).await;
    assert!(up + down < Duration::from_secs(5), "without a limit it took {up:?} and {down:?}");
    let limited = json!({"DefaultRules": {"RateLimits": {"ReadBytesPerSecond": 150_000, "WriteBytesPerSecond": 300_000}}});
    reloaded.reloaded(&limited.to_string()).await;
    // The first bytes may still go by what was before.
    up_and_down(&client, 20_000).await;
    let [up, down] = up_and_down(&client, 300_000).await;
    assert_rate(300_000, up, 150_000.);
    assert_rate(300_000, down, 300_000.);
    let free_head = json!({"DefaultRules": {"RateLimits": {"WriteBytesPerSecond": 50_000, "WriteUnthrottledBytes": 1_000_000}}});
    reloaded.reloaded(&free_head.to_string()).await;
    let [_, down] = up_and_down(&client, 400_000).await;
    assert!(down < Duration::from_secs(4), "what is free took {down:?}, 8 s if it were not");
    reloaded.reloaded("{}").await;
    let [up, down] = up_and_down(&client, 300_000).await;
    assert!(up + down < Duration::from_secs(5), "without a limit again it took {up:?} and {down:?}");
    assert!(client.handle.end().is_none());
}

#[tokio::test]
async fn a_tunnel_may_end_when_it_has_had_its_bytes_and_only_the_first_has_any() {
    let server = Server::start("rules-exhausted", |config| {
        let rates = &mut config.traffic_rules.default.rates;
        rates.read_bytes_per_second = Some(1_000_000);
        rates.read_unthrottled_bytes = Some(100_000);
        rates.write_unthrottled_bytes = Some(100_000_000);
        rates.close_after_exhausted = Some(true);
        rates.unthrottle_first_tunnel_only = Some(true);
    })
    .await;
    let origin = echo_after_end().await;
    let mut first = PLAN.tunnel(&server).await;
    let mut flow = first.flow(origin).await.unwrap();
    flow.write_all(&[7; 20_000]).await.unwrap();
    flow.shutdown().await.unwrap();
    assert_eq!(to_end(&mut flow).await.len(), 20_000);
    let mut flow = first.flow(origin).await.unwrap();
    let _ = flow.write_all(&[7; 200_000]).await;
    first.ended().await;
    // By its own account the client had a tunnel before.
    let mut second = Plan { session: 2, ..PLAN }.connect(&server).await.unwrap();
    let later = HANDSHAKE.replace('}', r#","established_tunnels_count":"1"}"#);
    let _ = second.ask("psiphon-handshake", &later).await;
    second.ended().await;
}

/// No rate, no free bytes, and an end with the last of them: so clients are kept out.
#[tokio::test]
async fn who_has_no_bytes_is_kept_out() {
    let server = Server::start("rules-nothing", |config| {
        config.traffic_rules.default.rates.close_after_exhausted = Some(true);
    })
    .await;
    let mut client = PLAN.connect(&server).await.unwrap();
    let _ = client.ask("psiphon-handshake", HANDSHAKE).await;
    client.ended().await;
}

/// Devices try such addresses by themselves: their users are not told of each.
#[tokio::test]
async fn only_what_rules_forbid_is_told() {
    let server = Server::start("rules-alerts", |config| {
        config.egress.allow_bogons = false;
        config.traffic_rules.default.disallow_tcp_ports = Some(PortList::new([(25, 25)]));
    })
    .await;
    let mut client = PLAN.tunnel(&server).await;
    let nowhere = client.flow("127.0.0.1:80".parse().unwrap()).await;
    assert_eq!(nowhere.err().unwrap(), OPAQUE);
    // An alert would have come before the refusal.
    let alert = tokio::time::timeout(Duration::from_millis(20), client.asked()).await;
    assert!(alert.is_err(), "{alert:?}");
    assert_eq!(client.flow("8.8.8.8:25".parse().unwrap()).await.err().unwrap(), OPAQUE);
    assert_eq!(client.asked().await.0, "psiphon-alert");
}

#[tokio::test]
async fn before_the_handshake_other_rates_hold() {
    let server = Server::start("rules-early", |config| {
        let rates = &mut config.traffic_rules.default.rates;
        rates.establishment_write_bytes_per_second = Some(4000);
        rates.write_bytes_per_second = Some(10_000_000);
    })
    .await;
    let began = Instant::now();
    let client = PLAN.connect(&server).await.unwrap();
    let login = began.elapsed();
    assert!(login > Duration::from_millis(100), "some kilobytes took {login:?} at 4 kB/s");
    client.ask("psiphon-handshake", HANDSHAKE).await.unwrap();
    let [up, down] = up_and_down(&client, 200_000).await;
    assert!(up + down < Duration::from_secs(10), "{up:?} and {down:?} after the handshake");
}

#[tokio::test]
async fn clients_have_the_rules_that_their_handshake_asks_for_and_are_told_the_rates() {
    let reloaded = Reloaded::start("rules-filters").await;
    let origin = echo_after_end().await;
    let rules = |platform: &str| {
        json!({
            "DefaultRules": {"RateLimits": {"ReadBytesPerSecond": 1_000_000}},
            "FilteredRules": [
                {"Filter": {"Regions": ["ZZ"]}, "Rules": {"RateLimits": {"ReadBytesPerSecond": 1}}},
                {
                    "Filter": {"HandshakeParameters": {"client_platform": [platform]}},
                    "ExceptFilter": {"MinClientVersion": 100},
                    "Rules": {"DisallowTCPPorts": [origin.port()], "RateLimits": {"WriteBytesPerSecond": 2_000_000}},
                },
            ],
        })
        .to_string()
    };
    reloaded.reloaded(&rules("Win*")).await;
    let rates = |reply: &[u8]| {
        let reply = HandshakeReply::decode(reply, ReplyEncoding::Json).unwrap();
        (reply.upstream_bytes_per_second, reply.downstream_bytes_per_second)
    };
    let windows = PLAN.connect(&reloaded.server).await.unwrap();
    let reply = windows.ask("psiphon-handshake", HANDSHAKE).await.unwrap();
    assert_eq!(rates(&reply), (1_000_000, 2_000_000));
    assert_eq!(windows.flow(origin).await.err().unwrap(), OPAQUE);
    let other = Plan { session: 2, ..PLAN }.connect(&reloaded.server).await.unwrap();
    let reply = other.ask("psiphon-handshake", &HANDSHAKE.replace("\"42\"", "\"100\"")).await.unwrap();
    assert_eq!(rates(&reply), (1_000_000, 0));
    assert!(other.flow(origin).await.is_ok());
    // What was said in the handshake is still known when rules come that ask for it.
    reloaded.reloaded(&rules("Android*")).await;
    assert!(windows.flow(origin).await.is_ok());
    let Answer::NotReloaded { .. } = reloaded.reload(r#"{"DefaultRules": {"AllowTCPPorts": [0]}}"#).await
    else {
        panic!("port 0 was taken")
    };
    assert!(windows.flow(origin).await.is_ok() && windows.handle.end().is_none());
}

#[tokio::test]
async fn limits_of_flows_change_under_them() {
    let reloaded = Reloaded::start("rules-live").await;
    let never = r#"{"DefaultRules": {"IdleTCPPortForwardTimeoutMilliseconds": 0}}"#;
    reloaded.reloaded(never).await;
    let origin = echo_after_end().await;
    let client = PLAN.tunnel(&reloaded.server).await;
    let mut idle = client.flow(origin).await.unwrap();
    reloaded.reloaded(r#"{"DefaultRules": {"IdleTCPPortForwardTimeoutMilliseconds": 100}}"#).await;
    assert_eq!(to_end(&mut idle).await, b"");
    reloaded.reloaded(&never.replace("}}", r#", "MaxTCPPortForwardCount": 2}}"#)).await;
    let mut flows = Vec::new();
    for _ in 0..4 {
        flows.push(client.flow(origin).await.unwrap());
    }
    for flow in flows.iter_mut().take(2) {
        assert_eq!(to_end(flow).await, b"");
    }
    flows[3].shutdown().await.unwrap();
    assert_eq!(to_end(&mut flows[3]).await, b"");
    let subnet = r#"{"DefaultRules": {"DisallowSubnets": ["127.0.0.0/8"]}}"#;
    reloaded.reloaded(subnet).await;
    assert_eq!(to_end(&mut flows[2]).await, b"", "it went where nothing may go any more");
    let mut client = client;
    assert_eq!(client.flow(origin).await.err().unwrap(), OPAQUE);
    assert_eq!(tokio::time::timeout(SOON, client.asked()).await.unwrap().0, "psiphon-alert");
}

#[tokio::test]
async fn datagrams_stop_where_new_rules_say_so() {
    let reloaded = Reloaded::start("rules-live-udp").await;
    let origins = [udp_gateway::echo("127.0.0.1:0").await, udp_gateway::echo("127.0.0.1:0").await];
    let client = PLAN.tunnel(&reloaded.server).await;
    let mut gateway = Gateway::open(&client).await;
    for origin in origins {
        gateway.send(origin.port(), origin, Flags::default(), b"before").await;
        gateway.next(false).await;
    }
    let blocked = format!(r#"{{"DefaultRules": {{"DisallowUDPPorts": [{}]}}}}"#, origins[0].port());
    reloaded.reloaded(&blocked).await;
    gateway.send(origins[0].port(), origins[0], Flags::default(), b"blocked").await;
    gateway.send(origins[1].port(), origins[1], Flags::default(), b"still").await;
    assert_eq!(gateway.next(false).await.3, b"still");
    gateway.is_silent().await;
}
