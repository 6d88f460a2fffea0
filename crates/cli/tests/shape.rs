//! What the sizes of the first segments of a tunnel between our own programs tell: many tunnels to one server, each with
//! the same small request in it, seen from the client's end of the connection. None but a full segment may be of a size
//! that tells. Not timing, and not content.

#![expect(clippy::unwrap_used, reason = "all of it is a test")]

mod origin;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use culvert_cli::in_process::LocalServer;
use culvert_client::data_dir::DataDir;
use culvert_client::notice::{Notice, Notices};
use culvert_client::{Client, Surroundings};
use culvert_server::config::Strictness;
use culvert_server::generate::{FileNames, Listeners, Options, generate};
use culvert_server::log::{Level, Logger, Origin};
use culvert_transport::{BoxFuture, Datagrams, Endpoint, Network, OsNetwork, Stream};
use origin::origin;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use tokio::task::JoinSet;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);
/// Tunnels looked at.
const TUNNELS: usize = 150;
/// Tunnels at a time.
const AT_ONCE: usize = 4;
/// Segments looked at in each direction of a tunnel.
const SEGMENTS: usize = 20;
/// What one segment carries on most paths; longer writes are several full ones and a rest.
const FULL: usize = 1448;
/// The share of tunnels that may have a segment of one size anywhere, and at one place.
const ANYWHERE: f64 = 0.2;
const AT_A_PLACE: f64 = 0.1;

/// Segments of one tunnel, in each direction.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<[Vec<usize>; 2]>>);

const UP: usize = 0;
const DOWN: usize = 1;

impl Seen {
    fn note(&self, direction: usize, written: usize) {
        let segments = &mut self.0.lock().unwrap()[direction];
        segments.extend(std::iter::repeat_n(FULL, written / FULL));
        segments.extend(Some(written % FULL).filter(|rest| *rest > 0));
    }
}

/// The operating system's network, seen. It leads to the server wherever its entry says that it is.
struct Watched {
    server: SocketAddr,
    seen: Seen,
}

impl Network for Watched {
    fn connect<'a>(&'a self, _to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = OsNetwork.connect(&Endpoint::Address(self.server)).await?;
            Ok(Box::new(WatchedStream { stream, seen: self.seen.clone() }) as Stream)
        })
    }

    fn datagrams(&self, _to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        OsNetwork.datagrams(self.server)
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        OsNetwork.resolve(name)
    }
}

struct WatchedStream {
    stream: Stream,
    seen: Seen,
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if result.is_ready() {
            self.seen.note(DOWN, buf.filled().len() - before);
        }
        result
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, data);
        if let Poll::Ready(Ok(written)) = result {
            self.seen.note(UP, written);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Establishes a tunnel, makes two requests one after the other through it, and gives what was seen.
async fn tunnel(entry: String, folder: PathBuf, server: SocketAddr, to: SocketAddr) -> [Vec<usize>; 2] {
    let seen = Seen::default();
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        r#"{{"PropagationChannelId":"00000000000000AA","SponsorId":"00000000000000BB",
        "DisableLocalHTTPProxy":true,"TargetServerEntry":"{entry}"}}"#
    );
    let config = culvert_client::config::parse("client.config", &text).unwrap().config;
    let network = Arc::new(Watched { server, seen: seen.clone() });
    let data_dir = DataDir::open(Some(&folder)).unwrap().data_dir;
    let (client, mut said) = Client::start(config, Surroundings::new(data_dir, Notices::silent(), network));
    let mut port = 0;
    loop {
        match said.next().await.unwrap().notice {
            Notice::ListeningSocksProxyPort { port: at } => port = at,
            Notice::Tunnels { count: 1.. } => break,
            _ => {}
        }
    }
    let request = [&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &to.port().to_be_bytes(), b"GET\n"].concat();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&request).await.unwrap();
        stream.read_exact(&mut [0; 612]).await.unwrap();
    }
    client.stop().await.unwrap();
    std::mem::take(&mut *seen.0.lock().unwrap())
}

/// Sizes that stand in too many tunnels, with their share; by place where `place` says so.
fn telling(tunnels: &[Vec<usize>]) -> Vec<String> {
    let mut anywhere = BTreeMap::<usize, usize>::new();
    let mut places = BTreeMap::<(usize, usize), usize>::new();
    for segments in tunnels {
        let segments: Vec<_> = segments.iter().copied().take(SEGMENTS).collect();
        for size in segments.iter().copied().collect::<BTreeSet<_>>() {
            *anywhere.entry(size).or_default() += 1;
        }
        for (place, size) in segments.into_iter().enumerate() {
            *places.entry((place, size)).or_default() += 1;
        }
    }
    let share = |count: usize| count as f64 / tunnels.len() as f64;
    let often = anywhere.into_iter().filter(|(size, count)| *size != FULL && share(*count) > ANYWHERE);
    let fixed = places.into_iter().filter(|((_, size), count)| *size != FULL && share(*count) > AT_A_PLACE);
    let often = often.map(|(size, count)| format!("{size} bytes in {:.0} %", 100.0 * share(count)));
    let fixed = fixed.map(|((place, size), count)| {
        format!("{size} bytes at place {place} in {:.0} %", 100.0 * share(count))
    });
    often.chain(fixed).collect()
}

#[tokio::test]
async fn no_size_of_a_segment_tells() {
    assert_nothing_tells("OSSH").await;
}

#[tokio::test]
async fn no_size_of_a_segment_tells_in_a_shadowsocks_stream() {
    assert_nothing_tells("SHADOWSOCKS-OSSH").await;
}

async fn assert_nothing_tells(protocol: &str) {
    let options = Options {
        address: "127.0.0.1".parse().unwrap(),
        listeners: Listeners::parse([format!("{protocol}:1").as_str()]).unwrap(),
        log_file: None,
        files: FileNames::default(),
    };
    let generated = generate(&options).unwrap();
    let file = Path::new("psiphond.config");
    let mut config =
        culvert_server::config::parse(file, generated.text(file).unwrap(), Strictness::Run).unwrap().value;
    config.listeners[0].address.set_port(0);
    config.egress.allow_bogons = true;
    config.state_directory =
        std::env::temp_dir().join(format!("culvert-shape-{protocol}-{}", std::process::id()));
    let state = config.state_directory.clone();
    let (log, captured) = Logger::captured(Level::Info, Origin::default());
    let server = LocalServer::start(config, log).await.unwrap();
    let lines = captured.text();
    let running = lines.lines().find(|line| line.contains("\"running\"")).unwrap();
    let running: serde_json::Value = serde_json::from_str(running).unwrap();
    let at: SocketAddr = running["localAddress"].as_str().unwrap().parse().unwrap();
    let entry = generated.entry.encode();
    let to = origin().await;

    let mut seen = [Vec::new(), Vec::new()];
    let mut running = JoinSet::new();
    for number in 0..TUNNELS + AT_ONCE {
        if number < TUNNELS {
            running.spawn(timeout(SOON, tunnel(entry.clone(), state.join(number.to_string()), at, to)));
        }
        if number >= AT_ONCE {
            let [up, down] = running.join_next().await.unwrap().unwrap().unwrap();
            seen[UP].push(up);
            seen[DOWN].push(down);
        }
    }
    server.stop().await;
    drop(std::fs::remove_dir_all(state));
    assert_eq!((telling(&seen[UP]), telling(&seen[DOWN])), (Vec::new(), Vec::new()));
}
