//! The destinations that the tunnels lead to: a page, bulk data either way, an echo, and one that answers only after the end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::pattern::{Pattern, read_digest};

/// What the page server answers to every request for a path that begins with `/page`.
pub(crate) const PAGE: &str = "<!doctype html><title>culvert</title><p>You have reached the origin.\n";

/// A flow on which nothing moves for this long is given up.
const IDLE: Duration = Duration::from_secs(60);

/// Where each destination listens. They serve until the harness ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// HTTP/1.1, one request per connection.
    pub(crate) page: SocketAddr,
    /// Takes `up LENGTH` or `down LENGTH SEED` and a line feed; see [`bulk`].
    pub(crate) bulk: SocketAddr,
    /// Sends back what it gets.
    pub(crate) echo: SocketAddr,
    /// Reads to the end of the stream, then answers with the number of bytes and a line feed.
    pub(crate) after_end: SocketAddr,
}

impl Origin {
    /// Starts all of them on free ports of the loopback address.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self { page: serve(page)?, bulk: serve(bulk)?, echo: serve(echo)?, after_end: serve(after_end)? })
    }
}

fn serve(handler: fn(TcpStream) -> io::Result<()>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A flow that breaks is seen by the case at the other end of the tunnel.
            thread::spawn(move || {
                stream.set_read_timeout(Some(IDLE))?;
                stream.set_write_timeout(Some(IDLE))?;
                stream.set_nodelay(true)?;
                handler(stream)
            });
        }
    });
    Ok(address)
}

fn page(stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?.take(64 * 1024)).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some(path) if path.starts_with("/page") => ("200 OK", PAGE),
        _ => ("404 Not Found", "no such page\n"),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(body.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

/// `up`: reads that many bytes, answers with their digest. `down`: sends that many bytes of the pattern and their digest.
fn bulk(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
    let mut command = String::new();
    reader.by_ref().take(100).read_line(&mut command)?;
    let mut words = command.split_ascii_whitespace();
    let verb = words.next().unwrap_or_default();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    match (verb, number(), number()) {
        ("up", Some(length), None) => {
            let digest = read_digest(&mut reader, length)?;
            writeln!(stream, "{digest}")
        }
        ("down", Some(length), Some(seed)) => {
            let digest = Pattern::new(seed).write(length, &mut stream)?;
            writeln!(stream, "{digest}")
        }
        _ => Err(io::Error::other(format!("unknown command {command:?}"))),
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = stream.try_clone()?;
    io::copy(&mut reader, &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

fn after_end(mut stream: TcpStream) -> io::Result<()> {
    let count = io::copy(&mut stream.try_clone()?, &mut io::sink())?;
    writeln!(stream, "{count}")?;
    stream.shutdown(Shutdown::Write)
}
