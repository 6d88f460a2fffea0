//! The way out for the flows of one tunnel: names looked up, addresses judged by the policy, the blocklist and the rules, and
//! dialled. Every TCP dial and every UDP socket of a client asks here. Not how many flows there may be. Source: PROTOCOL.md 3.7.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use culvert_protocol::proxy_header::HeaderKey;
use culvert_ssh_tokio::Meter;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::blocklist::{Blocklist, Tag};
use super::destination::{Destination, HostName};
use super::destination_bytes::{Carrier, Charge, Client, DestinationBytes};
use super::egress::{DialRefusal, EgressPolicy, by, dial, permitted};
use super::headers::{ClientHeaders, FlowHeader, Headers};
use super::names::question::question_name;
use super::names::{CacheLimits, Names, Resolver};
use crate::figures::Tally;
use crate::geoip::{GeoIp, Place};
use crate::live::Live;
use crate::log::Aggregated;
use crate::psinet::Visitor;
use crate::rules::TrafficRules;

/// Hits of one tunnel that are reported; the one after is a warning (PROTOCOL.md 3.7).
const MOST_HITS: u64 = 1024;

/// What the ways out of all tunnels have in common.
pub(crate) struct Egress {
    pub(crate) policy: EgressPolicy,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) blocklist: Arc<Live<Blocklist>>,
    /// For rules about networks by number.
    pub(crate) geoip: Arc<Live<GeoIp>>,
    pub(crate) header_keys: BTreeMap<String, HeaderKey>,
    pub(crate) headers: Live<Headers>,
    pub(crate) destination_bytes: Arc<DestinationBytes>,
    /// What is listed is refused, not only reported.
    pub(crate) blocks: bool,
    /// Datagrams are kept from doing harm.
    pub(crate) limits_udp: bool,
    pub(crate) names: Live<CacheLimits>,
    /// Dials that failed for want of files, ports or memory.
    pub(crate) exhausted: Aggregated,
}

/// What was found on the blocklist.
#[derive(Clone, Copy)]
pub(crate) enum Listed<'h> {
    Address(IpAddr),
    Name(&'h str),
}

/// Told of hits.
pub(crate) trait HitObserver: Send + Sync {
    /// One tag of a destination that a client wants.
    fn hit(&self, listed: Listed<'_>, tag: &Tag);
    /// No more will be reported of this tunnel.
    fn hits_exceeded(&self);
    /// The client is refused a destination for this tag.
    fn blocked(&self, tag: &Tag);
}

/// One tunnel's way out.
pub(crate) struct Exit {
    shared: Arc<Egress>,
    names: Names,
    observer: Box<dyn HitObserver>,
    tally: Arc<Tally>,
    hits: AtomicU64,
    /// Known after the handshake, before which there are no flows.
    client: OnceLock<(Client, Option<ClientHeaders>)>,
}

impl Exit {
    pub(crate) fn new(shared: Arc<Egress>, observer: Box<dyn HitObserver>, tally: Arc<Tally>) -> Self {
        let names = Names::new(shared.resolver.clone(), *shared.names.get());
        Self { shared, names, observer, tally, hits: AtomicU64::new(0), client: OnceLock::new() }
    }

    /// Says who the client is, once it has said so itself; `wants_headers` is what it says of being told of.
    pub(crate) fn introduce(
        &self,
        visitor: &Visitor,
        place: &Place,
        from: IpAddr,
        wants_headers: Option<bool>,
    ) {
        self.client.get_or_init(|| {
            let headers = self.shared.headers.get().of_client(&visitor.sponsor, wants_headers, from);
            (Client::new(visitor, place), headers)
        });
    }

    /// The header that a flow to this host begins with, if any.
    pub(crate) fn header(&self, host: &str) -> Option<FlowHeader> {
        let (_, headers) = self.client.get()?;
        headers.as_ref()?.of_flow(host)
    }

    /// Counts what goes to this address by its network, if that is wanted, until the charge is dropped.
    pub(crate) fn charge(&self, address: IpAddr, carrier: Carrier, meter: &Meter) -> Option<Charge> {
        let (client, _) = self.client.get()?;
        self.shared.destination_bytes.charge(address, client, carrier, meter.clone())
    }

    /// Counts what the client has counted of sites.
    pub(crate) fn count_site(&self, name: &str, bytes: u64) {
        if let Some((client, _)) = self.client.get() {
            self.shared.destination_bytes.site(name, client, bytes);
        }
    }

    /// Connects to the first address of a destination that is permitted and answers. `limit` covers everything; `None`
    /// leaves it to the system. Dropping the future gives up.
    pub(crate) async fn connect(
        &self,
        destination: &Destination,
        rules: &TrafficRules,
        limit: Option<Duration>,
    ) -> Result<TcpStream, DialRefusal> {
        let connected = self.try_connect(destination, rules, limit).await;
        if let Err(DialRefusal::ResourceExhausted) = connected {
            self.shared.exhausted.record("tcp");
        }
        connected
    }

    async fn try_connect(
        &self,
        destination: &Destination,
        rules: &TrafficRules,
        limit: Option<Duration>,
    ) -> Result<TcpStream, DialRefusal> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let judge = |address: SocketAddr| self.judge(address, |address| self.leaves_tcp(address, rules));
        let addresses = match destination {
            Destination::Address(address) => permitted([*address], judge)?,
            Destination::Name { name, port } => {
                let found = self.look_up(name, deadline).await?;
                permitted(found.iter().map(|address| SocketAddr::new(*address, *port)), judge)?
            }
        };
        dial(&self.shared.policy, &addresses, deadline).await
    }

    async fn look_up(
        &self,
        name: &HostName,
        deadline: Option<Instant>,
    ) -> Result<Arc<[IpAddr]>, DialRefusal> {
        self.check_name(name.as_str())?;
        let found = by(deadline, self.names.look_up(name, &self.tally)).await.ok_or(DialRefusal::TimedOut)?;
        Ok(found?)
    }

    /// Whether rules allow a TCP flow, new or open, whatever else there is against it.
    pub(crate) fn leaves_tcp(&self, address: SocketAddr, rules: &TrafficRules) -> bool {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        rules.permits_tcp(address, &|address| self.asn_of(address))
    }

    /// The same of a UDP flow.
    pub(crate) fn leaves_udp(&self, address: SocketAddr, rules: &TrafficRules) -> bool {
        rules.permits_udp(address, &|address| self.asn_of(address))
    }

    /// Why a TCP flow that is open may not go on, by rules and the list as they are now.
    pub(crate) fn ends_tcp(
        &self,
        address: SocketAddr,
        name: Option<&HostName>,
        rules: &TrafficRules,
    ) -> Option<DialRefusal> {
        if !self.leaves_tcp(address, rules) {
            return Some(DialRefusal::Rules);
        }
        self.ends_listed(address.ip(), name)
    }

    /// The same of a UDP flow, which an address that has become this host's would take over as well.
    pub(crate) fn ends_udp(&self, address: SocketAddr, rules: &TrafficRules) -> Option<DialRefusal> {
        if !self.shared.policy.permits(address.ip()) {
            return Some(DialRefusal::Bogon);
        }
        if !self.leaves_udp(address, rules) {
            return Some(DialRefusal::Rules);
        }
        self.ends_listed(address.ip(), None)
    }

    /// Only a list that refuses ends what is open; a hit is a try, and a flow that goes on is none.
    fn ends_listed(&self, address: IpAddr, name: Option<&HostName>) -> Option<DialRefusal> {
        if !self.shared.blocks {
            return None;
        }
        let by_name = name.map_or(Ok(()), |name| self.check_name(name.as_str()));
        by_name.and_then(|()| self.check_address(address.to_canonical())).err()
    }

    /// Whether a UDP flow may go to an address.
    pub(crate) fn judge_udp(&self, address: SocketAddr, rules: &TrafficRules) -> Result<(), DialRefusal> {
        self.judge(address, |address| self.leaves_udp(address, rules))
    }

    /// Whether a datagram for a name server is a query for a name that may be asked for.
    pub(crate) fn permits_query(&self, packet: &[u8]) -> bool {
        let Ok(name) = question_name(packet) else { return false };
        let is_local = name == "local" || name.ends_with(".local");
        !is_local && self.check_name(&name).is_ok()
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.shared.resolver
    }

    /// Whether datagrams are kept from doing harm.
    pub(crate) fn limits_udp(&self) -> bool {
        self.shared.limits_udp
    }

    pub(crate) fn policy(&self) -> &EgressPolicy {
        &self.shared.policy
    }

    /// A socket could not be had.
    pub(crate) fn udp_failed(&self, error: &std::io::Error) {
        if super::egress::is_exhausted(error) {
            self.shared.exhausted.record("udp");
        }
    }

    /// The verdict on one address about to be dialled.
    fn judge(&self, address: SocketAddr, rules: impl Fn(SocketAddr) -> bool) -> Result<(), DialRefusal> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if !self.shared.policy.permits(address.ip()) {
            return Err(DialRefusal::Bogon);
        }
        self.check_address(address.ip())?;
        if rules(address) { Ok(()) } else { Err(DialRefusal::Rules) }
    }

    fn asn_of(&self, address: IpAddr) -> Option<u32> {
        self.shared.geoip.get().look_up_network(address).asn.parse().ok()
    }

    fn check_address(&self, address: IpAddr) -> Result<(), DialRefusal> {
        let list = self.shared.blocklist.get();
        self.check(Listed::Address(address), list.of_address(address))
    }

    fn check_name(&self, name: &str) -> Result<(), DialRefusal> {
        let list = self.shared.blocklist.get();
        self.check(Listed::Name(name), list.of_name(name))
    }

    /// Reports what is listed, whether or not it is refused.
    fn check(&self, listed: Listed<'_>, tags: &[Tag]) -> Result<(), DialRefusal> {
        for tag in tags {
            match self.hits.fetch_add(1, Ordering::Relaxed) {
                before if before < MOST_HITS => self.observer.hit(listed, tag),
                MOST_HITS => self.observer.hits_exceeded(),
                _ => {}
            }
            if self.shared.blocks {
                self.observer.blocked(tag);
            }
        }
        if self.shared.blocks && !tags.is_empty() { Err(DialRefusal::Blocked) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "exit_tests.rs"]
pub(super) mod tests;
