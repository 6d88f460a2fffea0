//! Where flows may leave to, and leaving: the address policy, checked on each address that is dialled rather than on
//! what a client named, so that no spelling, no alias and no resolver that changes its answers gets round it.
//! Not relaying. Sources: PROTOCOL.md 3.7; the forms to refuse are those that the reference was measured to let through.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::destination::{Destination, DestinationError};
use super::own_addresses::OwnAddresses;
use super::special_purpose;
use crate::rules::TrafficRules;

/// How many of a name's addresses are tried; real names have fewer, hostile ones must not keep us busy.
const MAX_ANSWERS: usize = 8;
/// How long one address may hold up the next when the whole dial has no limit.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// Which addresses this host connects to on behalf of clients.
#[derive(Clone, Debug)]
pub enum EgressPolicy {
    /// Public addresses that are not this host's own.
    PublicOnly(OwnAddresses),
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
        Ok(Self::PublicOnly(known_as.into_iter().fold(interfaces, OwnAddresses::with)))
    }

    /// Whether a flow to `address` would stay in public space and end at another host.
    pub fn permits(&self, address: IpAddr) -> bool {
        match self {
            Self::Anything => true,
            Self::PublicOnly(own) => {
                let (itself, embedded) = special_purpose::ends(address);
                special_purpose::is_global(address)
                    && !own.contains(itself)
                    && !embedded.is_some_and(|embedded| own.contains(embedded.into()))
            }
        }
    }

    /// The verdict on one address about to be dialled.
    pub fn judge(&self, address: SocketAddr, rules: &TrafficRules) -> Result<(), DialRefusal> {
        if !self.permits(address.ip()) {
            return Err(DialRefusal::Bogon);
        }
        if rules.permits_tcp(address, &|_| None) { Ok(()) } else { Err(DialRefusal::Rules) }
    }
}

/// Why a flow was not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DialRefusal {
    #[error("the name does not exist or is not a host name")]
    NameNotFound,
    #[error("the destination is not a public address, or is this server")]
    Bogon,
    #[error("the server's traffic rules do not allow the destination")]
    Rules,
    #[error("the destination cannot be reached")]
    Unreachable,
    #[error("the destination's network cannot be reached")]
    NetworkUnreachable,
    #[error("the destination did not answer in time")]
    TimedOut,
    #[error("the destination refused the connection")]
    ConnectionRefused,
    #[error("the server is out of files, ports or memory")]
    ResourceExhausted,
}

impl DialRefusal {
    /// Whether this is policy, of which the client is told with an alert, rather than a failure of the network.
    pub fn is_disallowed(self) -> bool {
        matches!(self, Self::Bogon | Self::Rules)
    }

    fn from_connect(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EADDRNOTAVAIL
                | libc::EAGAIN,
            ) => Self::ResourceExhausted,
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

/// Resolves `destination` with the host's resolver and connects to the first of its addresses that is permitted and
/// answers, IPv4 first. `limit` covers everything; `None` leaves it to the system. Dropping the future gives up.
pub async fn resolve_and_dial(
    destination: &Destination,
    policy: &EgressPolicy,
    rules: &TrafficRules,
    limit: Option<Duration>,
) -> Result<TcpStream, DialRefusal> {
    let resolve = async |name: &str, port: u16| -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.take(4 * MAX_ANSWERS).collect())
    };
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let answers = match destination {
        Destination::Address(address) => vec![*address],
        Destination::Name { name, port } => {
            let found = by(deadline, resolve(name.as_str(), *port)).await.ok_or(DialRefusal::TimedOut)?;
            found.map_err(|_| DialRefusal::NameNotFound)?
        }
    };
    dial(&permitted(answers, policy, rules)?, deadline).await
}

/// The answers that may be dialled, in the order of trying. When none may, the verdict on the first.
fn permitted(
    mut answers: Vec<SocketAddr>,
    policy: &EgressPolicy,
    rules: &TrafficRules,
) -> Result<Vec<SocketAddr>, DialRefusal> {
    for answer in &mut answers {
        answer.set_ip(answer.ip().to_canonical());
    }
    answers.sort_by_key(SocketAddr::is_ipv6);
    let mut refusal = DialRefusal::NameNotFound;
    let mut kept = Vec::new();
    for answer in answers {
        match policy.judge(answer, rules) {
            Ok(()) => kept.push(answer),
            Err(verdict) => refusal = refusal.max(verdict),
        }
    }
    kept.truncate(MAX_ANSWERS);
    if kept.is_empty() { Err(refusal) } else { Ok(kept) }
}

/// Tries one address after the other. What is left of the time is shared evenly, so a silent first address leaves
/// time for the second. The most telling failure is reported: a refusal says more than silence.
async fn dial(addresses: &[SocketAddr], deadline: Option<Instant>) -> Result<TcpStream, DialRefusal> {
    let mut failure = DialRefusal::Unreachable;
    for (index, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(1);
        let now = Instant::now();
        let until = match deadline {
            Some(deadline) => Some(now + deadline.saturating_duration_since(now) / left),
            None => (left > 1).then(|| now + ATTEMPT_LIMIT),
        };
        match by(until, TcpStream::connect(address)).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failure = failure.max(DialRefusal::from_connect(&error)),
            None => failure = failure.max(DialRefusal::TimedOut),
        }
        if failure == DialRefusal::ResourceExhausted {
            break;
        }
    }
    Err(failure)
}

/// The outcome of `work`, or `None` when the deadline passes first.
async fn by<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
