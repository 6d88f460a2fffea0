//! The load: flows through a contender's client, and what they did.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use super::origin::{self, Origin, Wish};
use super::sys;

/// A flow that makes no progress for so long has failed.
const STALL: Duration = Duration::from_secs(20);

/// How a contender's client takes flows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Front {
    /// A SOCKS5 proxy (RFC 1928).
    Socks(SocketAddr),
    /// A port that leads to the origin.
    Direct(SocketAddr),
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the client.
    Down,
    /// From the client.
    Up,
}

impl Way {
    /// Both.
    pub(crate) const BOTH: [Self; 2] = [Self::Down, Self::Up];
}

/// Where a transfer stops at the latest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// So many bytes.
    pub(crate) bytes: u64,
    /// So much time.
    pub(crate) time: Duration,
}

impl Most {
    /// Whether it has come to its end; a transfer that crawls does at half of its time, when its speed is known.
    fn is_over(self, bytes: u64, elapsed: Duration) -> bool {
        let crawls = elapsed >= self.time / 2 && bytes < self.bytes / 8;
        bytes >= self.bytes || elapsed >= self.time || crawls
    }
}

/// Makes load towards one origin.
pub(crate) struct Load {
    /// Where flows go.
    pub(crate) origin: Origin,
    /// What they carry.
    pub(crate) file: OwnedFd,
}

/// A flow to the origin, ready for bytes.
pub(crate) fn flow(front: Front, origin: SocketAddr) -> io::Result<TcpStream> {
    let (Front::Socks(address) | Front::Direct(address)) = front;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let (Front::Socks(_), SocketAddr::V4(origin)) = (front, origin) else { return Ok(stream) };
    stream.write_all(&[5, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    let mut request = vec![5, 1, 0, 1];
    request.extend(origin.ip().octets());
    request.extend(origin.port().to_be_bytes());
    stream.write_all(&request)?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply)?;
    match (method, reply) {
        ([5, 0], [5, 0, 0, 1, ..]) => Ok(stream),
        _ => Err(io::Error::other(format!("the SOCKS proxy refused: {method:?} {reply:?}"))),
    }
}

impl Load {
    /// Moves so many bytes over so many flows at once; how long it took.
    pub(crate) fn bulk(&self, front: Front, way: Way, streams: u32, bytes: u64) -> io::Result<Duration> {
        let each = bytes / u64::from(streams);
        let start = sys::now();
        thread::scope(|scope| {
            let flows: Vec<_> = (0..streams).map(|_| scope.spawn(|| self.one(front, way, each))).collect();
            flows.into_iter().try_for_each(|flow| flow.join().unwrap_or_else(|_| Err(panicked())))
        })?;
        Ok(start.elapsed())
    }

    /// Moves up to so many bytes over one flow, but for no longer than `limit`; how many arrived in which time.
    pub(crate) fn within(&self, front: Front, way: Way, most: Most) -> io::Result<(u64, Duration)> {
        let mut stream = flow(front, self.origin.address)?;
        let start = sys::now();
        match way {
            Way::Down => {
                stream.write_all(&Wish::Source(most.bytes).encode())?;
                let mut taken = 0;
                while !most.is_over(taken, start.elapsed()) {
                    match sys::discard(&stream, sys::CHUNK)? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        count => taken += count as u64,
                    }
                }
                Ok((taken, start.elapsed()))
            }
            Way::Up => {
                let before = self.origin.taken();
                stream.write_all(&Wish::Sink(most.bytes).encode())?;
                thread::scope(|scope| {
                    scope.spawn(|| origin::send(&stream, &self.file, most.bytes));
                    // Counted where they arrive: what lies in buffers on the way has not.
                    let arrived = || self.origin.taken() - before;
                    while !most.is_over(arrived(), start.elapsed()) {
                        thread::sleep(Duration::from_millis(1));
                    }
                    let result = (arrived(), start.elapsed());
                    // Ends a sender that waits for room.
                    let _ = stream.shutdown(Shutdown::Both);
                    Ok(result)
                })
            }
        }
    }

    fn one(&self, front: Front, way: Way, bytes: u64) -> io::Result<()> {
        let mut stream = flow(front, self.origin.address)?;
        match way {
            Way::Down => {
                stream.write_all(&Wish::Source(bytes).encode())?;
                origin::take(&stream, bytes)
            }
            Way::Up => {
                stream.write_all(&Wish::Sink(bytes).encode())?;
                origin::send(&stream, &self.file, bytes)?;
                stream.read_exact(&mut [0])
            }
        }
    }
}

fn panicked() -> io::Error {
    io::Error::other("a flow's thread panicked")
}
