//! Somebody on the way: a relay between client and server that makes the way long and records what an observer of it sees. TCP and UDP. What it
//! makes of that is `culvert_detect`'s to say.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_detect::{Carrier, Direction, Flow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Long enough for what is computed meanwhile not to count.
pub(super) const ROUND_TRIP: Duration = Duration::from_millis(100);
const HALF: Duration = Duration::from_millis(50);
const PIECE: usize = 64 * 1024;
/// Pieces under way in each direction; more wait.
const UNDER_WAY: usize = 4096;

/// A relay to one server. Dropping it breaks what goes through it.
pub(super) struct Observer {
    /// What clients dial instead of the server.
    pub(super) address: SocketAddr,
    record: Arc<Mutex<Record>>,
    relaying: JoinHandle<()>,
}

#[derive(Default)]
struct Record {
    began: Option<Instant>,
    flows: Vec<Flow>,
}

impl Observer {
    /// Stands before `server`.
    pub(super) async fn start(carrier: Carrier, server: SocketAddr) -> io::Result<Self> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let record: Arc<Mutex<Record>> = Arc::default();
        let (address, relaying) = match carrier {
            Carrier::Tcp => {
                let listener = TcpListener::bind(here).await?;
                let address = listener.local_addr()?;
                (address, tokio::spawn(relay_streams(listener, server, record.clone())))
            }
            Carrier::Udp => {
                let socket = Arc::new(UdpSocket::bind(here).await?);
                let address = socket.local_addr()?;
                (address, tokio::spawn(relay_datagrams(socket, server, record.clone())))
            }
        };
        Ok(Self { address, record, relaying })
    }

    /// Round trips since the first contact.
    pub(super) fn round_trips(&self) -> Option<f64> {
        let began = lock(&self.record).began?;
        Some(began.elapsed().as_secs_f64() / ROUND_TRIP.as_secs_f64())
    }

    /// What was seen so far.
    pub(super) fn flows(&self) -> Vec<Flow> {
        lock(&self.record).flows.clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One flow's place in the record.
#[derive(Clone)]
struct Pen {
    record: Arc<Mutex<Record>>,
    flow: usize,
    began: Instant,
}

impl Pen {
    fn new(record: &Arc<Mutex<Record>>, carrier: Carrier) -> Self {
        let began = Instant::now();
        let mut all = lock(record);
        all.began.get_or_insert(began);
        all.flows.push(Flow::new(carrier));
        Self { record: record.clone(), flow: all.flows.len() - 1, began }
    }

    fn note(&self, direction: Direction, bytes: &[u8]) {
        if let Some(flow) = lock(&self.record).flows.get_mut(self.flow) {
            flow.record(direction, self.began.elapsed(), bytes);
        }
    }
}

/// Bytes under way. An empty piece is the end of its direction.
struct Late {
    due: Instant,
    bytes: Vec<u8>,
}

async fn relay_streams(listener: TcpListener, server: SocketAddr, record: Arc<Mutex<Record>>) {
    while let Ok((client, _)) = listener.accept().await {
        let pen = Pen::new(&record, Carrier::Tcp);
        tokio::spawn(relay_stream(client, server, pen));
    }
}

/// A client's first bytes leave a round trip after it connected, and the server sees the connection half a one after that.
async fn relay_stream(client: TcpStream, server: SocketAddr, pen: Pen) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (up, to_server) = mpsc::channel(UNDER_WAY);
    let connected = pen.began + ROUND_TRIP;
    tokio::spawn(take(from_client, up, (pen.clone(), Direction::Up), connected));
    sleep_until(connected + HALF).await;
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let (from_server, server) = server.into_split();
    let (down, back) = mpsc::channel(UNDER_WAY);
    tokio::spawn(deliver(to_server, server));
    tokio::spawn(deliver(back, to_client));
    take(from_server, down, (pen, Direction::Down), connected).await;
    Ok(())
}

async fn take(
    mut from: OwnedReadHalf,
    way: mpsc::Sender<Late>,
    (pen, direction): (Pen, Direction),
    not_before: Instant,
) {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
        pen.note(direction, &bytes);
        let due = Instant::now().max(not_before) + HALF;
        if way.send(Late { due, bytes }).await.is_err() || count == 0 {
            return;
        }
    }
}

async fn deliver(mut arriving: mpsc::Receiver<Late>, mut to: OwnedWriteHalf) {
    while let Some(Late { due, bytes }) = arriving.recv().await {
        sleep_until(due).await;
        let written = if bytes.is_empty() { to.shutdown().await } else { to.write_all(&bytes).await };
        if written.is_err() {
            return;
        }
    }
}

async fn relay_datagrams(socket: Arc<UdpSocket>, server: SocketAddr, record: Arc<Mutex<Record>>) {
    let mut senders: HashMap<SocketAddr, (mpsc::Sender<Late>, Pen)> = HashMap::new();
    let mut buffer = vec![0; PIECE];
    while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
        let late = |bytes| Late { due: Instant::now() + HALF, bytes };
        if let Some((way, pen)) = senders.get(&from) {
            pen.note(Direction::Up, &bytes);
            // What finds no room is lost, as on other ways.
            let _ = way.try_send(late(bytes));
            continue;
        }
        let pen = Pen::new(&record, Carrier::Udp);
        pen.note(Direction::Up, &bytes);
        let Ok(way) = begin(&socket, from, server, pen.clone()).await else { continue };
        let _ = way.try_send(late(bytes));
        senders.insert(from, (way, pen));
    }
}

/// Both directions of one sender; what is sent into the result arrives.
async fn begin(
    socket: &Arc<UdpSocket>,
    from: SocketAddr,
    server: SocketAddr,
    pen: Pen,
) -> io::Result<mpsc::Sender<Late>> {
    let outward = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    outward.connect(server).await?;
    let (way, mut arriving) = mpsc::channel::<Late>(UNDER_WAY);
    let (back, mut answers) = mpsc::channel::<Late>(UNDER_WAY);
    let (towards, inward) = (outward.clone(), socket.clone());
    let answering = tokio::spawn(async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(count) = outward.recv(&mut buffer).await {
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            pen.note(Direction::Down, &bytes);
            let _ = back.try_send(Late { due: Instant::now() + HALF, bytes });
        }
    });
    tokio::spawn(async move {
        while let Some(Late { due, bytes }) = answers.recv().await {
            sleep_until(due).await;
            let _ = inward.send_to(&bytes, from).await;
        }
    });
    tokio::spawn(async move {
        while let Some(Late { due, bytes }) = arriving.recv().await {
            sleep_until(due).await;
            let _ = towards.send(&bytes).await;
        }
        answering.abort();
    });
    Ok(way)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_stream_is_delayed_and_recorded() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let observer = Observer::start(Carrier::Tcp, server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(observer.address).await.unwrap();
        client.write_all(b"question").await.unwrap();
        let (mut stream, _) = server.accept().await.unwrap();
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        drop(stream);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((&bytes, answer.as_slice()), (b"question", &b"answer"[..]));
        let round_trips = observer.round_trips().unwrap();
        assert!(round_trips >= 2.0, "{round_trips}");
        let flows = observer.flows();
        let seen: Vec<_> = flows[0].segments().iter().map(|seen| (seen.direction, seen.len)).collect();
        assert_eq!(seen, [(Direction::Up, 8), (Direction::Down, 6)]);
    }

    #[tokio::test]
    async fn datagrams_are_delayed_and_recorded() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let observer = Observer::start(Carrier::Udp, server.local_addr().unwrap()).await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"question", observer.address).await.unwrap();
        let mut bytes = [0; 100];
        let (count, from) = server.recv_from(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..count], b"question");
        server.send_to(b"answer", from).await.unwrap();
        let answered = timeout(Duration::from_secs(5), client.recv(&mut bytes)).await;
        assert_eq!(answered.unwrap().unwrap(), 6);
        assert!(observer.round_trips().unwrap() >= 1.0);
        assert_eq!(observer.flows()[0].segments().len(), 2);
    }
}
