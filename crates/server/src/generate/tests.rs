//! Generated servers: their members and kinds of value, that our own loader takes them, and what is refused.

use std::path::Path;

use super::*;
use crate::config::Strictness;
use crate::scratch::Scratch;

fn options(folder: &Scratch, protocols: &[&str]) -> Options {
    let at = |name: &str| folder.path().join(name);
    Options {
        address: "127.0.0.1".parse().unwrap(),
        listeners: Listeners::parse(protocols.iter().copied()).unwrap(),
        log_file: None,
        files: FileNames {
            config: at("psiphond.config"),
            traffic_rules: at("psiphond-traffic-rules.config"),
            osl: at("psiphond-osl.config"),
            tactics: at("psiphond-tactics.config"),
            server_entry: at("server-entry.dat"),
        },
    }
}

/// `NAME KIND` of each member in order, as `observed` writes them: s with length, n, l, o, null.
fn shape(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).unwrap();
    let mut members: Vec<_> = value.as_object().unwrap().iter().collect();
    members.sort_by_key(|(name, _)| text.find(&format!("\"{name}\"")));
    let kind = |value: &Value| match value {
        Value::String(text) => format!("s{}", text.len()),
        Value::Number(_) => "n".into(),
        Value::Array(_) => "l".into(),
        Value::Object(_) => "o".into(),
        Value::Null => "null".into(),
        Value::Bool(_) => "b".into(),
    };
    members.into_iter().map(|(name, value)| format!("{name} {}", kind(value))).collect()
}

#[test]
fn the_files_have_the_reference_s_members_and_load_without_a_remark() {
    let folder = Scratch::new("generate");
    let options = options(&folder, &["OSSH:9999", "SSH:2222"]);
    let generated = generate(&options).unwrap();
    generated.write().unwrap();
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let main = shape(&text(&options.files.config));
    let names: Vec<_> = main.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        names.join(" "),
        "LogLevel LogFormat LogFileCreateMode DiscoveryValueHMACKey HostID ServerIPAddress TunnelProtocolPorts \
         SSHPrivateKey SSHServerVersion SSHUserName SSHPassword ObfuscatedSSHKey ShadowsocksKey \
         MeekProxyForwardedForHeaders UDPInterceptUdpgwServerAddress DNSResolverIPAddress \
         LoadMonitorPeriodSeconds TrafficRulesFilename OSLConfigFilename TacticsConfigFilename \
         OwnEncodedServerEntries"
    );
    for member in ["SSHUserName s24", "SSHPassword s64", "ObfuscatedSSHKey s64", "DiscoveryValueHMACKey s44"]
    {
        assert!(main.contains(&member.to_owned()), "{member}");
    }
    let rules = shape(&text(&options.files.traffic_rules));
    assert_eq!(rules.len(), 12);
    assert_eq!(rules[..3], ["DefaultRules o", "FilteredRules null", "MeekRateLimiterHistorySize n"]);
    assert_eq!(shape(&text(&options.files.osl)), ["Schemes null"]);
    let tactics = shape(&text(&options.files.tactics));
    assert_eq!(tactics[..2], ["RequestPublicKey s44", "RequestPrivateKey s44"]);
    assert_eq!(tactics[2..], ["RequestObfuscatedKey s44", "DefaultTactics o", "FilteredTactics null"]);

    let loaded = config::load(&options.files.config, Strictness::Check).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let rules = crate::rules::RuleSet::compile(&loaded.value.traffic_rules, "");
    let mut rules = crate::rules::TrafficRules::clone(rules.default_rules());
    for (denied, allowed) in [("192.0.2.1:25", "192.0.2.1:587"), ("192.0.2.1:11211", "192.0.2.1:443")] {
        let [denied, allowed] = [denied, allowed].map(|to| to.parse().unwrap());
        let permits = |to| (rules.permits_tcp(to, &|_| None), rules.permits_udp(to, &|_| None));
        assert_ne!(permits(denied), (true, true), "{denied}");
        assert_eq!(permits(allowed), (true, true), "{allowed}");
    }
    (rules.disallow_ports, rules.udp.disallow_ports) = Default::default();
    assert_eq!(rules, crate::rules::TrafficRules::default());
}

#[test]
fn the_entry_matches_the_server() {
    let folder = Scratch::new("generate-entry");
    let options = options(&folder, &["OSSH:9999", "SSH:2222"]);
    let generated = generate(&options).unwrap();
    let line = generated.text(&options.files.server_entry).unwrap();
    let entry = ServerEntry::decode(line).unwrap();
    assert_eq!(entry, generated.entry);
    assert!(!line.contains('\n'));
    assert_eq!(entry.dial_port(TunnelProtocol::OSSH), Ok(9999));
    assert_eq!(entry.dial_port(TunnelProtocol::SSH), Ok(2222));
    assert!(entry.texts("capabilities").eq(["ssh-api-requests", "SSH", "OSSH"]));
    generated.write().unwrap();
    let config = config::load(&options.files.config, Strictness::Check).unwrap().value;
    assert_eq!(entry.ssh_host_key().unwrap(), config.ssh.host_key.public_blob());
    assert_eq!(entry.text("sshPassword"), Some(config.ssh.password.expose()));
    assert_eq!(entry.text("sshUsername"), Some(config.ssh.user.expose()));
    assert_eq!(entry.text("sshObfuscatedKey"), config.obfuscated_ssh_key.as_ref().map(|key| key.expose()));
    assert_eq!(config.own_entries.values().next(), Some(&entry));
}

#[test]
fn a_server_of_meek_has_its_keys() {
    let folder = Scratch::new("generate-meek");
    let options = options(&folder, &["UNFRONTED-MEEK-SESSION-TICKET-OSSH:9999", "FRONTED-MEEK-OSSH:9998"]);
    let generated = generate(&options).unwrap();
    generated.write().unwrap();
    let entry = &generated.entry;
    let protocol = TunnelProtocol::UNFRONTED_MEEK_SESSION_TICKET_OSSH;
    assert_eq!(entry.dial_port(protocol), Ok(9999));
    let capabilities = ["ssh-api-requests", "UNFRONTED-MEEK-SESSION-TICKET", "FRONTED-MEEK"];
    assert!(entry.texts("capabilities").eq(capabilities));
    let main = shape(generated.text(&options.files.config).unwrap());
    assert!(main.contains(&"MeekCookieEncryptionPrivateKey s44".to_owned()));
    assert!(main.contains(&"MeekObfuscatedKey s64".to_owned()));
    let loaded = config::load(&options.files.config, Strictness::Check).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let meek = loaded.value.meek.unwrap();
    assert_eq!(entry.text("meekObfuscatedKey"), Some(meek.obfuscated_key.expose()));
    assert_eq!(meek.forwarded_for, ["X-Forwarded-For"]);
    let public = BASE64.decode(entry.text("meekCookieEncryptionPublicKey").unwrap().as_bytes()).unwrap();
    assert_eq!(public.len(), 32);
}

#[test]
fn two_servers_share_no_secret() {
    let folder = Scratch::new("generate-two");
    let options = options(&folder, &["OSSH:9999"]);
    let (one, two) = (generate(&options).unwrap().entry, generate(&options).unwrap().entry);
    for member in ["tag", "webServerSecret", "sshUsername", "sshPassword", "sshHostKey", "sshObfuscatedKey"] {
        assert!(one.text(member).is_some() && one.text(member) != two.text(member), "{member}");
    }
}

#[test]
fn impossible_listeners_are_refused_by_name() {
    for (given, message) in [
        (&[][..], "no tunnel protocol given"),
        (&["OSSH"], "\"OSSH\" is not of the form PROTOCOL:PORT"),
        (&["OSSH:0"], "\"OSSH:0\": the port must be a number from 1 to 65535"),
        (&["OSSH:99999"], "\"OSSH:99999\": the port must be"),
        (&["OSSH:abc"], "\"OSSH:abc\": the port must be"),
        (&["OSSH:"], "\"OSSH:\": the port must be"),
        (&["OSSH:-1"], "\"OSSH:-1\": the port must be"),
        (&["OSHS:1"], "\"OSHS\" is not a tunnel protocol (did you mean OSSH?); this build runs SSH, OSSH"),
        (&["CONJURE-OSSH:1"], "this build cannot run CONJURE-OSSH yet; it runs SSH, OSSH"),
        (&["OSSH:1", "OSSH:2"], "\"OSSH:2\": OSSH was given before"),
        (&["OSSH:1", "SSH:1"], "\"SSH:1\": the port is already given to OSSH"),
    ] {
        let error = Listeners::parse(given.iter().copied()).unwrap_err().to_string();
        assert!(error.contains(message), "{given:?}: {error}");
    }
    let folder = Scratch::new("generate-address");
    let unusable = Options { address: "0.0.0.0".parse().unwrap(), ..options(&folder, &["OSSH:1"]) };
    assert!(generate(&unusable).unwrap_err().to_string().starts_with("0.0.0.0 cannot be dialled"));
}

#[test]
fn keys_that_leave_no_key_exchange_are_known() {
    let keys = (0..20_000_u32).map(|n| n.to_string());
    let useless = keys.filter(|key| !has_key_exchange(key.as_bytes())).count();
    assert!((1..100).contains(&useless), "{useless}");
}
