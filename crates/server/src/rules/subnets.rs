//! Blocks of addresses, and many of them compiled for looking one address up. Source: RFC 4632 section 3.1.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Blocks of addresses, as ranges without overlap; copies share them. A look-up takes a few steps more when there are twice as many.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SubnetSet {
    /// First and last, in rising order.
    v4: Arc<[(u32, u32)]>,
    v6: Arc<[(u128, u128)]>,
}

impl SubnetSet {
    /// Whether one of the blocks has the address. An IPv4 address in IPv6 form is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => is_within(&self.v6, address.to_bits()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn is_within<N: Copy + Ord>(ranges: &[(N, N)], address: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, last)| address <= *last)
}

impl FromIterator<Subnet> for SubnetSet {
    fn from_iter<I: IntoIterator<Item = Subnet>>(subnets: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for Subnet { network, prefix } in subnets {
            match network {
                IpAddr::V4(network) => {
                    let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                    v4.push((network.to_bits() & !host, network.to_bits() | host));
                }
                IpAddr::V6(network) => {
                    let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                    v6.push((network.to_bits() & !host, network.to_bits() | host));
                }
            }
        }
        Self { v4: disjoint(v4), v6: disjoint(v6) }
    }
}

/// Blocks either hold each other or do not touch, so what is inside another can simply go.
fn disjoint<N: Copy + Ord>(mut ranges: Vec<(N, N)>) -> Arc<[(N, N)]> {
    ranges.sort_unstable_by_key(|(first, last)| (*first, std::cmp::Reverse(*last)));
    let mut end = None;
    ranges.retain(|(_, last)| {
        let is_outside = end.is_none_or(|end| *last > end);
        end = end.max(Some(*last));
        is_outside
    });
    ranges.into()
}

/// How many there are: which ones an operator knows.
impl fmt::Debug for SubnetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubnetSet").field("v4", &self.v4.len()).field("v6", &self.v6.len()).finish()
    }
}

/// A block of addresses in CIDR form. Bits of the address beyond the prefix are ignored, as the reference ignores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// A block of IPv4 addresses in IPv6 form is the block of the IPv4 addresses, as those are when they are looked up
    /// (RFC 4291 section 2.5.5.2).
    fn canonical(self) -> Self {
        match (self.network.to_canonical(), self.prefix.checked_sub(96)) {
            (network @ IpAddr::V4(_), Some(prefix)) if self.network.is_ipv6() => Self { network, prefix },
            _ => self,
        }
    }
}

/// A text that is no subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a subnet such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct SubnetError;

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
        Ok(Self { network, prefix }.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(subnets: &[&str], address: &str) -> bool {
        let set: SubnetSet = subnets.iter().map(|text| text.parse::<Subnet>().unwrap()).collect();
        set.contains(address.parse().unwrap())
    }

    #[test]
    fn subnets() {
        assert!(holds(&["10.1.2.3/8"], "10.255.0.1"));
        assert!(holds(&["10.0.0.0/8"], "::ffff:10.0.0.1"));
        assert!(!holds(&["10.0.0.0/8"], "11.0.0.1"));
        assert!(holds(&["::ffff:10.0.0.0/104"], "10.1.2.3") && holds(&["::ffff:0:0/96"], "::ffff:8.8.8.8"));
        assert!(!holds(&["::ffff:10.0.0.0/104"], "11.0.0.1") && !holds(&["::ffff:0:0/95"], "8.8.8.8"));
        assert!(holds(&["0.0.0.0/0"], "8.8.8.8"));
        assert!(!holds(&["0.0.0.0/0"], "::1"));
        assert!(holds(&["2001:db8::/32"], "2001:db8:1::1"));
        assert!(holds(&["::1/128", "::/0"], "::1"));
        assert!(!holds(&["::1/128"], "::2"));
        assert!(!holds(&[], "8.8.8.8"));
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "::/129", "x/8", "10.0.0/8", "/8"]
        {
            assert_eq!(text.parse::<Subnet>(), Err(SubnetError), "{text}");
        }
    }

    #[test]
    fn blocks_in_blocks_do_not_end_them() {
        let subnets =
            ["10.0.0.0/8", "10.0.0.0/24", "10.5.0.0/16", "10.5.5.5/32", "12.0.0.0/8", "255.255.255.255/32"];
        for (address, held) in [
            ("10.0.1.0", true),
            ("10.5.5.6", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("12.0.0.0", true),
            ("9.255.255.255", false),
            ("255.255.255.255", true),
            ("255.255.255.254", false),
        ] {
            assert_eq!(holds(&subnets, address), held, "{address}");
        }
    }
}
