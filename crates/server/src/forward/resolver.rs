//! Which resolver DNS queries of clients go to that name none: the host's own, else the configured one. Not resolving, and
//! not the blocklist.
//!
//! Source: resolv.conf(5); PROTOCOL.md 7.1.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const DNS_PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long an answer of the file is good for.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Knows the resolver.
#[derive(Debug)]
pub(crate) struct Resolver {
    fallback: Option<IpAddr>,
    known: Mutex<Option<(Instant, Option<IpAddr>)>>,
}

impl Resolver {
    /// With the resolver to use where the host has none.
    pub(crate) fn new(fallback: Option<IpAddr>) -> Self {
        Self { fallback, known: Mutex::default() }
    }

    /// Where queries go now; `None` where there is no resolver at all.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = match *known {
            Some((since, own)) if since.elapsed() < LOOK_AGAIN => own,
            _ => {
                let own = of_file(Path::new(RESOLV_CONF));
                *known = Some((Instant::now(), own));
                own
            }
        };
        own.or(self.fallback).map(|ip| SocketAddr::new(ip, DNS_PORT))
    }
}

fn of_file(path: &Path) -> Option<IpAddr> {
    first_name_server(&std::fs::read_to_string(path).ok()?)
}

fn first_name_server(text: &str) -> Option<IpAddr> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_valid_name_server_counts() {
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver fe80::1%eth0\n nameserver 192.0.2.1\nnameserver ::1\n";
        assert_eq!(first_name_server(text), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(first_name_server("options rotate\n"), None);
        assert_eq!(of_file(Path::new("/nonexistent")), None);
    }
}
