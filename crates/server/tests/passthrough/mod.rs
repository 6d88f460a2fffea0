//! TLS-OSSH for those who do not prove that they have the key: they get the site that the configuration names, and nothing of this server.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use culvert_protocol::TunnelProtocol;
use culvert_server::config::{Listener, Secret, TlsConfig};
use culvert_transport::tls::{NONCE_LEN, PassthroughKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::server::{SOON, Server};

const KEY: &str = "some key";

/// The site's end of connections, as they come.
struct Site {
    address: SocketAddr,
    connections: mpsc::UnboundedReceiver<TcpStream>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = sender.send(stream);
            }
        });
        Self { address, connections }
    }

    async fn accept(&mut self) -> TcpStream {
        timeout(SOON, self.connections.recv()).await.unwrap().unwrap()
    }
}

async fn start(name: &str, site: Option<&Site>) -> (Server, SocketAddr) {
    let site = site.map(|site| site.address.to_string());
    let server = Server::start(name, |config| {
        let address = SocketAddr::new(config.address, 0);
        config.listeners.push(Listener { protocol: TunnelProtocol::TLS_OSSH, address });
        config.tls =
            Some(TlsConfig { key: Secret::new(KEY), legacy_passthrough: false, ticket_secret: None });
        config.sites = site.map(|site| (TunnelProtocol::TLS_OSSH, site)).into_iter().collect();
    })
    .await;
    let address = server.address(TunnelProtocol::TLS_OSSH);
    (server, address)
}

/// A ClientHello in one record.
fn hello(random: [u8; 32]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend(random);
    body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 9, 0, 43, 0, 5, 4, 3, 4, 3, 3]);
    let len = u16::try_from(body.len()).unwrap();
    let record = [&[22, 3, 1][..], &(len + 4).to_be_bytes(), &[1, 0], &len.to_be_bytes(), &body];
    record.concat()
}

fn proof() -> [u8; 32] {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    PassthroughKey::new(KEY, true).message([7; NONCE_LEN], i64::try_from(now).unwrap())
}

async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    timeout(SOON, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    all
}

async fn read_exactly(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    timeout(SOON, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

#[tokio::test]
async fn strangers_get_the_site() {
    let mut site = Site::start().await;
    let (_server, address) = start("site", Some(&site)).await;
    for first in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), hello([9; 32]), vec![22, 3, 9, 0xFF, 0xFF]] {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(&first).await.unwrap();
        let mut origin = site.accept().await;
        assert_eq!(read_exactly(&mut origin, first.len()).await, first);
        stranger.write_all(b"more").await.unwrap();
        assert_eq!(read_exactly(&mut origin, 4).await, b"more");
        // Each direction ends by itself.
        stranger.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut origin).await, b"");
        origin.write_all(b"the site's answer").await.unwrap();
        drop(origin);
        assert_eq!(read_to_end(&mut stranger).await, b"the site's answer");
    }
}

#[tokio::test]
async fn who_says_little_or_nothing_is_the_sites_to_end() {
    let mut site = Site::start().await;
    let (_server, address) = start("silent", Some(&site)).await;
    for first in [&b""[..], &hello([9; 32])[..7]] {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(first).await.unwrap();
        let mut origin = site.accept().await;
        assert_eq!(read_exactly(&mut origin, first.len()).await, first);
        drop(origin);
        assert_eq!(read_to_end(&mut stranger).await, b"");
    }
}

#[tokio::test]
async fn a_hello_in_pieces_reaches_the_site_as_it_comes_but_for_a_clients_end() {
    let mut site = Site::start().await;
    let (_server, address) = start("pieces", Some(&site)).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let hello = hello(proof());
    let (head, tail) = hello.split_at(20);
    client.write_all(head).await.unwrap();
    let mut origin = site.accept().await;
    assert_eq!(read_exactly(&mut origin, head.len()).await, head);
    client.write_all(tail).await.unwrap();
    assert_eq!(read_to_end(&mut origin).await, b"", "the site saw the end of a client's hello");
}

#[tokio::test]
async fn a_proof_is_good_once() {
    let mut site = Site::start().await;
    let (_server, address) = start("once", Some(&site)).await;
    let proof = hello(proof());
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&proof).await.unwrap();
    // This hello is no basis for a handshake, whose end is the connection's; the site has no part in it.
    let mut answer = Vec::new();
    let _ended = timeout(SOON, client.read_to_end(&mut answer)).await.unwrap();
    assert!(timeout(Duration::from_millis(50), site.connections.recv()).await.is_err());
    let mut replayed = TcpStream::connect(address).await.unwrap();
    replayed.write_all(&proof).await.unwrap();
    let mut origin = site.accept().await;
    assert_eq!(read_exactly(&mut origin, proof.len()).await, proof);
}

#[tokio::test]
async fn without_a_site_strangers_get_nothing() {
    let (_server, address) = start("no-site", None).await;
    for first in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), hello([9; 32]), vec![22, 3, 1]] {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(&first).await.unwrap();
        let answer = timeout(Duration::from_millis(200), stranger.read_u8()).await;
        assert!(answer.is_err(), "{first:?}");
    }
}
