//! What a small request costs in round trips between our own programs: a server and a client in this process, and a relay
//! between them that notes who speaks when. Not how long anything takes.

#![expect(clippy::unwrap_used, reason = "all of it is a test")]

mod origin;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culvert_cli::in_process::{LocalClient, LocalServer, Tunnel};
use culvert_client::notice::{Emitted, Sink};
use culvert_server::config::Strictness;
use culvert_server::generate::{FileNames, Listeners, Options, generate};
use culvert_server::log::{Level, Logger, Origin};
use origin::origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(30);
/// So long nobody speaks when nothing is left to say.
const QUIET: Duration = Duration::from_millis(300);

/// Who spoke, one letter for each time that it was somebody else: `u`p to the server, `d`own to the client.
#[derive(Clone, Default)]
struct Turns(Arc<Mutex<(String, Option<Instant>)>>);

impl Turns {
    fn note(&self, who: char) {
        let mut turns = self.0.lock().unwrap();
        if !turns.0.ends_with(who) {
            turns.0.push(who);
        }
        turns.1 = Some(Instant::now());
    }

    fn taken(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap().0)
    }

    async fn until_quiet(&self) {
        while self.0.lock().unwrap().1.is_none_or(|last| last.elapsed() < QUIET) {
            sleep(QUIET / 10).await;
        }
    }
}

/// Forwards connections and notes whose turn it is. What one side says travels so long that the other has finished
/// speaking before it hears an answer.
async fn relay(listener: TcpListener, to: SocketAddr, turns: Turns) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(to).await.unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        for (mut from, mut to, who) in [(from_client, to_server, 'u'), (from_server, to_client, 'd')] {
            let turns = turns.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 65536];
                while let Ok(count @ 1..) = from.read(&mut bytes).await {
                    turns.note(who);
                    sleep(Duration::from_millis(20)).await;
                    if to.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}

struct Pair {
    turns: Turns,
    tunnel: Tunnel,
    client: LocalClient,
    said: mpsc::Receiver<Emitted>,
    folder: PathBuf,
    _server: LocalServer,
}

impl Pair {
    /// `edit` is more of the client's configuration.
    async fn start(name: &str, edit: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("culvert-round-trips-{name}-{}", std::process::id()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = Options {
            address: "127.0.0.1".parse().unwrap(),
            listeners: Listeners::parse([format!("OSSH:{port}").as_str()]).unwrap(),
            log_file: None,
            files: FileNames::default(),
        };
        let generated = generate(&options).unwrap();
        let file = Path::new("psiphond.config");
        let text = generated.text(file).unwrap();
        let mut config = culvert_server::config::parse(file, text, Strictness::Run).unwrap().value;
        config.listeners[0].address.set_port(0);
        config.egress.allow_bogons = true;
        config.state_directory = folder.join("server");
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let server = LocalServer::start(config, log).await.unwrap();
        let lines = captured.text();
        let running = lines.lines().find(|line| line.contains("\"running\"")).unwrap();
        let running: serde_json::Value = serde_json::from_str(running).unwrap();
        let to = running["localAddress"].as_str().unwrap().parse().unwrap();
        let turns = Turns::default();
        tokio::spawn(relay(listener, to, turns.clone()));

        let mut text = format!(
            r#"{{"PropagationChannelId":"00000000000000AA","SponsorId":"00000000000000BB",
            "DataRootDirectory":{:?},"TargetServerEntry":"{}""#,
            folder.join("client"),
            generated.entry.encode()
        );
        write!(text, "{edit}}}").unwrap();
        std::fs::create_dir_all(folder.join("client")).unwrap();
        let config = culvert_client::config::parse("client.config", &text).unwrap().config;
        let (sender, said) = mpsc::channel(1024);
        let mut client = LocalClient::start(config, vec![Sink::Channel(sender)]).unwrap();
        let tunnel = timeout(SOON, client.tunnel()).await.unwrap().unwrap();
        turns.until_quiet().await;
        turns.taken();
        Self { turns, tunnel, client, said, folder, _server: server }
    }

    async fn to_proxy(&self, port: u16, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream
    }

    /// Turns taken by a request whose bytes are sent at once and whose answer has so many bytes before the origin's.
    async fn turns_of(&self, port: u16, request: &[u8], answer: usize) -> String {
        let mut stream = self.to_proxy(port, request).await;
        let mut received = vec![0; answer + 600];
        timeout(SOON, stream.read_exact(&mut received)).await.unwrap().unwrap();
        assert!(received[answer..].iter().all(|byte| *byte == 7));
        let turns = self.turns.taken();
        drop(stream);
        self.turns.until_quiet().await;
        self.turns.taken();
        turns
    }

    async fn stop(self) {
        self.client.stop().await;
        drop(std::fs::remove_dir_all(self.folder));
    }
}

fn socks5(to: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(v4) = to else { return Vec::new() };
    [&[5, 1, 0, 5, 1, 0, 1][..], &v4.ip().octets(), &to.port().to_be_bytes()].concat()
}

fn connect(to: SocketAddr) -> Vec<u8> {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes()
}

const SOCKS5_ANSWER: usize = 12;

#[tokio::test]
async fn a_small_request_costs_one_round_trip() {
    let pair = Pair::start("one", "").await;
    let to = origin().await;
    for _ in 0..3 {
        let request = [&socks5(to)[..], b"GET\n"].concat();
        let turns = pair.turns_of(pair.tunnel.socks_port, &request, SOCKS5_ANSWER).await;
        assert_eq!(turns, "ud");
        let request = [&connect(to)[..], b"GET\n"].concat();
        let answer = "HTTP/1.1 200 OK\r\n".len() + "date: Sun, 22 Nov 2026 17:00:00 GMT\r\n\r\n".len();
        assert_eq!(pair.turns_of(pair.tunnel.http_port, &request, answer).await, "ud");
    }
    pair.stop().await;
}

#[tokio::test]
async fn without_first_bytes_it_costs_two() {
    let pair = Pair::start("two", r#","DisableOptimisticOpen":true"#).await;
    let to = origin().await;
    for _ in 0..3 {
        let request = [&socks5(to)[..], b"GET\n"].concat();
        let turns = pair.turns_of(pair.tunnel.socks_port, &request, SOCKS5_ANSWER).await;
        assert_eq!(turns, "udud");
    }
    pair.stop().await;
}

#[tokio::test]
async fn a_refusal_after_the_promise_resets_and_is_told() {
    let mut pair = Pair::start("refused", r#","EmitDiagnosticNotices":true"#).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut stream = pair.to_proxy(pair.tunnel.socks_port, &[&socks5(closed)[..], b"GET\n"].concat()).await;
    let mut answer = [0; SOCKS5_ANSWER];
    timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, *b"\x05\0\x05\0\0\x01\0\0\0\0\0\0");
    let end = timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    let told = async {
        loop {
            let notice = pair.said.recv().await.unwrap().to_json();
            if notice.contains("LocalProxyError") {
                return notice;
            }
        }
    };
    let notice = timeout(SOON, told).await.unwrap();
    assert!(notice.contains("SOCKS proxy: the destination refused the connection"), "{notice}");
    pair.stop().await;
}
