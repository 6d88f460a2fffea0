//! `xtask bench-delay`: a TCP forwarder that makes the way long. Every byte arrives half a round trip after it was sent, as many as
//! are sent, and a connection behaves as if its handshake had taken its round trip too: a client's first bytes leave one round trip after
//! it connected, and the server sees the connection half a round trip after that.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Outcome, sys};

const READ: usize = 256 * 1024;
/// More than the fastest contender has under way at the longest delay.
const MOST_UNDER_WAY: usize = 512 << 20;

/// Forwards every connection to `listen` to `to`, for ever, with a round trip of so many milliseconds. The first line says where it
/// listens; each connection is one more line, with its time in microseconds since 1970.
pub(crate) fn run(listen: &str, to: &str, round_trip: &str) -> Outcome<()> {
    let to: SocketAddr = to.parse()?;
    let round_trip = Duration::from_millis(round_trip.parse()?);
    let listener = TcpListener::bind(listen)?;
    println!("listening {}", listener.local_addr()?);
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let accepted = sys::now();
        println!("accepted {}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros());
        thread::spawn(move || forward(&client, to, accepted, round_trip));
    }
    Ok(())
}

fn forward(client: &TcpStream, to: SocketAddr, accepted: Instant, round_trip: Duration) -> io::Result<()> {
    let half = round_trip / 2;
    let (up, down) = (Queue::default(), Queue::default());
    client.set_nodelay(true)?;
    thread::scope(|scope| {
        // Read from the start, so that the client can send while the connection is still on its way.
        scope.spawn(|| up.fill(client, accepted + round_trip, half));
        thread::sleep((accepted + round_trip + half).saturating_duration_since(sys::now()));
        let server = TcpStream::connect(to).inspect_err(|_| {
            let _ = client.shutdown(Shutdown::Both);
        })?;
        server.set_nodelay(true)?;
        thread::scope(|scope| {
            scope.spawn(|| up.drain(&server));
            scope.spawn(|| down.fill(&server, accepted, half));
            down.drain(client);
        });
        Ok(())
    })
}

/// Bytes under way in one direction, each chunk with the time at which it arrives. An empty chunk is the end.
#[derive(Default)]
struct Queue {
    state: Mutex<UnderWay>,
    changed: Condvar,
}

#[derive(Default)]
struct UnderWay {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Nobody drains any more.
    dead: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is sent until the end. Nothing counts as sent before `not_before`.
    fn fill(&self, mut from: &TcpStream, not_before: Instant, half: Duration) {
        let mut buffer = vec![0; READ];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let due = sys::now().max(not_before) + half;
            let mut state = self.lock();
            while state.bytes > MOST_UNDER_WAY && !state.dead {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.dead {
                return;
            }
            state.bytes += count;
            state.chunks.push_back((due, buffer.get(..count).unwrap_or_default().to_vec()));
            self.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    }

    /// Delivers what has arrived until the end.
    fn drain(&self, mut to: &TcpStream) {
        loop {
            let mut state = self.lock();
            let (due, chunk) = loop {
                match state.chunks.pop_front() {
                    Some(first) => break first,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            state.bytes -= chunk.len();
            self.changed.notify_all();
            drop(state);
            thread::sleep(due.saturating_duration_since(sys::now()));
            if chunk.is_empty() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            if to.write_all(&chunk).is_err() {
                self.lock().dead = true;
                self.changed.notify_all();
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_handshake_and_half_a_round_trip_each_way() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (client, _) = relay.accept().unwrap();
                forward(&client, to, sys::now(), Duration::from_millis(80)).unwrap();
            });
            scope.spawn(|| {
                let (mut stream, _) = server.accept().unwrap();
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte) {
                    stream.write_all(&byte).unwrap();
                }
            });
            let start = sys::now();
            let mut stream = TcpStream::connect(relay.local_addr().unwrap()).unwrap();
            for round_trips in [2, 3] {
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut [0]).unwrap();
                let took = start.elapsed();
                assert!(took >= Duration::from_millis(80 * round_trips), "{took:?}");
            }
        });
    }
}
