//! The local proxies over real loopback sockets, with an opener that connects directly or refuses by host name.

mod access;
mod early;
mod http;
mod socks;
mod url_modes;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use culvert_transport::{BoxFuture, Datagrams, Endpoint, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::{LocalPort, LocalProxies};
use crate::flow::{Destination, FlowStream, Host, OpenFailure, RefusalReason, flow_queue};
use crate::notice::{Detail, Emitted, Sink};

/// Running proxies and what they said.
pub(super) struct Setup {
    pub(super) servers: LocalServers,
    pub(super) said: mpsc::Receiver<Emitted>,
    /// The flows that were opened, with what went with the open.
    pub(super) opened: mpsc::UnboundedReceiver<(Destination, Bytes)>,
    /// What goes past the tunnel.
    pub(super) past: Past,
}

/// The client's network, which counts connections.
#[derive(Clone, Default)]
pub(super) struct Past(Arc<AtomicU32>);

impl Past {
    pub(super) fn connections(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Network for Past {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        OsNetwork.connect(to)
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        OsNetwork.datagrams(to)
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        OsNetwork.resolve(name)
    }
}

impl Setup {
    pub(super) async fn new() -> Self {
        Self::with(false).await
    }

    /// With an opener that carries first bytes, or not.
    pub(super) async fn with(carries: bool) -> Self {
        Self::of(LocalProxies::default(), carries).await
    }

    pub(super) async fn of(proxies: LocalProxies, carries: bool) -> Self {
        let past = Past::default();
        let settings = LocalSettings {
            proxies,
            origin_timeout: Duration::from_millis(300),
            direct: Direct(Arc::new(past.clone())),
        };
        let (sender, said) = mpsc::channel(1024);
        let (opener, opened) = direct_opener();
        let opener = opener.that_carries(move || carries);
        let notices = Notices::new(vec![Sink::Channel(sender)]);
        notices.show(Detail::Diagnostic, BTreeSet::new());
        let servers = start(&settings, opener, notices).await.unwrap();
        Self { servers, said, opened, past }
    }

    pub(super) async fn to_socks(&self) -> TcpStream {
        TcpStream::connect(self.servers.socks().unwrap()).await.unwrap()
    }

    pub(super) async fn to_http(&self) -> TcpStream {
        TcpStream::connect(self.servers.http().unwrap()).await.unwrap()
    }
}

/// Opens flows to addresses, and answers names with the failure they stand for.
fn direct_opener() -> (FlowOpener, mpsc::UnboundedReceiver<(Destination, Bytes)>) {
    let (opener, mut queue) = flow_queue(16);
    let (count, opened) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(request) = queue.recv().await {
            drop(count.send((request.destination.clone(), request.first_bytes.clone())));
            tokio::spawn(async move {
                drop(request.reply.send(open_directly(request.destination, &request.first_bytes).await));
            });
        }
    });
    (opener, opened)
}

async fn open_directly(destination: Destination, first_bytes: &[u8]) -> Result<FlowStream, OpenFailure> {
    let refused = |reason| Err(OpenFailure::Refused { reason, detail: None });
    match destination.host {
        Host::Ip(ip) => match TcpStream::connect((ip, destination.port)).await {
            Ok(mut stream) => {
                stream.write_all(first_bytes).await.unwrap();
                Ok(FlowStream::Other(Box::new(stream)))
            }
            Err(_) => refused(RefusalReason::ConnectionRefused),
        },
        Host::Name(name) => match name.as_str() {
            "rules.test" => refused(RefusalReason::Rules),
            "nowhere.test" => refused(RefusalReason::NameNotFound),
            "opaque.test" => refused(RefusalReason::Opaque(1)),
            "late.test" => refused(RefusalReason::TimedOut),
            "lost.test" => Err(OpenFailure::TunnelLost),
            _ => Err(OpenFailure::NoTunnel { waited: Duration::from_secs(15) }),
        },
    }
}

/// A server that serves each connection with `serve`.
pub(super) async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads all, then answers with how much it was and the last byte: works only if the half-close came through.
pub(super) async fn count_then_answer(mut stream: TcpStream) {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let answer = format!("{} {}", received.len(), received.last().copied().unwrap_or_default());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

pub(super) async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut received)).await;
    read.expect("the connection ends").unwrap();
    received
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    for proxy in [Proxy::Socks, Proxy::Http] {
        let (sender, mut said) = mpsc::channel(8);
        let on = |which| if which == proxy { LocalPort::Fixed(port) } else { LocalPort::Off };
        let settings = LocalSettings {
            proxies: LocalProxies {
                socks: on(Proxy::Socks),
                http: on(Proxy::Http),
                ..LocalProxies::default()
            },
            origin_timeout: LocalSettings::ORIGIN_TIMEOUT,
            direct: Direct::default(),
        };
        let (opener, _queue) = flow_queue(1);
        let error = start(&settings, opener, Notices::new(vec![Sink::Channel(sender)])).await.unwrap_err();
        let notice = said.try_recv().unwrap().to_json();
        let kind = format!(
            "\"noticeType\":\"{}ProxyPortInUse\"",
            if proxy == Proxy::Socks { "Socks" } else { "Http" }
        );
        assert!(notice.contains(&kind) && notice.contains(&format!("\"port\":{port}")), "{notice}");
        assert!(error.to_string().contains(&format!("port {port} is in use")), "{error}");
        #[cfg(target_os = "linux")]
        assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
    }
}

#[tokio::test]
async fn interfaces_and_switches_are_obeyed() {
    let (opener, _queue) = flow_queue(1);
    let settings = |interface| LocalSettings {
        proxies: LocalProxies { http: LocalPort::Off, interface, ..LocalProxies::default() },
        origin_timeout: LocalSettings::ORIGIN_TIMEOUT,
        direct: Direct::default(),
    };
    let all = start(&settings(ListenInterface::All), opener.clone(), Notices::silent()).await.unwrap();
    assert!(all.socks().unwrap().ip().is_unspecified());
    assert_eq!(all.http(), None);
    let wrong = ListenInterface::Named("no-such-if0".into());
    let error = start(&settings(wrong), opener, Notices::silent()).await.unwrap_err();
    assert_eq!(error.to_string(), "ListenInterface: no interface named \"no-such-if0\" with an address");
}

#[tokio::test]
async fn dropping_the_servers_ends_their_connections() {
    let setup = Setup::new().await;
    let echo = server(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        drop(tokio::io::copy(&mut reader, &mut writer).await);
    })
    .await;
    let mut stream = socks::connected(&setup, echo).await;
    stream.write_all(b"ping").await.unwrap();
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await.unwrap();
    drop(setup);
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection ends");
}

/// `curl` through both proxies, where it is installed.
#[tokio::test]
#[ignore = "needs curl; run with --ignored"]
async fn curl_fetches_through_both_proxies() {
    let setup = Setup::new().await;
    let origin = server(|mut stream| async move {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            .await
            .unwrap();
    })
    .await;
    let url = format!("http://{origin}/");
    let socks = setup.servers.socks().unwrap().to_string();
    let http = format!("http://{}", setup.servers.http().unwrap());
    for arguments in [
        ["--socks5-hostname", &socks, &url],
        ["--socks4a", &socks, &url],
        ["--socks4", &socks, &url],
        ["-x", &http, &url],
        ["-px", &http, &url],
    ] {
        let command = tokio::task::spawn_blocking({
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            move || std::process::Command::new("curl").args(["-sS", "--noproxy", ""]).args(arguments).output()
        });
        let output = command.await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{arguments:?} {output:?}");
    }
}
