//! Ports: bound all at once before anything is served, then accepted from by every thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::{Carrier, TunnelProtocol};
use culvert_transport::tcp::TcpListen;
use culvert_transport::{Accepted, Listen, Stream};
use tokio::net::TcpSocket;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep};

use crate::admission::Shut;
use crate::config::Listener;
use crate::figures::{Country, Refusal};
use crate::hold;
use crate::log::{Aggregated, Field};
use crate::panics::DrillSpot;
use crate::quic;
use crate::services::Services;
use crate::session::{self, Arrival, Stopping};

/// The pause after an error that the next attempt would meet again, and up to what it doubles.
const SHORTEST_BACK_OFF: Duration = Duration::from_millis(5);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// Of the strangers who wait, those who leave when there are too many open files: one in so many, and at least a few.
const LEAVING_SHARE: usize = 20;
const LEAVING_LEAST: usize = 4;

/// The pause before accepting begins anew after a panic.
const AFTER_PANIC: Duration = Duration::from_millis(500);

/// Connections that may wait to be accepted. Beyond it a rush of clients sees resets; the system may allow less.
const BACKLOG: u32 = 4096;

/// A port that could not be bound. Local: another program, the address, or a missing permission.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {} on {}: {source}; {}", listener.protocol.name(), listener.address, fix(*listener, source))]
pub struct BindError {
    pub listener: Listener,
    #[source]
    pub source: io::Error,
}

/// A bound port.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) protocol: TunnelProtocol,
    pub(crate) address: SocketAddr,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Streams(std::net::TcpListener),
    Datagrams(std::net::UdpSocket),
}

/// Binds every port, or none. Must be called in a runtime.
pub(crate) fn bind_all(listeners: &[Listener]) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        bound.push(bind(*listener).map_err(|source| BindError { listener: *listener, source })?);
    }
    Ok(bound)
}

fn bind(listener: Listener) -> io::Result<Bound> {
    let (address, socket) = match listener.protocol.carrier_at_server() {
        Carrier::Tcp => bind_streams(listener.address)?,
        Carrier::Udp => bind_datagrams(listener.address)?,
    };
    Ok(Bound { protocol: listener.protocol, address, socket })
}

fn bind_datagrams(address: SocketAddr) -> io::Result<(SocketAddr, Socket)> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok((socket.local_addr()?, Socket::Datagrams(socket)))
}

fn bind_streams(address: SocketAddr) -> io::Result<(SocketAddr, Socket)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that is started again must get its port while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let socket = socket.listen(BACKLOG)?;
    let address = socket.local_addr()?;
    Ok((address, Socket::Streams(socket.into_std()?)))
}

/// What to do about an error of binding.
fn fix(listener: Listener, error: &io::Error) -> String {
    let port = listener.address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let sockets = match listener.protocol.carrier_at_server() {
                Carrier::Tcp => "-ltnp",
                Carrier::Udp => "-lunp",
            };
            format!(
                "another program listens there (ss {sockets} 'sport = :{port}' names it): stop it, or choose another port in TunnelProtocolPorts"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: set ServerIPAddress to one that it has, or to 0.0.0.0"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            let program = std::env::current_exe().unwrap_or_else(|_| "psiphond".into());
            format!(
                "ports below 1024 need the right to bind them (setcap cap_net_bind_service=+ep {}, or AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit), or choose another port in TunnelProtocolPorts",
                program.display()
            )
        }
        _ => "check ServerIPAddress and TunnelProtocolPorts".to_owned(),
    }
}

/// A port that nobody can accept from any more, which looks from outside as if all were well. A server is not to go on without.
#[derive(Debug, thiserror::Error)]
#[error("cannot accept any more for {} on {address}: {source}; start the server again", protocol.name())]
pub struct PortLost {
    pub protocol: TunnelProtocol,
    pub address: SocketAddr,
    #[source]
    pub source: io::Error,
}

/// Proof that a connection is being served; a thread ends when all of its are gone.
pub(crate) type Serving = mpsc::Sender<()>;

/// What an accept loop needs.
#[derive(Clone)]
pub(crate) struct Accepting {
    pub(crate) services: Arc<Services>,
    pub(crate) errors: Arc<Aggregated>,
    pub(crate) stopping: Stopping,
    pub(crate) serving: Serving,
    /// Told of the first port that is lost.
    pub(crate) lost: mpsc::Sender<PortLost>,
}

impl Bound {
    /// The same port for the runtime of a thread, if that is to accept from it: datagrams of one client may come from several addresses, so
    /// that one thread takes them all.
    pub(crate) fn share(&self, thread: usize) -> io::Result<Option<Self>> {
        match &self.socket {
            Socket::Datagrams(_) if thread > 0 => Ok(None),
            Socket::Streams(_) | Socket::Datagrams(_) => self.duplicate().map(Some),
        }
    }

    /// Accepts until the server stops; what is accepted is served on this thread. A panic does not end it, and what does is told.
    pub(crate) async fn accept(self, accepting: Accepting) {
        let (protocol, address) = (self.protocol, self.address);
        if let Err(source) = self.accept_beyond_panics(&accepting).await {
            // One is enough to end the server.
            let _ = accepting.lost.try_send(PortLost { protocol, address, source });
        }
    }

    async fn accept_beyond_panics(self, accepting: &Accepting) -> io::Result<()> {
        let mut port = self;
        loop {
            let again = port.duplicate();
            match tokio::spawn(port.accept_until_panic(accepting.clone())).await {
                Ok(ended) => return ended,
                Err(error) if !error.is_panic() => return Ok(()),
                Err(_) => {
                    accepting.errors.record("a bug in accepting, which begins anew");
                    sleep(AFTER_PANIC).await;
                    port = again?;
                }
            }
        }
    }

    fn duplicate(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            Socket::Streams(listener) => Socket::Streams(listener.try_clone()?),
            Socket::Datagrams(socket) => Socket::Datagrams(socket.try_clone()?),
        };
        Ok(Self { protocol: self.protocol, address: self.address, socket })
    }

    async fn accept_until_panic(self, accepting: Accepting) -> io::Result<()> {
        let port = self.address.port();
        match self.socket {
            Socket::Streams(listener) => {
                let mut listener = TcpListen::from_std(listener, self.protocol)?;
                accepting.accept_from(&mut listener, port).await
            }
            Socket::Datagrams(socket) => {
                let Some(listener) = quic::listen(socket, self.protocol, &accepting.services) else {
                    return Ok(());
                };
                let mut listener = listener?;
                let ended = accepting.accept_from(&mut listener, port).await;
                // The thread must live until peers have been told.
                listener.finish().await;
                ended
            }
        }
    }
}

impl Accepting {
    /// An error is one that lasts.
    async fn accept_from(&self, listener: &mut dyn Listen, port: u16) -> io::Result<()> {
        let mut stopping = self.stopping.clone();
        let mut back_off = SHORTEST_BACK_OFF;
        loop {
            tokio::select! {
                () = session::stopped(&mut stopping) => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => {
                        back_off = SHORTEST_BACK_OFF;
                        self.serve(accepted, port);
                    }
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => {
                        if let Some(kind) = lasting(&error) {
                            self.errors.record(kind);
                            self.make_room();
                            sleep(back_off).await;
                            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
                        }
                    }
                },
            }
        }
    }

    /// Sends away those who wait longest, whose files and memory others need.
    fn make_room(&self) {
        let held = &self.services.held;
        held.evict((held.len() / LEAVING_SHARE).max(LEAVING_LEAST));
    }

    fn serve(&self, accepted: Accepted, port: u16) {
        let Accepted { stream, facts } = accepted;
        let place = self.services.geoip.get().look_up(facts.peer.ip());
        let draw = self.services.treatment.draw(facts.protocol, &place);
        let arrival = Arrival { protocol: facts.protocol, port, peer: facts.peer, at: Instant::now(), draw };
        let Self { services, stopping, serving, .. } = self.clone();
        services.drill.at(DrillSpot::Accept);
        let country = Country::of(&place.country);
        let present = services.figures.accepted(arrival.protocol, country);
        // While no tunnels are wanted clients learn it at once, and go elsewhere.
        if let Some(farewell) = self.refuses(&stream, facts.protocol) {
            tokio::spawn(async move {
                farewell.say(stream).await;
                drop((present, serving));
            });
            return;
        }
        tokio::spawn(async move {
            services.drill.at(DrillSpot::Connection);
            session::serve(stream, arrival, services, stopping).await;
            drop((present, serving));
        });
    }

    /// Whether a connection is ended at once, and how. Those of meek are not, and what is in TLS: they may be of a tunnel that is up, or for the
    /// site; who wants to begin a tunnel there is found out later.
    fn refuses(&self, stream: &Stream, protocol: TunnelProtocol) -> Option<Farewell> {
        let Services { held, descriptors, .. } = &*self.services;
        let is_scarce = stream.as_tcp().is_some_and(|socket| descriptors.is_scarce(socket));
        // Whoever came first has waited for long enough when others need the room.
        let makes_room = is_scarce && held.evict(1) > 0;
        if self.services.treatment.refuses_direct(protocol) {
            self.services.figures.refused(protocol, Refusal::Restricted);
            return Some(Farewell(descriptors.farewell()));
        }
        if session::may_be_of_a_tunnel(protocol) {
            return None;
        }
        if is_scarce && !makes_room {
            self.services.refuse(protocol, Shut::Descriptors);
            return Some(Farewell(descriptors.farewell()));
        }
        (!self.services.admits(protocol)).then(|| Farewell(descriptors.farewell()))
    }
}

/// The right to end a connection in an orderly way, which takes a moment.
struct Farewell(Option<OwnedSemaphorePermit>);

impl Farewell {
    async fn say(self, stream: Stream) {
        if self.0.is_some() {
            hold::close(stream).await;
        }
    }
}

/// Whether the port is none any more.
fn is_final(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP))
}

/// What an error of accepting is called if trying again at once would only meet it again.
fn lasting(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EMFILE) => Some("this process has too many open files"),
        Some(libc::ENFILE) => Some("this machine has too many open files"),
        Some(libc::ENOMEM | libc::ENOBUFS) => Some("out of memory"),
        // Of one connection that is already gone, or of the network.
        Some(
            libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ETIMEDOUT
            | libc::ECONNRESET,
        ) => None,
        _ => Some("other"),
    }
}

/// The fields of lines about a port.
pub(crate) fn fields(bound: &Bound) -> [(&'static str, Field); 2] {
    [("localAddress", Field::listener(bound.address)), ("tunnelProtocol", bound.protocol.name().into())]
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
