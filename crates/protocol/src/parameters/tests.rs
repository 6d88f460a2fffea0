//! Overrides, right and wrong.

use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use serde_json::json;

use super::*;

fn refusal(name: &str, value: Json) -> String {
    let mut parameters = Parameters::default();
    let error = parameters.set(name, &value).expect_err("refused");
    assert_eq!(parameters, Parameters::default(), "nothing is set");
    error.to_string()
}

#[test]
fn overrides_reach_their_fields() {
    let mut parameters = Parameters::default();
    for (name, value) in [
        ("LimitTLSProfiles", json!(["Chrome-133", "Mine"])),
        ("CustomTLSProfiles", json!([{"Name": "Mine"}])),
        ("FragmentorMaxDelay", json!("5ms")),
        ("FragmentorLimitProtocols", json!(["OSSH"])),
        ("MeekMinLimitRequestPayloadLength", json!(1000)),
        ("OSSHPrefixSpecs", json!({"A": [["", "SSH"]]})),
        ("OSSHPrefixScopedSpecNames", json!({"": ["A"]})),
        ("LimitQUICVersions", json!(["DECOY-QUICv1"])),
        ("TLSTunnelObfuscatedPSKProbability", json!(1)),
        ("OSSHPrefixEnableFragmentor", json!(true)),
    ] {
        parameters.set(name, &value).unwrap();
    }
    assert_eq!(
        parameters.tls.limit_profiles,
        [TlsProfileName::new("Chrome-133"), TlsProfileName::new("Mine")]
    );
    assert_eq!(parameters.fragmentor.max_delay, Duration::from_millis(5));
    assert_eq!(parameters.fragmentor.limit_protocols, ["OSSH".parse().unwrap()]);
    assert_eq!(parameters.meek.min_limit_request_payload_length, 1000);
    assert_eq!(parameters.ossh_prefix.specs["A"], [["".to_owned(), "SSH".to_owned()]]);
    assert_eq!(parameters.quic.limit_versions, [QuicVersion::DecoyV1]);
    assert_eq!(parameters.tls.obfuscated_psk_probability, Probability::ALWAYS);
    assert!(parameters.ossh.prefix_enable_fragmentor);
    assert_eq!(parameters.check(), []);
}

#[test]
fn wrong_overrides_are_refused_by_name() {
    for (name, value, message) in [
        (
            "FragmentorMaxDealy",
            json!("1s"),
            "parameter FragmentorMaxDealy: unknown parameter (did you mean FragmentorMaxDelay?)",
        ),
        (
            "FragmentorMaxDelay",
            json!(10),
            "parameter FragmentorMaxDelay: expected a duration such as \"10ms\", found a number",
        ),
        (
            "FragmentorMaxDelay",
            json!("-1s"),
            "parameter FragmentorMaxDelay: expected a duration such as \"10ms\", found \"-1s\"",
        ),
        (
            "FragmentorMaxDelay",
            json!("2m"),
            "parameter FragmentorMaxDelay: expected a duration such as \"10ms\" from 0s to 1m0s, found 2m",
        ),
        (
            "FragmentorMinWriteBytes",
            json!(0),
            "parameter FragmentorMinWriteBytes: expected a whole number from 1 to 16777216, found 0",
        ),
        (
            "FragmentorMinWriteBytes",
            json!(1.5),
            "parameter FragmentorMinWriteBytes: expected a whole number, found a number",
        ),
        (
            "FragmentorProbability",
            json!(2),
            "parameter FragmentorProbability: expected a probability from 0.0 to 1.0, found 2",
        ),
        (
            "LimitQUICVersions",
            json!(["QUICv1", "QUICv2"]),
            "parameter LimitQUICVersions[1]: \"QUICv2\" is not a QUIC version (did you mean QUICv1?)",
        ),
        (
            "MeekTrafficShapingLimitProtocols",
            json!([1]),
            "parameter MeekTrafficShapingLimitProtocols[0]: expected text in quotes, found a number",
        ),
        (
            "OSSHPrefixSpecs",
            json!({"A": [["x"]]}),
            "parameter OSSHPrefixSpecs.A[0]: expected lists of [\"pattern\", \"replacement\"], found a list",
        ),
        (
            "OSSHPrefixEnableFragmentor",
            json!(1),
            "parameter OSSHPrefixEnableFragmentor: expected true or false, found a number",
        ),
    ] {
        assert_eq!(refusal(name, value), message);
    }
}

#[test]
fn rules_between_parameters_are_checked() {
    let mut parameters = Parameters::default();
    for (name, value) in [
        ("LimitTLSProfiles", json!(["Chrome-133x"])),
        ("FragmentorMinTotalBytes", json!(9)),
        ("OSSHPrefixSpecs", json!({"A": [["", "("]]})),
        ("ShadowsocksPrefixScopedSpecNames", json!({"80": ["B"]})),
        ("CustomHostNameRegexes", json!(["[a-z]{4}", "("])),
    ] {
        parameters.set(name, &value).unwrap();
    }
    let faults: Vec<String> = parameters.check().iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 5, "{faults:#?}");
    for start in [
        "parameter LimitTLSProfiles[0]: \"Chrome-133x\" is not a TLS profile (did you mean Chrome-133?)",
        "parameter FragmentorMaxTotalBytes: expected a value not below FragmentorMinTotalBytes",
        "parameter OSSHPrefixSpecs.A: ",
        "parameter ShadowsocksPrefixScopedSpecNames.80[0]: \"B\" is not among the specs",
        "parameter CustomHostNameRegexes[1]: ",
    ] {
        assert!(faults.iter().any(|fault| fault.starts_with(start)), "{start}: {faults:#?}");
    }
}

fn object(json: Json) -> serde_json::Map<String, Json> {
    json.as_object().cloned().expect("an object")
}

#[test]
fn a_table_is_refused_whole_or_skipped_in_part() {
    let overrides = object(json!({
        "TunnelConnectTimeout": "30s",
        "LimitTunnelProtocols": ["OSSH", "TELEGRAPH", "SSH"],
        "DisableFrontingProviderQUICVersions": {"p": ["QUICv1", "QUICv9"]},
        "LimitTLSProfiles": ["Lynx-1", "Chrome-133", "Netscape-4"],
        "FragmentorMinDelay": "1s",
        "ObfuscatedSSHMaxPadding": -1,
        "ServerReplayTTL": "1h",
        "FutureParameter": 1,
        "DNSResolverRequestTimeout": 7_000_000_000_i64,
    }));
    let mut parameters = Parameters::default();
    let errors = parameters.apply(&overrides, OnFault::Refuse).unwrap_err();
    assert_eq!(parameters, Parameters::default(), "nothing is set");
    assert_eq!(errors.len(), 9, "{errors:#?}");

    let applied = parameters.apply(&overrides, OnFault::Skip).unwrap();
    let skipped: Vec<String> = applied.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(applied.set, 5, "{skipped:#?}");
    for start in [
        "parameter LimitTunnelProtocols[1]: \"TELEGRAPH\" is not a tunnel protocol",
        "parameter DisableFrontingProviderQUICVersions.p[1]: \"QUICv9\" is not a QUIC version",
        "parameter LimitTLSProfiles[2]: \"Netscape-4\" is not a TLS profile",
        "parameter FragmentorMaxDelay: expected a value not below FragmentorMinDelay",
        "parameter ObfuscatedSSHMaxPadding: expected a whole number from 0",
        "parameter ServerReplayTTL: only servers read this parameter",
        "parameter FutureParameter: unknown parameter",
    ] {
        assert!(skipped.iter().any(|error| error.starts_with(start)), "{start}: {skipped:#?}");
    }
    assert_eq!(skipped.len(), 8, "{skipped:#?}");
    let mut expected = Parameters::default();
    expected.establish.connect_timeout = ScaledDuration::new(Duration::from_secs(30));
    expected.limits.protocols = vec!["OSSH".parse().unwrap(), "SSH".parse().unwrap()];
    expected.tls.limit_profiles = vec![TlsProfileName::new("Chrome-133")];
    expected.quic.disable_fronting_provider_versions = [("p".to_owned(), vec![QuicVersion::V1])].into();
    expected.resolver.request_timeout = ScaledDuration::new(Duration::from_secs(7));
    assert_eq!(parameters, expected);
}

#[test]
fn what_breaks_a_rule_goes_back_to_what_it_was() {
    let mut parameters = Parameters::default();
    let config = object(json!({"FragmentorMinDelay": "2ms", "FragmentorMaxDelay": "4ms"}));
    parameters.apply(&config, OnFault::Refuse).unwrap();
    let before = parameters.clone();
    let tactics = object(json!({"FragmentorMaxDelay": "1ms", "OSSHPrefixScopedSpecNames": {"": ["X"]}}));
    let applied = parameters.apply(&tactics, OnFault::Skip).unwrap();
    assert_eq!((applied.set, applied.skipped.len()), (0, 2), "{applied:?}");
    assert_eq!(parameters, before);
}

#[test]
fn digests_are_of_values_not_of_spellings() {
    let digest = |json: Json| {
        let mut parameters = Parameters::default();
        parameters.apply(&object(json), OnFault::Refuse).unwrap();
        parameters.digest()
    };
    let plain = digest(json!({}));
    assert_eq!(digest(json!({"TunnelConnectTimeout": "20000ms"})), plain, "the default, written otherwise");
    let set = digest(json!({"TunnelConnectTimeout": "90s"}));
    assert_ne!(set, plain);
    assert_eq!(digest(json!({"TunnelConnectTimeout": "1m30s"})), set);
    assert_ne!(digest(json!({"TunnelConnectTimeout": "91s"})), set);
}

#[test]
fn times_grow_with_latency() {
    let time = ScaledDuration::new(Duration::from_secs(2));
    assert_eq!(time.scaled(1.5), Duration::from_secs(3));
    assert_eq!(
        [0.0, -1.0, f64::NAN, f64::INFINITY].map(|none| time.scaled(none)),
        [Duration::from_secs(2); 4]
    );
    let latency = Latency::default();
    let mut prng = Prng::new(&Seed::from_bytes([7; 32]));
    let drawn: Vec<f64> = (0..2000).map(|_| latency.draw(&mut prng)).collect();
    assert!(drawn.iter().all(|factor| (1.0..=3.0).contains(factor)), "{drawn:?}");
    // Of an exponential distribution with lambda 2 that ends at 1, half lie below 0.2831.
    let below = drawn.iter().filter(|factor| **factor < 1.0 + 2.0 * 0.2831).count();
    assert!((900..1100).contains(&below), "{below}");
    let given = Latency { multiplier_min: 2.0, multiplier_max: 2.0, ..latency };
    assert_eq!(given.draw(&mut prng).to_bits(), 2.0f64.to_bits());
}

#[test]
fn a_list_with_a_probability_is_sometimes_none() {
    let mut prng = Prng::new(&Seed::from_bytes([3; 32]));
    let list = [1];
    assert_eq!(Probability::ALWAYS.gate(&list, &mut prng), Some(&list));
    assert_eq!(Probability::NEVER.gate(&list, &mut prng), None);
    let some = (0..1000).filter(|_| Probability::QUARTER.gate(&list, &mut prng).is_some()).count();
    assert!((180..320).contains(&some), "{some}");
}

#[test]
fn objects_are_read_and_checked() {
    let front = json!({"FrontingProviderID": "p", "Addresses": ["a.example"], "VerifyServerName": "v.example", "Host": "h"});
    let mut parameters = Parameters::default();
    let overrides = object(json!({
        "RemoteServerListURLs": [{"URL": "aHR0cHM6Ly9leGFtcGxlLm9yZy8=", "FrontingSpecs": [front]}],
        "LimitTunnelDialPortNumbers": {"OSSH": [53, [80, 443]], "All": [443]},
        "DNSResolverPreresolvedIPAddressCIDRs": {"p": ["192.0.2.0/24", "2001:db8::/32"]},
        "LivenessTest": {"": {}, "*MEEK*": {"MaxUpstreamBytes": 9}, "FRONTED-MEEK-OSSH": {"MaxUpstreamBytes": 5}},
        "TunnelRateLimits": {"ReadBytesPerSecond": 1000},
        "InproxyFrontingProviderClientMaxRequestTimeouts": {"p": "5s"},
        "ApplicationParameters": {"any": [1, {"thing": null}]},
        "ConjureAPIRegistrarFrontingSpecs": [front],
    }));
    assert_eq!(parameters.apply(&overrides, OnFault::Refuse).map(|applied| applied.set), Ok(8));
    assert_eq!(parameters.remote_lists.urls[0].url, "https://example.org/");
    let ports = &parameters.limits.dial_ports;
    let (ossh, ssh) = ("OSSH".parse().unwrap(), "SSH".parse().unwrap());
    let allowed = |protocol| [53, 80, 442, 444].map(|port| ports.allows(protocol, port));
    assert_eq!((allowed(ossh), allowed(ssh)), ([true, true, true, false], [false; 4]));
    let test = |name: &str| parameters.liveness.test_of(name.parse().unwrap(), true).max_upstream_bytes;
    assert_eq!([test("OSSH"), test("UNFRONTED-MEEK-OSSH"), test("FRONTED-MEEK-OSSH")], [0, 9, 5]);
    assert_eq!(parameters.tunnel.rate_limits.read_bytes_per_second, 1000);
    // What was read can be written and read again.
    let written = parameters.overrides();
    let mut again = Parameters::default();
    again.apply(&written.into_iter().collect(), OnFault::Refuse).unwrap();
    assert_eq!(again, parameters);
}

#[test]
fn wrong_objects_are_refused() {
    for (name, value, reason) in [
        (
            "RemoteServerListURLs",
            json!([{"URL": "https://example.org/"}]),
            "RemoteServerListURLs[0]: expected an object with a URL in base64: URL is not in base64",
        ),
        (
            "ConjureAPIRegistrarFrontingSpecs",
            json!([{"FrontingProviderID": "p", "Addresses": ["a"], "Host": "h", "SkipVerify": true}]),
            "SkipVerify is not allowed here",
        ),
        (
            "LimitTunnelDialPortNumbers",
            json!({"OSHS": [1]}),
            "LimitTunnelDialPortNumbers.OSHS: \"OSHS\" is not a tunnel protocol (did you mean OSSH?)",
        ),
        ("LimitTunnelDialPortNumbers", json!({"All": [[2, 1]]}), "LimitTunnelDialPortNumbers.All[0]"),
        ("DNSResolverPreresolvedIPAddressCIDRs", json!({"p": ["192.0.2.0/33"]}), "an address block"),
        ("LivenessTest", json!({"OSSH": {}}), "no test named"),
        ("InproxyCommonCompartmentIDs", json!(["x"]), "32 bytes"),
        ("InproxyBrokerSpecs", json!([{}]), "BrokerPublicKey"),
        ("NetworkLatencyMultiplier", json!(0.5), "0 for none, or a number from 1.0 to 100.0"),
        ("ReplayCandidateCount", json!(-2), "-1 for no limit"),
        ("BPFClientTCPProgram", json!({}), "an object with a \"Name\""),
    ] {
        let message = refusal(name, value);
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn every_default_that_differs_is_there_and_differs() {
    let rows = changed_rows();
    assert_eq!(rows.len(), CHANGED_DEFAULTS.len());
    for (row, changed) in rows {
        assert_ne!(row.default, changed.reference.to_json(), "{}", row.name);
    }
}

#[test]
fn defaults_are_within_bounds_and_named_once() {
    let mut names = std::collections::BTreeSet::new();
    let (mut client, mut server) = (Parameters::default(), ServerParameters::default());
    for row in Parameters::table() {
        client.set(&row.name, &row.default).unwrap();
        assert!(names.insert(row.name.clone()), "{}", row.name);
        assert!(!row.about.is_empty());
    }
    for row in ServerParameters::table() {
        server.set(&row.name, &row.default).unwrap();
        assert!(names.insert(row.name.clone()), "{}", row.name);
    }
    assert_eq!((client.check(), server.check()), (Vec::new(), Vec::new()));
    assert_eq!((client, server), Default::default());
}
