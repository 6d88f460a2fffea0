//! The choice of rules, against trying every filter in turn.

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::packed::Params;

use super::*;
use crate::rules::{
    Api, Authorizations, HandshakeFacts, HandshakeFilter, Names, Patterns, RuleChanges, TextParameters,
    Versions, parameter_number,
};

/// What a client is, owned.
struct Client {
    protocol: TunnelProtocol,
    place: [&'static str; 4],
    handshake: Option<Handshake>,
}

struct Handshake {
    parameters: TextParameters,
    types: Vec<String>,
    ids: Vec<String>,
    revoked: bool,
}

impl Client {
    fn facts(&self) -> ClientFacts<'_> {
        let [country, isp, asn, city] = self.place;
        let handshake = self.handshake.as_ref().map(|handshake| HandshakeFacts {
            parameters: &handshake.parameters,
            access_types: &handshake.types,
            authorization_ids: &handshake.ids,
            revoked: handshake.revoked,
        });
        ClientFacts { protocol: self.protocol, country, isp, asn, city, handshake }
    }
}

/// Rules that tell which filter they belong to.
fn numbered(number: usize) -> RuleChanges {
    RuleChanges { most_tcp: Some(number + 1), ..RuleChanges::default() }
}

fn number_of(rules: &TrafficRules) -> Option<usize> {
    rules.most_flows.map(|most| most.get() - 1).filter(|number| *number != 511)
}

fn file_of(filters: impl IntoIterator<Item = (Filter, Option<Filter>)>) -> RulesFile {
    let filtered = filters.into_iter().enumerate().map(|(number, (filter, except))| FilteredRules {
        filter,
        except,
        rules: numbered(number + 1000),
    });
    RulesFile { filtered: filtered.collect(), ..RulesFile::default() }
}

fn handshake(json: &str) -> Handshake {
    let parameters = TextParameters::new(&Params::from_json(json.as_bytes()).unwrap());
    Handshake { parameters, types: Vec::new(), ids: Vec::new(), revoked: false }
}

fn of_handshake(handshake: HandshakeFilter) -> Filter {
    Filter { handshake, ..Filter::default() }
}

fn parameter(name: &str, patterns: &[&str]) -> Option<Vec<(u8, Patterns)>> {
    Some(vec![(parameter_number(name).unwrap(), patterns.iter().copied().collect())])
}

fn choice(filter: Filter, client: &Client) -> bool {
    let set = RuleSet::compile(&file_of([(filter, None)]), "P");
    number_of(&set.select(&client.facts())).is_some()
}

fn someone(handshake: Option<Handshake>) -> Client {
    Client { protocol: TunnelProtocol::OSSH, place: ["AA", "One", "64500", "Town"], handshake }
}

#[test]
fn before_the_handshake_nothing_that_needs_it_fits() {
    let version = Versions { least: Some(1), most: None };
    let types = Authorizations::Active { types: ["t"].into_iter().collect(), ids: Names::default() };
    for filter in [
        HandshakeFilter { api: Api::Ssh, ..HandshakeFilter::default() },
        HandshakeFilter { parameters: Some(Vec::new()), ..HandshakeFilter::default() },
        HandshakeFilter { parameters: parameter("sponsor_id", &["*"]), ..HandshakeFilter::default() },
        HandshakeFilter { versions: version, ..HandshakeFilter::default() },
        HandshakeFilter { authorizations: types, ..HandshakeFilter::default() },
        HandshakeFilter { authorizations: Authorizations::Revoked, ..HandshakeFilter::default() },
    ] {
        assert!(!choice(of_handshake(filter.clone()), &someone(None)), "{filter:?}");
    }
    assert!(choice(Filter::default(), &someone(None)));
}

#[test]
fn what_a_handshake_says_is_looked_at() {
    let client = |version: &str| {
        let mut handshake =
            handshake(&format!(r#"{{"client_version": "{version}", "client_platform": "Android_10"}}"#));
        handshake.types = vec!["speed".into()];
        handshake.ids = vec!["AAA=".into(), "BBB=".into()];
        someone(Some(handshake))
    };
    let with = |parameters, versions| HandshakeFilter { parameters, versions, ..HandshakeFilter::default() };
    let any = Versions::default();
    for (filter, fits) in [
        (with(parameter("client_platform", &["Android_*"]), any), true),
        (with(parameter("client_platform", &["Windows", "Android_10"]), any), true),
        (with(parameter("client_platform", &["Windows"]), any), false),
        (with(parameter("client_platform", &[]), any), false),
        (with(parameter("device_region", &["*"]), any), false),
        (with(None, Versions { least: Some(5), most: Some(5) }), true),
        (with(None, Versions { least: Some(6), most: None }), false),
        (with(None, Versions { least: None, most: Some(4) }), false),
        (HandshakeFilter { api: Api::Ssh, ..HandshakeFilter::default() }, true),
        (HandshakeFilter { api: Api::Other, ..HandshakeFilter::default() }, false),
    ] {
        assert_eq!(choice(of_handshake(filter.clone()), &client("5")), fits, "{filter:?}");
    }
    let least = with(None, Versions { least: Some(0), most: None });
    assert!(!choice(of_handshake(least), &client("five")));
    let active = |types: &[&str], ids: &[&str]| Authorizations::Active {
        types: types.iter().copied().collect(),
        ids: ids.iter().copied().collect(),
    };
    for (authorizations, now, revoked) in [
        (active(&["speed"], &[]), true, false),
        (active(&["other"], &[]), false, false),
        (active(&[], &["BBB="]), true, false),
        (active(&["speed"], &["AAA=", "CCC="]), true, false),
        (active(&["speed"], &["CCC="]), false, false),
        (Authorizations::Revoked, false, true),
    ] {
        let filter = of_handshake(HandshakeFilter { authorizations, ..HandshakeFilter::default() });
        let mut client = client("5");
        assert_eq!(choice(filter.clone(), &client), now, "{filter:?}");
        client.handshake.as_mut().unwrap().revoked = true;
        assert_eq!(choice(filter.clone(), &client), revoked, "{filter:?}, revoked");
    }
}

#[test]
fn filters_of_other_servers_are_none() {
    let of = |provider: &str| Filter { providers: [provider].into_iter().collect(), ..Filter::default() };
    assert!(choice(of("P"), &someone(None)));
    assert!(!choice(of("Q"), &someone(None)));
    let except = |provider| {
        let set = RuleSet::compile(&file_of([(Filter::default(), Some(of(provider)))]), "P");
        number_of(&set.select(&someone(None).facts())).is_some()
    };
    assert!(except("Q") && !except("P"));
}

/// Draws filters and clients from few values, so that many fit.
struct Draw(Prng);

impl Draw {
    fn below(&mut self, most: usize) -> usize {
        self.0.uint64() as usize % most
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn some(&mut self, of: &[&'static str]) -> Vec<&'static str> {
        match self.below(3) {
            0 => (0..=self.below(3)).map(|_| self.one(of)).collect(),
            _ => Vec::new(),
        }
    }

    fn filter(&mut self) -> Filter {
        let protocols = [TunnelProtocol::OSSH, TunnelProtocol::SSH, TunnelProtocol::TLS_OSSH];
        let parameters = (self.below(3) == 0).then(|| {
            let names: Vec<_> = self.some(&["sponsor_id", "client_platform", "device_region"]);
            let patterns = |draw: &mut Self| match draw.below(8) {
                0 => Patterns::default(),
                1 => ["*"].into_iter().collect(),
                2 => [draw.one(&["a*", "*b", "*"]), "b"].into_iter().collect(),
                _ => [draw.one(&["a", "b", "ab"]), "c"].into_iter().collect(),
            };
            names.into_iter().map(|name| (parameter_number(name).unwrap(), patterns(self))).collect()
        });
        let authorizations = match self.below(8) {
            0 => Authorizations::Revoked,
            1 | 2 => Authorizations::Active {
                types: self.some(&["t", "u"]).into_iter().collect(),
                ids: self.some(&["i", "j"]).into_iter().collect(),
            },
            _ => Authorizations::default(),
        };
        let versions = Versions {
            least: (self.below(5) == 0).then(|| self.below(4) as i64),
            most: (self.below(5) == 0).then(|| self.below(4) as i64),
        };
        Filter {
            protocols: if self.below(3) == 0 { vec![self.one(&protocols)] } else { Vec::new() },
            countries: self.some(&COUNTRIES).into_iter().collect(),
            isps: self.some(&ISPS).into_iter().collect(),
            asns: self.some(&ASNS).into_iter().collect(),
            cities: self.some(&CITIES).into_iter().collect(),
            handshake: HandshakeFilter {
                api: self.one(&[Api::Any, Api::Any, Api::Ssh]),
                parameters,
                authorizations,
                versions,
            },
            providers: self.some(&["P", "Q"]).into_iter().collect(),
        }
    }

    fn client(&mut self) -> Client {
        let handshake = (self.below(6) > 0).then(|| {
            let mut handshake = handshake(&format!(
                r#"{{"client_version": "{}", "sponsor_id": "{}", "client_platform": "{}"}}"#,
                self.below(5),
                self.one(&["a", "b", "ab", "c", ""]),
                self.one(&["a", "b", "ab", "c", ""]),
            ));
            handshake.types = self.some(&["t", "u", "v"]).into_iter().map(str::to_owned).collect();
            handshake.ids = self.some(&["i", "j", "k"]).into_iter().map(str::to_owned).collect();
            handshake.revoked = self.below(4) == 0;
            handshake
        });
        let place = [self.one(&COUNTRIES), self.one(&ISPS), self.one(&ASNS), self.one(&CITIES)];
        let protocols = [TunnelProtocol::OSSH, TunnelProtocol::SSH, TunnelProtocol::QUIC_OSSH];
        Client { protocol: self.one(&protocols), place, handshake }
    }
}

const COUNTRIES: [&str; 5] = ["AA", "BB", "CC", "DD", "None"];
const ISPS: [&str; 4] = ["One", "Two", "Three", "None"];
const ASNS: [&str; 4] = ["64500", "64501", "64502", "None"];
const CITIES: [&str; 3] = ["Town", "Village", "None"];

#[test]
fn the_index_finds_what_trying_all_finds() {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    let seed = std::env::var("CULVERT_TEST_SEED")
        .ok()
        .and_then(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok());
    let bytes = seed.unwrap_or(bytes);
    let seed = data_encoding::HEXLOWER.encode(&bytes);
    let mut draw = Draw(Prng::new(&Seed::from_bytes(bytes)));
    let mut hits = 0;
    for round in 0..40 {
        let count = draw.one(&[1, 3, 20, 300]);
        let filters: Vec<_> =
            (0..count).map(|_| (draw.filter(), (draw.below(4) == 0).then(|| draw.filter()))).collect();
        let set = RuleSet::compile(&file_of(filters.clone()), "P");
        for _ in 0..200 {
            let client = draw.client();
            let facts = client.facts();
            let fits = |filter: &Filter| filter.concerns("P") && filter.fits(&facts);
            let linear = filters
                .iter()
                .position(|(filter, except)| fits(filter) && !except.as_ref().is_some_and(fits));
            let found = number_of(&set.select(&facts)).map(|number| number - 1000);
            assert_eq!(found, linear, "round {round}, CULVERT_TEST_SEED={seed}: {facts:?}");
            assert!(Arc::ptr_eq(&set.select(&facts), &set.select_by_trying_all(&facts)));
            hits += usize::from(found.is_some());
        }
    }
    assert!(hits > 1000, "only {hits} clients had rules of their own, seed {seed}");
}

/// Not the time, which depends on the machine: how many filters are tried for a client.
#[test]
fn few_of_many_filters_are_tried() {
    const MANY: usize = 10_000;
    let names = |kind: &str, number: usize| -> Names { [format!("{kind}{number}")].into_iter().collect() };
    let filters: Vec<Filter> = (0..MANY)
        .map(|number| {
            let mut filter = Filter { countries: names("", number % 200), ..Filter::default() };
            match number % 4 {
                0 => filter.isps = names("isp", number),
                1 => filter.asns = names("", number),
                2 => {
                    filter.handshake.parameters =
                        parameter("sponsor_id", &[&format!("{number:016x}"), "0000000000000000"]);
                }
                _ => {
                    let types = names("type", number);
                    filter.handshake.authorizations = Authorizations::Active { types, ids: Names::default() };
                }
            }
            filter
        })
        .collect();
    let index = Index::new(filters.iter());
    let mut handshake = handshake(r#"{"sponsor_id": "0000000000000bb6"}"#);
    handshake.types = (0..16).map(|number| format!("type{number}")).collect();
    let client = Client { place: ["198", "isp4000", "77", "None"], ..someone(Some(handshake)) };
    let tried = std::cell::Cell::new(0);
    let fits = |number: u32| {
        tried.set(tried.get() + 1);
        filters[number as usize].fits(&client.facts())
    };
    // That of its sponsor, whose country is its own.
    assert_eq!(index.find(&client.facts(), fits), Some(0xbb6));
    assert!(tried.get() <= 8, "{} filters were tried", tried.get());
}
