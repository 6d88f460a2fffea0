//! Forms of destinations that are internal, or mean so to somebody on the way. A table.

/// A public address that the server's host has, of either family, and those of who is next to it.
pub(crate) const OWN: [&str; 2] = ["8.20.0.1", "2a00:1450:1::1"];
pub(crate) const NEIGHBOUR: [&str; 2] = ["8.20.0.2", "2a00:1450:1::2"];
/// Addresses that the host gets when the server is already running, and how: of an interface, as the second of one, by a route alone, by one
/// that says where to send from, and in a network of IPv6 that is the host's as a whole.
pub(crate) const LATE: [(&str, &str); 5] = [
    ("8.30.0.1", "address add 8.30.0.1/24 dev inner"),
    ("8.30.0.77", "address add 8.30.0.77/24 dev inner"),
    ("8.40.0.9", "route add local 8.40.0.9/32 dev lo"),
    ("8.41.0.9", "route add local 8.41.0.0/24 dev lo src 8.20.0.1"),
    ("2a00:1450:40::9", "-6 route add local 2a00:1450:40::/64 dev lo"),
];
/// What clients may reach.
pub(crate) const ALLOWED: [&str; 2] = ["8.8.8.8", "2001:4860:4860::8888"];

/// Texts that an address parser takes.
#[rustfmt::skip]
pub(crate) const LITERALS: &[&str] = &[
    // IPv4: loopback, this network, private, shared, link local and metadata, documentation, benchmarking, reserved.
    "127.0.0.1", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1",
    "100.100.100.200", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.254",
    "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.254", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    // IPv6: loopback, unspecified, discard, documentation, unique local with metadata, link and site local, multicast, routing.
    "::1", "::", "100::1", "2001:db8::1", "3fff::5", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1",
    "fec0::5", "ff02::1", "ff0e::1", "2001:2::1", "2001:20::1", "4000::1",
    // IPv4 in IPv6: mapped, compatible, translated by each of the prefixes, 6to4, Teredo, ISATAP.
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
    "::127.0.0.1", "::10.9.8.7", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::10.0.0.1", "64:ff9b:1:fffe::7f00:1",
    "2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:101::1", "2001:0:7f00:1::",
    "2001:0:808:808:0:0:f5ff:fffe", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1",
    // The host itself, however spelt.
    "8.20.0.1", "::ffff:8.20.0.1", "64:ff9b::8.20.0.1", "2002:814:1::1", "2606:4700::5efe:8.20.0.1",
    "2a00:1450:1::1", "2A00:1450:1:0:0:0:0:1",
];

/// Texts that only some take for an address, and names that mean this host or its link. Only TCP flows have names.
#[rustfmt::skip]
pub(crate) const SPELLINGS: &[&str] = &[
    "2130706433", "0x7f.1", "0x7f000001", "0x7F.0.0.1", "127.1", "127.0.1", "0177.0.0.1", "017700000001",
    "127.0.0.01", "127.0.0.1.", "0", "0x0", "1", "[::1]", "::1%lo", "fe80::1%veth", "localhost", "LOCALHOST",
    "localhost.", "a.localhost", "ip6-localhost", "host", "printer.local", "127.0.0.1:80", "127.0.0.1 ", " 127.0.0.1",
    "127.0.0.1\0.example", "\u{ff11}27.0.0.1", "127\u{3002}0\u{3002}0\u{3002}1", "",
];
