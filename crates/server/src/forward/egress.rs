//! Where flows may leave to, and leaving: the address policy, checked on each address that is dialled rather than on
//! what a client named, so that no spelling, no alias and no resolver that changes its answers gets round it.
//! Not relaying, and not names. Sources: PROTOCOL.md 3.7; RFC 8305 section 5; the forms to refuse are those that the
//! reference was measured to let through.

use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::destination::DestinationError;
use super::names::NameError;
use super::own_addresses::OwnAddresses;
use super::route;
use super::special_purpose;
use super::staggered::{Pace, first_of};
use crate::figures::labels;
use crate::live::Live;

/// How many of a name's addresses are tried; real names have fewer, hostile ones must not keep us busy.
const MAX_ANSWERS: usize = 8;
/// How long one address may be waited for when there are others and the whole dial has no limit.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// RFC 8305 section 5, with a bound of our own: a hostile name must not make us knock at many doors at a time.
const PACE: Pace = Pace { delay: Duration::from_millis(250), at_once: 4 };

/// Which addresses this host connects to on behalf of clients.
#[derive(Clone, Debug)]
pub enum EgressPolicy {
    /// Public addresses that are not this host's own.
    PublicOnly(Arc<Live<OwnAddresses>>),
    /// Anything, loopback and private networks too: the `AllowBogons` setting, for tests.
    Anything,
}

impl EgressPolicy {
    /// The policy of a server that clients also know by the addresses in `known_as`.
    pub fn new(allow_bogons: bool, known_as: impl IntoIterator<Item = IpAddr>) -> io::Result<Self> {
        if allow_bogons {
            return Ok(Self::Anything);
        }
        let interfaces = OwnAddresses::of_interfaces()?;
        let own = known_as.into_iter().fold(interfaces, OwnAddresses::with);
        Ok(Self::PublicOnly(Arc::new(Live::new(own))))
    }

    /// Whether a flow to `address` would stay in public space and end at another host.
    pub fn permits(&self, address: IpAddr) -> bool {
        match self {
            Self::Anything => true,
            Self::PublicOnly(own) => {
                let (itself, embedded) = special_purpose::ends(address);
                let own = own.get();
                special_purpose::is_global(address)
                    && !own.contains(itself)
                    && !embedded.is_some_and(|embedded| own.contains(embedded.into()))
            }
        }
    }

    /// Whether the system would deliver to itself what is sent to `address`, by whatever route: the last look before a
    /// dial, which also knows addresses that no interface has, or has had for a moment only.
    pub(super) fn leads_home(&self, address: SocketAddr) -> io::Result<bool> {
        if matches!(self, Self::Anything) {
            return Ok(false);
        }
        match route::ends_here(address.ip()) {
            // Not permitted here, maybe. What the system would send from tells most of it.
            Err(error) if !is_exhausted(&error) => Self::would_leave_from(address),
            told => told,
        }
    }

    /// Whether the address that a socket gets which is to reach `address` is that address itself.
    fn would_leave_from(address: SocketAddr) -> io::Result<bool> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let probe = UdpSocket::bind((any, 0))?;
        // Only chooses a route, nothing is sent. Without one the dial will tell what is wrong.
        Ok(probe.connect(address).is_ok() && is_own_end(probe.local_addr(), address))
    }

    /// The same of a connection that was just made, to which nothing was written yet: the address may have become ours meanwhile.
    fn ended_here(&self, socket: &TcpStream, address: SocketAddr) -> bool {
        matches!(self, Self::PublicOnly(_)) && is_own_end(socket.local_addr(), address)
    }

    /// Returns when this host's own addresses are others; never where they do not matter.
    pub(super) async fn changed(own: &mut Option<watch::Receiver<Arc<OwnAddresses>>>) {
        match own {
            Some(own) => {
                if own.changed().await.is_err() {
                    // The end of the server.
                    pending::<()>().await;
                }
            }
            None => pending().await,
        }
    }

    /// For [`Self::changed`]; what is current now counts as seen.
    pub(super) fn changes(&self) -> Option<watch::Receiver<Arc<OwnAddresses>>> {
        match self {
            Self::Anything => None,
            Self::PublicOnly(own) => Some(own.changes()),
        }
    }
}

/// What is sent to an address of this host leaves from that address, unless a route says otherwise.
fn is_own_end(own: io::Result<SocketAddr>, remote: SocketAddr) -> bool {
    own.is_ok_and(|own| own.ip().to_canonical() == remote.ip().to_canonical())
}

/// Whether a failure is for want of files, ports or memory.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL | libc::EAGAIN)
    )
}

labels! {
    /// Why a flow was not connected.
    #[derive(PartialOrd, Ord, thiserror::Error)]
    pub enum DialRefusal, "reason": {
        #[error("the name does not exist or is not a host name")]
        NameNotFound = "name_not_found",
        #[error("the destination is not a public address, or is this server")]
        Bogon = "bogon",
        #[error("the server's traffic rules do not allow the destination")]
        Rules = "rules",
        #[error("the destination is on the server's blocklist")]
        Blocked = "blocked",
        #[error("the destination cannot be reached")]
        Unreachable = "unreachable",
        #[error("the destination's network cannot be reached")]
        NetworkUnreachable = "network_unreachable",
        #[error("the destination did not answer in time")]
        TimedOut = "timed_out",
        #[error("the destination refused the connection")]
        ConnectionRefused = "connection_refused",
        #[error("too many flows of the client wait to be connected")]
        DialingLimit = "dialing_limit",
        #[error("the server is out of files, ports or memory")]
        ResourceExhausted = "resource_exhausted",
    }
}

impl DialRefusal {
    /// Whether the client is told of this with an alert. Of what nobody could reach it is not: devices try such addresses by
    /// themselves. For the blocklist there is another alert.
    pub fn is_disallowed(self) -> bool {
        matches!(self, Self::Rules)
    }

    /// Whether this is policy, and nothing was dialled, rather than a failure of the network.
    pub fn is_policy(self) -> bool {
        matches!(self, Self::Bogon | Self::Rules | Self::Blocked)
    }

    fn from_connect(error: &io::Error) -> Self {
        match error.raw_os_error() {
            _ if is_exhausted(error) => Self::ResourceExhausted,
            Some(libc::ECONNREFUSED) => Self::ConnectionRefused,
            Some(libc::ETIMEDOUT) => Self::TimedOut,
            Some(libc::ENETUNREACH) => Self::NetworkUnreachable,
            _ => Self::Unreachable,
        }
    }
}

impl From<DestinationError> for DialRefusal {
    fn from(error: DestinationError) -> Self {
        match error {
            DestinationError::LocalName => Self::Bogon,
            DestinationError::NameSyntax | DestinationError::NumericName => Self::NameNotFound,
            DestinationError::Port => Self::Unreachable,
        }
    }
}

impl From<NameError> for DialRefusal {
    fn from(error: NameError) -> Self {
        match error {
            NameError::NotFound => Self::NameNotFound,
            NameError::NoAnswer => Self::Unreachable,
            NameError::TimedOut => Self::TimedOut,
            NameError::ResourceExhausted => Self::ResourceExhausted,
        }
    }
}

/// The answers for a name that may be dialled, in the order of trying: families by turns, beginning with that of the first
/// answer. RFC 8305 section 4. When none may, the verdict that says most.
pub(super) fn permitted(
    answers: impl IntoIterator<Item = SocketAddr>,
    judge: impl Fn(SocketAddr) -> Result<(), DialRefusal>,
) -> Result<Vec<SocketAddr>, DialRefusal> {
    let mut refusal = DialRefusal::NameNotFound;
    let (mut first, mut second): (Vec<SocketAddr>, Vec<SocketAddr>) = (Vec::new(), Vec::new());
    for answer in answers {
        let answer = SocketAddr::new(answer.ip().to_canonical(), answer.port());
        match judge(answer) {
            Ok(()) if first.first().is_none_or(|other| other.is_ipv6() == answer.is_ipv6()) => {
                first.push(answer);
            }
            Ok(()) => second.push(answer),
            Err(verdict) => refusal = refusal.max(verdict),
        }
    }
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut kept = Vec::new();
    while kept.len() < MAX_ANSWERS {
        let before = kept.len();
        kept.extend(first.next());
        kept.extend(second.next());
        if kept.len() == before {
            break;
        }
    }
    kept.truncate(MAX_ANSWERS);
    if kept.is_empty() { Err(refusal) } else { Ok(kept) }
}

/// Connects to the first of these addresses that answers. They are tried one after the other without waiting for each to
/// fail. The most telling failure is reported: a refusal says more than silence.
pub(super) async fn dial(
    policy: &EgressPolicy,
    addresses: &[SocketAddr],
    deadline: Option<Instant>,
) -> Result<TcpStream, DialRefusal> {
    let is_alone = addresses.len() == 1;
    let attempt = |address: &SocketAddr| {
        let (address, policy) = (*address, policy.clone());
        async move {
            if policy.leads_home(address).map_err(|error| DialRefusal::from_connect(&error))? {
                return Err(DialRefusal::Bogon);
            }
            let until = deadline.or_else(|| (!is_alone).then(|| Instant::now() + ATTEMPT_LIMIT));
            let connected = by(until, TcpStream::connect(address)).await.ok_or(DialRefusal::TimedOut)?;
            let connected = connected.map_err(|error| DialRefusal::from_connect(&error))?;
            if policy.ended_here(&connected, address) { Err(DialRefusal::Bogon) } else { Ok(connected) }
        }
    };
    let attempts = addresses.iter().map(attempt).collect();
    let dialled = first_of(attempts, PACE).await;
    dialled.map_err(|failures| failures.into_iter().max().unwrap_or(DialRefusal::Unreachable))
}

/// The outcome of `work`, or `None` when the deadline passes first.
pub(super) async fn by<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
