//! Addresses that no server on the Internet has: an answer with one is a lie or a mistake. Source: TRANSPORTS.md 6.8, IANA's registries of
//! special-purpose addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks, and how many bits they have.
#[rustfmt::skip]
const V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8), ([10, 0, 0, 0], 8), ([100, 64, 0, 0], 10), ([127, 0, 0, 0], 8), ([169, 254, 0, 0], 16), ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24), ([192, 0, 2, 0], 24), ([192, 168, 0, 0], 16), ([198, 18, 0, 0], 15), ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24), ([224, 0, 0, 0], 4), ([240, 0, 0, 0], 4),
];

/// The same of IPv6; the first has the addresses that are none and those of IPv4 in disguise.
#[rustfmt::skip]
const V6: &[([u16; 8], u32)] = &[
    ([0; 8], 32), ([0x100, 0, 0, 0, 0, 0, 0, 0], 64), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// Whether no server can have the address.
#[must_use]
pub fn is_bogus(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => V4.iter().any(|(network, bits)| {
            let differ = u32::from(address) ^ u32::from(Ipv4Addr::from(*network));
            differ >> (32 - bits) == 0
        }),
        IpAddr::V6(address) => V6.iter().any(|(network, bits)| {
            let differ = u128::from(address) ^ u128::from(Ipv6Addr::from(*network));
            differ >> (128 - bits) == 0
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_internet_is_bogus() {
        let bogus = [
            "0.0.0.0",
            "10.10.34.36",
            "127.0.0.1",
            "100.127.255.255",
            "172.31.0.1",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "ff02::1",
        ];
        for address in bogus {
            assert!(is_bogus(address.parse().unwrap()), "{address}");
        }
        for address in
            ["1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111"]
        {
            assert!(!is_bogus(address.parse().unwrap()), "{address}");
        }
    }
}
