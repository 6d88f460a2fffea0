//! Requests that the reference's client sent, and refusals that its server was seen to give.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::{Strictness, psinet};
use crate::log::{Level, Logger, Origin};
use culvert_protocol::api::{HandshakeReply, ReplyEncoding, RequestKind, parse_speed_test_reply};
use culvert_protocol::authorization::VerificationKeyRing;
use culvert_protocol::timestamp;

const CAPTURE: &str = include_str!("../../../../../vectors/data/live_api_capture.json");
/// Passes every rule that all requests share.
const BASE: &str = r#""propagation_channel_id":"AABBCCDDEEFF0011","sponsor_id":"1122334455667788","client_version":"42","client_platform":"Windows","relay_protocol":"OSSH""#;

/// One client's tunnel.
struct Client {
    phase: Phase,
    own_entries: BTreeMap<String, ServerEntry>,
    place: Place,
    psinet: Live<Psinet>,
    authorizations: Authorizations,
    extensions: &'static [&'static str],
    events: Vec<Event>,
    rules: TrafficRules,
}

impl Default for Client {
    fn default() -> Self {
        let (log, _) = Logger::captured(Level::Info, Origin::default());
        Self {
            phase: Phase::default(),
            own_entries: BTreeMap::new(),
            place: Place::UNKNOWN,
            psinet: Live::new(Psinet::default()),
            rules: TrafficRules::default(),
            authorizations: Authorizations::new(VerificationKeyRing::default(), &log),
            extensions: &[],
            events: Vec::new(),
        }
    }
}

impl Client {
    fn ask_at(&mut self, now: &str, name: &str, payload: &[u8]) -> Answer {
        let context = Context {
            now: timestamp::parse(now).unwrap(),
            client: "192.0.2.7:4711".parse().unwrap(),
            place: &self.place,
            psinet: &self.psinet,
            authorizations: &self.authorizations,
            order: &Seed::from_bytes([0; 32]),
            own_entries: &self.own_entries,
            extensions: self.extensions,
            count_site: &|_, _| {},
            keepalive_padding: &[7; 5],
            rules: &|_| Arc::new(self.rules.clone()),
        };
        self.phase.answer(name.as_bytes(), payload, &context, &mut |event| self.events.push(event))
    }

    fn ask(&mut self, name: &str, payload: &str) -> Answer {
        self.ask_at("2026-11-22T11:43:15Z", name, payload.as_bytes())
    }

    fn shaken() -> Self {
        let mut client = Self::default();
        assert!(matches!(client.ask(request_name::HANDSHAKE, &format!("{{{BASE}}}")), Answer::Reply(_)));
        client
    }

    fn event_names(&self) -> Vec<&'static str> {
        self.events.iter().map(|event| event.name).collect()
    }
}

fn text(answer: Answer) -> String {
    match answer {
        Answer::Reply(reply) => String::from_utf8(reply).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The captured requests of one client, in order.
fn captured(encoding: &str) -> Vec<(String, Vec<u8>)> {
    let capture: Json = serde_json::from_str(CAPTURE).unwrap();
    let of_client =
        |vector: &&Json| vector["kind"] == "client_request" && vector["client_api_encoding"] == encoding;
    let requests = capture["vectors"].as_array().unwrap().iter().filter(of_client);
    let bytes = |hex: &Json| data_encoding::HEXLOWER.decode(hex.as_str().unwrap().as_bytes()).unwrap();
    requests.map(|v| (v["name"].as_str().unwrap().to_owned(), bytes(&v["payload_hex"]))).collect()
}

#[test]
fn captured_sessions_are_answered() {
    for encoding in ["cbor", "json"] {
        let mut client = Client::default();
        let requests = captured(encoding);
        assert!(requests.len() >= 4, "{encoding}");
        for (name, payload) in requests {
            let reply = match client.ask_at("2026-11-22T11:43:15Z", &name, &payload) {
                Answer::Reply(reply) => reply,
                other => panic!("{encoding} {name}: {other:?}"),
            };
            match name.as_str() {
                request_name::HANDSHAKE => {
                    let reply = HandshakeReply::decode(&reply, ReplyEncoding::Cbor).unwrap();
                    assert_eq!(reply.client_region, "None");
                    assert_eq!(reply.client_address, "192.0.2.7:4711");
                    assert_eq!(reply.server_timestamp, "2026-11-22T11:43:15Z");
                    assert!(reply.encoded_server_list.is_empty(), "the tag asked for is not ours");
                }
                request_name::CONNECTED => {
                    let reply: Json = serde_json::from_slice(&reply).unwrap();
                    assert_eq!(reply["connected_timestamp"], "2026-11-22T11:00:00Z");
                }
                request_name::KEEPALIVE => {
                    let stamp = parse_speed_test_reply(&reply).unwrap();
                    assert_eq!(timestamp::to_second(stamp), "2026-11-22T11:00:00Z");
                    assert_eq!(reply.len(), 16 + 5);
                }
                _ => {}
            }
        }
        assert_eq!(client.event_names(), ["unique_user"], "{encoding}");
        let words = &client.phase.established().unwrap().handshake.words;
        let fields = words.log_fields(RequestKind::BaseAndDial);
        assert_eq!(fields["relay_protocol"], "OSSH");
        assert_eq!(fields["client_version"], 42);
    }
}

#[test]
fn a_json_handshake_gets_json_and_its_padding() {
    let mut client = Client::default();
    let reply = text(client.ask(request_name::HANDSHAKE, &format!(r#"{{{BASE},"pad_response":"5"}}"#)));
    let expected = json!({
        "client_region": "None", "client_address": "192.0.2.7:4711",
        "server_timestamp": "2026-11-22T11:43:15Z", "padding": "     ",
    });
    assert_eq!(serde_json::from_str::<Json>(&reply).unwrap(), expected);
}

#[test]
fn only_the_handshake_and_keepalives_come_before_the_handshake() {
    let mut client = Client::default();
    for name in [request_name::CONNECTED, request_name::STATUS, request_name::CLIENT_VERIFICATION, "x", ""] {
        assert_eq!(client.ask(name, "{}"), Answer::Refuse, "{name}");
    }
    assert!(matches!(client.ask(request_name::KEEPALIVE, "abc"), Answer::Reply(_)));
}

#[test]
fn a_bad_handshake_and_a_second_one_end_the_tunnel() {
    for payload in ["", "{", "{}", "\0\u{1}", r#"{"relay_protocol":"OSSH"}"#] {
        assert_eq!(
            Client::default().ask(request_name::HANDSHAKE, payload),
            Answer::RefuseAndClose,
            "{payload}"
        );
    }
    let mut client = Client::shaken();
    assert_eq!(client.ask(request_name::HANDSHAKE, &format!("{{{BASE}}}")), Answer::RefuseAndClose);
}

#[test]
fn a_user_counts_once_a_day() {
    let mut client = Client::shaken();
    let connected =
        format!(r#"{{{BASE},"last_connected":"None","establishment_duration":"215","pad_response":"3"}}"#);
    let mut ask = |now| text(client.ask_at(now, request_name::CONNECTED, connected.as_bytes()));
    let first = r#"{"connected_timestamp":"2026-11-22T11:00:00Z","padding":"   "}"#;
    assert_eq!(ask("2026-11-22T11:43:15Z"), first);
    assert_eq!(ask("2026-11-22T23:59:59Z"), first);
    assert_eq!(ask("2026-11-23T00:00:00Z"), first.replace("22T11", "23T00"));
    assert_eq!(client.event_names(), ["unique_user", "unique_user"]);
    let fields = &client.phase.established().unwrap().connected.as_ref().unwrap().log_fields;
    assert_eq!(fields["establishment_duration"], 215);
    assert_eq!(client.ask(request_name::CONNECTED, &format!("{{{BASE}}}")), Answer::Refuse);
}

#[test]
fn stored_records_become_events_and_bad_ones_cost_only_themselves() {
    let mut client = Client::shaken();
    let failed = format!(
        r#"{{{BASE},"session_id":"00","last_connected":"None","client_failed_timestamp":"2025-01-02T03:00:00Z","tunnel_error":"e","server_entry_tag":"x","dial_port_number":"0"}}"#
    );
    let list = format!(
        r#"{{{BASE},"client_download_timestamp":"2025-01-02T03:00:00Z","url":"https://example.org","etag":"e"}}"#
    );
    let data = format!(
        r#"{{"check_server_entry_tags":["x"],"failed_tunnel_stats":[{failed},{{}}],"remote_server_list_stats":[{list},{{"url":1}}]}}"#
    );
    let reply = text(client.ask(request_name::STATUS, &format!(r#"{{{BASE},"statusData":{data}}}"#)));
    assert_eq!(reply, r#"{"invalid_server_entry_tags":["x"]}"#);
    assert_eq!(client.event_names(), ["remote_server_list", "failed_tunnel"]);
    assert_eq!(client.events[1].fields["session_id"], "00");
    assert_eq!(client.ask(request_name::STATUS, &format!("{{{BASE}}}")), Answer::Refuse);
}

#[test]
fn other_requests() {
    let mut client = Client::shaken();
    assert_eq!(client.ask(request_name::CLIENT_VERIFICATION, "{}"), Answer::Reply(Vec::new()));
    for name in [request_name::DSL, "no-such-request", "tcpip-forward"] {
        assert_eq!(client.ask(name, "{}"), Answer::Refuse, "{name}");
    }
}

#[test]
fn who_lacks_part_of_our_entry_gets_it_and_nobody_elses() {
    let entry = r#"{"ipAddress":"192.0.2.1","tag":"AAAA","sshPort":22,"capabilities":["SSH"]}"#;
    let line = data_encoding::HEXLOWER.encode(format!("0 0 0 0 {entry}").as_bytes());
    let listed = |tag: &str| {
        let mut client = Client::default();
        client.own_entries.insert("AAAA".into(), ServerEntry::decode(&line).unwrap());
        let request = format!(
            r#"{{{BASE},"missing_server_entry_signature":"{tag}","missing_server_entry_provider_id":"{tag}"}}"#
        );
        let reply = text(client.ask(request_name::HANDSHAKE, &request));
        HandshakeReply::decode(reply.as_bytes(), ReplyEncoding::Json).unwrap().encoded_server_list
    };
    assert_eq!(listed("BBBB"), Vec::<String>::new());
    let found = listed("AAAA");
    assert_eq!(found.len(), 1);
    assert_eq!(ServerEntry::decode(&found[0]).unwrap().text("ipAddress"), Some("192.0.2.1"));
}

/// What a client is offered by a database and told of its authorizations.
#[test]
fn the_reply_holds_what_is_for_this_client() {
    let database = r#"{"default_sponsor_id": "S", "sponsors": {"S": {
        "home_pages": {"CA": [{"url": "https://a.org/?client_region=XX&client_platform=XX"}]},
        "https_request_regexes": [{"regex": "x", "replace": "y"}]}},
        "client_versions": {"Windows": [{"version": "43"}]}}"#;
    let file = Path::new("f");
    let loaded = psinet::parse(file, database, None, Strictness::Check).unwrap();
    let mut client = Client { psinet: Live::new(loaded.value), ..Client::default() };
    client.place.country = "CA".into();
    client.rules.rates.limits.read_bytes_per_second = 1000;
    client.rules.rates.limits.write_bytes_per_second = 2000;
    let reply = text(client.ask(request_name::HANDSHAKE, &format!("{{{BASE}}}")));
    let reply = HandshakeReply::decode(reply.as_bytes(), ReplyEncoding::Json).unwrap();
    assert_eq!(reply.homepages, ["https://a.org/?client_region=CA&client_platform=windows"]);
    assert_eq!(reply.upgrade_client_version, "43");
    assert_eq!(reply.https_request_regexes.len(), 1);
    assert_eq!(reply.client_region, "CA");
    assert_eq!((reply.upstream_bytes_per_second, reply.downstream_bytes_per_second), (1000, 2000));
}

#[test]
fn authorizations_that_are_not_valid_are_no_reason_to_refuse_but_no_list_is() {
    for (authorizations, is_answered) in
        [("[]", true), ("null", true), (r#"["x"]"#, true), (r#""x""#, false), ("[1]", false), ("{}", false)]
    {
        let mut client = Client::default();
        let request = format!(r#"{{{BASE},"authorizations":{authorizations}}}"#);
        let answer = client.ask(request_name::HANDSHAKE, &request);
        assert_eq!(matches!(answer, Answer::Reply(_)), is_answered, "{authorizations}");
    }
}

#[test]
fn who_has_nothing_left_to_send_is_answered_nothing_more() {
    let mut client = Client::shaken();
    let connected = format!(r#"{{{BASE},"last_connected":"None"}}"#);
    client.rules.rates.limits.close_after_exhausted = true;
    assert_eq!(client.ask(request_name::CONNECTED, &connected), Answer::Refuse);
    let limits = &mut client.rules.rates.limits;
    (limits.read_unthrottled_bytes, limits.write_unthrottled_bytes) = (1, 1);
    assert!(matches!(client.ask(request_name::CONNECTED, &connected), Answer::Reply(_)));
}

#[test]
fn who_was_counted_today_elsewhere_is_not_counted_again() {
    for (last, is_counted) in [
        ("None", true),
        ("2026-11-21T23:00:00Z", true),
        ("2026-11-22T01:00:00Z", false),
        ("2026-11-23T01:00:00Z", false),
    ] {
        let mut client = Client::shaken();
        client.ask(request_name::CONNECTED, &format!(r#"{{{BASE},"last_connected":"{last}"}}"#));
        assert_eq!(client.event_names().len(), usize::from(is_counted), "{last}");
    }
}

#[test]
fn servers_that_are_gone_are_told_once_and_counted() {
    let database = r#"{"valid_server_entry_tags": {"good": true}}"#;
    let loaded = psinet::parse(Path::new("f"), database, None, Strictness::Check).unwrap();
    let mut client = Client { psinet: Live::new(loaded.value), ..Client::shaken() };
    let failed = |tag: &str| {
        format!(
            r#"{{{BASE},"session_id":"00","last_connected":"None","client_failed_timestamp":"2025-01-02T03:00:00Z","tunnel_error":"e","server_entry_tag":"{tag}","dial_port_number":"1"}}"#
        )
    };
    let data = format!(
        r#"{{"check_server_entry_tags":["gone","good","lost"],"failed_tunnel_stats":[{},{}]}}"#,
        failed("gone"),
        failed("good")
    );
    let reply = text(client.ask(request_name::STATUS, &format!(r#"{{{BASE},"statusData":{data}}}"#)));
    assert_eq!(reply, r#"{"invalid_server_entry_tags":["gone","lost"]}"#);
    let valid: Vec<_> =
        client.events.iter().map(|event| event.fields["server_entry_valid"].clone()).collect();
    assert_eq!(valid, [false, true]);
    let checks = client.phase.established().unwrap().tag_checks;
    assert_eq!((checks.requests, checks.tags, checks.invalid), (1, 3, 2));
}
