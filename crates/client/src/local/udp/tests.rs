//! UDP ASSOCIATE from an application's side, with a gateway of this test in the server's place.

use std::net::SocketAddr;
use std::time::Duration;

use culvert_protocol::udpgw::{Datagram, FrameReader, encode_downstream};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::header;
use crate::config::LocalProxies;
use crate::flow::{FlowStream, OpenFailure, flow_queue};
use crate::local::{Direct, LocalServers, LocalSettings, start};
use crate::notice::Notices;

const SOON: Duration = Duration::from_secs(10);

/// A gateway's end of a channel: echoes datagrams, answers every query with 192.0.2.53, and tells what came.
async fn gateway(mut channel: DuplexStream, came: mpsc::UnboundedSender<Datagram>) {
    let (mut frames, mut piece) = (FrameReader::new(), vec![0; 4096]);
    while let Ok(count) = channel.read(&mut piece).await
        && count > 0
    {
        let mut bytes = &piece[..count];
        while !bytes.is_empty() {
            let (taken, datagram) = frames.read(bytes).unwrap();
            bytes = &bytes[taken..];
            let Some(datagram) = datagram else { continue };
            let answer =
                if datagram.flags.dns() { dns_answer(&datagram.packet) } else { datagram.packet.clone() };
            let frame = encode_downstream(datagram.connection, datagram.remote, &answer).unwrap();
            channel.write_all(&frame).await.unwrap();
            let _ = came.send(datagram);
        }
    }
}

fn dns_answer(query: &[u8]) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap();
    message.metadata.message_type = MessageType::Response;
    let asked = message.queries[0].clone();
    if asked.query_type() == RecordType::A {
        let address = RData::A(A::new(192, 0, 2, 53));
        message.answers.push(Record::from_rdata(asked.name().clone(), 60, address));
    }
    message.to_vec().unwrap()
}

struct Setup {
    servers: LocalServers,
    came: mpsc::UnboundedReceiver<Datagram>,
    /// Each opening of the gateway, with a way to end its channel.
    opened: mpsc::UnboundedReceiver<tokio::task::AbortHandle>,
}

impl Setup {
    async fn new() -> Self {
        Self::with(Some(LocalProxies::UDP_GATEWAY)).await
    }

    async fn with(udp_gateway: Option<SocketAddr>) -> Self {
        let (opener, mut queue) = flow_queue(4);
        let (tell, came) = mpsc::unbounded_channel();
        let (count, opened) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(request) = queue.recv().await {
                assert_eq!(request.destination.host.to_wire(), "127.0.0.1");
                assert_eq!(request.destination.port, 7300);
                let (near, far) = tokio::io::duplex(1 << 20);
                let serving = tokio::spawn(gateway(far, tell.clone()));
                let _ = count.send(serving.abort_handle());
                let stream = Ok::<_, OpenFailure>(FlowStream::Other(Box::new(near)));
                let _ = request.reply.send(stream);
            }
        });
        let proxies = LocalProxies { udp_gateway, ..LocalProxies::default() };
        let settings = LocalSettings {
            proxies,
            origin_timeout: LocalSettings::ORIGIN_TIMEOUT,
            direct: Direct::default(),
        };
        let servers = start(&settings, opener, Notices::silent()).await.unwrap();
        Self { servers, came, opened }
    }

    async fn associate(&self) -> Application {
        let mut control = TcpStream::connect(self.servers.socks().unwrap()).await.unwrap();
        control.write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut answer = [0; 12];
        control.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..10], [5, 0, 5, 0, 0, 1, 127, 0, 0, 1]);
        let relay = SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes([answer[10], answer[11]])));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Application { control, relay, socket }
    }

    async fn next(&mut self) -> Datagram {
        timeout(SOON, self.came.recv()).await.expect("a datagram").unwrap()
    }
}

struct Application {
    control: TcpStream,
    relay: SocketAddr,
    socket: UdpSocket,
}

impl Application {
    async fn send(&self, to: SocketAddr, payload: &[u8]) {
        self.socket.send_to(&header::encode(to, payload), self.relay).await.unwrap();
    }

    async fn answer(&self) -> (String, Vec<u8>) {
        let mut buffer = vec![0; 65_536];
        let (count, from) =
            timeout(SOON, self.socket.recv_from(&mut buffer)).await.expect("an answer").unwrap();
        assert_eq!(from, self.relay);
        let (source, payload) = header::parse(&buffer[..count]).unwrap();
        (format!("{} {}", source.host.to_wire(), source.port), payload.to_vec())
    }
}

#[tokio::test]
async fn datagrams_of_many_destinations_share_one_channel() {
    let mut setup = Setup::new().await;
    let (a, b) = (setup.associate().await, setup.associate().await);
    let v4: SocketAddr = "192.0.2.1:443".parse().unwrap();
    let v6: SocketAddr = "[2001:db8::1]:443".parse().unwrap();
    for (application, to, expected) in
        [(&a, v4, "192.0.2.1 443"), (&a, v6, "2001:db8::1 443"), (&b, v4, "192.0.2.1 443")]
    {
        application.send(to, b"ping").await;
        assert_eq!(application.answer().await, (expected.to_owned(), b"ping".to_vec()));
    }
    let came = [setup.next().await, setup.next().await, setup.next().await];
    assert_eq!(came.each_ref().map(|datagram| datagram.remote), [v4, v6, v4]);
    assert_eq!(came.each_ref().map(|datagram| datagram.connection), [0, 1, 2]);
    assert!(came.iter().all(|datagram| datagram.flags.rebind()), "each is a new flow");
    a.send(v4, b"again").await;
    let again = setup.next().await;
    assert_eq!((again.connection, again.flags.rebind()), (0, false));
    assert!(setup.opened.recv().await.is_some());
    assert!(setup.opened.try_recv().is_err(), "one channel for all");
    drop((a, b));
}

#[tokio::test]
async fn only_the_first_sender_and_whole_datagrams_are_carried() {
    let mut setup = Setup::new().await;
    let application = setup.associate().await;
    let to: SocketAddr = "192.0.2.1:9".parse().unwrap();
    application.send(to, b"mine").await;
    setup.next().await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(&header::encode(to, b"theirs"), application.relay).await.unwrap();
    let mut fragment = header::encode(to, b"part");
    fragment[2] = 1;
    for wrong in [&fragment[..], b"", b"\0\0\0", b"\0\0\0\x09abcdef"] {
        application.socket.send_to(wrong, application.relay).await.unwrap();
    }
    application.send(to, &[7; 40_000]).await;
    application.send(to, &[7; 32_768]).await;
    assert_eq!(setup.next().await.packet.len(), 32_768, "what fits no frame is dropped");
    assert!(setup.came.try_recv().is_err());
}

#[tokio::test]
async fn names_are_asked_of_the_servers_resolver_once() {
    let mut setup = Setup::new().await;
    let application = setup.associate().await;
    let named = |name: &str| [&[0, 0, 0, 3, name.len() as u8], name.as_bytes(), &[1, 187], b"hello"].concat();
    for _ in 0..3 {
        application.socket.send_to(&named("site.example"), application.relay).await.unwrap();
        assert_eq!(application.answer().await, ("192.0.2.53 443".to_owned(), b"hello".to_vec()));
    }
    let query = setup.next().await;
    assert!(query.flags.dns() && query.remote.port() == 53);
    let remotes = [setup.next().await.remote, setup.next().await.remote, setup.next().await.remote];
    assert_eq!(remotes, ["192.0.2.53:443".parse().unwrap(); 3]);
    // A resolver that only this machine has is the server's own there; a public one is what it is.
    let query = Message::query().to_vec().unwrap();
    for (resolver, transparent) in [("127.0.0.53:53", true), ("192.168.1.1:53", true), ("9.9.9.9:53", false)]
    {
        let mut message = Message::from_vec(&query).unwrap();
        let name = hickory_proto::rr::Name::from_ascii("x.example.").unwrap();
        message.add_query(hickory_proto::op::Query::query(name, RecordType::A));
        application.send(resolver.parse().unwrap(), &message.to_vec().unwrap()).await;
        assert_eq!(setup.next().await.flags.dns(), transparent, "{resolver}");
    }
}

#[tokio::test]
async fn the_channel_comes_back_and_goes_with_the_last_application() {
    let mut setup = Setup::new().await;
    let application = setup.associate().await;
    let to: SocketAddr = "192.0.2.1:9".parse().unwrap();
    application.send(to, b"one").await;
    assert_eq!(application.answer().await.1, b"one");
    setup.opened.recv().await.unwrap().abort();
    // The first may still meet the old channel's end, as with any network.
    let answered = async {
        loop {
            application.send(to, b"two").await;
            let answer = timeout(Duration::from_millis(300), application.answer()).await;
            if answer.is_ok_and(|(_, payload)| payload == b"two") {
                return;
            }
        }
    };
    timeout(SOON, answered).await.expect("another channel");
    let second = setup.opened.recv().await.unwrap();
    drop(application.control);
    timeout(SOON, async {
        while !second.is_finished() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("nobody needs the channel any more");
    application.socket.send_to(&header::encode(to, b"late"), application.relay).await.unwrap();
    let mut buffer = [0; 64];
    let late = timeout(Duration::from_millis(200), application.socket.recv(&mut buffer)).await;
    assert!(!matches!(late, Ok(Ok(_))), "the association is over");
}

#[tokio::test]
async fn udp_can_be_switched_off() {
    let setup = Setup::with(None).await;
    let mut control = TcpStream::connect(setup.servers.socks().unwrap()).await.unwrap();
    control.write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, control.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
}
