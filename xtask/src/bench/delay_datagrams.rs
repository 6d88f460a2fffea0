//! `xtask bench-delay-datagrams`: a UDP forwarder that makes the way long. Every datagram arrives half a round trip after it was sent.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Outcome, sys};

const LARGEST: usize = 65_536;

/// Forwards every datagram to `listen` to `to`, for ever, and answers back, with a round trip of so many milliseconds. The first line says
/// where it listens; each new sender is one more line, with its time in microseconds since 1970.
pub(crate) fn run(listen: &str, to: &str, round_trip: &str) -> Outcome<()> {
    let to: SocketAddr = to.parse()?;
    let half = Duration::from_millis(round_trip.parse()?) / 2;
    let listening = Arc::new(UdpSocket::bind(listen)?);
    println!("listening {}", listening.local_addr()?);
    let mut senders: HashMap<SocketAddr, Sender<Late>> = HashMap::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let (count, from) = listening.recv_from(&mut buffer)?;
        let datagram = buffer.get(..count).unwrap_or_default().to_vec();
        let late = Late { due: sys::now() + half, datagram };
        if let Some(way) = senders.get(&from) {
            // Fails only for a sender whose server is gone.
            let _ = way.send(late);
            continue;
        }
        println!("accepted {}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros());
        let way = begin(from, to, half, listening.clone())?;
        let _ = way.send(late);
        senders.insert(from, way);
    }
}

/// A datagram under way.
struct Late {
    due: Instant,
    datagram: Vec<u8>,
}

/// Both directions of one sender; what is sent into the result arrives.
fn begin(
    from: SocketAddr,
    to: SocketAddr,
    half: Duration,
    listening: Arc<UdpSocket>,
) -> io::Result<Sender<Late>> {
    let server = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
    server.connect(to)?;
    let (up, arriving) = mpsc::channel();
    let (down, answers) = mpsc::channel();
    let towards = server.clone();
    thread::spawn(move || deliver(&arriving, |datagram| towards.send(datagram)));
    thread::spawn(move || deliver(&answers, |datagram| listening.send_to(datagram, from)));
    thread::spawn(move || {
        let mut buffer = vec![0; LARGEST];
        // An error tells of an earlier datagram that nobody took.
        while let Ok(count) = server.recv(&mut buffer).or_else(|_| server.recv(&mut buffer)) {
            let datagram = buffer.get(..count).unwrap_or_default().to_vec();
            if down.send(Late { due: sys::now() + half, datagram }).is_err() {
                return;
            }
        }
    });
    Ok(up)
}

fn deliver(late: &Receiver<Late>, send: impl Fn(&[u8]) -> io::Result<usize>) {
    for Late { due, datagram } in late {
        thread::sleep(due.saturating_duration_since(sys::now()));
        let _ = send(&datagram);
    }
}
