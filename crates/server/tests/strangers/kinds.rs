//! What probers send: the openings of protocols that people scan for, patterns, and the ways in which censors change what they
//! recorded. Sources: RFCs of the protocols; for replays and lengths, how the GFW probes Shadowsocks (IMC 2020).

/// A kind of probe, and what it sends.
pub(crate) type Probe = (String, Vec<u8>);

/// Text that scanners begin with.
const TEXTS: &[(&str, &str)] = &[
    ("HTTP GET", "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
    ("HTTP HEAD", "HEAD / HTTP/1.0\r\n\r\n"),
    ("HTTP POST", "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    ("HTTP PUT", "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"),
    ("HTTP absolute", "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n"),
    ("HTTP upgrade", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    ("HTTP unfinished", "GET / HTTP/1.1\r\nHost: exam"),
    ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ("SSH", "SSH-2.0-OpenSSH_9.6\r\n"),
    ("SSH 1", "SSH-1.5-1.2.27\n"),
    ("SSH libssh", "SSH-2.0-libssh2_1.11.0\r\n"),
    ("SMTP", "EHLO a.example\r\n"),
    ("FTP", "USER anonymous\r\n"),
    ("POP3", "CAPA\r\n"),
    ("IMAP", "a001 CAPABILITY\r\n"),
    ("NNTP", "CAPABILITIES\r\n"),
    ("IRC", "NICK a\r\nUSER a 0 * :a\r\n"),
    ("SIP", "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nCSeq: 1 OPTIONS\r\n\r\n"),
    ("RTSP", "OPTIONS rtsp://a/ RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    ("XMPP", "<?xml version='1.0'?><stream:stream to='a' xmlns='jabber:client' version='1.0'>"),
    ("Redis", "*1\r\n$4\r\nPING\r\n"),
    ("Redis inline", "INFO\r\n"),
    ("memcached", "stats\r\n"),
    ("ZooKeeper", "ruok"),
    ("rsync", "@RSYNCD: 31.0\n"),
    ("Git", "0032git-upload-pack /project.git\0host=example.com\0"),
    ("finger", "root\r\n"),
    ("Gopher", "\r\n"),
    ("WHOIS", "example.com\r\n"),
    ("VNC", "RFB 003.008\n"),
    ("JDWP", "JDWP-Handshake"),
    ("ADB", "CNXN\0\0\0\x01\0\x10\0\0\x07\0\0\0host::\0"),
    ("Fox", "fox a 1 -1 fox hello\n{\nfox.version=s:1.0\n};;\n"),
    ("NATS", "CONNECT {\"verbose\":false}\r\nPING\r\n"),
    ("PROXY", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
    ("telnet login", "admin\r\nadmin\r\n"),
    ("BitTorrent", "\x13BitTorrent protocol\0\0\0\0\0\0\0\0aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb"),
    ("HELP", "HELP\r\n\r\n"),
];

/// Binary openings, in hexadecimal.
const BINARY: &[(&str, &str)] = &[
    ("TLS 1.2 record only", "16030100"),
    ("TLS hello begun", "16030102000100 01fc0303"),
    (
        "TLS hello, small",
        "160301002d0100002903030000000000000000000000000000000000000000000000000000000000000000000002002f0100",
    ),
    ("TLS alert", "15030300020100"),
    ("TLS data", "170303001000112233445566778899aabbccddeeff"),
    (
        "SSL 2",
        "802e0100020015000000100100800200800300800400800500800600400700c0 00112233445566778899aabbccddeeff",
    ),
    ("DTLS", "16feff000000000000000000360100002a000000000000002afefd"),
    ("DNS", "001d 1234 0100 0001 0000 0000 0000 076578616d706c6503636f6d00 0001 0001"),
    ("DNS AXFR", "001d 1234 0000 0001 0000 0000 0000 076578616d706c6503636f6d00 00fc 0001"),
    ("DNS version", "001e 0006 0100 0001 0000 0000 0000 0776657273696f6e0462696e6400 0010 0003"),
    ("STUN", "000100002112a442000102030405060708090a0b"),
    ("TURN", "000300082112a442000102030405060708090a0b 0019000411000000"),
    ("Modbus", "0000000000050 02b0e0100"),
    ("Modbus registers", "000100000006010300000001"),
    ("S7 connection", "0300001611e00000000100c0010ac1020100c2020102"),
    ("RDP", "030000130ee000000000000100080003000000"),
    ("SMB", "000000540 0ff534d4272000000001801280000000000000000000000000000000000000000"),
    ("SMB 2", "00000040fe534d4240000100000000000000210010000000"),
    ("LDAP", "300c020101600702010304008000"),
    ("PostgreSQL", "0000000804d2162f"),
    ("MySQL", "2000000185a2030000000001210000000000000000000000000000000000000000000000"),
    (
        "MSSQL",
        "1201003400000000000015000601001b000102001c000c0300280004ff080001550000004d5353514c5365727665720000000000",
    ),
    ("Oracle", "005a0000010000000138012c00000800 7fff860e00000100"),
    (
        "MongoDB",
        "3a000000010000000000000 0d40700000000000061646d696e2e24636d640000000000ffffffff130000001069736d6173746572000100000000",
    ),
    ("MQTT", "101000044d5154540402003c000474657374"),
    ("AMQP", "414d515000000901"),
    ("SOCKS4", "0401005000000001 00"),
    ("SOCKS4a", "04010050000000016100 6578616d706c652e636f6d00"),
    ("SOCKS5", "050100"),
    ("SOCKS5 login", "05020002"),
    ("SNMP", "302902010004067075626c6963a01c0204000000010201000201003 00e300c06082b060102010101000500"),
    (
        "NTP",
        "e30004fa000100000001000000000000000000000000000000000000000000000000000000000000c54f234b71b152f3",
    ),
    ("DNP3", "056405c900000000364c"),
    ("EtherNet/IP", "6300000000000000000000000000000000000000 00000000"),
    ("IEC 104", "680407000000"),
    ("BACnet", "810a001101040005010c0c023fffff194b"),
    ("Telnet", "fffd18fffd20fffd23fffd27"),
    ("X11", "6c000b000000000000000000"),
    ("OpenVPN", "000e38811a5b8ddd9c3f620000000000"),
    ("WireGuard", "01000000 0011223344556677 8899aabbccddeeff00112233445566778899aabbccddeeff"),
    ("QUIC", "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"),
    ("Tor", "00000700060003000400 05"),
    ("PPTP", "009c00011a2b3c4d000100000100000000000001000000010000000100000000"),
    ("NetBIOS", "81000044204644454445"),
    (
        "RPC portmapper",
        "80000028000000010000000000000002000186a000000002000000040000000000000000000000000000000 0",
    ),
    ("Kerberos", "0000006a6a8166308163a103020105a20302010aa4573055"),
    ("Java RMI", "4a524d4900024b"),
    ("T3", "74332031322e322e310a41533a3235350a484c3a31390a0a"),
    ("Kafka", "00000013001200000000000100096b61666b612d636c69"),
    ("Cassandra", "0400000005000000 00"),
    ("AJP", "12340001 0a"),
    ("FastCGI", "0101000100080000000100000000000001040001000000 00"),
    ("DICOM", "010000000 0cd0001000041"),
    ("DHT", "64313a6164323a696432303a6162636465666768696a30313233343536373839"),
    ("Minecraft", "0f002f096c6f63616c686f737463dd01 0100"),
    ("Bitcoin", "f9beb4d976657273696f6e000000000064000000"),
    ("PROXY 2", "0d0a0d0a000d0a515549540a2000 0000"),
];

/// All kinds; noise is drawn from `noise`, and `flight` is what a client sent when it was let in.
pub(crate) fn kinds(noise: &mut impl FnMut(usize) -> Vec<u8>, flight: &[u8]) -> Vec<Probe> {
    let mut kinds: Vec<Probe> = vec![("nothing".into(), Vec::new())];
    kinds.extend(TEXTS.iter().map(|(name, text)| ((*name).into(), text.bytes().collect())));
    kinds.extend(BINARY.iter().map(|(name, digits)| ((*name).into(), bytes_of(digits))));
    kinds.extend(patterns());
    kinds.extend(replays(flight));
    // NR1 and NR2, and lengths that were seen less often.
    for length in [
        7, 8, 9, 11, 12, 13, 15, 16, 17, 21, 22, 23, 32, 33, 34, 40, 41, 42, 48, 49, 50, 53, 56, 169, 180,
        221, 402,
    ] {
        kinds.push((format!("NR {length}"), noise(length)));
    }
    kinds
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn patterns() -> Vec<Probe> {
    let mut patterns = Vec::new();
    for length in [24, 25, 1000, 66_000] {
        patterns.push((format!("{length} zeros"), vec![0; length]));
        patterns.push((format!("{length} ones"), vec![0xff; length]));
        patterns.push((format!("{length} letters"), vec![b'a'; length]));
    }
    patterns.push(("every byte".into(), (0..=255).collect()));
    patterns
}

/// R1 to R6: what was recorded, as it was or with some bytes changed.
fn replays(flight: &[u8]) -> Vec<Probe> {
    let changed = |places: &[usize]| {
        let mut bytes = flight.to_vec();
        for place in places {
            bytes[*place] ^= 0x55;
        }
        bytes
    };
    let range = |first, last| (first..=last).collect::<Vec<usize>>();
    vec![
        ("R1".into(), flight.to_vec()),
        ("R2".into(), changed(&[0])),
        ("R3".into(), changed(&[range(0, 7), vec![62, 63]].concat())),
        ("R4".into(), changed(&[16])),
        ("R5".into(), changed(&[6, 16])),
        ("R6".into(), changed(&range(16, 32))),
        ("R1, cut".into(), flight[..20].to_vec()),
        ("R1, cut behind the magic".into(), flight[..24].to_vec()),
        ("R1, cut in the padding".into(), flight[..30].to_vec()),
        ("R1, with more".into(), [flight, &[7; 5000]].concat()),
        ("R1, twice".into(), [flight, flight].concat()),
        ("R1, length changed".into(), changed(&[22])),
        ("R1, padding changed".into(), changed(&[30])),
    ]
}
