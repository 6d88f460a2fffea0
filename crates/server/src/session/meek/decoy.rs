//! The site that strangers see where none is configured: what a web server says that was installed and left alone. Small answers from fixed
//! texts, nothing of a request is kept. Source: TRANSPORTS.md 2.5.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use culvert_transport::Stream;
use culvert_transport::meek::server::date;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long the head of a request may take, and everything else; and the pause between two.
const HEAD: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(75);
/// The longest head.
const MOST: usize = 8192;
/// Requests on one connection.
const REQUESTS: usize = 1000;
/// The most of a body that is read before the connection is closed.
const BODY: usize = 1 << 20;

const WELCOME: &str = "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n<style>\nhtml { color-scheme: light dark; }\n\
body { width: 35em; margin: 0 auto;\nfont-family: Tahoma, Verdana, Arial, sans-serif; }\n</style>\n</head>\n<body>\n\
<h1>Welcome to nginx!</h1>\n<p>If you see this page, the nginx web server is successfully installed and\n\
working. Further configuration is required.</p>\n\n<p>For online documentation and support please refer to\n\
<a href=\"http://nginx.org/\">nginx.org</a>.<br/>\nCommercial support is available at\n\
<a href=\"http://nginx.com/\">nginx.com</a>.</p>\n\n<p><em>Thank you for using nginx.</em></p>\n</body>\n</html>\n";
const MODIFIED: &str = "Tue, 11 Apr 2023 01:45:34 GMT";
const TAG: &str = "6434bbbe-267";

/// Whether such a beginning is answered without its end: no method begins so.
pub(super) fn refuses(received: &[u8]) -> bool {
    received.first().is_some_and(|first| !first.is_ascii_alphabetic() && !matches!(first, b'\r' | b'\n'))
}

/// Answers until the peer has enough.
pub(super) async fn serve(mut stream: Stream, mut received: BytesMut) -> io::Result<()> {
    for number in 0..REQUESTS {
        let begins = begins(&mut stream, &mut received);
        let Ok(begun) = timeout(if number == 0 { HEAD } else { PAUSE }, begins).await else { break };
        if !begun? {
            break;
        }
        let Ok(request) = timeout(HEAD, request(&mut stream, &mut received)).await else { break };
        let Some(request) = request? else { break };
        let answer = request.answer(SystemTime::now());
        timeout(BODY_TIME, stream.write_all(answer.as_bytes())).await??;
        if request.closes || !timeout(BODY_TIME, skip(&mut stream, &mut received, request.body)).await?? {
            break;
        }
    }
    crate::hold::close(stream).await;
    Ok(())
}

/// Waits for the first byte of a request; false at the peer's end.
async fn begins(stream: &mut Stream, received: &mut BytesMut) -> io::Result<bool> {
    received.reserve(1024);
    Ok(!received.is_empty() || stream.read_buf(received).await? > 0)
}

/// Reads a body and forgets it; false if it is too long for that.
async fn skip(stream: &mut Stream, received: &mut BytesMut, len: usize) -> io::Result<bool> {
    if len > BODY {
        return Ok(false);
    }
    let mut left = len;
    loop {
        let at_hand = received.len().min(left);
        received.advance(at_hand);
        left -= at_hand;
        if left == 0 {
            return Ok(true);
        }
        received.reserve(4096);
        if stream.read_buf(received).await? == 0 {
            return Ok(false);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Welcome,
    BadRequest,
    NotFound,
    NotAllowed,
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    page: Page,
    is_head: bool,
    closes: bool,
    body: usize,
}

const BAD: Request = Request { page: Page::BadRequest, is_head: false, closes: true, body: 0 };

/// The next request; `None` at the peer's end.
async fn request(stream: &mut Stream, received: &mut BytesMut) -> io::Result<Option<Request>> {
    loop {
        while received.first().is_some_and(|first| matches!(first, b'\r' | b'\n')) {
            received.advance(1);
        }
        if refuses(received) {
            return Ok(Some(BAD));
        }
        let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = end {
            let head = received.split_to(end + 4);
            return Ok(Some(parse(&head).unwrap_or(BAD)));
        }
        if received.len() >= MOST {
            return Ok(Some(BAD));
        }
        received.reserve(1024);
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

fn page_of(method: &str, path: &str) -> Page {
    let exists = matches!(path, "/" | "/index.html");
    match method {
        "GET" | "HEAD" if exists => Page::Welcome,
        "GET" | "HEAD" => Page::NotFound,
        "POST" if !exists => Page::NotFound,
        _ => Page::NotAllowed,
    }
}

/// Status and text for a request that was read elsewhere.
pub(super) fn page(method: &str, path: &str) -> (u16, Bytes) {
    let page = page_of(method, path);
    match page {
        Page::Welcome => (200, Bytes::from_static(WELCOME.as_bytes())),
        page => {
            let code = page.status().split(' ').next().and_then(|code| code.parse().ok());
            (code.unwrap_or(404), page.error().into())
        }
    }
}

/// `None`: it is malformed.
fn parse(head: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut line = lines.next()?.split(' ');
    let (method, target, version) = (line.next()?, line.next()?, line.next()?);
    let is_one = method.bytes().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-'));
    if !is_one || line.next().is_some() || !target.starts_with('/') {
        return None;
    }
    let keeps = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    let (mut hosts, mut body, mut close) = (0, 0, !keeps);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" => body = value.trim().parse().ok()?,
            "connection" if value.trim().eq_ignore_ascii_case("close") => close = true,
            "connection" if value.trim().eq_ignore_ascii_case("keep-alive") => close = false,
            "transfer-encoding" => close = true,
            _ => {}
        }
    }
    if hosts > 1 || hosts == 0 && keeps {
        return None;
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Some(Request { page: page_of(method, path), is_head: method == "HEAD", closes: close, body })
}

impl Page {
    fn status(self) -> &'static str {
        match self {
            Self::Welcome => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Not Allowed",
        }
    }

    fn error(self) -> String {
        let status = self.status();
        format!(
            "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
             <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        )
    }
}

impl Request {
    fn answer(&self, now: SystemTime) -> String {
        let (status, error) = (self.page.status(), self.page.error());
        let is_welcome = self.page == Page::Welcome;
        let body = if is_welcome { WELCOME } else { &error };
        let connection = if self.closes { "close" } else { "keep-alive" };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nServer: nginx\r\nDate: {}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n",
            date(now),
            body.len()
        );
        if is_welcome {
            answer.push_str(&format!("Last-Modified: {MODIFIED}\r\n"));
        }
        answer.push_str(&format!("Connection: {connection}\r\n"));
        if is_welcome {
            answer.push_str(&format!("ETag: \"{TAG}\"\r\nAccept-Ranges: bytes\r\n"));
        }
        answer.push_str("\r\n");
        if !self.is_head {
            answer.push_str(body);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(head: &str) -> (Page, bool) {
        let request = parse(head.as_bytes()).unwrap_or(BAD);
        (request.page, request.closes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_and_a_pause_more() {
        for (answered, expected) in [(0, HEAD), (1, HEAD), (3, HEAD)] {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            let serving = tokio::spawn(serve(Box::new(ours), BytesMut::new()));
            for _ in 0..answered {
                theirs.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                assert!(theirs.read(&mut [0; 2048]).await.unwrap() > 0);
                tokio::time::sleep(PAUSE - Duration::from_secs(1)).await;
            }
            let began = tokio::time::Instant::now();
            while theirs.write_all(b"G").await.is_ok() && !serving.is_finished() {
                if timeout(Duration::from_secs(1), theirs.read(&mut [0])).await.is_ok() {
                    break;
                }
            }
            let took = began.elapsed();
            assert!((expected..expected + Duration::from_secs(2)).contains(&took), "{answered}: {took:?}");
        }
    }

    #[test]
    fn requests_get_the_pages_of_a_new_server() {
        assert_eq!(page("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (Page::Welcome, false));
        assert_eq!(page("GET /?q HTTP/1.0\r\n\r\n"), (Page::Welcome, true));
        assert_eq!(page("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), (Page::NotFound, true));
        assert_eq!(
            page("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"),
            (Page::NotAllowed, false)
        );
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/9.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(page(bad), (Page::BadRequest, true), "{bad}");
        }
        assert_eq!(WELCOME.len(), 0x267, "the tag says the length");
    }
}
