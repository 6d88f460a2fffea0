//! The database from its file to what one client is offered.

use std::path::Path;

use culvert_obfuscation::Seed;

use super::*;
use crate::config::{Strictness, psinet};

const FILE: &str = r#"{
    "sponsors": {
        "AAAA": {
            "home_pages": {
                "CA": [{"region": "CA", "url": "https://ca.org/?client_region=XX&client_asn=XX&device_region=XX&x=client_region=XX"}],
                "DE": [],
                "None": [{"url": "https://none.org/1"}, {"url": "https://none.org/2"}]
            },
            "mobile_home_pages": {"None": [{"url": "https://mobile.org/?client_platform=XX"}]},
            "alert_action_urls": {"unsafe-traffic": ["https://alert.org/?client_region=XX"]},
            "https_request_regexes": [{"regex": "(^|\\.)example\\.org$", "replace": "example"}]
        },
        "BBBB": null
    },
    "default_sponsor_id": "AAAA",
    "default_alert_action_urls": {"disallowed-traffic": ["https://default.org/"], "unsafe-traffic": ["https://default.org/unsafe"]},
    "client_versions": {"Android": [{"version": "3"}, {"version": "11"}], "iOS": []},
    "valid_server_entry_tags": {"good": true, "gone": false},
    "discovery_servers": null
}"#;

fn read(text: &str) -> Psinet {
    psinet::parse(Path::new("f"), text, None, Strictness::Check).unwrap().value
}

fn place(country: &str, asn: &str) -> Place {
    Place { country: country.to_owned().into(), asn: asn.to_owned().into(), ..Place::UNKNOWN }
}

fn visitor(sponsor: &str, platform: &str) -> Visitor {
    let device_region = Some("a b&c".to_owned());
    Visitor { sponsor: sponsor.to_owned(), device_region, platform: Platform::of(platform) }
}

fn order() -> Prng {
    Prng::new(&Seed::from_bytes([1; 32]))
}

#[test]
fn home_pages_go_by_sponsor_region_and_kind_of_device() {
    let database = read(FILE);
    let (canada, germany, nowhere) = (place("CA", "64496"), place("DE", "1"), Place::UNKNOWN);
    let pages = |sponsor, place, platform| {
        let mut pages = database.home_pages(&visitor(sponsor, platform), place, &mut order());
        pages.sort();
        pages
    };
    let ca = "https://ca.org/?client_region=CA&client_asn=64496&device_region=a+b%26c&x=client_region=XX";
    assert_eq!(pages("AAAA", &canada, "Windows_10"), [ca]);
    assert_eq!(pages("unknown", &canada, "Windows_10"), [ca]);
    let both = ["https://none.org/1", "https://none.org/2"];
    assert_eq!(pages("AAAA", &germany, "Other"), both);
    assert_eq!(pages("AAAA", &nowhere, ""), both);
    assert_eq!(pages("AAAA", &canada, "my-android"), ["https://mobile.org/?client_platform=android"]);
    assert_eq!(pages("BBBB", &canada, "Windows"), Vec::<String>::new());
    assert_eq!(Psinet::default().home_pages(&visitor("", ""), &canada, &mut order()), Vec::<String>::new());
}

#[test]
fn pages_come_in_any_order() {
    let (database, mut prng) = (read(FILE), order());
    let firsts: BTreeSet<_> = (0..64)
        .filter_map(|_| {
            database.home_pages(&visitor("AAAA", ""), &Place::UNKNOWN, &mut prng).into_iter().next()
        })
        .collect();
    assert_eq!(firsts.len(), 2);
}

#[test]
fn alerts_have_pages_of_the_sponsor_or_else_of_all() {
    let (database, place) = (read(FILE), place("CA", "1"));
    let urls = |reason, sponsor| database.alert_urls(reason, &visitor(sponsor, ""), &place);
    assert_eq!(urls("unsafe-traffic", "AAAA"), ["https://alert.org/?client_region=CA"]);
    assert_eq!(urls("unsafe-traffic", "unknown"), ["https://default.org/unsafe"]);
    assert_eq!(urls("disallowed-traffic", "AAAA"), ["https://default.org/"]);
    assert_eq!(urls("other", "AAAA"), Vec::<String>::new());
}

#[test]
fn the_last_version_is_offered_to_older_clients() {
    let database = read(FILE);
    let upgrade = |platform, version| database.upgrade(Platform::of(platform), version);
    assert_eq!(upgrade("Android_4", "10").as_deref(), Some("11"));
    assert_eq!(upgrade("Android_4", "11"), None);
    assert_eq!(upgrade("Android_4", "x"), None);
    assert_eq!(upgrade("iOS", "1"), None);
    assert_eq!(upgrade("Windows", "1"), None);
}

#[test]
fn servers_are_gone_only_by_a_list_that_is_new_and_not_empty() {
    let now = SystemTime::now();
    let mut servers = read(FILE).servers;
    let verdicts = |servers: &ServerTags| ["good", "gone", "other"].map(|tag| servers.is_valid(tag, now));
    assert_eq!(verdicts(&servers), [true, false, false]);
    servers.written = now.checked_sub(FRESH);
    assert_eq!(verdicts(&servers), [true, false, false]);
    servers.written = now.checked_sub(FRESH + Duration::from_secs(1));
    assert_eq!(verdicts(&servers), [true; 3]);
    assert_eq!(verdicts(&ServerTags::default()), [true; 3]);
}

#[test]
fn names_of_sites_are_counted_by_sponsor() {
    let database = read(FILE);
    assert_eq!(database.host_regexes("AAAA").first().map(|rule| rule.replace.as_str()), Some("example"));
    assert!(database.host_regexes("BBBB").is_empty());
    assert_eq!(*database.host_regexes("unknown"), *database.host_regexes("AAAA"));
}

#[test]
fn mistakes_have_a_place() {
    let entry = data_encoding::HEXLOWER.encode(br#"0 0 0 0 {"ipAddress":"192.0.2.1"}"#);
    let twice = format!(
        r#"{{"discovery_servers": [{{"encoded_server_entry": "{entry}"}}, {{"encoded_server_entry": "{entry}"}}]}}"#
    );
    for (text, message) in [
        ("[]", "f: must hold one JSON object"),
        (r#"{"sponsors": []}"#, "f:1:2: sponsors: must be an object whose values are objects"),
        (r#"{"sponsors": {"A": 1}}"#, "sponsors.A: must be an object, not a number"),
        (
            r#"{"sponsors": {"A": {"homepages": {}}}}"#,
            "sponsors.A.homepages: unknown setting (did you mean home_pages?)",
        ),
        (
            r#"{"sponsors": {"A": {"home_pages": {"CA": [{"url": 1}]}}}}"#,
            "sponsors.A.home_pages.CA[0].url: must be a string",
        ),
        (
            r#"{"sponsors": {"A": {"https_request_regexes": [{"regex": "("}]}}}"#,
            "[0].regex: \"(\" is not a regular",
        ),
        (
            r#"{"client_versions": {"iOS": [{"version": "x"}]}}"#,
            "client_versions.iOS[0]: the last version must be",
        ),
        (
            r#"{"client_versions": {"iOS": [{"version": "2"}, {"version": "1"}]}}"#,
            "iOS[1]: must be in rising order",
        ),
        (
            r#"{"valid_server_entry_tags": {"a": 1}}"#,
            "valid_server_entry_tags.a: must be true or false, not a number",
        ),
        (
            r#"{"discovery_servers": [{"encoded_server_entry": "zz"}]}"#,
            "discovery_servers[0].encoded_server_entry: ",
        ),
        (&twice, "discovery_servers[1].encoded_server_entry: has the address of the server at [0]"),
    ] {
        let error = psinet::parse(Path::new("f"), text, None, Strictness::Check).unwrap_err().to_string();
        assert!(error.starts_with("f:") && error.contains(message), "{error}");
    }
}
