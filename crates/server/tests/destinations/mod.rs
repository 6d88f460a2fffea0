//! What a running server does for the sake of destinations: headers that say who comes, a blocklist, and sums of bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use culvert_protocol::proxy_header::{Beginning, HeaderKey, beginning};
use culvert_protocol::udpgw::Flags;
use culvert_server::config::ServerConfig;
use culvert_server::config::blocklist;
use culvert_server::control::{Answer, Request};
use data_encoding::BASE64;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::reload::Reloaded;
use crate::server::{HANDSHAKE, Plan, SOON, Server};
use crate::udp_gateway::{self, Gateway};
use crate::{echo_after_end, to_end};

/// Of the handshake.
const SPONSOR: &str = "1122334455667788";

fn key() -> HeaderKey {
    HeaderKey::parse(&BASE64.encode(&[7; 36])).unwrap()
}

fn with_headers(config: &mut ServerConfig) {
    config.egress.header_keys = BTreeMap::from([(SPONSOR.to_owned(), key())]);
    let services = &mut config.tactics.parameters.services;
    services.proxy_protocol_destinations =
        BTreeMap::from([(SPONSOR.to_owned(), vec!["localhost".to_owned()])]);
}

/// What a destination gets of a flow to `host` that begins with `first` in its open, then `second`.
async fn received(
    server: &Server,
    plan: &Plan,
    wish: Option<&str>,
    host: &str,
    parts: [&[u8]; 2],
) -> Vec<u8> {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = plan.connect(server).await.unwrap();
    let mut handshake: serde_json::Value = serde_json::from_str(HANDSHAKE).unwrap();
    if let Some(wish) = wish {
        handshake["enable_proxy_protocol_headers"] = wish.into();
    }
    client.ask("psiphon-handshake", &handshake.to_string()).await.unwrap();
    let port = origin.local_addr().unwrap().port();
    let mut flow = client.flow_with(host, port, parts[0]).await.unwrap();
    flow.write_all(parts[1]).await.unwrap();
    let (mut stream, _) = timeout(SOON, origin.accept()).await.unwrap().unwrap();
    let mut all = Vec::new();
    // The end of what is sent is known by it.
    while !all.ends_with(b"hello") {
        let mut piece = [0; 1024];
        let count = timeout(SOON, stream.read(&mut piece)).await.expect("bytes").unwrap();
        assert_ne!(count, 0, "ended after {all:?}");
        all.extend_from_slice(&piece[..count]);
    }
    stream.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    timeout(SOON, flow.read_exact(&mut answer)).await.unwrap().unwrap();
    all
}

#[tokio::test]
async fn destinations_learn_who_comes_where_it_is_wanted() {
    let server = Server::start("headers", with_headers).await;
    let early = Plan { capabilities: &["server-requests", "culvert-first-bytes"], ..Plan::default() };
    let own = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nhello";
    let cases: [[&[u8]; 2]; 4] =
        [[&b""[..], b"hello"], [b"", own], [&own[..20], &own[20..]], [b"hel", b"lo"]];
    for (session, parts) in cases.into_iter().enumerate() {
        let plan = Plan { session: u16::try_from(session).unwrap() + 1, ..early.clone() };
        let all = received(&server, &plan, Some("1"), "localhost", parts).await;
        let Beginning::Header(length) = beginning(&all) else { panic!("{all:?}") };
        assert_eq!(&all[length..], b"hello");
        let millis = key().verify(&all[..length]).expect("a proof");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(now.abs_diff(millis.into()) < 60_000);
        assert_eq!(all[16..20], [127, 0, 0, 1], "the client's address");
        assert_eq!(all[24..26], [0, 0], "not its port");
    }
    for (session, wish, host) in
        [(11, Some("1"), "127.0.0.1"), (12, Some("0"), "localhost"), (13, None, "localhost")]
    {
        let plan = Plan { session, ..early.clone() };
        assert_eq!(received(&server, &plan, wish, host, [b"", b"hello"]).await, b"hello");
    }
}

#[tokio::test]
async fn listed_destinations_are_reported_and_refused() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = origin.local_addr().unwrap().port();
    let list = "127.0.0.1,feed,botnet\nbad.example,feed,phishing\n";
    for blocks in [false, true] {
        let mut server = Server::start("blocklist", |config| {
            config.egress.blocklist = blocklist::parse(Path::new("list"), list).unwrap();
            config.egress.blocklist_active = blocks;
        })
        .await;
        let mut client = Plan::default().tunnel(&server).await;
        assert_eq!(client.flow_to("127.0.0.1", port).await.is_err(), blocks);
        if blocks {
            let (name, alert) = client.asked().await;
            assert_eq!(name, "psiphon-alert");
            assert!(alert.contains("unsafe-traffic") && alert.contains("botnet"), "{alert}");
            assert!(client.flow_to("BAD.example.", port).await.is_err());
            assert!(client.asked().await.1.contains("phishing"));
        }
        drop(client);
        server.stop().await;
        let hits = server.events("server_blocklist_hit");
        assert_eq!(hits.len(), if blocks { 2 } else { 1 });
        assert_eq!(hits[0]["blocklist_ip_address"], "127.0.0.1");
        assert_eq!(
            (&hits[0]["blocklist_source"], &hits[0]["blocklist_subject"]),
            (&"feed".into(), &"botnet".into())
        );
        assert_eq!(hits[0]["sponsor_id"], SPONSOR);
        assert!(!blocks || hits[1]["blocklist_domain"] == "bad.example");
    }
}

/// A site that is listed anew: open flows to it by its name and by its address end, and are hits; others go on.
#[tokio::test]
async fn a_list_that_is_read_again_ends_open_flows() {
    for blocks in [true, false] {
        let mut reloaded = Reloaded::start_with("blocklist-live", |config, folder| {
            let file = folder.join("list");
            std::fs::write(&file, "192.0.2.1,feed,other\n").unwrap();
            config.files.blocklist = Some(file);
            config.egress.blocklist_active = blocks;
        })
        .await;
        let origin = echo_after_end().await;
        let udp = [udp_gateway::echo("127.0.0.1:0").await, udp_gateway::echo("127.0.0.2:0").await];
        let client = Plan::default().tunnel(&reloaded.server).await;
        let mut by_name = client.flow_to("localhost", origin.port()).await.unwrap();
        let by_address = client.flow(origin).await.unwrap();
        let mut gateway = Gateway::open(&client).await;
        for to in udp {
            gateway.send(to.port(), to, Flags::default(), b"before").await;
            gateway.next(false).await;
        }
        let hits = |reloaded: &Reloaded| reloaded.server.events("server_blocklist_hit");
        let list = async |list: &str| {
            std::fs::write(reloaded.folder.join("list"), list).unwrap();
            let answer = reloaded.ask(Request::Reload).await;
            assert!(matches!(answer, Answer::Reloaded(_)), "{answer:?}");
        };
        list("localhost,feed,phishing\n").await;
        if blocks {
            assert_eq!(to_end(&mut by_name).await, b"");
        }
        list("127.0.0.1,feed,botnet\n").await;
        for (flow, ends) in [(by_address, blocks), (by_name, blocks)] {
            let mut flow = flow;
            if ends {
                assert_eq!(to_end(&mut flow).await, b"");
            } else {
                flow.write_all(b"still there").await.unwrap();
                flow.shutdown().await.unwrap();
                assert_eq!(to_end(&mut flow).await, b"still there");
            }
        }
        for to in udp {
            gateway.send(to.port(), to, Flags::default(), b"after").await;
        }
        let answered = if blocks { &udp[1..] } else { &udp[..] };
        for to in answered {
            assert_eq!(gateway.next(false).await.1, *to);
        }
        gateway.is_silent().await;
        drop((client, gateway));
        reloaded.server.stop().await;
        let subjects: Vec<_> =
            hits(&reloaded).iter().map(|hit| hit["blocklist_subject"].as_str().unwrap().to_owned()).collect();
        // By name; by address; the datagrams' socket, and the one that was to take its place.
        let expected = if blocks { &["phishing", "botnet", "botnet", "botnet"][..] } else { &[] };
        assert_eq!(subjects, expected);
    }
}

#[tokio::test]
async fn bytes_are_summed_up_by_network() {
    let mut server = Server::start("destination-bytes", |config| {
        // What is in no database is there too.
        config.tactics.parameters.services.destination_bytes_asns = vec!["None".to_owned()];
    })
    .await;
    let all = received(&server, &Plan::default(), None, "127.0.0.1", [b"", b"hello"]).await;
    assert_eq!(all, b"hello");
    server.stop().await;
    let [event] = &server.events("asn_dest_bytes")[..] else { panic!("one event") };
    assert_eq!((&event["asn"], &event["sponsor_id"]), (&"None".into(), &SPONSOR.into()));
    assert_eq!(
        (&event["bytes_tcp"], &event["bytes_udp"], &event["bytes"]),
        (&11.into(), &0.into(), &11.into())
    );
}
