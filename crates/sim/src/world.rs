//! Servers by address, what the network between does to connections, and what was dialed.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_transport::{BoxFuture, Datagrams, Endpoint as Destination, Network, Stream};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::pipe::{Pipe, Wire, pair};

/// A TCP SYN is sent again after so long, and again after twice that.
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// What an operating system gives a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(127);

/// The way to a server, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// From one end to the other.
    pub delay: Duration,
    /// How likely a write is lost at first: it comes later then.
    pub loss: f64,
}

/// What somebody at an address, or something on the way there, does to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Serves them.
    Serve,
    /// Accepts them, and says nothing.
    Mute,
    /// Refuses them.
    Refuse,
    /// Does not answer at all.
    Drop,
    /// Ends them when something was sent.
    Reset,
}

/// A network. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
}

struct State {
    prng: Prng,
    has_route: bool,
    hosts: BTreeMap<SocketAddr, Host>,
    dials: Vec<(Instant, SocketAddr)>,
    wires: Vec<(SocketAddr, Weak<Wire>)>,
}

struct Host {
    path: Path,
    behaviour: Behaviour,
    accepted: Option<mpsc::UnboundedSender<Pipe>>,
}

impl World {
    /// An empty network; what happens by chance comes from the seed.
    pub fn new(seed: &Seed) -> Self {
        let state = State {
            prng: Prng::derived(seed, "world"),
            has_route: true,
            hosts: BTreeMap::new(),
            dials: Vec::new(),
            wires: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Puts somebody at an address who serves nobody.
    pub fn put(&self, at: SocketAddr, path: Path, behaviour: Behaviour) {
        self.lock().hosts.insert(at, Host { path, behaviour, accepted: None });
    }

    /// Puts a server at an address. Gives the connections that come.
    pub fn listen(&self, at: SocketAddr, path: Path) -> mpsc::UnboundedReceiver<Pipe> {
        let (accepted, connections) = mpsc::unbounded_channel();
        let host = Host { path, behaviour: Behaviour::Serve, accepted: Some(accepted) };
        self.lock().hosts.insert(at, host);
        connections
    }

    /// Changes what happens to further connections.
    pub fn set_behaviour(&self, at: SocketAddr, behaviour: Behaviour) {
        if let Some(host) = self.lock().hosts.get_mut(&at) {
            host.behaviour = behaviour;
        }
    }

    /// Without a route, dials fail at once. Connections are not told.
    pub fn set_route(&self, has_route: bool) {
        self.lock().has_route = has_route;
    }

    /// Ends all connections to an address.
    pub fn reset(&self, at: SocketAddr) {
        self.wires(at).iter().for_each(|wire| wire.reset());
    }

    /// From now on nothing arrives over the connections to an address.
    pub fn cut(&self, at: SocketAddr) {
        self.wires(at).iter().for_each(|wire| wire.cut());
    }

    /// The same for all connections.
    pub fn cut_all(&self) {
        let hosts: Vec<_> = self.lock().hosts.keys().copied().collect();
        hosts.into_iter().for_each(|at| self.cut(at));
    }

    /// What was dialed, and when.
    pub fn dials(&self) -> Vec<(Instant, SocketAddr)> {
        self.lock().dials.clone()
    }

    /// Connections that somebody still holds.
    pub fn connections(&self) -> usize {
        self.lock().wires.iter().filter(|(_, wire)| wire.strong_count() > 0).count()
    }

    fn wires(&self, at: SocketAddr) -> Vec<Arc<Wire>> {
        let mut state = self.lock();
        state.wires.retain(|(_, wire)| wire.strong_count() > 0);
        state.wires.iter().filter(|(to, _)| *to == at).filter_map(|(_, wire)| wire.upgrade()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to become of a dial: after which time, and what then.
    fn dial(&self, to: SocketAddr) -> io::Result<(Duration, Behaviour, Path, Seed)> {
        let mut state = self.lock();
        state.dials.push((Instant::now(), to));
        if !state.has_route {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let State { hosts, prng, .. } = &mut *state;
        let seed = Seed::from_bytes(std::array::from_fn(|_| prng.uint64().to_be_bytes()[0]));
        let Some(host) = hosts.get(&to) else {
            return Ok((Duration::ZERO, Behaviour::Drop, Path::default(), seed));
        };
        let mut takes = host.path.delay * 2;
        let mut again = SYN_AGAIN;
        while prng.flip_weighted_coin(host.path.loss) && takes < CONNECT_LIMIT {
            takes += again;
            again *= 2;
        }
        Ok((takes, host.behaviour, host.path, seed))
    }

    async fn connect_to(&self, to: SocketAddr) -> io::Result<Pipe> {
        let (takes, behaviour, path, seed) = self.dial(to)?;
        match behaviour {
            Behaviour::Refuse => {
                sleep(takes).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Behaviour::Drop => {
                sleep(CONNECT_LIMIT).await;
                return Err(io::ErrorKind::TimedOut.into());
            }
            Behaviour::Serve | Behaviour::Mute | Behaviour::Reset => sleep(takes).await,
        }
        let (client, server) = pair(path, &seed);
        let mut state = self.lock();
        if !state.has_route {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        state.wires.push((to, Arc::downgrade(client.wire())));
        let accepted = state.hosts.get(&to).and_then(|host| host.accepted.clone());
        drop(state);
        match (behaviour, accepted) {
            (Behaviour::Serve, Some(accepted)) => match accepted.send(server) {
                Ok(()) => {}
                // The server's program has ended: its machine refuses.
                Err(_) => return Err(io::ErrorKind::ConnectionRefused.into()),
            },
            (Behaviour::Reset, _) => drop(tokio::spawn(reset_later(server))),
            _ => drop(tokio::spawn(stay_mute(server))),
        }
        Ok(client)
    }
}

/// Reads, and never answers, until the client goes.
async fn stay_mute(mut pipe: Pipe) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = pipe.read(&mut buffer).await {}
}

async fn reset_later(mut pipe: Pipe) {
    let _ = pipe.read(&mut [0; 1]).await;
    pipe.wire().reset();
}

impl Network for World {
    fn connect<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            match to {
                Destination::Address(address) => Ok(Box::new(self.connect_to(*address).await?) as Stream),
                Destination::Name(..) => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }

    /// Datagrams go nowhere.
    fn datagrams(&self, _to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        Box::pin(pending())
    }

    fn resolve<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}
