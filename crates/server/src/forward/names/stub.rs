//! Asks servers for the addresses of a name: by datagram, by connection when the answer does not fit one, and the next server
//! when one is slow. Not which servers there are, and not caching. Sources: RFC 1035 section 4.2, RFC 7766, RFC 8305 section 3.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::{Family, Question, Said};
use crate::forward::staggered::{Pace, first_of};

/// One question to one server may take so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// The next server is asked beside a silent one, and a silent one again: datagrams get lost.
const PACE: Pace = Pace { delay: Duration::from_secs(1), at_once: 3 };
const ROUNDS: usize = 2;
/// Servers that are asked about one name.
const MOST_SERVERS: usize = 3;
/// Addresses of the other family are waited for so long. RFC 8305 section 3.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// Larger than the datagrams that are asked for.
const MAX_DATAGRAM: usize = 4096;

/// Why there are no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("there is no such name, or no address of it")]
    NotFound,
    #[error("no name server has an answer")]
    NoAnswer,
    #[error("no name server answered in time")]
    TimedOut,
    #[error("the server is out of files, ports or memory")]
    ResourceExhausted,
}

/// Why one server gave nothing.
enum Failure {
    Silent,
    Unhelpful,
    System(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// The addresses of `name`, those of `first` before others; at least one.
pub(super) async fn ask(servers: &[SocketAddr], name: &str, first: Family) -> Result<Vec<IpAddr>, NameError> {
    let servers = servers.get(..MOST_SERVERS).unwrap_or(servers);
    let turns = servers.iter().cycle().take(servers.len() * ROUNDS);
    let attempts: Vec<_> = turns.map(|server| both(*server, name.to_owned(), first)).collect();
    match first_of(attempts, PACE).await {
        Ok(found) if found.is_empty() => Err(NameError::NotFound),
        Ok(found) => Ok(found),
        Err(failures) => Err(reason(&failures)),
    }
}

fn reason(failures: &[Failure]) -> NameError {
    let exhausted = |failure: &Failure| match failure {
        Failure::System(error) => crate::forward::egress::is_exhausted(error),
        Failure::Silent | Failure::Unhelpful => false,
    };
    if failures.iter().any(exhausted) {
        NameError::ResourceExhausted
    } else if !failures.is_empty() && failures.iter().all(|failure| matches!(failure, Failure::Silent)) {
        NameError::TimedOut
    } else {
        NameError::NoAnswer
    }
}

/// Addresses of both families from one server. None at all is an answer, but not if one question had none.
async fn both(server: SocketAddr, name: String, first: Family) -> Result<Vec<IpAddr>, Failure> {
    let second = if first == Family::V4 { Family::V6 } else { Family::V4 };
    let (mut preferred, mut others) =
        (pin!(of_family(server, &name, first)), pin!(of_family(server, &name, second)));
    let (mut found, mut rest) = (None, None);
    let mut until = None;
    while found.is_none() || rest.is_none() {
        tokio::select! {
            outcome = &mut preferred, if found.is_none() => {
                if outcome.as_ref().is_ok_and(|found| !found.is_empty()) {
                    until = Some(Instant::now() + RESOLUTION_DELAY);
                }
                found = Some(outcome);
            }
            outcome = &mut others, if rest.is_none() => rest = Some(outcome),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
        }
    }
    match (found, rest) {
        (Some(Ok(mut found)), rest) => {
            let more = match rest {
                Some(Err(failure)) if found.is_empty() => return Err(failure),
                Some(Ok(more)) => more,
                _ => Vec::new(),
            };
            found.extend(more);
            Ok(found)
        }
        (Some(Err(_)), Some(Ok(rest))) if !rest.is_empty() => Ok(rest),
        (Some(Err(failure)), _) => Err(failure),
        (None, _) => Err(Failure::Silent),
    }
}

/// Addresses of one family from one server.
async fn of_family(server: SocketAddr, name: &str, family: Family) -> Result<Vec<IpAddr>, Failure> {
    let asked = async {
        let mut said = by_datagram(server, &question(name, family)?, true).await?;
        if said == Said::NotUnderstood {
            said = by_datagram(server, &question(name, family)?, false).await?;
        }
        if said == Said::Truncated {
            said = by_connection(server, &question(name, family)?).await?;
        }
        match said {
            Said::Addresses(found) => Ok(found),
            Said::NoName => Ok(Vec::new()),
            Said::Truncated | Said::NotUnderstood | Said::Nothing => Err(Failure::Unhelpful),
        }
    };
    timeout(PATIENCE, asked).await.map_err(|_| Failure::Silent)?
}

/// Each has a number of its own, which whoever guesses answers must guess. RFC 5452 section 9.2.
fn question(name: &str, family: Family) -> Result<Question, Failure> {
    let mut id = [0; 2];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
    // A name that DNS does not know.
    Question::new(name, family, u16::from_be_bytes(id)).ok_or(Failure::Unhelpful)
}

async fn by_datagram(server: SocketAddr, question: &Question, extended: bool) -> Result<Said, Failure> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each, drawn by the system; others' datagrams do not get in. RFC 5452 section 9.2.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question.bytes(extended).ok_or(Failure::Unhelpful)?).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(said) = question.answer(buffer.get(..length).unwrap_or_default()) {
            return Ok(said);
        }
    }
}

/// RFC 1035 section 4.2.2.
async fn by_connection(server: SocketAddr, question: &Question) -> Result<Said, Failure> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = question.bytes(true).ok_or(Failure::Unhelpful)?;
    let length = u16::try_from(bytes.len()).map_err(|_| Failure::Unhelpful)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    question.answer(&answer).ok_or(Failure::Unhelpful)
}
