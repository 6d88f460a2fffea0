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
        ("notice_text", "addresses", NOTICE),
        ("server_config", "usual", SERVER),
        (
            "server_config",
            "unfit",
            r#"{"TunnelProtocolPorts": {"SSH": 0, "OSH": 70000}, "ServerIPAddress": "host"}"#,
        ),
        ("server_traffic_rules", "usual", RULES),
        (
            "server_traffic_rules",
            "unfit",
            r#"{"DefaultRules": {"AllowTCPPorts": [[5, 1], 70000], "AllowSubnets": ["x"]}}"#,
        ),
    ]
    .into_iter()
    .map(|(target, name, text)| (target, name.to_owned(), text.as_bytes().to_vec()))
    .collect()
}
