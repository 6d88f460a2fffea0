//! Which addresses belong to no place on the public Internet: one table, made from the IANA special-purpose address
//! registries with multicast, retired and unallocated space added, and one look-up. Not policy: `egress` decides what
//! follows.
//!
//! Sources: <https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry> (both as of 2025-10), RFC 5771 and RFC 4291 section 2.7
//! (multicast), RFC 3879 (site-local), RFC 4291 sections 2.4 and 2.5.5 (global unicast, embedded IPv4), RFC 6052, RFC 5214.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a block of addresses means for a flow that leaves this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Ordinary, globally reachable.
    Global,
    /// Not a public place: private, reserved, group, or served by the nearest network rather than by a distant host.
    Special,
    /// A translator or relay turns it into the IPv4 address held in the 32 bits that start at this bit.
    EmbedsIpv4At(u8),
}

/// One block of addresses. `from` is written as IPv6, IPv4 blocks as mapped addresses with 96 added to their length.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    network: IpAddr,
    length: u8,
    reach: Reach,
    pub name: &'static str,
    pub source: &'static str,
}

const fn v4(octets: [u8; 4], length: u8, reach: Reach, name: &'static str, source: &'static str) -> Block {
    let [a, b, c, d] = octets;
    Block { network: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length, reach, name, source }
}

const fn v6(segments: [u16; 8], length: u8, reach: Reach, name: &'static str, source: &'static str) -> Block {
    let [a, b, c, d, e, f, g, h] = segments;
    Block { network: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), length, reach, name, source }
}

use Reach::{EmbedsIpv4At, Global, Special};

/// The longest block that holds an address decides. 192.0.0.9 and 192.0.0.10, and 2001:1::1 to 2001:1::3, are called
/// globally reachable by IANA but are answered by the network nearest to this host, so they count as special here.
#[rustfmt::skip]
pub const BLOCKS: &[Block] = &[
    v4([0, 0, 0, 0], 0, Global, "global IPv4", "RFC 791"),
    v4([0, 0, 0, 0], 8, Special, "this network", "RFC 791 section 3.2"),
    v4([0, 0, 0, 0], 32, Special, "this host on this network", "RFC 1122 section 3.2.1.3"),
    v4([10, 0, 0, 0], 8, Special, "private use", "RFC 1918"),
    v4([100, 64, 0, 0], 10, Special, "shared address space", "RFC 6598"),
    v4([127, 0, 0, 0], 8, Special, "loopback", "RFC 1122 section 3.2.1.3"),
    v4([169, 254, 0, 0], 16, Special, "link local", "RFC 3927"),
    v4([172, 16, 0, 0], 12, Special, "private use", "RFC 1918"),
    v4([192, 0, 0, 0], 24, Special, "IETF protocol assignments", "RFC 6890 section 2.1"),
    v4([192, 0, 0, 0], 29, Special, "IPv4 service continuity prefix", "RFC 7335"),
    v4([192, 0, 0, 8], 32, Special, "IPv4 dummy address", "RFC 7600"),
    v4([192, 0, 0, 9], 32, Special, "port control protocol anycast", "RFC 7723"),
    v4([192, 0, 0, 10], 32, Special, "TURN anycast", "RFC 8155"),
    v4([192, 0, 0, 170], 31, Special, "NAT64/DNS64 discovery", "RFC 8880, RFC 7050 section 2.2"),
    v4([192, 0, 2, 0], 24, Special, "documentation (TEST-NET-1)", "RFC 5737"),
    v4([192, 31, 196, 0], 24, Global, "AS112-v4", "RFC 7535"),
    v4([192, 52, 193, 0], 24, Global, "AMT", "RFC 7450"),
    v4([192, 88, 99, 0], 24, Special, "6to4 relay anycast (deprecated)", "RFC 7526"),
    v4([192, 88, 99, 2], 32, Special, "6a44 relay anycast", "RFC 6751"),
    v4([192, 168, 0, 0], 16, Special, "private use", "RFC 1918"),
    v4([192, 175, 48, 0], 24, Global, "direct delegation AS112 service", "RFC 7534"),
    v4([198, 18, 0, 0], 15, Special, "benchmarking", "RFC 2544"),
    v4([198, 51, 100, 0], 24, Special, "documentation (TEST-NET-2)", "RFC 5737"),
    v4([203, 0, 113, 0], 24, Special, "documentation (TEST-NET-3)", "RFC 5737"),
    v4([224, 0, 0, 0], 4, Special, "multicast", "RFC 5771"),
    v4([240, 0, 0, 0], 4, Special, "reserved", "RFC 1112 section 4"),
    v4([255, 255, 255, 255], 32, Special, "limited broadcast", "RFC 919 section 7, RFC 8190"),

    v6([0, 0, 0, 0, 0, 0, 0, 0], 0, Special, "outside global unicast space", "RFC 4291 section 2.4"),
    v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Global, "global unicast", "RFC 4291 section 2.5.4"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, Special, "IPv4-compatible (deprecated)", "RFC 4291 section 2.5.5.1"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, Special, "unspecified", "RFC 4291 section 2.5.2"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Special, "loopback", "RFC 4291 section 2.5.3"),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, EmbedsIpv4At(96), "IPv4-mapped", "RFC 4291 section 2.5.5.2"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, EmbedsIpv4At(96), "IPv4-IPv6 translation", "RFC 6052 section 2.1"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Special, "local-use IPv4-IPv6 translation", "RFC 8215"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Special, "discard only", "RFC 6666"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, Special, "dummy IPv6 prefix", "RFC 9780"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Special, "IETF protocol assignments", "RFC 2928"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, Special, "Teredo", "RFC 4380"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, Special, "port control protocol anycast", "RFC 7723"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, Special, "TURN anycast", "RFC 8155"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, Special, "DNS-SD service registration anycast", "RFC 9665"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Special, "benchmarking", "RFC 5180"),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, Global, "AMT", "RFC 7450"),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, Global, "AS112-v6", "RFC 7535"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, Special, "ORCHID (deprecated)", "RFC 4843"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, Special, "ORCHIDv2, identifiers without a route", "RFC 7343"),
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, Special, "drone remote identifiers without a route", "RFC 9374"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Special, "documentation", "RFC 3849"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, EmbedsIpv4At(16), "6to4", "RFC 3056 section 2"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, Global, "direct delegation AS112 service", "RFC 7534"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Special, "documentation", "RFC 9637"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Special, "segment routing identifiers", "RFC 9602"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Special, "unique local", "RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Special, "link local", "RFC 4291 section 2.5.6"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Special, "site local (deprecated)", "RFC 3879"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Special, "multicast", "RFC 4291 section 2.7"),
];

impl Block {
    fn holds(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let kept = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                network.to_bits() == address.to_bits() & kept
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let kept = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                network.to_bits() == address.to_bits() & kept
            }
            _ => false,
        }
    }
}

/// The block that decides about `address`.
pub fn block_of(address: IpAddr) -> &'static Block {
    const UNKNOWN: &Block = &v4([0, 0, 0, 0], 0, Special, "unknown", "none");
    BLOCKS.iter().filter(|block| block.holds(address)).max_by_key(|block| block.length).unwrap_or(UNKNOWN)
}

/// The addresses at which a flow to `address` can end: itself and, for translated or relayed forms, the IPv4 address
/// within.
pub fn ends(address: IpAddr) -> (IpAddr, Option<Ipv4Addr>) {
    let IpAddr::V6(within) = address else { return (address, None) };
    let embedded = match block_of(address).reach {
        EmbedsIpv4At(bit) => {
            let bits = within.to_bits().checked_shl(u32::from(bit)).unwrap_or(0) >> 96;
            u32::try_from(bits).ok().map(Ipv4Addr::from_bits)
        }
        Global => isatap(within),
        Special => None,
    };
    (address, embedded)
}

/// The IPv4 address in an interface identifier that says that it holds one, under whatever prefix. RFC 5214 section 6.1;
/// its bits for universal and group are not told apart.
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [.., high, 0x5efe, a, b] if high & !0x0300 == 0 => {
            Some(Ipv4Addr::from_bits(u32::from(a) << 16 | u32::from(b)))
        }
        _ => None,
    }
}

/// Whether a flow to `address` stays in public space, wherever a translator would send it.
pub fn is_global(address: IpAddr) -> bool {
    match (block_of(address).reach, ends(address).1) {
        (Global, None) => true,
        (Global | EmbedsIpv4At(_), Some(embedded)) => is_global(IpAddr::V4(embedded)),
        (Special, _) | (EmbedsIpv4At(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_well_formed_and_decides_about_its_first_address() {
        for block in BLOCKS {
            assert!(block.holds(block.network), "{} has bits beyond its length", block.name);
            assert!(block_of(block.network).length >= block.length, "{}", block.name);
        }
    }

    #[test]
    fn blocks_are_not_repeated() {
        for (index, block) in BLOCKS.iter().enumerate() {
            let again = BLOCKS
                .iter()
                .skip(index + 1)
                .any(|other| other.network == block.network && other.length == block.length);
            assert!(!again, "{}", block.name);
        }
    }

    #[test]
    fn edges_of_blocks() {
        for (inside, outside) in [
            ("10.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.63.255.255"),
            ("100.127.255.255", "100.128.0.0"),
            ("172.31.255.255", "172.32.0.0"),
            ("198.19.255.255", "198.20.0.0"),
            ("169.254.255.255", "169.255.0.0"),
            ("239.255.255.255", "223.255.255.255"),
            ("192.0.0.255", "192.0.1.0"),
            ("3fff:fff:ffff::", "3fff:1000::"),
            ("2001:1ff:ffff::", "2001:200::"),
            ("2002:a9fe:a9fe::1", "2002:808:808::1"),
        ] {
            assert!(!is_global(inside.parse().unwrap()), "{inside}");
            assert!(is_global(outside.parse().unwrap()), "{outside}");
        }
    }
}
