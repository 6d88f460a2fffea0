//! How much goes to which destinations: of networks that parameters name, and of sites that clients were asked to count, summed up
//! over clients of one kind, and logged now and then. No client and no address is in it. Source: PROTOCOL.md 4.7; the
//! events are the reference's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_ssh_tokio::Meter;

use crate::geoip::{GeoIp, Place};
use crate::live::Live;
use crate::log::{Field, Logger};
use crate::psinet::Visitor;

/// Sums that are held; when there are so many, they are logged before their time.
const MOST: usize = 20_000;
/// The longest name of a site, in bytes. RFC 1035 section 2.3.4.
const MAX_NAME: usize = 255;

/// Sums up.
pub(crate) struct DestinationBytes {
    /// By number, in digits.
    pub(crate) networks: Live<BTreeSet<String>>,
    /// `None` is never.
    period: Option<Duration>,
    geoip: Arc<Live<GeoIp>>,
    log: Logger,
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    networks: BTreeMap<Bucket, Bytes>,
    sites: BTreeMap<Bucket, Bytes>,
}

/// What is summed up under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bucket {
    destination: String,
    client: Client,
}

/// A kind of client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client {
    region: String,
    asn: String,
    sponsor: String,
    platform: &'static str,
    device_region: String,
}

#[derive(Clone, Copy, Default)]
struct Bytes {
    tcp: u64,
    udp: u64,
}

/// What carries the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    Udp,
}

/// A flow to a network that is counted; it counts when this is dropped.
pub(crate) struct Charge {
    to: Arc<DestinationBytes>,
    bucket: Bucket,
    carrier: Carrier,
    meter: Meter,
}

impl Client {
    pub(crate) fn new(visitor: &Visitor, place: &Place) -> Self {
        Self {
            region: place.country.clone().into_owned(),
            asn: place.asn.clone().into_owned(),
            sponsor: visitor.sponsor.clone(),
            platform: visitor.platform.text(),
            device_region: visitor.device_region.clone().unwrap_or_default(),
        }
    }
}

impl DestinationBytes {
    pub(crate) fn new(
        networks: BTreeSet<String>,
        period: Option<Duration>,
        geoip: Arc<Live<GeoIp>>,
        log: Logger,
    ) -> Arc<Self> {
        let sums = Mutex::default();
        Arc::new(Self { networks: Live::new(networks), period, geoip, log, sums })
    }

    /// Counts what `meter` will have counted of a flow to this address, if its network is one that is counted.
    pub(crate) fn charge(
        self: &Arc<Self>,
        address: IpAddr,
        client: &Client,
        carrier: Carrier,
        meter: Meter,
    ) -> Option<Charge> {
        let networks = self.networks.get();
        if networks.is_empty() || self.period.is_none() {
            return None;
        }
        let network = self.geoip.get().look_up_network(address).asn.into_owned();
        networks.contains(&network).then(|| Charge {
            to: self.clone(),
            bucket: Bucket { destination: network, client: client.clone() },
            carrier,
            meter,
        })
    }

    /// Counts what a client has counted of a site.
    pub(crate) fn site(&self, name: &str, client: &Client, bytes: u64) {
        if self.period.is_some() && name.len() <= MAX_NAME {
            let bucket = Bucket { destination: name.to_owned(), client: client.clone() };
            self.add(|sums| &mut sums.sites, bucket, Bytes { tcp: bytes, udp: 0 });
        }
    }

    fn add(&self, map: fn(&mut Sums) -> &mut BTreeMap<Bucket, Bytes>, bucket: Bucket, bytes: Bytes) {
        if bytes.tcp == 0 && bytes.udp == 0 {
            return;
        }
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if map(&mut sums).len() >= MOST {
            self.write(&mut sums);
        }
        let sum = map(&mut sums).entry(bucket).or_default();
        sum.tcp = sum.tcp.saturating_add(bytes.tcp);
        sum.udp = sum.udp.saturating_add(bytes.udp);
    }

    /// How often sums are to be logged; `None` is never.
    pub(crate) fn period(&self) -> Option<Duration> {
        self.period
    }

    /// Logs what was summed up.
    pub(crate) fn write_all(&self) {
        self.write(&mut self.sums.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn write(&self, sums: &mut Sums) {
        let networks =
            std::mem::take(&mut sums.networks).into_iter().map(|sum| ("asn_dest_bytes", "asn", sum));
        let sites =
            std::mem::take(&mut sums.sites).into_iter().map(|sum| ("domain_dest_bytes", "domain", sum));
        for (event, name, (bucket, bytes)) in networks.chain(sites) {
            let client = bucket.client;
            self.log.event(
                event,
                [
                    (name, Field::text(bucket.destination)),
                    ("client_region", Field::text(client.region)),
                    ("client_asn", Field::text(client.asn)),
                    ("sponsor_id", Field::text(client.sponsor)),
                    ("client_platform", client.platform.into()),
                    ("device_region", Field::text(client.device_region)),
                    ("bytes_tcp", bytes.tcp.into()),
                    ("bytes_udp", bytes.udp.into()),
                    ("bytes", bytes.tcp.saturating_add(bytes.udp).into()),
                ],
            );
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let (down, up) = self.meter.totals();
        let all = down.saturating_add(up);
        let bytes = match self.carrier {
            Carrier::Tcp => Bytes { tcp: all, udp: 0 },
            Carrier::Udp => Bytes { tcp: 0, udp: all },
        };
        self.to.add(|sums| &mut sums.networks, self.bucket.clone(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::log::{Captured, Level, Origin};

    fn fixture(period: u64) -> (Arc<DestinationBytes>, Captured) {
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let period = (period > 0).then(|| Duration::from_secs(period));
        // Without a database every network is `None`.
        let geoip = Arc::new(Live::new(GeoIp::default()));
        (DestinationBytes::new(BTreeSet::from(["None".to_owned()]), period, geoip, log), captured)
    }

    fn client() -> Client {
        Client::new(&Visitor { sponsor: "AA".into(), ..Visitor::default() }, &Place::UNKNOWN)
    }

    fn events(captured: &Captured) -> Vec<Value> {
        captured.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn flows_and_sites_are_summed_up() {
        let (sums, captured) = fixture(300);
        for carrier in [Carrier::Tcp, Carrier::Tcp, Carrier::Udp] {
            let meter = Meter::default();
            let charge = sums.charge("8.8.8.8".parse().unwrap(), &client(), carrier, meter.clone()).unwrap();
            meter.add_received(100);
            meter.add_sent(11);
            drop(charge);
        }
        sums.site("example.com", &client(), 7);
        sums.site("example.com", &client(), 0);
        assert!(events(&captured).is_empty());
        sums.write_all();
        sums.write_all();
        let events = events(&captured);
        assert_eq!(events.len(), 2);
        let expected = [
            ("asn_dest_bytes", "asn", "None", 222, 111),
            ("domain_dest_bytes", "domain", "example.com", 7, 0),
        ];
        for (event, (name, field, destination, tcp, udp)) in events.iter().zip(expected) {
            assert_eq!((&event["event_name"], &event[field]), (&name.into(), &destination.into()));
            assert_eq!((&event["bytes_tcp"], &event["bytes_udp"]), (&tcp.into(), &udp.into()));
            assert_eq!(event["bytes"], tcp + udp);
            assert_eq!((&event["sponsor_id"], &event["client_region"]), (&"AA".into(), &"None".into()));
        }
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_counted_where_it_is_off() {
        let (sums, captured) = fixture(300);
        for number in 0..=MOST {
            sums.site(&format!("{number}.example"), &client(), 1);
        }
        assert_eq!(events(&captured).len(), MOST);
        let (sums, captured) = fixture(0);
        assert!(sums.charge("8.8.8.8".parse().unwrap(), &client(), Carrier::Tcp, Meter::default()).is_none());
        sums.site("example.com", &client(), 1);
        sums.write_all();
        assert!(events(&captured).is_empty());
    }
}
