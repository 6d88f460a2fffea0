//! One case for each way in which a server configuration is refused, and what a good one becomes.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::*;
use crate::config::LoadLimits;
use crate::scratch::Scratch;

const TEMPLATE: &str = r#"{
  "HostID": "example-host-id",
  "ServerIPAddress": "127.0.0.1",
  "TunnelProtocolPorts": {"SSH": 2222, "OSSH": 9999},
  "SSHPrivateKey": "KEY",
  "SSHUserName": "psiphon_0",
  "SSHPassword": "secret-password",
  "ObfuscatedSSHKey": "secret-keyword",
  "UDPInterceptUdpgwServerAddress": "127.0.0.1:7300",
  "DNSResolverIPAddress": "8.8.8.8",
  "LoadMonitorPeriodSeconds": 300,
  "LogFileCreateMode": 438
}"#;

/// The template with a key that is made once.
static GOOD: LazyLock<String> = LazyLock::new(|| {
    let pem = HostKey::generate().unwrap().to_pem().unwrap();
    TEMPLATE.replace("\"KEY\"", &serde_json::to_string(&*pem).unwrap())
});

fn parse_text(text: &str, strictness: Strictness) -> Result<Loaded<ServerConfig>, String> {
    parse(Path::new("dir/c"), text, strictness).map_err(|error| error.to_string())
}

#[test]
fn a_good_file() {
    let loaded = parse_text(&GOOD, Strictness::Check).unwrap();
    assert!(loaded.warnings.is_empty());
    let config = loaded.value;
    let listeners: Vec<_> =
        config.listeners.iter().map(|it| (it.protocol.name(), it.address.port())).collect();
    assert_eq!(listeners, [("SSH", 2222), ("OSSH", 9999)]);
    assert_eq!(config.log.load_period, Some(Duration::from_secs(300)));
    assert_eq!(config.log.target, LogTarget::StandardError);
    assert_eq!(config.ssh.handshakes.duration, Some(HANDSHAKE));
    assert_eq!(config.ssh.handshakes.at_once, None);
    assert_eq!(config.state_directory, Path::new("dir/psiphond-state"));
    assert!(!config.egress.allow_bogons && config.own_entries.is_empty());
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn each_mistake_is_refused_with_its_place() {
    for (from, to, message) in [
        ("\"127.0.0.1\",", "\"\",", "dir/c:3:3: ServerIPAddress: is required"),
        (
            "\"127.0.0.1\",",
            "\"localhost\",",
            "dir/c:3:3: ServerIPAddress: \"localhost\" is not an IP address",
        ),
        (
            "\"SSH\": 2222",
            "\"SHS\": 2222",
            "dir/c:4:27: TunnelProtocolPorts.SHS: \"SHS\" is not a tunnel protocol (did you mean SSH?); this build runs SSH, OSSH",
        ),
        (
            "\"SSH\": 2222",
            "\"CONJURE-OSSH\": 2222",
            "TunnelProtocolPorts.CONJURE-OSSH: this build cannot run CONJURE-OSSH yet; it runs SSH, OSSH",
        ),
        ("2222", "0", "TunnelProtocolPorts.SSH: 0 is out of range: must be between 1 and 65535"),
        ("2222", "99999", "99999 is out of range"),
        ("2222", "9999", "port 9999 is already given to"),
        ("2222", "\"2222\"", "TunnelProtocolPorts.SSH: must be a whole number, not a string"),
        ("{\"SSH\": 2222, \"OSSH\": 9999}", "{}", "TunnelProtocolPorts: is required"),
        (
            "SSHPrivateKey\": \"-----BEGIN ",
            "SSHPrivateKey\": \"",
            "dir/c:5:3: SSHPrivateKey: host key is not a PEM",
        ),
        ("\"SSHPrivateKey\":", "\"ShadowsocksKey\":", "dir/c: SSHPrivateKey: is required to run SSH"),
        ("\"SSHUserName\": \"psiphon_0\",", "", "dir/c: SSHUserName: is required to run SSH"),
        ("\"SSHPassword\": \"secret-password\",", "", "SSHPassword: is required to run SSH"),
        ("\"ObfuscatedSSHKey\": \"secret-keyword\",", "", "ObfuscatedSSHKey: is required to run OSSH"),
        ("127.0.0.1:7300", "localhost:7300", "dir/c:9:3: UDPInterceptUdpgwServerAddress: \"localhost:7300\""),
        ("8.8.8.8", "dns", "DNSResolverIPAddress: \"dns\" is not an IP address"),
        ("Seconds\": 300", "Seconds\": -1", "LoadMonitorPeriodSeconds: -1 is out of range"),
        ("Mode\": 438", "Mode\": 4096", "LogFileCreateMode: 4096 is not the decimal number of a mode"),
        ("\"HostID\":", "\"LogLevel\": \"verbose\", \"HostID\":", "LogLevel: \"verbose\" is not a log level"),
        ("\"HostID\":", "\"LogFormat\": \"text\", \"HostID\":", "LogFormat: \"text\" is not a log format"),
        ("\"HostID\":", "\"SSHHandshakeTimeoutMilliseconds\": -5, \"HostID\":", "-5 is out of range"),
        (
            "\"HostID\":",
            "\"AllowBogons\": \"yes\", \"HostID\":",
            "AllowBogons: must be true or false, not a string",
        ),
        ("Mode\": 438", "Mode\": 438,}", "dir/c:12:28: is not valid JSON: trailing comma"),
        ("\"HostID\"", "HostID", "dir/c:2:3: is not valid JSON: key must be a string"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = parse_text(&GOOD.replacen(from, to, 1), Strictness::Run).unwrap_err();
        assert!(error.contains(message), "{from} -> {to}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(parse_text("[]", Strictness::Run).unwrap_err().contains("must hold one JSON object"));
}

#[test]
fn keys_of_headers_are_of_sponsors() {
    for (keys, message) in [
        (r#"{"Sponsor": "x"}"#, "ProxyProtocolHeaderMACKeys.Sponsor: \"Sponsor\" is not the ID of a sponsor"),
        (
            r#"{"0123456789abcdeF": "x"}"#,
            "ProxyProtocolHeaderMACKeys.0123456789abcdeF: must be a key's 4 bytes of name and 32 bytes of key",
        ),
    ] {
        let text = GOOD.replacen('{', &format!("{{\"ProxyProtocolHeaderMACKeys\": {keys},"), 1);
        let error = parse_text(&text, Strictness::Run).unwrap_err();
        assert!(error.contains(message), "{keys}: {error}");
    }
}

#[test]
fn misspelt_and_repeated_settings_warn_at_run_and_fail_a_check() {
    for (added, message) in [
        ("\"AlowBogons\": true", "dir/c:1:2: AlowBogons: unknown setting (did you mean AllowBogons?)"),
        ("\"Zzz\": true", "dir/c:1:2: Zzz: unknown setting"),
        ("\"HostID\": \"other\"", "dir/c:2:3: HostID: set before at line 1, column 2"),
        ("\"hostid\": \"other\"", "dir/c:1:2: hostid: set before at line 2, column 3"),
    ] {
        let text = GOOD.replacen('{', &format!("{{{added},"), 1);
        let loaded = parse_text(&text, Strictness::Run).unwrap();
        assert!(loaded.warnings[0].to_string().starts_with(message), "{}", loaded.warnings[0]);
        assert_eq!(loaded.value.log.origin.host_id, "example-host-id");
        assert!(parse_text(&text, Strictness::Check).unwrap_err().starts_with(message));
    }
}

#[test]
fn names_match_in_any_case() {
    let text = GOOD.replace("ServerIPAddress", "serveripaddress").replace("SSHUserName", "sshUserName");
    assert!(parse_text(&text, Strictness::Check).is_ok());
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = GOOD.replace("127.0.0.1\",", "x\",").replace("2222", "0").replace("8.8.8.8", "dns");
    assert_eq!(parse_text(&text, Strictness::Run).unwrap_err().lines().count(), 3);
}

#[test]
fn files_that_are_named_are_read() {
    let folder = Scratch::new("config");
    let rules = folder.path().join("rules");
    std::fs::write(&rules, "{\"DefaultRules\": {\"DisallowTCPPorts\": [25], \"Oops\": 1}}").unwrap();
    let names_it = format!("{{\"TrafficRulesFilename\": {:?},", rules.display().to_string());
    let file = folder.path().join("main");
    std::fs::write(&file, GOOD.replacen('{', &names_it, 1)).unwrap();
    let loaded = load(&file, Strictness::Run).unwrap();
    assert!(loaded.value.traffic_rules.default.disallow_tcp_ports.as_ref().unwrap().contains(25));
    assert!(
        loaded.warnings[0].to_string().contains("rules:1:45: DefaultRules.Oops"),
        "{}",
        loaded.warnings[0]
    );
    assert!(load(&file, Strictness::Check).is_err());
    std::fs::remove_file(&rules).unwrap();
    let error = load(&file, Strictness::Run).unwrap_err().to_string();
    assert!(
        error.contains("main:1:2: TrafficRulesFilename: ")
            && error.contains("rules cannot be read: No such file"),
        "{error}"
    );
}

#[test]
fn no_timeout_is_zero() {
    let text =
        GOOD.replacen('{', "{\"SSHHandshakeTimeoutMilliseconds\": 0, \"MaxConcurrentSSHHandshakes\": 5,", 1);
    let handshakes = parse_text(&text, Strictness::Check).unwrap().value.ssh.handshakes;
    assert_eq!((handshakes.duration, handshakes.at_once), (None, NonZeroUsize::new(5)));
}

#[test]
fn own_entries_are_decoded_and_must_agree() {
    let entry = |region: &str| {
        let json = format!("0 0 0 0 {{\"ipAddress\":\"127.0.0.1\",\"region\":\"{region}\"}}");
        data_encoding::HEXLOWER.encode(json.as_bytes())
    };
    let with =
        |entries: &str| GOOD.replacen('{', &format!("{{\"OwnEncodedServerEntries\": {{{entries}}},"), 1);
    let one = with(&format!("\"tag\": \"{}\"", entry("CA")));
    assert_eq!(parse_text(&one, Strictness::Check).unwrap().value.own_entries["tag"].region(), Some("CA"));
    let two = with(&format!("\"a\": \"{}\", \"b\": \"{}\"", entry("CA"), entry("FR")));
    let error = parse_text(&two, Strictness::Run).unwrap_err();
    assert_eq!(
        error,
        "dir/c:1:2: OwnEncodedServerEntries: server entries disagree on their region; one server has one"
    );
    let error = parse_text(&with("\"a\": \"3g\""), Strictness::Run).unwrap_err();
    assert!(
        error.starts_with("dir/c:1:30: OwnEncodedServerEntries.a: not a server entry: column"),
        "{error}"
    );
}

/// The template with meek, of this protocol, and these members.
fn meek(protocol: &str, members: &str) -> Result<Loaded<ServerConfig>, String> {
    let key = data_encoding::BASE64.encode(&[7; 32]);
    let text = GOOD
        .replace("\"SSH\": 2222", &format!("{protocol:?}: 2222"))
        .replace("\"HostID\"", &format!("\"MeekCookieEncryptionPrivateKey\": {key:?}, {members} \"HostID\""));
    parse_text(&text, Strictness::Check)
}

#[test]
fn meek_has_its_settings() {
    let key = format!("\"MeekObfuscatedKey\": {:?},", "ab".repeat(32));
    let settings = "\"MeekTurnAroundTimeoutMilliseconds\": 5, \"MeekRequiredHeaders\": {\"X-Key\": \"v\"}, \
                    \"MeekCachedResponsePoolBufferClientLimit\": 16, \"MeekMaxSessionStalenessMilliseconds\": 9000, \
                    \"TunnelProtocolPassthroughAddresses\": {\"UNFRONTED-MEEK-OSSH\": \"127.0.0.1:80\"},";
    let config = meek("UNFRONTED-MEEK-OSSH", &format!("{key}{settings}")).unwrap().value;
    let limits = config.meek.as_ref().unwrap().limits;
    assert_eq!((limits.turn_around, limits.idle), (Duration::from_millis(5), Duration::from_secs(9)));
    assert_eq!((limits.kept_least, limits.kept_most), (64 * 1024, 1024 * 1024));
    assert_eq!(config.meek.unwrap().rules.required, [("X-Key".to_owned(), "v".to_owned())]);
    assert_eq!(config.sites.values().collect::<Vec<_>>(), ["127.0.0.1:80"]);
}

#[test]
fn mistakes_about_meek_are_refused() {
    let key = format!("\"MeekObfuscatedKey\": {:?},", "ab".repeat(32));
    let unfit = "\"MeekObfuscatedKey\": \"a text\",";
    for (protocol, members, message) in [
        ("UNFRONTED-MEEK-OSSH", "", "MeekObfuscatedKey: is required to run UNFRONTED-MEEK-OSSH"),
        ("UNFRONTED-MEEK-SESSION-TICKET-OSSH", unfit, "MeekObfuscatedKey: must be 64 hexadecimal digits"),
        ("FRONTED-MEEK-HTTP-OSSH", &key, "CDNs carry it to the port of FRONTED-MEEK-OSSH"),
        (
            "UNFRONTED-MEEK-OSSH",
            &format!("{key} \"MeekTurnAroundTimeoutMilliseconds\": -1,"),
            "MeekTurnAroundTimeoutMilliseconds: -1 is out of range",
        ),
        (
            "UNFRONTED-MEEK-OSSH",
            &format!("{key} \"TunnelProtocolPassthroughAddresses\": {{\"UNFRONTED-MEEK-OSSH\": \"x\"}},"),
            "\"x\" is not a host with a port",
        ),
    ] {
        let error = meek(protocol, members).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    assert!(meek("UNFRONTED-MEEK-HTTPS-OSSH", unfit).is_ok(), "only tickets need a key of 32 bytes");
}

/// The template with these limits.
fn limited(limits: &str) -> Result<LoadLimits, String> {
    let text = GOOD.replace("\"HostID\"", &format!("\"LoadLimits\": {limits}, \"HostID\""));
    parse_text(&text, Strictness::Check).map(|loaded| loaded.value.load_limits)
}

#[test]
fn limits_on_load_are_read() {
    let default = LoadLimits::default();
    assert_eq!(limited("{}"), Ok(default));
    let all =
        r#"{"CPUPercent": 90, "MemoryPercent": 0, "MaxTunnels": 10, "HandshakeDelayMilliseconds": 500}"#;
    let expected = LoadLimits {
        cpu_percent: Some(90),
        memory_percent: None,
        tunnels: 10,
        handshake_delay: Some(Duration::from_millis(500)),
    };
    assert_eq!(limited(all), Ok(expected));
    assert_eq!(limited(r#"{"MaxTunnels": 0}"#), Ok(default));
    for (limits, message) in [
        (r#"{"CPUPercent": 101}"#, "LoadLimits.CPUPercent: 101 is out of range"),
        (r#"{"MaxTunnel": 5}"#, "did you mean MaxTunnels?"),
        (r#"{"MemoryPercent": "5"}"#, "LoadLimits.MemoryPercent"),
    ] {
        let error = limited(limits).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_chain_of_the_firewall_has_a_name_and_limits() {
    let with = |members: &str| {
        let text = GOOD.replace("\"HostID\"", &format!("{members}, \"HostID\""));
        parse_text(&text, Strictness::Check).map(|loaded| loaded.value.firewall)
    };
    let limits = |limits: &str| {
        with(&format!(
            r#""IptablesAcceptRateLimitChainName": "A_b-1", "IptablesAcceptRateLimitTunnelProtocolRateLimits": {limits}"#
        ))
    };
    let chain = limits(r#"{"OSSH": [30, 5]}"#).unwrap().unwrap();
    assert_eq!((chain.chain.as_str(), chain.limits[&TunnelProtocol::OSSH]), ("A_b-1", [30, 5]));
    assert_eq!(with(r#""IptablesAcceptRateLimitChainName": """#), Ok(None));
    for bad in ["a b", "-F", "x;y", "a123456789b123456789c12345678"] {
        let error = with(&format!(r#""IptablesAcceptRateLimitChainName": {bad:?}"#)).unwrap_err();
        assert!(error.contains("is not a name of a chain"), "{error}");
    }
    for bad in [r#"{"OSSH": [1]}"#, r#"{"OSSH": [1, -1]}"#, r#"{"OSSH": 5}"#] {
        assert!(limits(bad).unwrap_err().contains("must be two numbers"), "{bad}");
    }
    for bad in ["5", "[]", r#""30""#, "true"] {
        assert!(limits(bad).unwrap_err().contains("RateLimits: must be an object, not"), "{bad}");
    }
    assert!(limits(r#"{"OSHH": [1, 2]}"#).unwrap_err().contains("did you mean OSSH?"));
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let applied = keys::ALL.iter().filter(|key| key.effect == super::super::schema::Effect::Applied);
    let numbers = applied.filter(|key| matches!(key.kind, super::super::schema::Kind::Integer));
    let mut count = 0;
    for key in numbers {
        let refused = [-1, i64::MIN, i64::MAX].into_iter().any(|number| {
            let mut whole: Map<String, Value> = serde_json::from_str(&GOOD).unwrap();
            whole.insert(key.name.to_owned(), number.into());
            let text = format!("{:#}", Value::Object(whole));
            let line =
                1 + text.lines().position(|line| line.contains(&format!("\"{}\":", key.name))).unwrap();
            // Each says in its own words what it may be.
            let expected = format!("dir/c:{line}:3: {}: {number} is ", key.name);
            parse_text(&text, Strictness::Run).is_err_and(|error| error.contains(&expected))
        });
        assert!(refused, "{} may be any number", key.name);
        count += 1;
    }
    assert!(count > 10, "{count} numbers");
}

#[test]
fn mistakes_in_what_an_operator_sees() {
    for (added, message) in [
        (
            r#""MetricsAddress": "127.0.0.1""#,
            "MetricsAddress: \"127.0.0.1\" is not an IP address with a port",
        ),
        (r#""MetricsAddress": "0.0.0.0:9100""#, "MetricsAddress: \"0.0.0.0:9100\" can be reached from other"),
        (r#""MetricsAddress": "localhost:9100""#, "MetricsAddress: \"localhost:9100\" is not an IP address"),
        (r#""MetricsCountries": ["CAN"]"#, "MetricsCountries: must be a list of at most 32 countries"),
        (r#""MetricsCountries": ["C1"]"#, "MetricsCountries: must be a list of at most 32 countries"),
        (r#""LogRotateKeep": 1001"#, "LogRotateKeep: 1001 is out of range: must be between 0 and 1000"),
        (r#""LogRotateMegabytes": -1"#, "LogRotateMegabytes: -1 is out of range"),
    ] {
        let text = GOOD.replacen("\"HostID\":", &format!("{added},\n  \"HostID\":"), 1);
        let error = parse_text(&text, Strictness::Run).unwrap_err();
        assert!(error.contains(&format!("dir/c:2:3: {message}")), "{error}");
    }
    let text = GOOD.replacen("\"HostID\":", r#""MetricsAddress": "[::1]:9100", "HostID":"#, 1);
    assert_eq!(parse_text(&text, Strictness::Check).unwrap().value.figures.address.unwrap().port(), 9100);
}
