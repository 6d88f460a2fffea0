//! The destination of every flow: one port, where the first nine bytes of a connection say what it wants.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::sys;

/// A flow that does nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a flow wants of the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// So many bytes.
    Source(u64),
    /// To give so many bytes, and get one back when all have arrived.
    Sink(u64),
    /// Every byte back.
    Echo,
}

impl Wish {
    /// As it is sent.
    pub(crate) fn encode(self) -> [u8; 9] {
        let (kind, bytes) = match self {
            Self::Source(bytes) => (b'd', bytes),
            Self::Sink(bytes) => (b'u', bytes),
            Self::Echo => (b'e', 0),
        };
        let mut head = [kind; 9];
        if let Some(rest) = head.get_mut(1..) {
            rest.copy_from_slice(&bytes.to_be_bytes());
        }
        head
    }

    fn decode(head: [u8; 9]) -> Option<Self> {
        let [kind, bytes @ ..] = head;
        let bytes = u64::from_be_bytes(bytes);
        match kind {
            b'd' => Some(Self::Source(bytes)),
            b'u' => Some(Self::Sink(bytes)),
            b'e' => Some(Self::Echo),
            _ => None,
        }
    }
}

/// A running origin. It serves for as long as the program runs.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Origin {
    /// Starts it.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let file = Arc::new(sys::memory_file()?);
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (file, counter) = (Arc::clone(&file), Arc::clone(&counter));
                // A flow that breaks is noticed where it is measured.
                thread::spawn(move || serve(stream, &file, &counter));
            }
        });
        Ok(Self { address, taken })
    }

    /// The bytes that its sinks have taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, file: &OwnedFd, counter: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    match Wish::decode(head) {
        Some(Wish::Source(bytes)) => send(&stream, file, bytes),
        Some(Wish::Sink(bytes)) => {
            take_counted(&stream, bytes, |count| {
                counter.fetch_add(count, Ordering::Relaxed);
            })?;
            stream.write_all(b".")
        }
        Some(Wish::Echo) => echo(&mut stream),
        None => Ok(()),
    }
}

/// Sends so many bytes.
pub(crate) fn send(to: &TcpStream, file: &OwnedFd, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let sent = sys::send_from(to, file, usize::try_from(left).unwrap_or(usize::MAX))?;
        left = left.saturating_sub(sent as u64);
    }
    Ok(())
}

/// Takes so many bytes; fewer are an error.
pub(crate) fn take(from: &TcpStream, bytes: u64) -> io::Result<()> {
    take_counted(from, bytes, |_| {})
}

fn take_counted(from: &TcpStream, bytes: u64, count: impl Fn(u64)) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        match sys::discard(from, usize::try_from(left).unwrap_or(usize::MAX).min(4 * sys::CHUNK))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            taken => {
                count(taken as u64);
                left = left.saturating_sub(taken as u64);
            }
        }
    }
    Ok(())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_is_served() {
        let origin = Origin::start().unwrap();
        let ask = |wish: Wish| {
            let mut stream = TcpStream::connect(origin.address).unwrap();
            stream.write_all(&wish.encode()).unwrap();
            stream
        };
        take(&ask(Wish::Source(3_000_000)), 3_000_000).unwrap();
        assert!(take(&ask(Wish::Source(10)), 11).is_err());
        let file = sys::memory_file().unwrap();
        let mut sink = ask(Wish::Sink(3_000_000));
        send(&sink, &file, 3_000_000).unwrap();
        sink.read_exact(&mut [0]).unwrap();
        assert_eq!(origin.taken(), 3_000_000);
        let mut echo = ask(Wish::Echo);
        echo.write_all(b"abc").unwrap();
        let mut back = [0; 3];
        echo.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"abc");
    }
}
