//! Reading traffic rules files.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::RateLimits;

use super::*;
use crate::config::{Loaded, Strictness};
use crate::geoip::Place;
use crate::rules::{ClientFacts, PortList, RuleSet, RulesFile, Stage, TrafficRules, UdpRules};

fn parse_text(text: &str, strictness: Strictness) -> Result<Loaded<RulesFile>, String> {
    parse(Path::new("r"), text, strictness).map_err(|error| error.to_string())
}

/// The rules for somebody of this country.
fn rules_in(country: &str, text: &str) -> Arc<TrafficRules> {
    let place = Place { country: country.to_owned().into(), ..Place::UNKNOWN };
    let client = ClientFacts::at(&place, TunnelProtocol::OSSH);
    RuleSet::compile(&parse_text(text, Strictness::Check).unwrap().value, "").select(&client)
}

#[test]
fn rules_are_read() {
    let text = r#"{"DefaultRules": {"DialTCPPortForwardTimeoutMilliseconds": 0, "MaxTCPPortForwardCount": 0,
        "IdleTCPPortForwardTimeoutMilliseconds": null, "AllowTCPPorts": [80, [443, 445]], "DisallowTCPPorts": [25],
        "AllowSubnets": ["8.8.8.0/24"], "DisallowSubnets": null, "AllowASNs": ["15169"], "DisableDiscovery": true}}"#;
    let rules = rules_in("None", text);
    assert_eq!(rules.dial_timeout, None);
    assert_eq!(rules.idle_timeout, Some(Duration::from_secs(30)));
    assert_eq!((rules.most_flows, rules.most_dialing), (None, NonZeroUsize::new(64)));
    assert_eq!(rules.allow_ports, Some(PortList::new([(80, 80), (443, 445)])));
    assert_eq!(rules.disallow_ports, PortList::new([(25, 25)]));
    assert!(rules.allow.subnets.contains("8.8.8.8".parse().unwrap()) && rules.disable_discovery);
    assert_eq!((&*rules.allow.asns, rules.disallow.subnets.is_empty()), (&[15169][..], true));
    assert_eq!(rules.udp, UdpRules::default());
    let udp = r#"{"DefaultRules": {"AllowUDPPorts": [53], "DisallowUDPPorts": [[1, 9]],
        "MaxUDPPortForwardCount": 0, "IdleUDPPortForwardTimeoutMilliseconds": 1000}}"#;
    let udp = rules_in("None", udp).udp.clone();
    assert_eq!((udp.most_flows, udp.idle_timeout), (None, Some(Duration::from_secs(1))));
    assert_eq!(udp.allow_ports, Some(PortList::new([(53, 53)])));
    assert_eq!(udp.disallow_ports, PortList::new([(1, 9)]));
    assert_eq!(*rules_in("None", "{}"), TrafficRules::default());
    let empty = r#"{"DefaultRules": {"AllowTCPPorts": []}}"#;
    assert_eq!(rules_in("None", empty).allow_ports, None);
}

#[test]
fn rates_are_read() {
    let text = r#"{"DefaultRules": {"RateLimits": {"ReadUnthrottledBytes": 1, "ReadBytesPerSecond": 2, "WriteUnthrottledBytes": 3,
        "WriteBytesPerSecond": 4, "CloseAfterExhausted": true, "EstablishmentReadBytesPerSecond": 5,
        "EstablishmentWriteBytesPerSecond": 6, "UnthrottleFirstTunnelOnly": true}}}"#;
    let rates = rules_in("None", text).rates;
    let limits = RateLimits {
        read_unthrottled_bytes: 1,
        read_bytes_per_second: 2,
        write_unthrottled_bytes: 3,
        write_bytes_per_second: 4,
        close_after_exhausted: true,
    };
    assert_eq!(rates.at(Stage::First), limits);
    assert_eq!((rates.establishment_read, rates.establishment_write, rates.first_tunnel_only), (5, 6, true));
}

#[test]
fn filters_override_what_they_set_and_nothing_else() {
    let text = r#"{"DefaultRules": {"MaxTCPPortForwardCount": 5, "AllowTCPPorts": [80], "DisallowSubnets": ["9.9.9.0/24"],
        "RateLimits": {"ReadBytesPerSecond": 7, "WriteBytesPerSecond": 8}},
        "FilteredRules": [
            {"Filter": {"Regions": ["AA"]}, "Rules": {"MaxTCPPortForwardCount": 0, "RateLimits": {"ReadBytesPerSecond": 0}}},
            {"Filter": {"Regions": ["AA", "BB"]}, "Rules": {"AllowTCPPorts": [], "DisallowSubnets": []}},
            {"Filter": {}, "ExceptFilter": {"Regions": ["CC"]}, "Rules": {"MaxTCPDialingPortForwardCount": 1}}]}"#;
    let of = |country| rules_in(country, text);
    let limits = |country| of(country).rates.limits;
    assert_eq!((of("AA").most_flows, of("AA").allow_ports.is_some()), (None, true));
    assert_eq!((limits("AA").read_bytes_per_second, limits("AA").write_bytes_per_second), (0, 8));
    let second = of("BB");
    assert_eq!((second.most_flows, &second.allow_ports), (NonZeroUsize::new(5), &None));
    assert!(second.disallow.subnets.is_empty());
    assert_eq!(of("DD").most_dialing, NonZeroUsize::new(1));
    assert_eq!(of("CC").most_dialing, NonZeroUsize::new(64));
}

#[test]
fn mistakes_are_placed() {
    for (text, message) in [
        (
            "{\"DefaultRules\": {\"AllowTCPPorts\": [0]}}",
            "r:1:37: DefaultRules.AllowTCPPorts[0]: must be a port",
        ),
        ("{\"DefaultRules\": {\"DisallowTCPPorts\": [[9, 3]]}}", "DisallowTCPPorts[0]: must be a port"),
        (
            "{\"DefaultRules\": {\"AllowTCPPorts\": 80}}",
            "must be a list of ports and [FIRST, LAST] pairs, not a number",
        ),
        (
            "{\"DefaultRules\":\n {\"DisallowSubnets\": [\"10/8\"]}}",
            "r:2:23: DefaultRules.DisallowSubnets[0]: \"10/8\" is not a subnet",
        ),
        ("{\"DefaultRules\": {\"MaxTCPPortForwardCount\": -1}}", "-1 is out of range"),
        (
            "{\"FilteredRules\": [{\"Rules\": {\"AllowSubnets\": [\"x\"]}}]}",
            "FilteredRules[0].Rules.AllowSubnets[0]",
        ),
        (
            "{\"DefaultRules\": {\"RateLimits\": {\"ReadBytesPerSecond\": -5}}}",
            "RateLimits.ReadBytesPerSecond: -5",
        ),
        ("{\"DefaultRules\": {\"AllowASNs\": [\"AS1\"]}}", "AllowASNs[0]: \"AS1\" is not the decimal number"),
        (
            "{\"FilteredRules\": [{\"Filter\": {\"HandshakeParameters\": {\"sponser_id\": [\"*\"]}}}]}",
            "r:1:56: FilteredRules[0].Filter.HandshakeParameters.sponser_id: \"sponser_id\" is not a parameter of \
             handshakes (did you mean sponsor_id?)",
        ),
        (
            "{\"FilteredRules\": [{\"ExceptFilter\": {\"TunnelProtocols\": [\"OSSSH\"]}}]}",
            "FilteredRules[0].ExceptFilter.TunnelProtocols[0]: \"OSSSH\" is not a tunnel protocol (did you mean OSSH?)",
        ),
        ("{\"FilteredRules\": [null]}", "FilteredRules[0]: must be an object, not null"),
        ("{\"MeekRateLimiterHistorySize\": 5}", "MeekRateLimiterThresholdSeconds: must be positive when"),
    ] {
        let error = parse_text(text, Strictness::Run).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn misspelt_rules_are_refused_and_strange_ones_noticed() {
    let text = "{\"DefaultRules\": {\"DisalowTCPPorts\": [25]}}";
    let expected = "r:1:19: DefaultRules.DisalowTCPPorts: unknown setting (did you mean DisallowTCPPorts?)";
    assert_eq!(parse_text(text, Strictness::Run).unwrap_err(), expected);
    assert_eq!(parse_text(text, Strictness::Check).unwrap_err(), expected);
    let strange = "{\"DefaultRules\": {\"QueueNumber\": 1}}";
    let warnings = parse_text(strange, Strictness::Run).unwrap().warnings;
    assert_eq!(warnings[0].to_string(), "r:1:19: DefaultRules.QueueNumber: unknown setting");
}

#[test]
fn places_where_nobody_is_are_remarked_on() {
    let text = "{\"FilteredRules\": [{\"Filter\": {\"Regions\": [\"IR\", \"Iran\", \"ir\", \"None\"], \"ASNs\": [\"44244\", \"AS44244\"]}}]}";
    let remarks = parse_text(text, Strictness::Check).unwrap().warnings;
    let remarks: Vec<_> = remarks.iter().map(ToString::to_string).collect();
    assert_eq!(remarks.len(), 3, "{remarks:?}");
    for (place, found) in [("Regions[1]", "Iran"), ("Regions[2]", "ir"), ("ASNs[1]", "AS44244")] {
        let said = format!("FilteredRules[0].Filter.{place}: {found:?} is no ");
        assert!(remarks.iter().any(|remark| remark.contains(&said)), "{said}: {remarks:?}");
    }
}
