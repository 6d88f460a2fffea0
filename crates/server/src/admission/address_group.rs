//! Whom limits treat as one: an IPv4 address, behind which there may be many people, or what one customer has of IPv6.

use std::fmt;
use std::net::IpAddr;

/// Hosts with IPv6 that count as one: those of one customer.
const CUSTOMER_BITS: u32 = 56;

/// An IPv4 address, or an IPv6 network of 56 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AddressGroup(u64, bool);

impl AddressGroup {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_bits().into(), false),
            IpAddr::V6(address) => Self((address.to_bits() >> (u128::BITS - CUSTOMER_BITS)) as u64, true),
        }
    }
}

impl fmt::Debug for AddressGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted address]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_one() {
        let group = |text: &str| AddressGroup::of(text.parse().unwrap());
        assert_eq!(group("2001:db8::1"), group("2001:db8:0:ff::2"));
        assert_ne!(group("2001:db8::1"), group("2001:db8:0:100::1"));
        assert_eq!(group("192.0.2.1"), group("::ffff:192.0.2.1"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_ne!(group("0.0.0.0"), group("::1"));
        assert!(!format!("{:?}", group("192.0.2.1")).contains("192"));
    }
}
