//! Both ends over a stream in memory.

use std::io;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::{BoxFuture, Datagrams, DialError, Endpoint, Network};

/// Gives one stream.
struct One(Mutex<Option<DuplexStream>>);

impl Network for One {
    fn connect<'a>(&'a self, _to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        let stream = self.0.lock().unwrap().take().unwrap();
        Box::pin(async move { Ok(Box::new(stream) as Stream) })
    }

    fn datagrams(&self, _to: std::net::SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, io::Result<Vec<std::net::IpAddr>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

fn plan(profile: &str, secret: Option<&[u8; 32]>) -> Plan {
    Plan {
        server: Endpoint::Address(([127, 0, 0, 1], 443).into()),
        settings: ClientSettings {
            profile: profiles::named(profile).unwrap(),
            edits: HelloEdits { server_name: Some("www.example.org".to_owned()), ..HelloEdits::default() },
            split: Split::AtServerName,
            verify: Verify::Skip,
            ticket_secret: secret.map(TicketSecret::new),
        },
        passthrough: Some(PassthroughKey::new("key", true)),
    }
}

async fn serve(server: TlsServer, mut stream: DuplexStream) -> io::Result<Connected> {
    let mut reader = HelloReader::default();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).await?;
        if let Some(hello) = reader.receive(&byte).map_err(io::Error::other)? {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
            assert!(PassthroughKey::new("key", true).verifies(&hello.random, i64::try_from(now).unwrap()));
            return server.accept(reader, Box::new(stream)).await;
        }
    }
}

async fn both(plan: &Plan, server: TlsServer) -> (Connected, Connected) {
    let (ours, theirs) = duplex(100_000);
    let network = One(Mutex::new(Some(ours)));
    let connecting = async {
        let mut connected = connect(plan, &network).await.unwrap();
        // The end of the handshake waits for the first data.
        connected.stream.flush().await.unwrap();
        connected
    };
    let (client, server) = tokio::join!(connecting, serve(server, theirs));
    (client, server.unwrap())
}

#[tokio::test]
async fn bytes_pass_both_ways() {
    let secret = [7; 32];
    let server =
        TlsServer::for_meek("www.example.net", Some(TicketSecret::new(&secret)), &[b"http/1.1"]).unwrap();
    for (profile, resumed) in [("Chrome-133", false), ("Chrome-112_PSK", true), ("Firefox-56", true)] {
        let (client, accepted) = both(&plan(profile, Some(&secret)), server.clone()).await;
        assert_eq!((client.facts.resumed, accepted.facts.resumed), (resumed, resumed), "{profile}");
        assert_eq!(client.alpn.as_deref(), Some(&b"http/1.1"[..]));
        let data: Vec<u8> = (0..700_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let (mut client, mut accepted) = (client.stream, accepted.stream);
        let sending = async {
            client.write_all(&data).await.unwrap();
            client.shutdown().await.unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, b"done");
        };
        let receiving = async {
            let mut received = Vec::new();
            accepted.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, data);
            accepted.write_all(b"done").await.unwrap();
            accepted.shutdown().await.unwrap();
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_useful_is_an_error() {
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[22, 3, 3, 0, 1, 2]] {
        let (ours, mut theirs) = duplex(100_000);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let network = One(Mutex::new(Some(ours)));
        let result = connect(&plan("Firefox-105", None), &network).await;
        assert!(matches!(result, Err(DialError::Broken(_) | DialError::Tls(_))));
    }
}
