//! Overrides, right and wrong.

use std::time::Duration;

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
