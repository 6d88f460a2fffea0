//! The rules of one client: what they hold, and what they say of a destination.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::RateLimits;

use super::facts::ClientFacts;
use super::ports::PortList;
use super::subnets::{Subnet, SubnetSet};

/// The rules for one client. The default is that of a server without a traffic rules file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficRules {
    pub rates: Rates,
    /// `None` leaves the limit to the system. Covers waiting, resolving and connecting.
    pub dial_timeout: Option<Duration>,
    /// How long a flow may carry nothing; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// Flows being connected at once; `None` is any number.
    pub most_dialing: Option<NonZeroUsize>,
    /// Flows at once; the one that was used least recently makes room for a new one. `None` is any number.
    pub most_flows: Option<NonZeroUsize>,
    /// `None` allows every port.
    pub allow_ports: Option<PortList>,
    pub disallow_ports: PortList,
    /// What may be reached on all ports that are not disallowed.
    pub allow: Arc<Networks>,
    pub disallow: Arc<Networks>,
    /// What is different for UDP.
    pub udp: UdpRules,
    /// The client is told of no other servers.
    pub disable_discovery: bool,
}

/// The rules for UDP flows, one of which is a socket with one remote address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpRules {
    /// How long a flow may carry nothing; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// Flows at once; the one that was used least recently makes room for a new one. `None` is any number.
    pub most_flows: Option<NonZeroUsize>,
    /// `None` allows every port.
    pub allow_ports: Option<PortList>,
    pub disallow_ports: PortList,
}

/// Destinations by address and by who announces it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    pub subnets: SubnetSet,
    /// Numbers of autonomous systems, in rising order.
    pub asns: Arc<[u32]>,
}

/// How fast a tunnel may be; 0 is no limit. "Read" is what the client sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// With what goes free before the limits hold, and whether the tunnel ends instead of being slowed down.
    pub limits: RateLimits,
    /// Instead of `limits.read_bytes_per_second` until the handshake is answered.
    pub establishment_read: u64,
    /// Likewise.
    pub establishment_write: u64,
    /// Only the first tunnel of a session has bytes that go free.
    pub first_tunnel_only: bool,
}

/// How far a tunnel is, which decides on its rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The handshake is not answered yet.
    Establishing,
    /// It is, and it was the first of its session.
    First,
    /// It is, and the session had a tunnel before.
    Later,
}

/// How often an address may begin sessions of meek, and whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeekRate {
    /// The time between two of one address.
    pub every: Duration,
    /// For which protocols; none is all. The same goes for what follows.
    pub protocols: Vec<TunnelProtocol>,
    pub regions: Vec<String>,
    pub isps: Vec<String>,
    pub asns: Vec<String>,
    pub cities: Vec<String>,
}

impl Stage {
    /// The stage of a client's tunnel. `is_first` is whether the server knows of no other tunnel of its session.
    pub fn of(client: &ClientFacts<'_>, is_first: bool) -> Self {
        match &client.handshake {
            None => Self::Establishing,
            // The client may have had tunnels to other servers.
            Some(handshake) if is_first && !handshake.had_tunnels() => Self::First,
            Some(_) => Self::Later,
        }
    }
}

impl MeekRate {
    /// Whether the sessions of a client are counted.
    pub fn covers(&self, client: &ClientFacts<'_>) -> bool {
        let among =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|listed| listed == value);
        (self.protocols.is_empty() || self.protocols.contains(&client.protocol))
            && among(&self.regions, client.country)
            && among(&self.isps, client.isp)
            && among(&self.asns, client.asn)
            && among(&self.cities, client.city)
    }
}

/// The reference's defaults.
impl Default for UdpRules {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_secs(30)),
            most_flows: NonZeroUsize::new(32),
            allow_ports: None,
            disallow_ports: PortList::default(),
        }
    }
}

/// The reference's defaults.
impl Default for TrafficRules {
    fn default() -> Self {
        Self {
            rates: Rates::default(),
            dial_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(30)),
            most_dialing: NonZeroUsize::new(64),
            most_flows: NonZeroUsize::new(512),
            allow_ports: None,
            disallow_ports: PortList::default(),
            allow: Arc::default(),
            disallow: Arc::default(),
            udp: UdpRules::default(),
            disable_discovery: false,
        }
    }
}

impl TrafficRules {
    /// Whether a TCP flow may go to `address`. `asn_of` says which autonomous system an address belongs to, if that is
    /// known, and is asked only where a rule depends on it.
    pub fn permits_tcp(&self, address: SocketAddr, asn_of: AsnOf<'_>) -> bool {
        self.permits(address, asn_of, (self.allow_ports.as_ref(), &self.disallow_ports))
    }

    /// The same of a UDP flow.
    pub fn permits_udp(&self, address: SocketAddr, asn_of: AsnOf<'_>) -> bool {
        self.permits(address, asn_of, (self.udp.allow_ports.as_ref(), &self.udp.disallow_ports))
    }

    /// Networks are the same for all flows, ports are not.
    fn permits(&self, address: SocketAddr, asn_of: AsnOf<'_>, ports: (Option<&PortList>, &PortList)) -> bool {
        let (allowed, disallowed) = ports;
        if disallowed.contains(address.port()) || self.disallow.contains(address.ip(), asn_of) {
            return false;
        }
        match allowed {
            None => true,
            Some(ports) => ports.contains(address.port()) || self.allow.contains(address.ip(), asn_of),
        }
    }
}

/// Says which autonomous system an address belongs to.
pub type AsnOf<'g> = &'g dyn Fn(IpAddr) -> Option<u32>;

impl Networks {
    /// Only blocks of addresses.
    pub fn of_subnets(subnets: impl IntoIterator<Item = Subnet>) -> Arc<Self> {
        Arc::new(Self { subnets: subnets.into_iter().collect(), asns: Arc::default() })
    }

    pub fn contains(&self, address: IpAddr, asn_of: AsnOf<'_>) -> bool {
        if self.subnets.contains(address) {
            return true;
        }
        !self.asns.is_empty() && asn_of(address).is_some_and(|asn| self.asns.binary_search(&asn).is_ok())
    }
}

impl Rates {
    pub(super) fn limits_establishment(&self) -> bool {
        self.establishment_read > 0 || self.establishment_write > 0
    }

    /// The limits of a tunnel.
    pub fn at(&self, stage: Stage) -> RateLimits {
        let mut limits = self.limits;
        match stage {
            Stage::Establishing => {
                limits.read_bytes_per_second = self.establishment_read;
                limits.write_bytes_per_second = self.establishment_write;
                // What is used up is used up after the handshake.
                limits.close_after_exhausted = false;
            }
            Stage::Later if self.first_tunnel_only => {
                limits.read_unthrottled_bytes = 0;
                limits.write_unthrottled_bytes = 0;
            }
            Stage::First | Stage::Later => {}
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(subnets: &[&str], asns: &[u32]) -> Arc<Networks> {
        let subnets = subnets.iter().map(|text| text.parse::<Subnet>().unwrap()).collect();
        Arc::new(Networks { subnets, asns: asns.into() })
    }

    fn nowhere(_: IpAddr) -> Option<u32> {
        None
    }

    #[test]
    fn disallowing_wins_and_allowed_subnets_extend_ports() {
        let rules = TrafficRules {
            allow_ports: Some(PortList::new([(80, 80), (25, 25)])),
            disallow_ports: PortList::new([(25, 25)]),
            allow: networks(&["198.41.0.0/24"], &[]),
            disallow: networks(&["198.41.0.128/25"], &[]),
            ..TrafficRules::default()
        };
        for (address, permitted) in [
            ("8.8.8.8:80", true),
            ("8.8.8.8:443", false),
            ("8.8.8.8:25", false),
            ("198.41.0.4:443", true),
            ("198.41.0.4:25", false),
            ("198.41.0.200:80", false),
        ] {
            assert_eq!(rules.permits_tcp(address.parse().unwrap(), &nowhere), permitted, "{address}");
        }
        assert!(TrafficRules::default().permits_tcp("8.8.8.8:25".parse().unwrap(), &nowhere));
    }

    #[test]
    fn networks_are_known_by_number_too() {
        let rules = TrafficRules {
            allow_ports: Some(PortList::new([(80, 80)])),
            allow: networks(&[], &[13335, 15169]),
            disallow: networks(&[], &[64500]),
            ..TrafficRules::default()
        };
        let asn_of = |address: IpAddr| match address.to_string().as_str() {
            "8.8.8.8" => Some(15169),
            "192.0.2.1" => Some(64500),
            _ => None,
        };
        for (address, permitted) in
            [("8.8.8.8:443", true), ("9.9.9.9:443", false), ("192.0.2.1:80", false), ("9.9.9.9:80", true)]
        {
            assert_eq!(rules.permits_tcp(address.parse().unwrap(), &asn_of), permitted, "{address}");
        }
    }

    #[test]
    fn ports_of_udp_are_ruled_apart_and_subnets_together() {
        let udp = UdpRules { allow_ports: Some(PortList::new([(53, 53)])), ..UdpRules::default() };
        let rules = TrafficRules {
            disallow_ports: PortList::new([(53, 53)]),
            disallow: networks(&["9.9.9.0/24"], &[]),
            udp,
            ..TrafficRules::default()
        };
        for (address, tcp, udp) in
            [("8.8.8.8:53", false, true), ("8.8.8.8:80", true, false), ("9.9.9.9:53", false, false)]
        {
            let address = address.parse().unwrap();
            let permitted = (rules.permits_tcp(address, &nowhere), rules.permits_udp(address, &nowhere));
            assert_eq!(permitted, (tcp, udp), "{address}");
        }
    }

    #[test]
    fn rates_depend_on_the_stage() {
        let limits = RateLimits {
            read_unthrottled_bytes: 1,
            read_bytes_per_second: 2,
            write_unthrottled_bytes: 3,
            write_bytes_per_second: 4,
            close_after_exhausted: true,
        };
        let mut rates =
            Rates { limits, establishment_read: 5, establishment_write: 0, first_tunnel_only: false };
        assert_eq!(rates.at(Stage::First), limits);
        assert_eq!(rates.at(Stage::Later), limits);
        let early = rates.at(Stage::Establishing);
        assert_eq!((early.read_bytes_per_second, early.write_bytes_per_second), (5, 0));
        assert!(!early.close_after_exhausted);
        rates.first_tunnel_only = true;
        assert_eq!(rates.at(Stage::First), limits);
        let later = rates.at(Stage::Later);
        assert_eq!((later.read_unthrottled_bytes, later.write_unthrottled_bytes), (0, 0));
        assert_eq!((later.read_bytes_per_second, later.close_after_exhausted), (2, true));
    }
}
