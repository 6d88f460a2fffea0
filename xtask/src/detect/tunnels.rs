//! Tunnels of our programs and of the reference's, with pages visited inside, one client process after the other.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::capture::{Capture, Recorded};
use super::chance::Chance;
use super::pages;
use crate::bench::Outcome;
use crate::bench::contender::{Contender, Server};
use crate::bench::load::{Front, flow};
use crate::bench::peers::Peers;
use crate::bench::psiphon::{Dial, Protocol};

/// Clients at a time.
const AT_ONCE: usize = 4;
/// Pages in a tunnel, one after the other.
const PAGES: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);
/// So many failures in one run are more than chance.
const MOST_FAILURES: usize = 5;

/// A look that a protocol can have.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Which.
    pub(super) protocol: Protocol,
    /// How clients come to it.
    pub(super) dial: Dial,
    /// Whether its sizes are those of another protocol, which it is or imitates.
    pub(super) own_sizes: bool,
}

impl Look {
    /// For people.
    pub(super) fn name(&self) -> String {
        match self.dial {
            Dial::Only(_, value) => format!("{} {value}", self.protocol.name),
            Dial::AsUsual | Dial::AnyCipher => self.protocol.name.to_owned(),
        }
    }
}

/// Raises so many tunnels to one server; what an observer saw of them.
pub(super) fn raise(
    contender: Contender,
    look: Look,
    peers: &Peers,
    count: usize,
    site: SocketAddr,
) -> Outcome<Vec<Recorded>> {
    let server = Server::tunnel(contender, peers, look.protocol)?;
    let capture = Capture::start(server.address().port())?;
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || failures.lock().is_ok_and(|failures| failures.len() > MOST_FAILURES)
                    {
                        return;
                    }
                    if let Err(error) = one(&server, look.dial, peers, (site, number))
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(error.to_string());
                    }
                }
            });
        }
    });
    let seen = capture.finish();
    let failures = failures.into_inner().unwrap_or_default();
    match failures.first() {
        Some(first) if failures.len() > MOST_FAILURES => Err(first.clone().into()),
        _ => Ok(seen),
    }
}

fn one(server: &Server, dial: Dial, peers: &Peers, (site, number): (SocketAddr, usize)) -> Outcome<()> {
    let client = server.client_that(dial, peers, server.address())?;
    let mut chance = Chance::from(number as u64);
    for _ in 0..PAGES {
        visit(client.front, site, &mut chance)?;
    }
    Ok(())
}

/// Visits a page through a client.
pub(super) fn visit(front: Front, site: SocketAddr, chance: &mut Chance) -> io::Result<()> {
    let mut stream: TcpStream = flow(front, site)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    pages::visit(&mut stream, chance)
}
