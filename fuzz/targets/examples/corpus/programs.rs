//! Inputs of the targets of `client` and `server`.

use crate::Input;

const CLIENT: &str = r#"{
  "PropagationChannelId": "0000000000000000",
  "SponsorId": "0000000000000000",
  "LocalSocksProxyPort": 1080,
  "LocalHttpProxyPort": 8080,
  "TargetServerEntry": "3020302030",
  "LimitTunnelProtocols": ["OSSH"],
  "OSSHPrefixSpecs": {"HTTP": [["", "GET / HTTP/1\\.1"]]},
  "OSSHPrefixScopedSpecNames": {"": ["HTTP"]},
  "EmitDiagnosticNotices": true
}"#;

const SERVER: &str = r#"{
  "HostID": "example-host-id",
  "ServerIPAddress": "127.0.0.1",
  "TunnelProtocolPorts": {"SSH": 2222, "OSSH": 9999},
  "SSHPrivateKey": "-----BEGIN RSA PRIVATE KEY-----\nMAMCAQA=\n-----END RSA PRIVATE KEY-----\n",
  "SSHUserName": "psiphon_0",
  "SSHPassword": "secret-password",
  "ObfuscatedSSHKey": "secret-keyword",
  "UDPInterceptUdpgwServerAddress": "127.0.0.1:7300",
  "DNSResolverIPAddress": "8.8.8.8",
  "LoadMonitorPeriodSeconds": 300,
  "LogFileCreateMode": 438
}"#;

const RULES: &str = r#"{
  "DefaultRules": {
    "RateLimits": {"ReadBytesPerSecond": 16384, "WriteUnthrottledBytes": 1000},
    "IdleTCPPortForwardTimeoutMilliseconds": 30000,
    "MaxTCPPortForwardCount": 64,
    "AllowTCPPorts": [53, 67, [80, 443]],
    "AllowSubnets": ["198.51.100.0/24", "2001:db8::/32"]
  },
  "FilteredRules": [{"Filter": {"Regions": ["R1"]}, "Rules": {"MaxTCPPortForwardCount": 1}}]
}"#;

const FILTERS: &str = r#"{"FilteredRules": [
    {"Filter": {"Regions": ["R1", "R2"], "ISPs": ["One"], "ASNs": ["64500"], "Cities": ["Town"], "TunnelProtocols": ["OSSH"]},
     "Rules": {"DisallowSubnets": ["192.0.2.0/25", "2001:db8::/33"], "DisallowASNs": ["64501"]}},
    {"Filter": {"HandshakeParameters": {"sponsor_id": ["A*", "R1"], "client_platform": ["One"]}, "MinClientVersion": 3},
     "ExceptFilter": {"AuthorizedAccessTypes": ["Town", "type"], "ActiveAuthorizationIDs": ["R1", "id"]},
     "Rules": {"AllowTCPPorts": [], "RateLimits": {"CloseAfterExhausted": true, "UnthrottleFirstTunnelOnly": false}}},
    {"Filter": {"AuthorizationsRevoked": true, "ProviderIDs": ["provider"], "APIProtocol": "ssh"}, "Rules": {"DisableDiscovery": true}},
    {"Filter": {"ProviderIDs": ["another"]}}, {}
  ], "MeekRateLimiterHistorySize": 10, "MeekRateLimiterThresholdSeconds": 60, "MeekRateLimiterRegions": ["R1"]}"#;

const NOTICE: &str =
    "dial tcp 192.0.2.1:443: no route; [2001:db8::1]:80 and ::ffff:192.0.2.1, at 12:30:05 in std::net::io";

pub(crate) fn inputs() -> Vec<Input> {
    [
        ("client_config", "usual", CLIENT),
        (
            "client_config",
            "unfit",
            r#"{"LocalSocksProxyPort": true, "SponsorId": 7, "Sponsorid": "x", "DeviceBinder": {}}"#,
        ),
        ("json_positions", "client_config", CLIENT),
        ("json_positions", "repeated", r#"{"a": 1, "b": {"c": 1, "c": 2}, "a": [{"d": 0, "d": 0}]}"#),
        ("control_requests", "reload", "{\"request\":\"reload\"}\n"),
        ("control_requests", "later", r#"{"request": "status", "later": [1, {"a": null}]}"#),
        ("control_requests", "twice", r#"{"request":"reload","request":"stop"}"#),
        ("blocklist", "usual", "# destination,source,subject\n192.0.2.1,feed,botnet\nBad.Example.,feed,phishing\n2001:db8::1,feed,scan\n"),
        ("blocklist", "quoted", "\"192.0.2.1\",\"a, b\",\"says \"\"x\"\"\"\r\n\r\nx.example,s,\"two\nlines\"\n"),
        ("blocklist", "unfit", "192.0.2.0/24,s,t\nx.example,s\na\"b,s,t\nx.example,\"s\"t,u\nx.example,s,\"t"),
        ("dns_question", "query", "AB\x01\0\0\x01\0\0\0\0\0\0\x03Www\x07example\0\0\x01\0\x01"),
        ("dns_question", "extended", "AB\x01\0\0\x01\0\0\0\0\0\x01\x01a\x05local\0\0\x1c\0\x01\0\0)\x04P\0\0\0\0\0\0"),
        ("dns_question", "two", "AB\x01\0\0\x02\0\0\0\0\0\0\x01a\0\0\x01\0\x01\x01b\0\0\x01\0\x01"),
        ("proxy_header", "first_version", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n\r\n"),
        ("proxy_header", "unknown", "PROXY UNKNOWN\r\nhello"),
        ("proxy_header", "second_version", "\r\n\r\n\0\r\nQUIT\n!\x11\0\x0cABCDEFGH\0\0\0Phello"),
        ("proxy_header", "none", "GET /a/path/that/is/long/enough HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("forward_destination", "name", "01www.example.org."),
        ("forward_destination", "address", "01::ffff:192.0.2.1"),
        ("forward_destination", "odd_address", "010x7f.1"),
        (
            "http_proxy",
            "forward",
            "GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\nConnection: close, x\r\nX: 1\r\n\r\n",
        ),
        ("http_proxy", "connect", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nhello"),
        ("http_proxy", "refused", "CONNECT no.example:443 HTTP/1.1\r\n\r\n"),
        ("http_proxy", "own_page", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        (
            "http_proxy",
            "post",
            "POST http://[::1]:8/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("notice_text", "addresses", NOTICE),
        ("server_config", "usual", SERVER),
        (
            "server_config",
            "unfit",
            r#"{"TunnelProtocolPorts": {"SSH": 0, "OSH": 70000}, "ServerIPAddress": "host"}"#,
        ),
        ("server_traffic_rules", "usual", RULES),
        ("server_traffic_rules", "filters", FILTERS),
        (
            "server_traffic_rules",
            "unfit",
            r#"{"DefaultRules": {"AllowTCPPorts": [[5, 1], 70000], "AllowSubnets": ["x"]}}"#,
        ),
    ]
    .into_iter()
    .map(|(target, name, text)| (target, name.to_owned(), text.as_bytes().to_vec()))
    .chain(bytes())
    .collect()
}

/// Those that are no text.
fn bytes() -> impl Iterator<Item = Input> {
    let get = b"GET http://a.example/x HTTP/1.1\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";
    let upgrade = b"GET http://a.example/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nbytes";
    let name = [b"\x05\x01\x00\x03\x0bexample.org".as_slice(), &[1, 187]].concat();
    [
        ("http_proxy", "answered", [get.as_slice(), &[0xff], answer].concat()),
        ("http_proxy", "upgraded", [upgrade.as_slice(), &[0xff], switched].concat()),
        ("socks", "v4", b"\x04\x01\x01\xbb\xc0\x00\x02\x01user\x00".to_vec()),
        ("socks", "v4a", b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00example.org\x00".to_vec()),
        ("socks", "v5_greeting", vec![5, 2, 2, 0]),
        ("socks", "v5_name", name),
        ("socks", "v5_ipv4", vec![5, 1, 0, 1, 192, 0, 2, 1, 1, 187]),
        ("socks", "v5_ipv6", [vec![5, 1, 0, 4], vec![0x20; 16], vec![1, 187]].concat()),
    ]
    .into_iter()
    .map(|(target, name, bytes)| (target, name.to_owned(), bytes))
}
