//! The UDP gateway of a running server, used as badvpn's clients use it: frames in one channel, sockets of this machine
//! at the other end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culvert_protocol::udpgw::{Datagram, Flags, FrameReader, encode_upstream};
use culvert_server::rules::PortList;
use culvert_ssh_tokio::ChannelStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::figures::{figures, port as figures_port, value};
use crate::server::{Client, Plan, SOON, Server};

const GATEWAY: (&str, u16) = ("127.0.0.1", 7300);

/// Answers each datagram with the port it came from and its bytes.
pub(crate) async fn echo(at: &str) -> SocketAddr {
    let socket = UdpSocket::bind(at).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            let answer = [&from.port().to_be_bytes()[..], &buffer[..count]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

/// A gateway's channel.
pub(crate) struct Gateway {
    channel: ChannelStream,
    frames: FrameReader,
    unread: Vec<u8>,
}

impl Gateway {
    pub(crate) async fn open(client: &Client) -> Self {
        let channel = client.flow_to(GATEWAY.0, GATEWAY.1).await.unwrap();
        Self { channel, frames: FrameReader::new(), unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, connection: u16, remote: SocketAddr, flags: Flags, packet: &[u8]) {
        let datagram = Datagram { flags, connection, remote, packet: packet.to_vec() };
        self.channel.write_all(&encode_upstream(&datagram).unwrap()).await.unwrap();
    }

    /// The next datagram: connection, where from, the port of ours that the other end saw, bytes.
    pub(crate) async fn next(&mut self, is_ipv6: bool) -> (u16, SocketAddr, u16, Vec<u8>) {
        loop {
            let (taken, datagram) = self.frames.read_downstream(&self.unread, |_| Some(is_ipv6)).unwrap();
            self.unread.drain(..taken);
            if let Some(Datagram { connection, remote, packet, .. }) = datagram {
                let (port, bytes) = packet.split_first_chunk().unwrap();
                return (connection, remote, u16::from_be_bytes(*port), bytes.to_vec());
            }
            let mut piece = [0; 4096];
            let count = timeout(SOON, self.channel.read(&mut piece)).await.expect("a datagram").unwrap();
            assert_ne!(count, 0, "the gateway ended");
            self.unread.extend_from_slice(&piece[..count]);
        }
    }

    pub(crate) async fn is_silent(&mut self) {
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(200), self.channel.read(&mut byte)).await.is_err());
    }

    /// Whether something comes soon.
    async fn answers(&mut self) -> bool {
        let mut piece = [0; 4096];
        match timeout(Duration::from_millis(200), self.channel.read(&mut piece)).await {
            Ok(count) => self.unread.extend_from_slice(&piece[..count.unwrap()]),
            Err(_) => return !self.unread.is_empty(),
        }
        true
    }

    async fn has_ended(mut self) {
        let mut rest = Vec::new();
        let _ = timeout(SOON, self.channel.read_to_end(&mut rest)).await.expect("the gateway ends");
    }
}

#[tokio::test]
async fn datagrams_go_and_come_back() {
    let mut server = Server::start("udpgw", |_| {}).await;
    let (v4, v6) = (echo("127.0.0.1:0").await, echo("[::1]:0").await);
    let client = Plan::default().tunnel(&server).await;
    let mut gateway = Gateway::open(&client).await;
    let none = Flags::default();
    // A keepalive, as badvpn sends it, is no datagram.
    gateway.channel.write_all(&[3, 0, 1, 0, 0]).await.unwrap();
    gateway.send(7, v4, none, b"one").await;
    let (connection, remote, first_port, bytes) = gateway.next(false).await;
    assert_eq!((connection, remote, bytes.as_slice()), (7, v4, &b"one"[..]));
    gateway.send(7, v4, none, b"two").await;
    assert_eq!(gateway.next(false).await, (7, v4, first_port, b"two".to_vec()), "the same socket");
    gateway.send(7, v4, none.with_rebind(), b"three").await;
    let (_, _, rebound, _) = gateway.next(false).await;
    assert_ne!(rebound, first_port, "another socket");
    gateway.send(65_535, v6, none, &[9; 20_000]).await;
    let (connection, remote, _, bytes) = gateway.next(true).await;
    assert_eq!((connection, remote, bytes.len()), (65_535, v6, 20_000));
    // An address that answers nothing, then the connection's next address.
    gateway.send(9, "127.0.0.1:9".parse().unwrap(), none, b"lost").await;
    gateway.send(9, v4, none, b"moved").await;
    assert_eq!(gateway.next(false).await.3, b"moved");
    drop(gateway);
    drop(client);
    server.stop().await;
    let report = &server.events("server_tunnel")[0];
    assert_eq!(report["bytes_up_udp"], 3 + 3 + 5 + 20_000 + 4 + 5);
    assert_eq!(report["bytes_down_udp"], 5 + 5 + 7 + 20_002 + 7);
    assert_eq!(report["total_port_forward_count_udp"], 5);
    assert_eq!(report["total_udpgw_channel_count"], 1);
}

#[tokio::test]
async fn rules_hold_and_breaches_end_the_channel() {
    let server = Server::start("udpgw-rules", |config| {
        config.traffic_rules.default.disallow_udp_ports = Some(PortList::new([(1, 1023)]));
        config.traffic_rules.default.most_udp = Some(2);
        config.traffic_rules.default.idle_udp_milliseconds = Some(300);
    })
    .await;
    let origin = echo("127.0.0.1:0").await;
    let client = Plan::default().connect(&server).await.unwrap();
    assert!(client.flow_to(GATEWAY.0, GATEWAY.1).await.is_err(), "not before the handshake");
    let mut client = Plan { session: 2, ..Plan::default() }.tunnel(&server).await;
    let mut gateway = Gateway::open(&client).await;
    gateway.send(1, "127.0.0.1:500".parse().unwrap(), Flags::default(), b"x").await;
    assert_eq!(client.asked().await.0, "psiphon-alert");
    // Port 53 and the DNS flag are for what looks like a query.
    gateway.send(1, "127.0.0.1:53".parse().unwrap(), Flags::default().with_dns(), b"no query").await;
    gateway.is_silent().await;
    let mut ports = Vec::new();
    for connection in [1, 2, 3, 1] {
        gateway.send(connection, origin, Flags::default(), b"x").await;
        ports.push(gateway.next(false).await.2);
    }
    assert_ne!(ports[0], ports[3], "the first made room for the third");
    tokio::time::sleep(Duration::from_millis(800)).await;
    gateway.send(1, origin, Flags::default(), b"x").await;
    assert_ne!(gateway.next(false).await.2, ports[3], "it was idle and is another now");
    let mut successor = Gateway::open(&client).await;
    gateway.has_ended().await;
    successor.send(1, origin, Flags::default(), b"x").await;
    successor.next(false).await;
    successor.channel.write_all(&[2, 0]).await.unwrap();
    successor.has_ended().await;
    assert!(client.handle.end().is_none(), "the tunnel goes on");
}

/// Counts what comes and answers nothing.
async fn silent(at: &str) -> (SocketAddr, Arc<AtomicU64>) {
    let socket = UdpSocket::bind(at).await.unwrap();
    let (address, count) = (socket.local_addr().unwrap(), Arc::<AtomicU64>::default());
    let counted = count.clone();
    tokio::spawn(async move {
        while socket.recv_from(&mut [0; 64]).await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, count)
}

/// Lets nothing come to those who do not answer but what an honest client sends in vain; those who do answer are served meanwhile.
#[tokio::test]
async fn scans_and_floods_go_nowhere() {
    let mut server = Server::start("udpgw-limits", |config| {
        config.figures.address = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let (flooded, scanned) = (silent("127.0.0.1:0").await, silent("127.0.0.1:0").await);
    let friend = echo("127.0.0.1:0").await;
    let client = Plan::default().tunnel(&server).await;
    let mut gateway = Gateway::open(&client).await;
    let began = Instant::now();
    for number in 0..1000 {
        gateway.send(1, flooded.0, Flags::default(), b"flood").await;
        // Not so many at once that they do not fit in the other end's buffer.
        if number % 50 == 0 {
            gateway.send(2, friend, Flags::default(), b"beside").await;
            assert_eq!(gateway.next(false).await.3, b"beside");
        }
    }
    for connection in 1000..1900 {
        gateway.send(connection, scanned.0, Flags::default(), b"scan").await;
        if connection % 20 == 0 {
            gateway.send(2, friend, Flags::default().with_rebind(), b"ping").await;
            if gateway.answers().await {
                gateway.next(false).await;
            }
        }
    }
    // Another gateway of the same client begins with no more.
    let mut gateway = Gateway::open(&client).await;
    for connection in 0..100 {
        gateway.send(connection, scanned.0, Flags::default(), b"scan").await;
    }
    gateway.is_silent().await;
    let seconds = began.elapsed().as_secs() + 1;
    let [flooded, scanned] = [flooded.1, scanned.1].map(|count| count.load(Ordering::Relaxed));
    assert!((64..=128 + 16 * seconds).contains(&flooded), "{flooded} in {seconds} s");
    assert!((64..=256 + 32 * seconds).contains(&scanned), "{scanned} in {seconds} s");
    let counted = figures(figures_port(&server)).await;
    for reason in ["new_destinations", "unanswered"] {
        let lost = value(&counted, &format!("culvert_udp_datagrams_dropped_total{{reason=\"{reason}\"}}"));
        assert!(lost > 0.0, "{reason}");
    }
    // After a while it is a client like others.
    let answered = timeout(SOON, async {
        loop {
            gateway.send(3, friend, Flags::default().with_rebind(), b"again").await;
            if gateway.answers().await {
                return gateway.next(false).await;
            }
        }
    });
    assert_eq!(answered.await.expect("an answer").3, b"again");
    drop((client, gateway));
    server.stop().await;
}
