//! Flows to and from one loopback port, as an observer on the way sees them: a packet socket (packet(7)) with a filter for the port. What
//! a program writes at once arrives as one segment, however large, for loopback has no small one; the detectors cut it as a network would.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::socket::packet_socket;
use crate::bench::sys;

/// Of each direction so many bytes are kept; of the rest only how many.
const KEPT: usize = 16 * 1024;
/// Segments kept of one flow: more than detectors look at.
const MOST_SEGMENTS: usize = 250;
const LARGEST: usize = 128 * 1024;
/// What has been sent arrives within this.
const LAST: Duration = Duration::from_millis(200);

/// A capture that runs.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Recorded>>,
}

/// One flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    datagrams: bool,
    segments: Vec<Segment>,
    kept: [usize; 2],
}

#[derive(Clone, Debug)]
struct Segment {
    up: bool,
    at: Duration,
    len: usize,
    bytes: Vec<u8>,
}

impl Recorded {
    fn record(&mut self, up: bool, at: Duration, bytes: &[u8]) {
        if bytes.is_empty() || self.segments.len() >= MOST_SEGMENTS {
            return;
        }
        let [down_kept, up_kept] = &mut self.kept;
        let kept = if up { up_kept } else { down_kept };
        let part = bytes.get(..bytes.len().min(KEPT.saturating_sub(*kept))).unwrap_or_default();
        *kept += part.len();
        self.segments.push(Segment { up, at, len: bytes.len(), bytes: part.to_vec() });
    }

    /// Whether a client has said anything.
    fn has_begun(&self) -> bool {
        self.segments.iter().any(|segment| segment.up)
    }

    /// As `culvert-bench judge` reads it.
    pub(crate) fn write(&self, text: &mut String) {
        text.push_str(if self.datagrams { "flow udp\n" } else { "flow tcp\n" });
        for Segment { up, at, len, bytes } in &self.segments {
            let direction = if *up { "up" } else { "down" };
            // A String takes everything.
            let _ = write!(text, "{direction} {} {len} ", at.as_micros());
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
    }
}

impl Capture {
    /// Begins to record what passes on 127.0.0.0/8 to and from a server's port. Needs the right to do so (CAP_NET_RAW).
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        let mut socket = packet_socket(port)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut observer = Observer::new(port);
            let mut packet = vec![0; LARGEST];
            loop {
                match socket.read(&mut packet) {
                    Ok(len) => {
                        observer.see(packet.get(..len).unwrap_or_default());
                    }
                    // Nothing came for a while.
                    Err(_) if stopping.load(Ordering::Relaxed) => return observer.finish(),
                    Err(_) => {}
                }
            }
        });
        Ok(Self { stop, thread })
    }

    /// What was recorded, without flows in which no client said anything.
    pub(crate) fn finish(self) -> Vec<Recorded> {
        thread::sleep(LAST);
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// Makes flows of packets.
struct Observer {
    port: u16,
    began: Instant,
    /// By the client's port.
    open: HashMap<(bool, u16), Open>,
    ended: Vec<Recorded>,
}

#[derive(Default)]
struct Open {
    flow: Recorded,
    since: Duration,
    /// The sequence number that comes next, of the server and of the client.
    next: [Option<u32>; 2],
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;
const ACK: u8 = 16;

impl Observer {
    fn new(port: u16) -> Self {
        Self { port, began: sys::now(), open: HashMap::new(), ended: Vec::new() }
    }

    /// Takes one packet, which begins with its IPv4 header (RFC 791 section 3.1). What is not whole is of no interest.
    fn see(&mut self, packet: &[u8]) -> Option<()> {
        let (first, protocol) = (*packet.first()?, *packet.get(9)?);
        let payload = packet.get(usize::from(first & 15) * 4..)?;
        let [from, to] = [word(payload, 0)?, word(payload, 2)?];
        let up = to == self.port;
        if !up && from != self.port {
            return None;
        }
        let client = if up { from } else { to };
        match protocol {
            TCP => self.see_tcp(client, up, payload),
            UDP => {
                let now = self.began.elapsed();
                self.flow(true, client).record(up, now, payload.get(8..)?);
                Some(())
            }
            _ => None,
        }
    }

    /// RFC 9293 section 3.1.
    fn see_tcp(&mut self, client: u16, up: bool, segment: &[u8]) -> Option<()> {
        let sequence = u32::from(word(segment, 4)?) << 16 | u32::from(word(segment, 6)?);
        let flags = *segment.get(13)?;
        let data = segment.get(usize::from(*segment.get(12)? >> 4) * 4..)?;
        if flags & (SYN | ACK) == SYN && up {
            let ended = self.open.remove(&(false, client));
            self.ended.extend(ended.map(|open| open.flow));
        }
        let now = self.began.elapsed();
        let open = self.flow(false, client);
        let next = open.next.get_mut(usize::from(up))?;
        if flags & SYN != 0 {
            *next = Some(sequence.wrapping_add(1));
        }
        // What was seen before is repeated, and does not count.
        let repeated = next.map_or(0, |next| next.wrapping_sub(sequence));
        let repeated = if repeated < 1 << 31 { usize::try_from(repeated).ok()? } else { 0 };
        let fresh = data.get(repeated..).filter(|fresh| !fresh.is_empty())?;
        *next = Some(sequence.wrapping_add(u32::try_from(data.len()).ok()?));
        open.record(up, now, fresh);
        Some(())
    }

    fn flow(&mut self, datagrams: bool, client: u16) -> &mut Open {
        let began = self.began;
        self.open.entry((datagrams, client)).or_insert_with(|| Open {
            flow: Recorded { datagrams, ..Recorded::default() },
            since: began.elapsed(),
            next: [None; 2],
        })
    }

    fn finish(mut self) -> Vec<Recorded> {
        self.ended.extend(self.open.into_values().map(|open| open.flow));
        self.ended.retain(Recorded::has_begun);
        self.ended
    }
}

impl Open {
    fn record(&mut self, up: bool, now: Duration, bytes: &[u8]) {
        self.flow.record(up, now.saturating_sub(self.since), bytes);
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn what_is_written_is_seen_once_and_as_it_was_written() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let datagrams = UdpSocket::bind(address).unwrap();
        let capture = match Capture::start(address.port()) {
            Ok(capture) => capture,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
            Err(error) => panic!("{error}"),
        };
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for len in [100, 21] {
            client.write_all(&vec![7; len]).unwrap();
            server.read_exact(&mut vec![0; len]).unwrap();
        }
        server.write_all(&[8; 5000]).unwrap();
        client.read_exact(&mut [0; 5000]).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[9; 1200], address).unwrap();
        datagrams.recv(&mut [0; 2000]).unwrap();
        let seen = capture.finish();
        let sizes = |datagrams: bool| {
            let flow = seen.iter().find(|flow| flow.datagrams == datagrams).unwrap();
            flow.segments.iter().map(|segment| (segment.up, segment.len)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(false), [(true, 100), (true, 21), (false, 5000)]);
        assert_eq!(sizes(true), [(true, 1200)]);
    }
}
