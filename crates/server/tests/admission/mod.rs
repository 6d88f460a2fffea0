//! A server that has as many tunnels as it may have, over loopback sockets: who comes is sent away at once and without a word, tunnels
//! and sessions that are there do not notice, and the log says why.

use std::net::SocketAddr;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::meek;
use crate::server::{Client, Plan, SOON, Server};

/// A stranger who is let in hears nothing for longer.
const MOMENT: Duration = Duration::from_millis(300);

/// Whether a connection is ended at once; it must not be answered or reset.
async fn is_sent_away(server: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(server).await.unwrap();
    match timeout(MOMENT, stream.read(&mut [0])).await {
        Ok(end) => {
            assert_eq!(end.unwrap(), 0, "an end, and nothing before it");
            true
        }
        Err(_) => false,
    }
}

async fn until(server: SocketAddr, sent_away: bool) {
    let deadline = Instant::now() + SOON;
    while is_sent_away(server).await != sent_away {
        assert!(Instant::now() < deadline, "sent away: {sent_away}, not in time");
        sleep(MOMENT).await;
    }
}

async fn works(client: &Client) {
    assert!(client.ask("keepalive@openssh.com", "").await.is_some(), "the tunnel is up");
}

#[tokio::test]
async fn who_comes_to_a_full_server_goes_elsewhere() {
    let server = Server::start("full", |config| config.load_limits.tunnels = 1).await;
    let client = Plan::default().tunnel(&server).await;
    until(server.ossh, true).await;
    // Plain SSH would speak first.
    assert!(is_sent_away(server.ssh).await);
    works(&client).await;
    // What has been sent already must not make a reset of the end.
    let mut stream = TcpStream::connect(server.ossh).await.unwrap();
    // It may be gone by then.
    let _ = stream.write_all(&[7; 500]).await;
    assert_eq!(timeout(SOON, stream.read(&mut [0])).await.expect("an end").unwrap(), 0);
    drop(client);
    until(server.ossh, false).await;
    let client = Plan { session: 2, ..Plan::default() }.tunnel(&server).await;
    works(&client).await;
    let lines = server.lines();
    let said = lines.lines().filter(|line| line.contains("\"establishing tunnels\""));
    let said: Vec<serde_json::Value> = said.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&said[0]["establish"], &said[0]["reason"]), (&false.into(), &"tunnels".into()), "{lines}");
    assert_eq!(said[1]["establish"], true, "{lines}");
    let away = lines.lines().filter(|line| line.contains("\"connections turned away\"")).count();
    assert!((1..=2).contains(&away), "{away} lines about those who were turned away: {lines}");
}

#[tokio::test]
async fn sessions_of_meek_go_on_while_no_new_ones_begin() {
    let (server, address) = meek::start_with("full-meek", |config| config.load_limits.tunnels = 1).await;
    let cookie = |seed| meek::cookie(seed, TunnelProtocol::UNFRONTED_MEEK_OSSH);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun = meek::ask(&mut stream, &meek::request(&cookie(1), &meek::flight(&server), "")).await;
    let session = begun.session().expect("a session").to_owned();
    let tunnel = Plan { session: 2, ..Plan::default() }.tunnel(&server).await;
    until(server.ossh, true).await;
    // On another connection, as clients do.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let more = meek::ask(&mut stream, &meek::request(&session, b"", "")).await;
    assert_eq!(more.status(), "200");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let refused = meek::ask(&mut stream, &meek::request(&cookie(2), b"", "")).await;
    let stranger = meek::ask(&mut stream, &meek::request("x", b"", "")).await;
    assert_eq!(refused.status(), stranger.status(), "it sees what strangers see");
    assert!(refused.session().is_none());
    works(&tunnel).await;
}
