//! Dials through proxies that follow a script.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::{BoxFuture, Datagrams, Endpoint, Network, Stream};

/// Hands out the client's ends of prepared connections, in turn.
struct Prepared(Mutex<Vec<DuplexStream>>);

impl Network for Prepared {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        assert!(*to == Endpoint::Name("proxy".into(), 1), "the proxy is dialed, not the target");
        let next = self.0.lock().unwrap().pop();
        Box::pin(async move {
            next.map(|stream| Box::new(stream) as Stream).ok_or(io::ErrorKind::ConnectionRefused.into())
        })
    }

    fn datagrams(&self, _to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

/// What is expected from the client on one connection, and what it is answered, in turn.
type Script = Vec<(&'static str, &'static str)>;

/// Dials through a proxy with these scripts, one for each connection.
async fn dial(url: &str, scripts: Vec<Script>) -> io::Result<Stream> {
    let mut streams = Vec::new();
    for script in scripts {
        let (ours, mut theirs) = duplex(1 << 16);
        streams.insert(0, ours);
        tokio::spawn(async move {
            for (expected, answer) in script {
                let mut got = vec![0; expected.len()];
                if theirs.read_exact(&mut got).await.is_err() {
                    return;
                }
                assert_eq!(String::from_utf8_lossy(&got), expected);
                theirs.write_all(answer.as_bytes()).await.unwrap();
            }
            // Whoever is connected stays so for a while.
            let _ = theirs.read(&mut [0]).await;
        });
    }
    let network = Arc::new(Prepared(Mutex::new(streams)));
    let proxy = UpstreamProxy::new(network, ProxyUrl::parse(url).unwrap(), CustomHeaders::default());
    proxy.connect(&Endpoint::Name("target".into(), 443)).await
}

const CONNECT: &str = "CONNECT target:443 HTTP/1.1\r\nHost: target:443\r\n\r\n";
const WITH_LOGIN: &str =
    "CONNECT target:443 HTTP/1.1\r\nHost: target:443\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
const URL: &str = "http://user:pass@proxy:1";
const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";

fn reason(result: io::Result<Stream>) -> UpstreamError {
    let error = result.map(|_| ()).unwrap_err();
    assert!(UpstreamError::of(&error).is_some(), "{error}");
    *error.into_inner().unwrap().downcast().unwrap()
}

#[tokio::test]
async fn what_the_server_says_at_once_is_not_lost() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\nSSH-2.0-x\r\n";
    let mut stream = dial("http://proxy:1", vec![vec![(CONNECT, answer)]]).await.unwrap();
    let mut said = [0; 11];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"SSH-2.0-x\r\n");
}

#[tokio::test]
async fn a_refusal_with_a_page_keeps_the_connection() {
    let length = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 5\r\n\r\n12345";
    dial(URL, vec![vec![(CONNECT, length), (WITH_LOGIN, OK)]]).await.unwrap();
    let chunked = "HTTP/1.1 407 No\r\nproxy-authenticate: basic\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    dial(URL, vec![vec![(CONNECT, chunked), (WITH_LOGIN, OK)]]).await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_hangs_up_is_asked_again() {
    for header in ["Connection: close", "Proxy-Connection: close", "X: without a length"] {
        let refusal = format!("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n{header}\r\n\r\n");
        let refusal: &'static str = refusal.leak();
        dial(URL, vec![vec![(CONNECT, refusal)], vec![(WITH_LOGIN, OK)]]).await.unwrap();
    }
}

#[tokio::test]
async fn whose_fault_it_is_is_said() {
    let refusal = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    let wrong = dial(URL, vec![vec![(CONNECT, refusal), (WITH_LOGIN, refusal)]]).await;
    assert!(matches!(reason(wrong), UpstreamError::LoginRefused));
    let without = dial("http://proxy:1", vec![vec![(CONNECT, refusal)]]).await;
    assert!(matches!(reason(without), UpstreamError::LoginWanted));
    let other = "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n";
    let other = dial(URL, vec![vec![(CONNECT, other)]]).await;
    assert!(matches!(reason(other), UpstreamError::LoginUnsupported { wanted } if wanted == "Negotiate"));
    let target = reason(dial(URL, vec![vec![(CONNECT, "HTTP/1.1 503 No\r\n\r\n")]]).await);
    assert!(target.blames_target() && matches!(target, UpstreamError::TargetRefused(_)));
    let nobody = reason(dial(URL, vec![]).await);
    assert!(!nobody.blames_target() && matches!(nobody, UpstreamError::Unreachable(_)));
    let server = dial(URL, vec![vec![(CONNECT, "SSH-2.0-OpenSSH_9.9\r\n")]]).await;
    assert!(matches!(reason(server), UpstreamError::NotAProxy(_)));
    let silent = dial(URL, vec![vec![]]).await;
    assert!(matches!(reason(silent), UpstreamError::Broken(_)));
}

#[tokio::test]
async fn socks_says_what_it_refuses() {
    let socks = |url, replies: &[(&'static str, &'static str)]| dial(url, vec![replies.to_vec()]);
    let no_method = socks("socks5://proxy:1", &[("\u{5}\u{1}\0", "\u{5}\u{7f}")]).await;
    assert!(matches!(reason(no_method), UpstreamError::NotAProxy(_)));
    let wrong = socks(
        "socks5://u:p@proxy:1",
        &[("\u{5}\u{2}\0\u{2}", "\u{5}\u{2}"), ("\u{1}\u{1}u\u{1}p", "\u{1}\u{1}")],
    );
    assert!(matches!(reason(wrong.await), UpstreamError::LoginRefused));
    let request = "\u{5}\u{1}\0\u{3}\u{6}target\u{1}";
    let refused =
        socks("socks5://proxy:1", &[("\u{5}\u{1}\0", "\u{5}\0"), (request, "\u{5}\u{5}\0\u{1}\0\0\0\0\0\0")]);
    let refused = reason(refused.await);
    assert!(refused.blames_target() && refused.to_string().contains("connection refused"), "{refused}");
    let http = socks("socks4a://proxy:1", &[("\u{4}\u{1}", "HTTP/1.1 400 Bad Request\r\n\r\n")]).await;
    assert!(matches!(reason(http), UpstreamError::NotAProxy(_)));
}
