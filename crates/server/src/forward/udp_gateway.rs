//! The UDP gateway: datagrams of a client, framed in one channel, to sockets of this host and back. One socket for each
//! connection that the client numbers. What may go where is asked of [`Flows`] and their way out.
//!
//! No datagram waits in memory here: upstream, what a socket does not take is lost, as datagrams are; downstream, a socket
//! is read only while the channel is held for writing, so that the system's own bounded buffers are the queue.
//!
//! Source: PROTOCOL.md 7.1.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use culvert_protocol::udpgw::{Datagram, FrameReader, MAX_PACKET, UdpgwError, encode_downstream};
use culvert_ssh_tokio::{ChannelStream, Meter};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::destination_bytes::{Carrier, Charge};
use super::egress::{DialRefusal, EgressPolicy};
use super::exit::Exit;
use super::flows::Flows;
use super::udp_limits::Dealings;
use crate::figures::{DatagramLoss, DnsOutcome, Kind, Present};

/// Sockets of one gateway where the rules set no limit.
const MOST_SOCKETS: usize = 512;
/// How much of the channel is read at once.
const PIECE: usize = 16 * 1024;
/// What the system holds of answers to one socket, beside what it counts as its own; room for the largest datagram.
const RECEIVE_BUFFER: usize = 64 * 1024;
const DNS_PORT: u16 = 53;

/// What a gateway asks and tells.
pub(crate) struct Surroundings {
    pub(crate) flows: Arc<Flows>,
    /// Called when the rules forbid a datagram.
    pub(crate) forbidden: Box<dyn Fn() + Send + Sync>,
}

/// Serves a gateway until the client ends it, or says what is no frame. Dropping the future closes all its sockets.
pub(crate) async fn serve(channel: ChannelStream, first_bytes: &[u8], surroundings: Surroundings) {
    surroundings.flows.entered_gateway();
    let (reader, writer) = tokio::io::split(channel);
    let mut gateway = Gateway {
        surroundings,
        writer: Arc::new(tokio::sync::Mutex::new(writer)),
        sockets: BTreeMap::new(),
        tasks: JoinSet::new(),
        next: 0,
    };
    // Both errors end the channel, and there is nobody to tell.
    drop(gateway.run(reader, first_bytes).await);
}

/// Why a gateway ended early.
#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error(transparent)]
    Frame(#[from] UdpgwError),
    #[error("the tunnel ended: {0}")]
    Tunnel(#[from] io::Error),
}

type Writer = Arc<tokio::sync::Mutex<WriteHalf<ChannelStream>>>;

struct Gateway {
    surroundings: Surroundings,
    writer: Writer,
    sockets: BTreeMap<u16, Open>,
    /// Each gives the socket's connection and number when it has ended.
    tasks: JoinSet<(u16, u64)>,
    next: u64,
}

/// A socket that is open.
struct Open {
    socket: Arc<Socket>,
    number: u64,
}

struct Socket {
    udp: UdpSocket,
    meter: Meter,
    _charge: Option<Charge>,
    connection: u16,
    /// What the client calls the other end; its resolver has another address.
    remote: SocketAddr,
    /// It leads to the resolver instead, and takes nothing but queries.
    is_resolver: bool,
    state: Mutex<State>,
    /// Not needed any more. Its task is never simply ended: half a frame would spoil the channel.
    closed: Notify,
    _present: Present,
}

/// What changes of a socket.
struct State {
    used: Instant,
    /// `None` with the resolver.
    dealings: Option<Dealings>,
}

/// Dropped when its place is taken, or it has ended by itself.
impl Drop for Open {
    fn drop(&mut self) {
        self.socket.closed.notify_one();
    }
}

impl Gateway {
    async fn run(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        first_bytes: &[u8],
    ) -> Result<(), GatewayError> {
        let mut frames = FrameReader::new();
        self.take(&mut frames, first_bytes)?;
        let mut piece = vec![0; PIECE];
        let flows = self.surroundings.flows.clone();
        let mut anew = Box::pin(flows.ruled_anew());
        let mut own = flows.exit().policy().changes();
        loop {
            tokio::select! {
                // What is forbidden is closed before anything more is sent.
                biased;
                () = &mut anew => {
                    anew.set(flows.ruled_anew());
                    self.close_forbidden();
                }
                () = EgressPolicy::changed(&mut own) => self.close_forbidden(),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Ok((connection, number)) = ended
                        && self.sockets.get(&connection).is_some_and(|open| open.number == number)
                    {
                        self.sockets.remove(&connection);
                    }
                }
                count = reader.read(&mut piece) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    self.take(&mut frames, piece.get(..count).unwrap_or_default())?;
                }
            }
        }
    }

    fn take(&mut self, frames: &mut FrameReader, mut bytes: &[u8]) -> Result<(), UdpgwError> {
        while !bytes.is_empty() {
            let (taken, datagram) = frames.read(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(datagram) = datagram {
                self.forward(&datagram);
            }
        }
        Ok(())
    }

    /// Sends a datagram on, over a new socket if it needs one. There is no way to tell a client of a failure.
    fn forward(&mut self, datagram: &Datagram) {
        let now = Instant::now();
        let flows = self.surroundings.flows.clone();
        let is_query = datagram.flags.dns() || datagram.remote.port() == DNS_PORT;
        if is_query && flows.udp_limits().query(now).map_err(|why| flows.tally().datagram_lost(why)).is_err()
        {
            return;
        }
        if is_query && !self.exit().permits_query(&datagram.packet) {
            flows.tally().refused(Kind::Udp, DialRefusal::Blocked);
            return;
        }
        let outdated = |open: &Open| {
            let Socket { remote, is_resolver, .. } = *open.socket;
            datagram.flags.rebind() || remote != datagram.remote || is_resolver != datagram.flags.dns()
        };
        if let Some(open) = self.sockets.get(&datagram.connection)
            && outdated(open)
        {
            self.sockets.remove(&datagram.connection);
        }
        if !self.sockets.contains_key(&datagram.connection) {
            let Some(to) = self.destination(datagram) else { return };
            // The resolver is not the client's choice.
            if !datagram.flags.dns()
                && let Err(why) = flows.udp_limits().open(now)
            {
                return flows.tally().datagram_lost(why);
            }
            if self.open(datagram, to).is_err() {
                return;
            }
        }
        if let Some(open) = self.sockets.get(&datagram.connection) {
            let length = datagram.packet.len();
            let judged = open.socket.deal(now, |dealings| flows.udp_limits().send(dealings, length, now));
            if let Err(why) = judged {
                return flows.tally().datagram_lost(why);
            }
            // A full or failing socket loses the datagram, as networks do. Past the runtime, which does not know of a new
            // socket that it can be written to.
            if socket2::SockRef::from(&open.socket.udp).send(&datagram.packet).is_ok() {
                open.socket.meter.add_received(length);
            }
        }
    }

    /// Closes what rules or a blocklist that hold anew forbid, and what has become this host. Queries go to the resolver whatever they say.
    fn close_forbidden(&mut self) {
        let flows = self.surroundings.flows.clone();
        let rules = flows.rules();
        self.sockets.retain(|_, open| {
            let remote = SocketAddr::new(open.socket.remote.ip().to_canonical(), open.socket.remote.port());
            if open.socket.is_resolver {
                return true;
            }
            let refusal = flows.exit().ends_udp(remote, &rules);
            if let Some(refusal) = refusal {
                flows.tally().refused(Kind::Udp, refusal);
            }
            refusal.is_none()
        });
    }

    /// Where a new socket leads, if it may.
    fn destination(&self, datagram: &Datagram) -> Option<SocketAddr> {
        if datagram.flags.dns() {
            // Whatever the rules: a client without names is a client without anything.
            return self.exit().resolver().address();
        }
        let remote = SocketAddr::new(datagram.remote.ip().to_canonical(), datagram.remote.port());
        match self.surroundings.flows.judge_udp(remote) {
            Ok(()) => Some(remote),
            Err(refusal) => {
                self.surroundings.flows.tally().refused(Kind::Udp, refusal);
                if refusal.is_disallowed() {
                    (self.surroundings.forbidden)();
                }
                None
            }
        }
    }

    fn exit(&self) -> &Exit {
        self.surroundings.flows.exit()
    }

    fn open(&mut self, datagram: &Datagram, to: SocketAddr) -> io::Result<()> {
        // The resolver may well be here.
        let is_resolver = datagram.flags.dns();
        let failed = |error: &io::Error| self.exit().udp_failed(error);
        if !is_resolver && self.exit().policy().leads_home(to).inspect_err(failed)? {
            self.surroundings.flows.tally().refused(Kind::Udp, DialRefusal::Bogon);
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let udp = UdpSocket::from_std(connected(to).inspect_err(failed)?)?;
        let rules = self.surroundings.flows.rules();
        let most = rules.udp.most_flows.map_or(MOST_SOCKETS, NonZeroUsize::get).min(MOST_SOCKETS);
        while self.sockets.len() >= most && self.evict() {}
        let meter = self.surroundings.flows.udp_meter().part();
        let charge = self.exit().charge(to.ip(), Carrier::Udp, &meter).filter(|_| !is_resolver);
        let socket = Arc::new(Socket {
            udp,
            meter,
            _charge: charge,
            connection: datagram.connection,
            remote: datagram.remote,
            is_resolver,
            state: Mutex::new(State {
                used: Instant::now(),
                dealings: (!is_resolver).then(|| Dealings::new(Instant::now())),
            }),
            closed: Notify::new(),
            _present: self.surroundings.flows.tally().flow(Kind::Udp),
        });
        let number = self.next;
        self.next += 1;
        let back = Back {
            socket: socket.clone(),
            writer: self.writer.clone(),
            flows: self.surroundings.flows.clone(),
            asked: is_resolver.then(|| (to.ip(), Instant::now())),
        };
        let connection = datagram.connection;
        self.tasks.spawn(async move {
            back.run().await;
            (connection, number)
        });
        self.sockets.insert(connection, Open { socket, number });
        self.surroundings.flows.entered_udp(self.sockets.len());
        Ok(())
    }

    /// Closes the socket that was used least recently; false if there is none.
    fn evict(&mut self) -> bool {
        let oldest = self.sockets.iter().min_by_key(|(_, open)| open.socket.used()).map(|(id, _)| *id);
        self.surroundings.flows.tally().evicted(Kind::Udp);
        oldest.is_some_and(|id| self.sockets.remove(&id).is_some())
    }
}

fn connected(to: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    // The system's own default would let one client's sockets hold a hundred megabytes.
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(to)?;
    Ok(socket)
}

impl Socket {
    /// Whether a datagram may pass, which is a use of the socket then.
    fn deal(
        &self,
        now: Instant,
        judge: impl FnOnce(&mut Dealings) -> Result<(), DatagramLoss>,
    ) -> Result<(), DatagramLoss> {
        let mut state = self.state();
        if let Some(dealings) = &mut state.dealings {
            judge(dealings)?;
        }
        state.used = now;
        Ok(())
    }

    fn used(&self) -> Instant {
        self.state().used
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way from a socket to the client.
struct Back {
    socket: Arc<Socket>,
    writer: Writer,
    flows: Arc<Flows>,
    /// Which resolver has a question that was not answered yet, and since when.
    asked: Option<(IpAddr, Instant)>,
}

impl Back {
    /// Runs until the socket is idle for too long, or either side fails.
    async fn run(mut self) {
        self.relay().await;
        if let Some((resolver, since)) = self.asked {
            self.flows.tally().looked_up(Some(resolver), DnsOutcome::Failed, since.elapsed());
        }
    }

    async fn relay(&mut self) {
        loop {
            tokio::select! {
                readable = self.socket.udp.readable() => {
                    if readable.is_err() || self.carry().await.is_err() {
                        return;
                    }
                }
                () = self.idle() => return,
                () = self.socket.closed.notified() => return,
            }
        }
    }

    /// Carries one datagram, if there is one when its turn for the channel comes.
    async fn carry(&mut self) -> io::Result<()> {
        let mut writer = tokio::select! {
            writer = self.writer.lock() => writer,
            () = self.socket.closed.notified() => return Err(io::ErrorKind::NotConnected.into()),
        };
        let Some((frame, length)) = self.receive()? else { return Ok(()) };
        if let Some((resolver, since)) = self.asked.take() {
            self.flows.tally().looked_up(Some(resolver), DnsOutcome::Answered, since.elapsed());
        }
        let (now, limits) = (Instant::now(), self.flows.udp_limits());
        let judged = self.socket.deal(now, |dealings| limits.receive(dealings, length, now));
        if let Err(why) = judged {
            self.flows.tally().datagram_lost(why);
            return Ok(());
        }
        self.socket.meter.add_sent(length);
        writer.write_all(&frame).await
    }

    /// A datagram in its frame, and its length.
    fn receive(&self) -> io::Result<Option<(Vec<u8>, usize)>> {
        let mut packet = [0; MAX_PACKET];
        let length = match self.socket.udp.try_recv(&mut packet) {
            Ok(length) => length,
            // The other end may be there again for the next datagram.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let packet = packet.get(..length).unwrap_or_default();
        // It fits, for longer ones were cut when they were received.
        Ok(encode_downstream(self.socket.connection, self.socket.remote, packet)
            .ok()
            .map(|frame| (frame, length)))
    }

    async fn idle(&self) {
        loop {
            let ruled_anew = self.flows.ruled_anew();
            let Some(idle) = self.flows.rules().udp.idle_timeout else {
                ruled_anew.await;
                continue;
            };
            let until = self.socket.used() + idle;
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = ruled_anew => {}
            }
        }
    }
}
