//! Telling destinations who their client is, where both the operator and the client want it: which destinations of which sponsor's
//! clients, and putting the header before what the client sends, instead of one that the client has put there itself.
//! Works only where clients speak first, as in the reference. Source: PROTOCOL.md 7.5.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use culvert_protocol::proxy_header::{Beginning, HeaderKey, beginning};
use culvert_ssh_tokio::ChannelStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A client that has said nothing for so long has nothing to say first, where the rules do not say when it is idle.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a flow begins with is read in pieces of this size.
const PIECE: usize = 4096;

/// Of whose flows, and to where. Without keys nobody's.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    sponsors: BTreeMap<String, Sponsor>,
    /// How likely clients have them that do not say what they want.
    probability: f64,
}

#[derive(Debug)]
struct Sponsor {
    key: HeaderKey,
    destinations: Arc<BTreeSet<String>>,
}

/// What one client's flows get.
pub(crate) struct ClientHeaders {
    key: HeaderKey,
    destinations: Arc<BTreeSet<String>>,
    source: IpAddr,
}

/// What one flow gets.
pub(crate) struct FlowHeader {
    key: HeaderKey,
    source: IpAddr,
}

impl Headers {
    pub(crate) fn new(
        keys: &BTreeMap<String, HeaderKey>,
        destinations: &BTreeMap<String, Vec<String>>,
        probability: f64,
    ) -> Self {
        let sponsor = |(id, key): (&String, &HeaderKey)| {
            let hosts: BTreeSet<_> = destinations.get(id)?.iter().map(|host| normal(host)).collect();
            Some((id.clone(), Sponsor { key: key.clone(), destinations: Arc::new(hosts) }))
        };
        Self { sponsors: keys.iter().filter_map(sponsor).collect(), probability }
    }

    /// What a client gets at `source`; `wish` is what it says of it.
    pub(crate) fn of_client(
        &self,
        sponsor: &str,
        wish: Option<bool>,
        source: IpAddr,
    ) -> Option<ClientHeaders> {
        let Sponsor { key, destinations } = self.sponsors.get(sponsor)?;
        let is_wanted = wish.unwrap_or_else(|| happens(self.probability));
        is_wanted.then(|| ClientHeaders { key: key.clone(), destinations: destinations.clone(), source })
    }
}

impl ClientHeaders {
    /// What a flow gets to a host as the client names it: names do not stand for the addresses that they lead to.
    pub(crate) fn of_flow(&self, host: &str) -> Option<FlowHeader> {
        let is_listed = self.destinations.contains(&normal(host));
        is_listed.then(|| FlowHeader { key: self.key.clone(), source: self.source })
    }
}

impl FlowHeader {
    /// Passes on what the flow begins with, of which `before` was already there, behind a header. Gives how much was read
    /// of the channel. An error is a destination that is gone, a client that does not speak, or half a header of its own.
    pub(crate) async fn begin(
        &self,
        channel: &mut ChannelStream,
        target: &mut TcpStream,
        before: Vec<u8>,
        idle: Option<Duration>,
    ) -> io::Result<usize> {
        let (mut bytes, mut read) = (before, 0);
        let own = loop {
            match beginning(&bytes) {
                Beginning::Other => break 0,
                Beginning::Header(length) => break length,
                Beginning::Broken => return Err(io::ErrorKind::InvalidData.into()),
                Beginning::Open => {}
            }
            let mut piece = [0; PIECE];
            let count = timeout(idle.unwrap_or(PATIENCE), channel.read(&mut piece)).await??;
            if count == 0 {
                // All that it has to say, header or not.
                break 0;
            }
            read += count;
            bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut all = self.key.header(self.source, target.peer_addr()?, millis);
        all.extend_from_slice(bytes.get(own..).unwrap_or_default());
        target.write_all(&all).await?;
        Ok(read)
    }
}

/// One text for all spellings of a host.
fn normal(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
    }
}

fn happens(probability: f64) -> bool {
    let mut drawn = [0; 4];
    // Without randomness nobody is told of.
    aws_lc_rs::rand::fill(&mut drawn).is_ok()
        && f64::from(u32::from_le_bytes(drawn)) < probability * (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flows_of_that_sponsor_to_these_hosts_have_headers() {
        let key = HeaderKey::parse(&data_encoding::BASE64.encode(&[7; 36])).unwrap();
        let keys = BTreeMap::from([("A".to_owned(), key.clone()), ("B".to_owned(), key)]);
        let hosts = vec!["Site.Example.".to_owned(), "2001:DB8::1".to_owned()];
        let destinations = BTreeMap::from([("A".to_owned(), hosts)]);
        let source = "192.0.2.1".parse().unwrap();
        let headers = Headers::new(&keys, &destinations, 0.0);
        let client = headers.of_client("A", Some(true), source).unwrap();
        for host in ["site.example", "SITE.example.", "2001:db8:0::1"] {
            assert!(client.of_flow(host).is_some(), "{host}");
        }
        for host in ["www.site.example", "site.example.com", "2001:db8::2"] {
            assert!(client.of_flow(host).is_none(), "{host}");
        }
        for (sponsor, wish) in [("B", Some(true)), ("C", Some(true)), ("A", Some(false)), ("A", None)] {
            assert!(headers.of_client(sponsor, wish, source).is_none(), "{sponsor} {wish:?}");
        }
        let always = Headers::new(&keys, &destinations, 1.0);
        assert!(always.of_client("A", None, source).is_some());
        assert!(always.of_client("A", Some(false), source).is_none());
    }
}
