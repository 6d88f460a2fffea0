//! Requests through the local proxies as a program on the user's machine makes them: SOCKS5 (RFC 1928) and plain HTTP
//! (RFC 9112 section 3.2.2). Not the proxies themselves.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer to a page request that is read.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Why a request through a local proxy did not give what it had to.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The proxy cannot be reached or broke off.
    #[error("the local proxy at {proxy} broke off: {source}")]
    Broken {
        /// The proxy.
        proxy: SocketAddr,
        /// What the connection said.
        source: io::Error,
    },
    /// The SOCKS proxy refused, with a reply code of RFC 1928 section 6.
    #[error("the SOCKS proxy refused {target} with code {code}")]
    Refused {
        /// The destination.
        target: SocketAddr,
        /// The code.
        code: u8,
    },
    /// The answer is no answer of its protocol.
    #[error("the answer from {proxy} is not understood")]
    NotUnderstood {
        /// The proxy.
        proxy: SocketAddr,
    },
    /// A page came with another status than 200.
    #[error("the page came with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
}

/// A flow to `target` through the SOCKS5 proxy.
pub async fn socks5(proxy: SocketAddr, target: SocketAddr) -> Result<TcpStream, ProxyError> {
    let mut stream =
        TcpStream::connect(proxy).await.map_err(|source| ProxyError::Broken { proxy, source })?;
    let reply =
        ask_socks5(&mut stream, target).await.map_err(|source| ProxyError::Broken { proxy, source })?;
    match reply {
        Some(0) => Ok(stream),
        Some(code) => Err(ProxyError::Refused { target, code }),
        None => Err(ProxyError::NotUnderstood { proxy }),
    }
}

/// The page at `/` of `target` over a flow that leads there already.
pub async fn page_over(flow: TcpStream, target: SocketAddr) -> Result<String, ProxyError> {
    request_page(flow, target, "/", target).await
}

/// The page at `/` of `target` through the plain HTTP proxy.
pub async fn page_through_http(proxy: SocketAddr, target: SocketAddr) -> Result<String, ProxyError> {
    let flow = TcpStream::connect(proxy).await.map_err(|source| ProxyError::Broken { proxy, source })?;
    request_page(flow, proxy, &format!("http://{target}/"), target).await
}

/// The reply code; `None` when the answer is not SOCKS5.
async fn ask_socks5(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: SocketAddr,
) -> io::Result<Option<u8>> {
    // RFC 1928 section 3: version 5, one method, no authentication.
    stream.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    if method != [5, 0] {
        return Ok(None);
    }
    // Section 4: CONNECT.
    let mut request = vec![5, 1, 0];
    match target {
        SocketAddr::V4(target) => {
            request.push(1);
            request.extend(target.ip().octets());
        }
        SocketAddr::V6(target) => {
            request.push(4);
            request.extend(target.ip().octets());
        }
    }
    request.extend(target.port().to_be_bytes());
    stream.write_all(&request).await?;
    // Section 6.
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await?;
    let bound = match reply {
        [5, _, 0, 1] => 4 + 2,
        [5, _, 0, 4] => 16 + 2,
        _ => return Ok(None),
    };
    let mut address = [0; 18];
    stream.read_exact(address.get_mut(..bound).unwrap_or_default()).await?;
    Ok(Some(reply[1]))
}

async fn request_page(
    mut flow: TcpStream,
    peer: SocketAddr,
    what: &str,
    host: SocketAddr,
) -> Result<String, ProxyError> {
    let mut answer = Vec::new();
    let exchange = async {
        let request = format!("GET {what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        flow.write_all(request.as_bytes()).await?;
        flow.take(LONGEST_ANSWER).read_to_end(&mut answer).await
    };
    exchange.await.map_err(|source| ProxyError::Broken { proxy: peer, source })?;
    let answer = String::from_utf8_lossy(&answer);
    let not_understood = || ProxyError::NotUnderstood { proxy: peer };
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_understood)?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.get(..3)?.parse().ok());
    match status.ok_or_else(not_understood)? {
        200 => Ok(body.to_owned()),
        status => Err(ProxyError::Status { status }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::net::TcpListener;

    use super::super::origin::{Origin, PAGE};
    use super::*;

    async fn socks_answer(answer: &[u8]) -> io::Result<Option<u8>> {
        let (mut near, mut far) = duplex(1000);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        ask_socks5(&mut near, "127.0.0.1:80".parse().unwrap()).await
    }

    #[tokio::test]
    async fn socks_answers() {
        assert_eq!(socks_answer(b"\x05\0\x05\0\0\x01\0\0\0\0\0\0").await.unwrap(), Some(0));
        let v6 = [&b"\x05\0\x05\x05\0\x04"[..], &[0; 18]].concat();
        assert_eq!(socks_answer(&v6).await.unwrap(), Some(5));
        assert_eq!(socks_answer(b"\x05\xff").await.unwrap(), None);
        assert_eq!(socks_answer(b"\x05\0\x05\0\0\x09").await.unwrap(), None);
        assert!(socks_answer(b"\x05\0\x05\0\0\x01\0").await.is_err());
    }

    #[tokio::test]
    async fn fetches_the_page_and_reports_a_status() {
        let origin = Origin::start().await.unwrap();
        let direct = || TcpStream::connect(origin.page());
        let page = page_over(direct().await.unwrap(), origin.page()).await.unwrap();
        assert_eq!(page, PAGE);
        // The origin is no proxy: it knows no absolute form.
        let refused = page_through_http(origin.page(), origin.page()).await;
        assert!(matches!(refused, Err(ProxyError::Status { status: 404 })), "{refused:?}");
    }

    #[tokio::test]
    async fn a_proxy_that_says_nothing_is_not_understood() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 20]).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
        let answer = page_through_http(proxy, proxy).await;
        assert!(matches!(answer, Err(ProxyError::NotUnderstood { .. })), "{answer:?}");
    }
}
