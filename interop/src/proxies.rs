//! The client side of the local proxies: SOCKS4, SOCKS4a, SOCKS5, HTTP CONNECT, plain HTTP. Written from RFC 1928, RFC 9110 and the
//! SOCKS4 memo, apart from the product's own parsers.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::{Doing, Failure, expect_eq};
use crate::origin::PAGE;

/// The default patience of one read or write.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A destination, by address or by name.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// An IPv4 address and port.
    Address(Ipv4Addr, u16),
    /// A host name and port.
    Name(&'static str, u16),
}

impl Target {
    /// The loopback destination at `address`, which always is IPv4 here.
    pub(crate) fn address(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
        };
        Self::Address(ip, address.port())
    }

    /// The same by the name that every system resolves to loopback.
    pub(crate) fn localhost(address: SocketAddr) -> Self {
        Self::Name("localhost", address.port())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip, port) => write!(out, "{ip}:{port}"),
            Self::Name(name, port) => write!(out, "{name}:{port}"),
        }
    }
}

/// What a SOCKS5 or HTTP proxy said to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A flow to the destination.
    Flow(TcpStream),
    /// A SOCKS reply code or an HTTP status other than success.
    Code(u16),
    /// The connection was closed without an answer.
    Closed,
}

impl Answer {
    /// The flow, or a failure that says which proxy refused what.
    pub(crate) fn flow(self, proxy: &'static str, target: &Target) -> Result<TcpStream, Failure> {
        let answer = match self {
            Self::Flow(stream) => return Ok(stream),
            Self::Code(code) => format!("code {code}"),
            Self::Closed => "closed without an answer".to_owned(),
        };
        Err(Failure::Refused { proxy, target: target.to_string(), answer })
    }
}

/// RFC 1928, CONNECT without authentication.
pub(crate) fn ask_socks5(proxy: SocketAddr, target: &Target) -> Result<Answer, Failure> {
    let mut stream = dial(proxy)?;
    let doing = || format!("SOCKS5 to {target}");
    stream.write_all(&[5, 1, 0]).doing(doing())?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).doing(doing())?;
    expect_eq("SOCKS5 method", [5, 0], method)?;
    let mut request = vec![5, 1, 0];
    match target {
        Target::Address(ip, _) => {
            request.push(1);
            request.extend(ip.octets());
        }
        Target::Name(name, _) => {
            request.push(3);
            request.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            request.extend(name.as_bytes());
        }
    }
    request.extend(target.port().to_be_bytes());
    stream.write_all(&request).doing(doing())?;
    let mut head = [0; 4];
    if let Some(answer) = read_or_closed(&mut stream, &mut head).doing(doing())? {
        return Ok(answer);
    }
    let [5, code, 0, kind] = head else {
        return Err(Failure::mismatch("SOCKS5 reply", "version 5, reserved 0", format_args!("{head:?}")));
    };
    let bound = match kind {
        1 => 6,
        4 => 18,
        _ => return Err(Failure::mismatch("SOCKS5 bound address type", "1 or 4", kind)),
    };
    stream.read_exact(&mut [0; 18][..bound]).doing(doing())?;
    Ok(if code == 0 { Answer::Flow(stream) } else { Answer::Code(code.into()) })
}

/// A flow that was promised and is none: reset before a byte came.
pub(crate) fn expect_reset(mut stream: TcpStream, target: &Target) -> Result<(), Failure> {
    let end = stream.read(&mut [0]).map_err(|error| error.kind());
    expect_eq(format!("end of a refused flow to {target}"), Err(io::ErrorKind::ConnectionReset), end)
}

/// SOCKS5, where anything but a flow is a failure.
pub(crate) fn socks5(proxy: SocketAddr, target: &Target) -> Result<TcpStream, Failure> {
    ask_socks5(proxy, target)?.flow("SOCKS5", target)
}

/// SOCKS4 for an address, SOCKS4a for a name.
pub(crate) fn socks4(proxy: SocketAddr, target: &Target) -> Result<TcpStream, Failure> {
    let mut stream = dial(proxy)?;
    let mut request = vec![4, 1];
    request.extend(target.port().to_be_bytes());
    match target {
        Target::Address(ip, _) => {
            request.extend(ip.octets());
            request.extend(b"someone\0");
        }
        Target::Name(name, _) => {
            request.extend([0, 0, 0, 1]);
            request.extend(b"someone\0");
            request.extend(name.as_bytes());
            request.push(0);
        }
    }
    stream.write_all(&request).doing(format!("SOCKS4 to {target}"))?;
    let mut reply = [0; 8];
    stream.read_exact(&mut reply).doing(format!("SOCKS4 reply for {target}"))?;
    let [version, code, ..] = reply;
    expect_eq("SOCKS4 reply version", 0, version)?;
    let answer = if code == 90 { Answer::Flow(stream) } else { Answer::Code(code.into()) };
    answer.flow("SOCKS4", target)
}

/// RFC 9110 section 9.3.6.
pub(crate) fn ask_connect(proxy: SocketAddr, target: &Target) -> Result<Answer, Failure> {
    let mut stream = dial(proxy)?;
    let doing = || format!("CONNECT {target}");
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).doing(doing())?;
    // Byte by byte, so that nothing of the flow behind the head is taken.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        let mut byte = [0];
        if let Some(answer) = read_or_closed(&mut stream, &mut byte).doing(doing())? {
            return Ok(answer);
        }
        head.extend(byte);
    }
    let status = status_of(&String::from_utf8_lossy(&head))?;
    Ok(if status == 200 { Answer::Flow(stream) } else { Answer::Code(status) })
}

/// CONNECT, where anything but a flow is a failure.
pub(crate) fn connect(proxy: SocketAddr, target: &Target) -> Result<TcpStream, Failure> {
    ask_connect(proxy, target)?.flow("HTTP CONNECT", target)
}

/// Has an echo say what it is told.
pub(crate) fn echo(flow: &mut TcpStream, said: &[u8]) -> Result<(), Failure> {
    flow.write_all(said).doing("write to the echo")?;
    let mut heard = vec![0; said.len()];
    flow.read_exact(&mut heard).doing("read from the echo")?;
    expect_eq("what the echo says", said, heard.as_slice())
}

/// Fetches the page over a flow to the page server and checks it.
pub(crate) fn fetch_page(stream: TcpStream) -> Result<(), Failure> {
    request_page(stream, "/page")
}

/// Fetches the page through the plain HTTP proxy, with an absolute address in the request line, and checks it.
pub(crate) fn fetch_page_plain(proxy: SocketAddr, target: &Target) -> Result<(), Failure> {
    request_page(dial(proxy)?, &format!("http://{target}/page"))
}

fn request_page(mut stream: TcpStream, what: &str) -> Result<(), Failure> {
    let request = format!("GET {what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).doing(format!("request {what}"))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).doing(format!("status line for {what}"))?;
    expect_eq(format!("HTTP status for {what}"), 200, status_of(&line)?)?;
    let mut length = None;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).doing(format!("headers for {what}"))?;
        let lower = line.to_ascii_lowercase();
        length = lower.strip_prefix("content-length:").and_then(|value| value.trim().parse().ok()).or(length);
    }
    let mut body = vec![0; length.unwrap_or(PAGE.len()).min(1 << 20)];
    reader.read_exact(&mut body).doing(format!("body of {what}"))?;
    expect_eq(format!("body of {what}"), PAGE, &String::from_utf8_lossy(&body))
}

/// A connection to `address` with patience set on it.
pub(crate) fn dial(address: SocketAddr) -> Result<TcpStream, Failure> {
    let prepare = || -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    prepare().doing(format!("connect to {address}"))
}

impl Target {
    fn port(&self) -> u16 {
        match self {
            Self::Address(_, port) | Self::Name(_, port) => *port,
        }
    }
}

fn read_or_closed(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<Answer>> {
    match stream.read_exact(buffer) {
        Ok(()) => Ok(None),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            Ok(Some(Answer::Closed))
        }
        Err(error) => Err(error),
    }
}

fn status_of(head: &str) -> Result<u16, Failure> {
    head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.trim().parse().ok()).ok_or_else(
        || Failure::mismatch("HTTP status line", "HTTP/1.x and a status", format_args!("{head:?}")),
    )
}
