//! What a client may do with its flows: ports, subnets, timeouts and counts, as the traffic rules file sets them.
//! Not the file's syntax, which is `config::traffic_rules`, and not rate limits, which are read but not applied yet.
//! Source: the reference's meaning of each field; an allowed subnet opens all of its ports, a disallowed one closes them.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;

/// The rules for one client. The default is that of a server without a traffic rules file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficRules {
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
    pub allow_subnets: Vec<Subnet>,
    pub disallow_subnets: Vec<Subnet>,
    /// What is different for UDP.
    pub udp: UdpRules,
    /// How often an address may begin meek sessions; `None` is as often as it likes.
    pub meek_sessions: Option<SessionRate>,
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

/// A bound for beginnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRate {
    /// The time between two of one address.
    pub every: Duration,
    /// For which protocols; none is all.
    pub protocols: Vec<TunnelProtocol>,
}

/// The reference's defaults.
impl Default for TrafficRules {
    fn default() -> Self {
        Self {
            dial_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(30)),
            most_dialing: NonZeroUsize::new(64),
            most_flows: NonZeroUsize::new(512),
            allow_ports: None,
            disallow_ports: PortList::default(),
            allow_subnets: Vec::new(),
            disallow_subnets: Vec::new(),
            udp: UdpRules::default(),
            meek_sessions: None,
        }
    }
}

impl TrafficRules {
    /// Whether a TCP flow may go to `address`.
    pub fn permits_tcp(&self, address: SocketAddr) -> bool {
        self.permits(address, self.allow_ports.as_ref(), &self.disallow_ports)
    }

    /// Whether a UDP flow may go to `address`.
    pub fn permits_udp(&self, address: SocketAddr) -> bool {
        self.permits(address, self.udp.allow_ports.as_ref(), &self.udp.disallow_ports)
    }

    /// Subnets are the same for all flows, ports are not.
    fn permits(&self, address: SocketAddr, allowed: Option<&PortList>, disallowed: &PortList) -> bool {
        let within = |subnets: &[Subnet]| subnets.iter().any(|subnet| subnet.contains(address.ip()));
        if within(&self.disallow_subnets) || disallowed.contains(address.port()) {
            return false;
        }
        match allowed {
            None => true,
            Some(ports) => ports.contains(address.port()) || within(&self.allow_subnets),
        }
    }
}

/// Ports and ranges of ports, sorted, without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortList(Vec<(u16, u16)>);

impl PortList {
    /// Each pair is the first and the last port of a range; reversed pairs hold nothing.
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    pub fn contains(&self, port: u16) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= port);
        after.checked_sub(1).and_then(|index| self.0.get(index)).is_some_and(|(_, last)| port <= *last)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A block of addresses in CIDR form. Bits of the address beyond the prefix are ignored, as the reference ignores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

/// A text that is no subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a subnet such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct SubnetError;

impl Subnet {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (network, prefix) = text.split_once('/').ok_or(SubnetError)?;
        let network: IpAddr = network.parse().map_err(|_| SubnetError)?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SubnetError);
        }
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or(SubnetError)?;
        Ok(Self { network, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn port_lists() {
        let list = PortList::new([(80, 80), (443, 443), (8000, 8100), (8050, 8200), (8201, 8201), (9, 3)]);
        assert_eq!(list.0, [(80, 80), (443, 443), (8000, 8201)]);
        for (port, held) in
            [(79, false), (80, true), (81, false), (8150, true), (8201, true), (8202, false), (5, false)]
        {
            assert_eq!(list.contains(port), held, "{port}");
        }
        assert!(PortList::new([(1, 65535)]).contains(65535));
        assert!(!PortList::default().contains(80));
    }

    #[test]
    fn subnets() {
        assert!(subnet("10.1.2.3/8").contains("10.255.0.1".parse().unwrap()));
        assert!(subnet("10.0.0.0/8").contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!subnet("10.0.0.0/8").contains("11.0.0.1".parse().unwrap()));
        assert!(subnet("0.0.0.0/0").contains("8.8.8.8".parse().unwrap()));
        assert!(!subnet("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(subnet("2001:db8::/32").contains("2001:db8:1::1".parse().unwrap()));
        assert!(subnet("::1/128").contains("::1".parse().unwrap()));
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "::/129", "x/8", "10.0.0/8", "/8"]
        {
            assert_eq!(text.parse::<Subnet>(), Err(SubnetError), "{text}");
        }
    }

    #[test]
    fn disallowing_wins_and_allowed_subnets_extend_ports() {
        let rules = TrafficRules {
            allow_ports: Some(PortList::new([(80, 80), (25, 25)])),
            disallow_ports: PortList::new([(25, 25)]),
            allow_subnets: vec![subnet("198.41.0.0/24")],
            disallow_subnets: vec![subnet("198.41.0.128/25")],
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
            assert_eq!(rules.permits_tcp(address.parse().unwrap()), permitted, "{address}");
        }
        assert!(TrafficRules::default().permits_tcp("8.8.8.8:25".parse().unwrap()));
    }

    #[test]
    fn ports_of_udp_are_ruled_apart_and_subnets_together() {
        let udp = UdpRules { allow_ports: Some(PortList::new([(53, 53)])), ..UdpRules::default() };
        let rules = TrafficRules {
            disallow_ports: PortList::new([(53, 53)]),
            disallow_subnets: vec![subnet("9.9.9.0/24")],
            udp,
            ..TrafficRules::default()
        };
        for (address, tcp, udp) in
            [("8.8.8.8:53", false, true), ("8.8.8.8:80", true, false), ("9.9.9.9:53", false, false)]
        {
            let address = address.parse().unwrap();
            assert_eq!((rules.permits_tcp(address), rules.permits_udp(address)), (tcp, udp), "{address}");
        }
    }
}
