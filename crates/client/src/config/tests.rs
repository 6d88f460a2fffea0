//! Configs as people write them, right and wrong.

use std::time::Duration;

use super::*;
use crate::notice::{Detail, Topic};

const IDS: &str = r#""PropagationChannelId": "24BCA4EE20BEB92C", "SponsorId": "721AE60D76700F5A""#;

fn with_ids(fields: &str) -> String {
    format!("{{ {IDS}, {fields} }}")
}

fn messages(result: Result<Loaded, ConfigError>) -> Vec<String> {
    result.expect_err("refused").problems.iter().map(Problem::to_string).collect()
}

#[test]
fn the_walk_through_config_is_usable() {
    let text = with_ids(
        r#""DataRootDirectory": "/tmp/x", "LocalHttpProxyPort": 8080, "LocalSocksProxyPort": 1080,
        "TargetServerEntry": "3020302030", "EmitDiagnosticNotices": true, "EmitBytesTransferred": true,
        "UseIndistinguishableTLS": null, "RemoteServerListURLs": null"#,
    );
    let loaded = parse("c", &text).unwrap();
    let config = loaded.config;
    assert_eq!(config.local.socks, LocalPort::Fixed(1080));
    assert_eq!(config.local.http, LocalPort::Fixed(8080));
    assert_eq!(config.local.interface, ListenInterface::Loopback);
    assert_eq!(config.parameters.establish.timeout, Duration::from_secs(300));
    assert_eq!(config.notices.detail, Detail::Diagnostic);
    assert_eq!(config.notices.topics, [Topic::BytesTransferred].into());
    assert_eq!(config.network_id, "UNKNOWN");
    assert_eq!(config.identity.client_version, 0);
    assert_eq!(config.servers.target.as_ref().unwrap().expose(), "3020302030");
    assert!(!format!("{config:?}").contains("3020302030"));
    assert_eq!(loaded.warnings.len(), 1, "one key that nobody knows");
}

/// A wrong field and the message about it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "\n\"LimitTunnelProtocols\": [\"SSH\", \"OSSHH\"]",
        "c:2:33: LimitTunnelProtocols[1]: \"OSSHH\" is not a tunnel protocol (did you mean OSSH?)",
    ),
    (
        "\n\"TunnelProtocol\": \"ossh\"",
        "c:2:1: TunnelProtocol: \"ossh\" is not a tunnel protocol (did you mean OSSH?)",
    ),
    (
        "\n  \"LocalSocksProxyPort\": \"1080\"",
        "c:2:3: LocalSocksProxyPort: expected a whole number, found text; write 1080 without quotes",
    ),
    (
        "\n\"LocalHttpProxyPort\": 70000",
        "c:2:1: LocalHttpProxyPort: expected a port from 1 to 65535, or 0 for any free one, found 70000",
    ),
    (
        "\n\"ClientVersion\": 1",
        "c:2:1: ClientVersion: expected text in quotes, found a number; write \"1\" with quotes",
    ),
    (
        "\n\"ClientVersion\": \"1.2\"",
        "c:2:1: ClientVersion: expected a whole number in quotes, such as \"1\"",
    ),
    ("\n\"SessionID\": \"ABCD\"", "c:2:1: SessionID: expected 32 lowercase hex digits"),
    (
        "\n\"LimitTunnelProtocols\": [1]",
        "c:2:26: LimitTunnelProtocols[0]: expected text in quotes, found a number; write \"1\" with quotes",
    ),
    (
        "\n\"LimitTunnelProtocols\": \"OSSH\"",
        "c:2:1: LimitTunnelProtocols: expected a list of texts, found text; put it in square brackets",
    ),
    (
        "\n\"EstablishTunnelTimeoutSeconds\": 1.5",
        "c:2:1: EstablishTunnelTimeoutSeconds: expected a whole number, found a number with a fraction",
    ),
    (
        "\n\"EgressRegion\": \"Canada\"",
        "c:2:1: EgressRegion: expected a two-letter country code in capitals, such as \"CA\"",
    ),
    (
        "\n\"NetworkLatencyMultiplier\": 0.5",
        "c:2:1: NetworkLatencyMultiplier: expected 0 for none, or a number from 1.0 to 100.0, found 0.5",
    ),
    (
        "\n\"OSSHPrefixProbability\": 2",
        "c:2:1: OSSHPrefixProbability: expected a probability from 0.0 to 1.0, found 2",
    ),
    (
        "\n\"ObfuscatedSSHMinPadding\": 9, \"ObfuscatedSSHMaxPadding\": 8",
        "c:2:31: ObfuscatedSSHMaxPadding: expected a value not below ObfuscatedSSHMinPadding",
    ),
    (
        "\n\"OSSHPrefixSpecs\": {\"A\": [[\"x\"]]}",
        "c:2:27: OSSHPrefixSpecs.A[0]: expected lists of [\"pattern\", \"replacement\"], found a list",
    ),
    (
        "\n\"OSSHPrefixScopedSpecNames\": {\"\": [\"A\"]}",
        "c:2:36: OSSHPrefixScopedSpecNames.[0]: \"A\" is not among the specs",
    ),
    (
        "\n\"LimitTLSProfiles\": [\"Chrome-133x\"]",
        "c:2:22: LimitTLSProfiles[0]: \"Chrome-133x\" is not a TLS profile (did you mean Chrome-133?)",
    ),
    (
        "\n\"FragmentorMinDelayMicroseconds\": 20000",
        "c: Parameters.FragmentorMaxDelay: expected a value not below FragmentorMinDelay",
    ),
    (
        "\n\"Parameters\": {\"LimitQUICVersions\": [\"QUICv2\"]}",
        "c:2:38: Parameters.LimitQUICVersions[0]: \"QUICv2\" is not a QUIC version (did you mean QUICv1?)",
    ),
    ("\n\"Parameters\": {\"Nothing\": 1}", "c:2:16: Parameters.Nothing: unknown parameter"),
    (
        "\n\"DisableTunnels\": true",
        "c:2:1: DisableTunnels: not supported yet, and ignoring it would do something else than you asked; remove the key",
    ),
    (
        "\n\"UpstreamProxyURL\": \"htpp://127.0.0.1:1\"",
        "c:2:1: UpstreamProxyURL: the scheme, at character 1: \"htpp\" is not one of http, socks4a, socks5 (did you mean http?)",
    ),
    (
        "\n\"CustomHeaders\": {\"A\": [\"b\"], \"C\": 1}",
        "c:2:31: CustomHeaders.C: expected text in quotes, or a list of texts",
    ),
    (
        "\n\"CustomHeaders\": {\"A\": \"b\\r\\nc\"}",
        "c:2:1: CustomHeaders: the value of header A holds bytes that no header may have, such as a line end",
    ),
    (
        "\n\"DeviceBinder\": {}",
        "c:2:1: DeviceBinder: set by an embedding program, not by a file; remove the key",
    ),
    (
        "\n\"RemoteServerListURLs\": [{}]",
        "c:2:1: RemoteServerListURLs: also needs RemoteServerListSignaturePublicKey",
    ),
    (
        "\n\"LocalSocksProxyPort\": 1, \"LocalHttpProxyPort\": 1",
        "c:2:27: LocalHttpProxyPort: cannot be combined with the same number in LocalSocksProxyPort, but for SharedLocalPort",
    ),
    ("\n\"TargetAPIEncoding\": \"xml\"", "c:2:1: TargetAPIEncoding: expected \"json\" or \"cbor\""),
    (
        "\n\"ObfuscatedSSHAlgorithms\": [\"a\"]",
        "c:2:1: ObfuscatedSSHAlgorithms: expected exactly four names: key exchange, cipher, MAC, host key",
    ),
];

#[test]
fn mistakes_are_placed_and_explained() {
    for (fields, expected) in MISTAKES {
        assert_eq!(messages(parse("c", &with_ids(fields))), [*expected], "{fields}");
    }
}

#[test]
fn all_problems_are_reported_together() {
    let found = messages(parse("c", "{\"LocalSocksProxyPort\": true,\n\"SessionID\": \"x\"}"));
    assert_eq!(
        found,
        [
            "c:1:2: LocalSocksProxyPort: expected a whole number, found true or false",
            "c: PropagationChannelId: missing: the ID of how this client was distributed, in hex",
            "c: SponsorId: missing: the ID of the sponsor, in hex",
            "c:2:1: SessionID: expected 32 lowercase hex digits",
        ]
    );
}

#[test]
fn syntax_errors_have_line_and_column() {
    for (text, expected) in [
        (
            "{\n  \"SponsorId\": \"1\",\n}",
            "c:3:1: not valid JSON: trailing comma (no comma stands behind the last element: remove it)",
        ),
        ("{\"a\" 1}", "c:1:6: not valid JSON: expected `:` (a colon stands between a name and its value)"),
        (
            "",
            "c:1:1: not valid JSON: EOF while parsing a value (the file ends too early: a bracket, a brace or a quote is never closed)",
        ),
        ("[]", "c: the file must hold one JSON object: { \"PropagationChannelId\": ..., ... }"),
        (
            "{} x",
            "c:1:4: not valid JSON: trailing characters (something stands behind the closing brace: remove it)",
        ),
    ] {
        assert_eq!(messages(parse("c", text)), [expected], "{text}");
    }
    assert!(parse("c", &"[".repeat(1_000_000)).is_err());
}

#[test]
fn unknown_keys_warn_at_run_time_and_fail_in_check() {
    let text = with_ids("\n\"LocalSockProxyPort\": 1080,\n\"egressregion\": \"CA\",\n\"SponsorId\": \"9\"");
    let loaded = parse("c", &text).unwrap();
    let mut warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
    warnings.sort();
    let expected = [
        "c:2:1: LocalSockProxyPort: unknown key (did you mean LocalSocksProxyPort?)",
        "c:3:1: egressregion: the key is spelled EgressRegion; other letter case is accepted but may be mistaken",
        "c:4:1: SponsorId: the key stands twice (first at line 1, column 47); the last one counts",
    ];
    assert_eq!(warnings, expected);
    assert_eq!(loaded.config.servers.egress_region, "CA");
    assert_eq!(loaded.config.identity.sponsor_id, "9");
    assert_eq!(messages(parse_strictly("c", &text)), expected);
    assert!(parse_strictly("c", &with_ids("\"EgressRegion\": \"CA\"")).is_ok());
}

#[test]
fn devices_with_little_memory_have_small_buffers() {
    let text = "\"LimitRelayBufferSizes\": true, \"LimitMeekBufferSizes\": true";
    let config = parse("c", &with_ids(text)).unwrap().config;
    assert_eq!(config.ssh.windows, WindowMemory::Least);
    assert!(config.parameters.meek.limit_buffer_sizes);
    let usual = parse("c", &with_ids("\"LimitRelayBufferSizes\": false")).unwrap().config;
    assert_eq!(usual.ssh.windows, WindowMemory::Usual);
    assert!(!usual.parameters.meek.limit_buffer_sizes);
}

#[test]
fn keys_without_effect_are_accepted_and_named() {
    let loaded = parse("c", &with_ids("\"DisableTactics\": true, \"EmitSLOKs\": true")).unwrap();
    assert_eq!(loaded.without_effect, ["DisableTactics", "EmitSLOKs"]);
    assert!(parse("c", &with_ids("\"UpstreamProxyURL\": \"\"")).is_ok(), "empty is not set");
}

#[test]
fn deprecated_and_paired_settings_work() {
    let config = |fields: &str| parse("c", &with_ids(fields)).unwrap().config;
    assert_eq!(config("\"TunnelProtocol\": \"OSSH\"").servers.limit_protocols, [TunnelProtocol::OSSH]);
    let both = "\"TunnelProtocol\": \"OSSH\", \"LimitTunnelProtocols\": [\"SSH\"]";
    assert_eq!(config(both).servers.limit_protocols, [TunnelProtocol::SSH]);
    let never = config("\"EstablishTunnelTimeoutSeconds\": 0");
    assert_eq!(never.parameters.establish.timeout, Duration::ZERO);
    assert_eq!(config("\"ConnectionWorkerPoolMaxSize\": 3").establish.most_workers, Some(3));
    let off = config("\"DisableLocalSocksProxy\": true, \"ListenInterface\": \"any\"");
    assert_eq!((off.local.socks, off.local.interface), (LocalPort::Off, ListenInterface::All));
    let prefix = config(
        r#""OSSHPrefixSpecs": {"HTTP": [["", "GET / HTTP/1\\.1"]]}, "OSSHPrefixScopedSpecNames": {"all": ["HTTP"]},
        "OSSHPrefixProbability": 1, "OSSHPrefixSplitMinDelayMilliseconds": 5"#,
    );
    assert_eq!(prefix.parameters.ossh_prefix.specs["HTTP"][0][1], "GET / HTTP/1\\.1");
    assert_eq!(prefix.parameters.ossh_prefix.scoped_names["all"], ["HTTP"]);
    assert_eq!(prefix.parameters.ossh.prefix_split_min_delay, Duration::from_millis(5));
}

#[test]
fn missing_and_unfit_files_are_named() {
    let missing = load(Path::new("no-such.config")).unwrap_err();
    assert_eq!(missing.to_string(), "no-such.config: cannot read the file: no such file");
}

#[test]
fn key_names_are_unique_in_any_case() {
    let mut names: Vec<String> = keys::KEYS.iter().map(|key| key.name.to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), keys::KEYS.len());
}

#[test]
fn damaged_texts_never_panic() {
    let text = with_ids(r#""OSSHPrefixSpecs": {"A": [["x", "y"]]}, "LimitTunnelProtocols": ["é", "OSSH"]"#);
    for cut in (0..text.len()).step_by(7).filter(|at| text.is_char_boundary(*at)) {
        drop(parse("c", &text[..cut]));
        for replacement in ["{", "\"", ",", "9", "null", "\\"] {
            drop(parse_strictly("c", &format!("{}{replacement}{}", &text[..cut], &text[cut..])));
        }
    }
}
