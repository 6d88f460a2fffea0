//! What clients are offered and allowed by who and where they are: places, pages, authorizations, alerts.

use std::path::{Path, PathBuf};

use culvert_protocol::authorization::{SigningKey, VerificationKeyRing};
use culvert_server::config::{ServerConfig, Strictness, psinet, traffic_rules};
use culvert_server::geoip;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::server::{Plan, SOON, Server};

const SPONSOR: &str = "1122334455667788";

/// Signs for tests alone.
const KEY: &str = include_str!("../../../../fuzz/corpus/authorizations/signing_key");

fn key() -> SigningKey {
    SigningKey::from_json(KEY).unwrap()
}

fn keys() -> VerificationKeyRing {
    key().ring()
}

fn database() -> Value {
    json!({
        "sponsors": {SPONSOR: {
            "home_pages": {"CA": [{"url": "https://home.org/?client_region=XX&client_asn=XX"}]},
            "alert_action_urls": {"disallowed-traffic": ["https://alert.org/?client_region=XX"]},
        }},
        "client_versions": {"Windows": [{"version": "43"}]},
    })
}

fn databases() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/geoip_database");
    ["city.mmdb", "isp.mmdb"].map(|name| corpus.join(name)).into()
}

fn prepare(config: &mut ServerConfig) {
    config.geoip = geoip::read(&databases(), &std::env::temp_dir()).unwrap();
    let psinet = database().to_string();
    config.psinet = psinet::parse(Path::new("f"), &psinet, None, Strictness::Check).unwrap().value;
    config.authorization_keys = keys();
    let rules = json!({
        "DefaultRules": {"RateLimits": {"WriteBytesPerSecond": 1_000_000}, "AllowTCPPorts": [1]},
        "FilteredRules": [{
            "Filter": {"AuthorizedAccessTypes": ["speed-boost"]},
            "Rules": {"RateLimits": {"WriteBytesPerSecond": 2_000_000}},
        }],
    });
    let rules = traffic_rules::parse(Path::new("f"), &rules.to_string(), Strictness::Check).unwrap();
    config.traffic_rules = rules.value;
}

fn handshake(authorizations: &[String]) -> String {
    json!({
        "propagation_channel_id": "AABBCCDDEEFF0011", "sponsor_id": SPONSOR, "client_version": "42",
        "client_platform": "Windows", "relay_protocol": "OSSH", "authorizations": authorizations,
    })
    .to_string()
}

fn authorization(seed: &[u8], left: Duration) -> String {
    key().issue(seed, OffsetDateTime::now_utc() + left).unwrap()
}

async fn shake(client: &crate::server::Client, authorizations: &[String]) -> Value {
    let reply = client.ask("psiphon-handshake", &handshake(authorizations)).await.unwrap();
    serde_json::from_slice(&reply).unwrap()
}

#[tokio::test]
async fn a_client_is_told_what_is_for_its_place_and_sponsor() {
    let mut server = Server::start("offers", prepare).await;
    let mut client = Plan::default().connect(&server).await.unwrap();
    let reply = shake(&client, &[]).await;
    assert_eq!(reply["client_region"], "CA");
    assert_eq!(reply["homepages"], json!(["https://home.org/?client_region=CA&client_asn=64496"]));
    assert_eq!(reply["upgrade_client_version"], "43");
    assert_eq!(reply["downstream_bytes_per_second"], 1_000_000);
    assert!(client.flow_to("127.0.0.1", 2).await.is_err());
    let (name, alert) = client.asked().await;
    let expected = r#"{"reason":"disallowed-traffic","action":["https://alert.org/?client_region=CA"]}"#;
    assert_eq!((name.as_str(), alert.as_str()), ("psiphon-alert", expected));
    drop(client);
    server.stop().await;
    let event = &server.events("server_tunnel")[0];
    for (field, expected) in [
        ("client_region", "CA"),
        ("client_city", "Test_Town"),
        ("client_asn", "64496"),
        ("client_isp", "Test_ISP"),
    ] {
        assert_eq!(event[field], expected);
    }
    assert!(!server.lines().contains("authorized_access_types"));
}

#[tokio::test]
async fn an_authorization_is_for_one_session_at_a_time() {
    let mut server = Server::start("shared", prepare).await;
    let token = authorization(b"1", Duration::HOUR);
    let mut first = Plan::default().connect(&server).await.unwrap();
    let reply = shake(&first, &[token.clone(), "rubbish".to_owned()]).await;
    assert_eq!(reply["active_authorization_ids"].as_array().unwrap().len(), 1);
    assert_eq!(reply["downstream_bytes_per_second"], 2_000_000);
    let second = Plan { session: 2, ..Plan::default() }.connect(&server).await.unwrap();
    let reply = shake(&second, &[token]).await;
    assert_eq!(reply["downstream_bytes_per_second"], 2_000_000);
    // The tunnel of the first goes on.
    assert!(first.ask("keepalive@openssh.com", "").await.is_some());
    assert!(first.flow_to("127.0.0.1", 2).await.is_err());
    assert_eq!(first.asked().await.0, "psiphon-alert");
    drop((first, second));
    server.stop().await;
    let shared = server.events("irregular_tunnel");
    assert_eq!(shared.len(), 1);
    assert_eq!(shared[0]["tunnel_error"], "duplicate active authorization");
    assert_eq!(shared[0]["client_region"], "CA");
    assert!(shared[0]["duplicate_authorization_id"].is_string());
    for event in server.events("server_tunnel") {
        assert_eq!(event["authorized_access_types"], json!(["speed-boost"]));
    }
}

#[tokio::test]
async fn a_tunnel_ends_when_its_authorization_expires() {
    let server = Server::start("expired", prepare).await;
    let late = authorization(b"1", Duration::seconds(-1));
    let mut client = Plan::default().connect(&server).await.unwrap();
    let reply = shake(&client, &[late]).await;
    assert_eq!(reply.get("active_authorization_ids"), None);
    assert!(client.ask("keepalive@openssh.com", "").await.is_some());
    let mut other = Plan { session: 2, ..Plan::default() }.connect(&server).await.unwrap();
    let began = tokio::time::Instant::now();
    let reply = shake(&other, &[authorization(b"2", Duration::seconds(3))]).await;
    assert_eq!(reply["active_authorization_ids"].as_array().unwrap().len(), 1);
    other.ended().await;
    assert!(began.elapsed() < SOON);
    // Who has none stays.
    assert!(client.ask("keepalive@openssh.com", "").await.is_some());
    drop(client.session.next());
}
