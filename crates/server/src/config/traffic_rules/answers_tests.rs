//! Rules for random clients out of random files, as the reference's own code chooses them: `answers.json`. A longer list of the same
//! form is taken from the file that `CULVERT_RULE_ANSWERS` names.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use culvert_protocol::packed::Params;
use serde::Deserialize;

use super::parse;
use crate::config::Strictness;
use crate::rules::{ClientFacts, HandshakeFacts, RuleSet, Stage, TextParameters, TrafficRules};

#[derive(Deserialize)]
struct Case {
    rules: serde_json::Value,
    provider: String,
    destinations: Vec<String>,
    clients: Vec<Client>,
}

#[derive(Deserialize)]
struct Client {
    protocol: String,
    /// Country, provider, network, city.
    place: [String; 4],
    /// The session had no tunnel before, as the server knows.
    first: bool,
    handshake: Option<Handshake>,
    answer: Answer,
}

#[derive(Deserialize)]
struct Handshake {
    parameters: serde_json::Value,
    types: Vec<String>,
    ids: Vec<String>,
    revoked: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Answer {
    /// Free and per second, of what the client sends and of what it receives; then whether the tunnel ends beyond.
    limits: (u64, u64, u64, u64, bool),
    /// The three times, then the three counts; 0 is none.
    counts: [u64; 6],
    no_discovery: bool,
    /// A `1` for each destination that TCP, and UDP, may go to.
    tcp: String,
    udp: String,
}

/// The networks of the answers.
fn asn_of(address: IpAddr) -> Option<u32> {
    let text = address.to_string();
    let starts =
        [("10.1.", 64500), ("192.0.2.", 64496), ("8.8.8.", 64501), ("2001:db8:", 64500), ("2001:db9:", 7)];
    starts.iter().find(|(start, _)| text.starts_with(start)).map(|(_, asn)| *asn)
}

fn answer(rules: &TrafficRules, stage: Stage, destinations: &[String]) -> Answer {
    let limits = rules.rates.at(stage);
    let milliseconds =
        |time: Option<std::time::Duration>| time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap());
    let number = |most: Option<std::num::NonZeroUsize>| most.map_or(0, |most| most.get() as u64);
    let permitted = |permits: &dyn Fn(SocketAddr) -> bool| {
        let one = |text: &String| {
            // As the way out does it.
            let address: SocketAddr = text.parse().unwrap();
            permits(SocketAddr::new(address.ip().to_canonical(), address.port()))
        };
        destinations.iter().map(|text| if one(text) { '1' } else { '0' }).collect()
    };
    Answer {
        limits: (
            limits.read_unthrottled_bytes,
            limits.read_bytes_per_second,
            limits.write_unthrottled_bytes,
            limits.write_bytes_per_second,
            limits.close_after_exhausted,
        ),
        counts: [
            milliseconds(rules.dial_timeout),
            milliseconds(rules.idle_timeout),
            milliseconds(rules.udp.idle_timeout),
            number(rules.most_dialing),
            number(rules.most_flows),
            number(rules.udp.most_flows),
        ],
        no_discovery: rules.disable_discovery,
        tcp: permitted(&|address| rules.permits_tcp(address, &asn_of)),
        udp: permitted(&|address| rules.permits_udp(address, &asn_of)),
    }
}

fn check(number: usize, case: &Case) {
    let text = case.rules.to_string();
    let file = parse(Path::new("r"), &text, Strictness::Run)
        .unwrap_or_else(|error| panic!("case {number}: {error}: {text}"));
    let set = RuleSet::compile(&file.value, &case.provider);
    for (at, client) in case.clients.iter().enumerate() {
        let said = client.handshake.as_ref().map(|handshake| {
            let parameters = Params::from_json(handshake.parameters.to_string().as_bytes()).unwrap();
            (handshake, TextParameters::new(&parameters))
        });
        let handshake = said.as_ref().map(|(handshake, parameters)| HandshakeFacts {
            parameters,
            access_types: &handshake.types,
            authorization_ids: &handshake.ids,
            revoked: handshake.revoked,
        });
        let [country, isp, asn, city] = &client.place;
        let protocol = client.protocol.parse().unwrap();
        let facts = ClientFacts { protocol, country, isp, asn, city, handshake };
        let found = answer(&set.select(&facts), Stage::of(&facts, client.first), &case.destinations);
        assert_eq!(
            found, client.answer,
            "case {number}, client {at}: {facts:?}\n{text}\n{:?}",
            case.destinations
        );
    }
}

#[test]
fn rules_are_chosen_as_the_reference_chooses_them() {
    let longer = std::env::var("CULVERT_RULE_ANSWERS").map(|file| std::fs::read_to_string(file).unwrap());
    let text = longer.unwrap_or_else(|_| include_str!("answers.json").to_owned());
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.iter().map(|case| case.clients.len()).sum::<usize>() >= 300);
    for (number, case) in cases.iter().enumerate() {
        check(number, case);
    }
}
