//! The host's resolver as its files describe it: which name servers there are, looked at again from time to time, else the
//! configured one; names in the file of hosts; and names that no server is asked for. Asking is beside.
//!
//! Sources: resolv.conf(5), hosts(5); RFC 6761 section 6.3 (`localhost`), RFC 7686 (`.onion`); PROTOCOL.md 7.1.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::stub::{self, NameError};
use super::wire::Family;
use crate::figures::{DnsOutcome, Tally};
use crate::forward::destination::HostName;

const DNS_PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// How long an answer of the files is good for.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Files are read to here, and servers and names are taken to here.
const MAX_FILE: u64 = 4 << 20;
const MOST_SERVERS: usize = 16;
const MOST_HOSTS: usize = 100_000;
/// Addresses of one name in the file of hosts.
const MOST_ADDRESSES: usize = 32;

/// Knows the host's resolver. Debug tells nothing of it.
pub(crate) struct Resolver {
    fallback: Option<IpAddr>,
    port: u16,
    first: Family,
    servers: Watched<Vec<IpAddr>>,
    hosts: Watched<Hosts>,
}

type Hosts = HashMap<Box<str>, Vec<IpAddr>>;

impl Resolver {
    /// With the resolver to use where the host has none, and the family that comes first.
    pub(crate) fn new(fallback: Option<IpAddr>, first: Family) -> Self {
        Self::of_files(Path::new(RESOLV_CONF), Path::new(HOSTS), fallback, first)
    }

    pub(super) fn of_files(
        resolv_conf: &Path,
        hosts: &Path,
        fallback: Option<IpAddr>,
        first: Family,
    ) -> Self {
        Self {
            fallback,
            port: DNS_PORT,
            first,
            servers: Watched::new(resolv_conf, name_servers),
            hosts: Watched::new(hosts, hosts_of),
        }
    }

    /// The same that asks another port, for tests.
    #[cfg(test)]
    pub(super) fn at_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Where queries go now that name no server: any one, so that one that fails does not fail all. `None` where there is
    /// no resolver at all.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.all().first().copied()
    }

    /// The addresses of a name, those of the first family first; at least one.
    /// What is asked of servers is counted.
    pub(crate) async fn look_up(&self, name: &HostName, tally: &Tally) -> Result<Vec<IpAddr>, NameError> {
        let text = name.as_str();
        if let Some(mut found) = self.hosts.get().get(text).cloned() {
            found.sort_by_key(|address| address.is_ipv6() == (self.first == Family::V4));
            return Ok(found);
        }
        match text.rsplit('.').next() {
            Some("localhost") => {
                return Ok(self.ordered([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
            }
            Some("onion") => return Err(NameError::NotFound),
            // A name of the host's own network; what the tunnel's user means by it is elsewhere.
            _ if !text.contains('.') => return Err(NameError::NotFound),
            _ => {}
        }
        let began = Instant::now();
        let outcome = stub::ask(&self.all(), text, self.first).await;
        let kind = match outcome {
            Ok(_) | Err(NameError::NotFound) => DnsOutcome::Answered,
            Err(_) => DnsOutcome::Failed,
        };
        tally.looked_up(None, kind, began.elapsed());
        outcome
    }

    fn ordered(&self, [v4, v6]: [IpAddr; 2]) -> Vec<IpAddr> {
        if self.first == Family::V4 { vec![v4, v6] } else { vec![v6, v4] }
    }

    /// All servers, beginning with any one.
    fn all(&self) -> Vec<SocketAddr> {
        let own = self.servers.get();
        let fallback = self.fallback.as_slice();
        let servers = if own.is_empty() { fallback } else { &own };
        let mut all: Vec<_> = servers.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect();
        let mut drawn = [0];
        // Without randomness it is the first.
        let _ = aws_lc_rs::rand::fill(&mut drawn);
        if !all.is_empty() {
            let by = usize::from(drawn[0]) % all.len();
            all.rotate_left(by);
        }
        all
    }
}

/// A file's meaning, looked at again when it was not for some time. While the file cannot be read, its last meaning stays.
struct Watched<T> {
    path: PathBuf,
    read: fn(&str) -> T,
    state: Mutex<State<T>>,
}

struct State<T> {
    looked: Option<Instant>,
    stamp: Option<Stamp>,
    value: Arc<T>,
}

/// By what a file is known to be the same.
type Stamp = (Option<SystemTime>, u64, u64);

impl<T: Default> Watched<T> {
    fn new(path: &Path, read: fn(&str) -> T) -> Self {
        let state = State { looked: None, stamp: None, value: Arc::default() };
        Self { path: path.to_owned(), read, state: Mutex::new(state) }
    }

    fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN) {
            state.looked = Some(Instant::now());
            // The file is small and of this host, so reading it holds nobody up.
            if let Some((stamp, text)) = changed(&self.path, state.stamp) {
                state.stamp = Some(stamp);
                state.value = Arc::new((self.read)(&text));
            }
        }
        state.value.clone()
    }
}

/// A file's text unless it is the one of that stamp.
fn changed(path: &Path, known: Option<Stamp>) -> Option<(Stamp, String)> {
    use std::os::unix::fs::MetadataExt as _;
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let stamp = (metadata.modified().ok(), metadata.len(), metadata.ino());
    if Some(stamp) == known || !metadata.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some((stamp, String::from_utf8_lossy(&bytes).into_owned()))
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    };
    text.lines().filter_map(server).take(MOST_SERVERS).collect()
}

fn hosts_of(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            if hosts.len() >= MOST_HOSTS {
                return hosts;
            }
            let addresses = hosts.entry(name.into()).or_default();
            if addresses.len() < MOST_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}
