//! A wire between client and server that can be looked at and cut.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::poll;
use crate::failure::Failure;

/// How much of each direction of a connection is kept.
const KEPT: usize = 64 * 1024;
/// Bytes that come no later belong together.
const PAUSE: Duration = Duration::from_millis(50);
/// A response of which no more came for so long is whole; the next request comes 70 ms after one at the earliest.
const FINISHED: Duration = Duration::from_millis(40);

/// A relay to one server. Dropping it closes its connections and frees its port.
pub(crate) struct Relay {
    address: SocketAddr,
    connections: Connections,
    losses: Arc<Mutex<Losses>>,
    over: Arc<AtomicBool>,
}

/// Which connections end by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Losses {
    /// None.
    #[default]
    None,
    /// Those on which so many bytes came from the server, in the middle of what it sends.
    AfterDownstream(u64),
    /// Those on which so many bytes came from the client, when the server sends something, of which nothing is passed on.
    AnswerAfterUpstream(u64),
}

type Connections = Arc<Mutex<Vec<Connection>>>;

/// The beginning of what passed on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// From the client.
    pub(crate) upstream: Vec<u8>,
    /// From the server.
    pub(crate) downstream: Vec<u8>,
    /// How much came with the client's first segment.
    pub(crate) first_read: usize,
    /// How much came from the client until it paused.
    pub(crate) first_burst: usize,
    /// When its last bytes came, as long as it has not paused.
    bursting: Option<Instant>,
    /// Who sent the last bytes of the connection, and when.
    last: Option<(Sender, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}

struct Connection {
    seen: Arc<Mutex<Seen>>,
    ends: [TcpStream; 2],
}

impl Relay {
    /// Starts a relay to `server` on a free port.
    pub(crate) fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (connections, over) = (Connections::default(), Arc::new(AtomicBool::new(false)));
        let losses = Arc::<Mutex<Losses>>::default();
        let (own, stop, lost) = (Arc::clone(&connections), Arc::clone(&over), Arc::clone(&losses));
        thread::spawn(move || {
            for client in listener.incoming().flatten().take_while(|_| !stop.load(Ordering::Relaxed)) {
                // A server that is down looks to the client like a connection closed at once.
                let _ = join(&own, &lost, client, server);
            }
        });
        Ok(Self { address, connections, losses, over })
    }

    /// The port to put in the client's entry.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What was seen of each connection so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.connections).iter().map(|connection| lock(&connection.seen).clone()).collect()
    }

    /// From now on such connections end.
    pub(crate) fn lose(&self, losses: Losses) {
        *lock(&self.losses) = losses;
    }

    /// Cuts when nothing is asked: the server spoke last, and has finished. Otherwise a request may be lost on its way, which the
    /// reference's server cannot tell from a lost response (TRANSPORTS.md 2.6).
    pub(crate) fn cut_when_answered(&self, limit: Duration) -> Result<(), Failure> {
        let answered = poll(limit, || self.is_answered().then_some(()));
        answered.ok_or_else(|| Failure::Timeout { awaited: "pause between requests".to_owned(), limit })?;
        self.cut();
        Ok(())
    }

    fn is_answered(&self) -> bool {
        let connections = lock(&self.connections);
        let last =
            connections.iter().filter_map(|connection| lock(&connection.seen).last).max_by_key(|(_, at)| *at);
        last.is_some_and(|(sender, at)| sender == Sender::Server && at.elapsed() >= FINISHED)
    }

    /// Closes both ends of every connection, as a network that went away and said so.
    pub(crate) fn cut(&self) {
        for end in lock(&self.connections).iter().flat_map(|connection| &connection.ends) {
            // One that has ended already is cut already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(
    connections: &Connections,
    losses: &Arc<Mutex<Losses>>,
    client: TcpStream,
    server: SocketAddr,
) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let up = (client.try_clone()?, server.try_clone()?, Arc::clone(&seen));
    let down = (server.try_clone()?, client.try_clone()?, Arc::clone(&seen));
    lock(connections).push(Connection { seen, ends: [client, server] });
    let sent = Arc::new(AtomicU64::new(0));
    let (counted, losses, mut received) = (Arc::clone(&sent), Arc::clone(losses), 0);
    thread::spawn(move || {
        copy(up.0, up.1, |part| {
            counted.fetch_add(part.len() as u64, Ordering::Relaxed);
            record_up(&mut lock(&up.2), part);
            None
        });
    });
    thread::spawn(move || {
        copy(down.0, down.1, |part| {
            let before = received;
            received += part.len() as u64;
            record_down(&mut lock(&down.2), part);
            match *lock(&losses) {
                Losses::AfterDownstream(most) if received > most => Some(most.saturating_sub(before)),
                Losses::AnswerAfterUpstream(least) if sent.load(Ordering::Relaxed) >= least => Some(0),
                _ => None,
            }
        });
    });
    Ok(())
}

/// Copies until the end, or, with so many bytes of the last part, until `record` ends the connection.
fn copy(mut from: TcpStream, mut to: TcpStream, mut record: impl FnMut(&[u8]) -> Option<u64>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let part = buffer.get(..count).unwrap_or_default();
        let last = record(part).and_then(|last| usize::try_from(last).ok());
        let part = part.get(..last.unwrap_or(count)).unwrap_or(part);
        if to.write_all(part).is_err() {
            break;
        }
        if last.is_some() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn record_up(seen: &mut Seen, part: &[u8]) {
    let now = crate::clock::now();
    if seen.upstream.is_empty() {
        seen.first_read = part.len();
        seen.bursting = Some(now);
    }
    seen.bursting = seen.bursting.filter(|last| now.duration_since(*last) < PAUSE).map(|_| now);
    if seen.bursting.is_some() {
        seen.first_burst += part.len();
    }
    seen.last = Some((Sender::Client, now));
    keep(&mut seen.upstream, part);
}

fn record_down(seen: &mut Seen, part: &[u8]) {
    seen.last = Some((Sender::Server, crate::clock::now()));
    keep(&mut seen.downstream, part);
}

fn keep(kept: &mut Vec<u8>, part: &[u8]) {
    let room = KEPT.saturating_sub(kept.len());
    kept.extend(part.iter().take(room));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
