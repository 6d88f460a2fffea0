//! Meek over plain HTTP, request by request: what a client gets, and that all others see an ordinary web site.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use culvert_obfuscation::{ObfuscatorSeed, Prng, Seed};
use culvert_protocol::TunnelProtocol;
use culvert_server::config::{Listener, MeekConfig, MeekPrivateKey, Secret, ServerConfig};
use culvert_transport::meek::server::{HeadRules, SessionLimits};
use culvert_transport::meek::wire::{CookiePlan, CookieRequest, CookieSealer, KEY_LEN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::server::{Plan, SOON, Server, connect_from};
use crate::strangers::kinds::kinds;

const KEY: &str = "some key";
const PRIVATE: [u8; KEY_LEN] = [7; KEY_LEN];
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

async fn start(name: &str) -> (Server, SocketAddr) {
    start_with(name, |_| {}).await
}

pub(crate) async fn start_with(name: &str, edit: impl FnOnce(&mut ServerConfig)) -> (Server, SocketAddr) {
    let server = Server::start(name, |config| {
        edit(config);
        let address = SocketAddr::new(config.address, 0);
        config.listeners.push(Listener { protocol: TunnelProtocol::UNFRONTED_MEEK_OSSH, address });
        config.meek = Some(MeekConfig {
            obfuscated_key: Secret::new(KEY),
            private_key: MeekPrivateKey::new(PRIVATE),
            limits: SessionLimits::default(),
            rules: HeadRules::default(),
            rules_are_hints: false,
            fronted: Vec::new(),
            forwarded_for: Vec::new(),
            patience: SOON,
            fronted_patience: SOON,
        });
    })
    .await;
    let address = server.address(TunnelProtocol::UNFRONTED_MEEK_OSSH);
    (server, address)
}

pub(crate) fn cookie(seed: u8, protocol: TunnelProtocol) -> String {
    let private = PrivateKey::from_private_key(&X25519, &PRIVATE).unwrap();
    let public = private.compute_public_key().unwrap().as_ref().try_into().unwrap();
    let plan = CookiePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes([seed; 16]),
        padding_seed: Seed::from_bytes([seed; 32]),
    };
    let request = CookieRequest::tunnel(protocol, false);
    CookieSealer::new(KEY, public).seal(&plan, &[seed; KEY_LEN], &request).unwrap()
}

pub(crate) fn request(cookie: &str, body: &[u8], more: &str) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nCookie: n={cookie}\r\n{more}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) struct Response {
    head: String,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn session(&self) -> Option<&str> {
        self.header("Set-Cookie")?.strip_prefix("n=")
    }
}

async fn line(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut line = Vec::new();
    while !line.ends_with(end) {
        line.push(timeout(SOON, stream.read_u8()).await.expect("an answer").unwrap());
    }
    String::from_utf8(line).unwrap()
}

/// Sends a request and reads its response.
pub(crate) async fn ask(stream: &mut TcpStream, request: &[u8]) -> Response {
    stream.write_all(request).await.unwrap();
    let mut response = Response { head: line(stream, b"\r\n\r\n").await, body: Vec::new() };
    if let Some(length) = response.header("Content-Length") {
        response.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut response.body).await.unwrap();
        return response;
    }
    assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
    loop {
        let length = line(stream, b"\r\n").await;
        let mut chunk = vec![0; usize::from_str_radix(length.trim_end(), 16).unwrap()];
        stream.read_exact(&mut chunk).await.unwrap();
        assert_eq!(line(stream, b"\r\n").await, "\r\n");
        if chunk.is_empty() {
            return response;
        }
        response.body.append(&mut chunk);
    }
}

pub(crate) fn flight(server: &Server) -> Vec<u8> {
    let mut flight = Vec::new();
    Plan::default().connection(server).poll_transmit(&mut flight, Instant::now().into_std());
    flight
}

#[tokio::test]
async fn a_client_has_a_session_on_any_connection() {
    let (server, address) = start("meek-session").await;
    let (cookie, flight) = (cookie(1, TunnelProtocol::UNFRONTED_MEEK_OSSH), flight(&server));
    let mut stream = connect_from(HERE, address).await;
    let first = ask(&mut stream, &request(&cookie, &flight, "")).await;
    assert_eq!((first.status(), first.header("Server")), ("200", Some("nginx")));
    let session = first.session().expect("the session's name").to_owned();
    assert!(!first.body.is_empty(), "the preamble is answered");
    // The response is lost, and with it the name: the same request again, on another connection.
    let mut stream = connect_from(HERE, address).await;
    let again = ask(&mut stream, &request(&cookie, &flight, "Range: bytes=0-\r\n")).await;
    assert_eq!((again.status(), again.session()), ("206", Some(session.as_str())));
    assert_eq!(again.body, first.body);
    // Others who have recorded it get nothing.
    let mut elsewhere = connect_from(Ipv4Addr::new(127, 0, 0, 9), address).await;
    assert_eq!(ask(&mut elsewhere, &request(&cookie, &flight, "")).await.status(), "405");
    let rest = ask(&mut stream, &request(&session, b"", "Range: bytes=7-\r\n")).await;
    assert_eq!((rest.status(), rest.session()), ("206", None));
    assert_eq!(rest.body, first.body.get(7..).unwrap_or_default());
    assert_eq!(
        ask(&mut stream, &request(&cookie, &flight, "")).await.status(),
        "405",
        "the name is known now"
    );
}

#[tokio::test]
async fn too_much_is_not_used() {
    let (server, address) = start("meek-too-much").await;
    let cookie = cookie(2, TunnelProtocol::UNFRONTED_MEEK_OSSH);
    let mut stream = connect_from(HERE, address).await;
    let refused = ask(&mut stream, &request(&cookie, &[5; 65_537], "")).await;
    assert_eq!((refused.status(), refused.session(), refused.body.len()), ("200", None, 0));
    let served = ask(&mut stream, &request(&cookie, &flight(&server), "")).await;
    assert!(served.session().is_some() && !served.body.is_empty());
}

#[tokio::test]
async fn mangled_heads_are_read() {
    let (server, address) = start("meek-mangled").await;
    let cookie = cookie(3, TunnelProtocol::UNFRONTED_MEEK_OSSH);
    let body = flight(&server);
    let head = format!("x y\r\nno colon\r\ncOOkie:n={cookie}\r\ncontent-LENGTH: {}\r\n\r\n", body.len());
    let mut stream = connect_from(HERE, address).await;
    let served = ask(&mut stream, &[head.as_bytes(), &body].concat()).await;
    assert!(served.session().is_some());
}

#[tokio::test]
async fn what_is_not_for_this_port_gets_the_site() {
    let (server, address) = start("meek-others").await;
    let other = cookie(4, TunnelProtocol::UNFRONTED_MEEK_HTTPS_OSSH);
    let mut stream = connect_from(HERE, address).await;
    assert_eq!(ask(&mut stream, &request(&other, b"", "")).await.status(), "405");
    assert_eq!(ask(&mut stream, &request("AAAAAAAAAAAAAAAAAA", b"", "")).await.status(), "405");
    let page = ask(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((page.status(), page.body.len()), ("200", 615));
    drop(server);
}

/// Whatever is sent, an answer is one of a web server, and none comes to what such a server would wait for.
#[tokio::test]
async fn strangers_see_a_web_server() {
    let (server, address) = start("meek-strangers").await;
    let mut prng = Prng::new(&Seed::from_bytes([0x42; 32]));
    let recorded = request(&cookie(5, TunnelProtocol::UNFRONTED_MEEK_OSSH), &[1; 700], "");
    let mut recording = connect_from(HERE, address).await;
    recording.write_all(&recorded).await.unwrap();
    let probes = kinds(&mut |length| prng.bytes(length), &recorded);
    let mut answered = 0;
    for (number, (name, bytes)) in probes.into_iter().enumerate() {
        let source =
            Ipv4Addr::from_bits(Ipv4Addr::new(127, 2, 0, 1).to_bits() + u32::try_from(number).unwrap());
        let mut stream = connect_from(source, address).await;
        // A server that refuses the beginning does not wait for the rest.
        let _ = stream.write_all(&bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_millis(50), stream.read_to_end(&mut answer)).await;
        if answer.is_empty() {
            continue;
        }
        answered += 1;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 ") && text.contains("\r\nServer: nginx\r\n"), "{name}: {text}");
        assert!(!text.contains("Set-Cookie"), "{name}: {text}");
    }
    assert!(answered > 50, "{answered} were answered");
    assert!(server.lines().lines().count() < 40, "{}", server.lines());
}
