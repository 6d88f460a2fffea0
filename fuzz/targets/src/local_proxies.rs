//! Targets of the client's local proxies.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};
use std::time::Duration;
use std::{panic, thread};

use culvert_client::config::{LocalPort, LocalProxies};
use culvert_client::flow::{FlowOpener, FlowStream, Host, OpenFailure, OpenRequest, flow_queue};
use culvert_client::local::http::{playlist, url_mode};
use culvert_client::local::socks::{LONGEST_MESSAGE, Parsed, parse_login, parse_opening, parse_request};
use culvert_client::local::udp::header;
use culvert_client::local::{Direct, LocalSettings, start};
use culvert_client::notice::Notices;
use tokio::io::AsyncWriteExt;
use url::Url;

/// The name of the thread that the proxies run on, by which its panics are known.
const PROXIES: &str = "proxies";
static PANICS: AtomicUsize = AtomicUsize::new(0);
/// What the origin of the next flow answers.
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The first message of a SOCKS connection, and the second.
pub(crate) fn socks(data: &[u8]) {
    message(data, parse_opening);
    message(data, parse_request);
    message(data, parse_login);
}

/// A datagram of an application: what it carries is its end, and the same again behind the header of an answer.
pub(crate) fn socks_datagram(data: &[u8]) {
    if let Ok((destination, payload)) = header::parse(data) {
        assert!(data.ends_with(payload), "a datagram carries what was not sent");
        if let Host::Ip(ip) = destination.host {
            let answer = header::encode(SocketAddr::new(ip, destination.port), payload);
            let (from, carried) = header::parse(&answer).expect("an answer is a datagram");
            assert!(from.host == Host::Ip(ip) && from.port == destination.port && carried == payload);
        }
    }
}

/// A playlist: every address in what becomes of it leads through the proxy or is none to fetch; and the path of a URL mode.
pub(crate) fn playlist(data: &[u8]) {
    let base = Url::parse("http://a.example/b/c").expect("the address is one");
    if let Some(text) = playlist::rewritten(data, &base, "localhost:1") {
        let lines = |text: &str| text.split('\n').count();
        let before = std::str::from_utf8(data).expect("other bytes are no playlist");
        assert_eq!(lines(&text), lines(before), "lines were lost or made");
        let again = playlist::rewritten(text.as_bytes(), &base, "localhost:1");
        assert!(again.is_some(), "a playlist was made into something else");
    }
    drop(playlist::unpacked(data));
    if let Ok(path) = std::str::from_utf8(data)
        && let Some(Ok((_, url))) = url_mode::parse(path, Some("m3u8"))
    {
        assert!(url.has_host() && ["http", "https"].contains(&url.scheme()));
    }
}

/// A parser of messages asks for more until it has one, and then does not care what follows.
fn message<T: PartialEq>(data: &[u8], parse: fn(&[u8]) -> Parsed<T>) {
    let whole = parse(data);
    match &whole {
        Err(error) => drop(error.answer()),
        Ok(None) => assert!(data.len() < LONGEST_MESSAGE, "more is wanted than any message has"),
        Ok(Some((used, _))) => {
            assert!(*used <= data.len());
            assert!(parse(&data[..*used]) == whole, "a message means something else without what follows");
            for len in 0..*used {
                assert!(
                    matches!(parse(&data[..len]), Ok(None)),
                    "half a message was taken for one, or refused"
                );
            }
        }
    }
}

/// What an application sends to the HTTP proxy, and behind a byte of 255, what the origin answers.
pub(crate) fn http_proxy(data: &[u8]) {
    static PROXY: LazyLock<SocketAddr> = LazyLock::new(start_proxy);
    let mut parts = data.splitn(2, |byte| *byte == 0xff);
    let sent = parts.next().unwrap_or_default();
    *ANSWER.lock().unwrap_or_else(PoisonError::into_inner) = parts.next().unwrap_or_default().to_vec();
    let panics = PANICS.load(Ordering::SeqCst);
    let received = exchange(*PROXY, sent);
    assert_eq!(PANICS.load(Ordering::SeqCst), panics, "the proxy panicked");
    assert!(received.is_empty() || received.starts_with(b"HTTP/1."), "the proxy answered other than HTTP");
}

/// All that comes back, until the proxy ends the connection.
fn exchange(proxy: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let connected = (0..50).find_map(|attempt| {
        // Ports run out for a moment when many connections were made.
        thread::sleep(Duration::from_millis(attempt));
        TcpStream::connect(proxy).ok()
    });
    let mut stream = connected.expect("the proxy accepts connections");
    stream.set_read_timeout(Some(Duration::from_secs(8))).expect("the time is not zero");
    // The proxy may refuse and close before it has read everything.
    if stream.write_all(sent).is_ok() {
        drop(stream.shutdown(Shutdown::Write));
    }
    let mut received = Vec::new();
    if let Err(error) = stream.read_to_end(&mut received) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the proxy kept an ended connection");
    }
    received
}

fn start_proxy() -> SocketAddr {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() == Some(PROXIES) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    let (tell, told) = mpsc::channel();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let servers =
                start(&settings(), opener(), Notices::silent()).await.expect("loopback has a free port");
            tell.send(servers.http()).expect("the starter waits");
            std::future::pending::<()>().await;
        });
    };
    thread::Builder::new().name(PROXIES.to_owned()).spawn(serve).expect("a thread can be started");
    told.recv().ok().flatten().expect("the HTTP proxy is on")
}

fn settings() -> LocalSettings {
    let proxies = LocalProxies { socks: LocalPort::Off, ..LocalProxies::default() };
    LocalSettings { proxies, origin_timeout: Duration::from_millis(300), direct: Direct::default() }
}

/// Flows whose far end says its answer and ends; none to hosts with a name that begins with "no".
fn opener() -> FlowOpener {
    let (opener, mut queue) = flow_queue(16);
    tokio::spawn(async move {
        while let Some(OpenRequest { destination, reply, .. }) = queue.recv().await {
            let refused = matches!(destination.host, Host::Name(name) if name.as_str().starts_with("no"));
            drop(reply.send(if refused { Err(OpenFailure::TooManyFlows) } else { Ok(origin()) }));
        }
    });
    opener
}

fn origin() -> FlowStream {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let answer = ANSWER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    tokio::spawn(async move {
        // The proxy may have gone; then nobody wants the answer.
        drop(far.write_all(&answer).await);
        drop(far.shutdown().await);
        drop(tokio::io::copy(&mut far, &mut tokio::io::sink()).await);
    });
    FlowStream::Other(Box::new(near))
}
