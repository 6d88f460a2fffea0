//! Tests of `select.rs`.

use culvert_obfuscation::Seed;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::server_entry::EntryFields;
use serde_json::json;

use super::*;

const ALL: [&str; 6] = ["OSSH", "SSH", "TLS", "QUIC", "FRONTED-MEEK", "UNFRONTED-MEEK"];

fn entry(capabilities: &[&str]) -> Server {
    let fields = json!({
        "ipAddress": "192.0.2.1", "capabilities": capabilities, "region": "CA", "providerID": "P",
        "frontingProviderID": "F", "sshPort": 22, "sshObfuscatedPort": 443, "sshObfuscatedTLSPort": 444,
        "sshObfuscatedQUICPort": 445, "meekServerPort": 80,
    });
    let fields = EntryFields::from_json(fields.to_string().as_bytes()).unwrap();
    let entry = std::sync::Arc::new(fields.try_into().unwrap());
    Server { entry, source: EntrySource::Target, received: String::new() }
}

fn turn(tried: &[TunnelProtocol]) -> Turn<'_> {
    Turn { earlier: 0, spare: false, tried, hint: None }
}

fn choose(server: &Server, rules: &Rules, turn: Turn<'_>, seed: u8) -> Result<Vec<TunnelProtocol>, Skip> {
    let mut prng = Prng::new(&Seed::from_bytes([seed; 32]));
    select(server, rules, turn, &Experience::default(), &mut prng)
}

fn names(server: &Server, rules: &Rules, turn: Turn<'_>) -> Result<Vec<&'static str>, Skip> {
    let mut names: Vec<_> = choose(server, rules, turn, 1)?.into_iter().map(TunnelProtocol::name).collect();
    names.sort_unstable();
    Ok(names)
}

#[test]
fn limits_leave_what_they_name() {
    let all = entry(&ALL);
    let free = Rules::default();
    let unlimited = ["FRONTED-MEEK-OSSH", "OSSH", "QUIC-OSSH", "SSH", "TLS-OSSH", "UNFRONTED-MEEK-OSSH"];
    assert_eq!(names(&all, &free, turn(&[])).unwrap(), unlimited);
    let limited = Rules { limit: vec![TunnelProtocol::QUIC_OSSH], ..Rules::default() };
    assert_eq!(names(&all, &limited, turn(&[])).unwrap(), ["QUIC-OSSH"]);
    assert_eq!(names(&entry(&["SSH"]), &limited, turn(&[])), Err(Skip::Protocols));
    assert_eq!(names(&entry(&["web"]), &free, turn(&[])), Err(Skip::NothingSpoken));
    let initial = InitialLimit { protocols: vec![TunnelProtocol::OSSH], candidates: 2 };
    let rules = Rules { initial, ..limited };
    assert_eq!(names(&all, &rules, turn(&[])).unwrap(), ["OSSH"]);
    assert_eq!(names(&all, &rules, Turn { earlier: 2, ..turn(&[]) }).unwrap(), ["QUIC-OSSH"]);
    let [first, others] = rules.allowed().map(|set| set.iter().collect::<Vec<_>>());
    assert_eq!((first, others), (vec![TunnelProtocol::OSSH], vec![TunnelProtocol::QUIC_OSSH]));
}

#[test]
fn regions_ports_and_what_was_tried_are_kept_to() {
    let all = entry(&ALL);
    let elsewhere = Rules { region: "FR".to_owned(), ..Rules::default() };
    assert_eq!(names(&all, &elsewhere, turn(&[])), Err(Skip::Region));
    let mut parameters = Parameters::default();
    let ports = json!({ "TLS-OSSH": [[1, 1000]], "All": [[1, 22], 443] });
    parameters.set("LimitTunnelDialPortNumbers", &ports).unwrap();
    let rules = Rules { ports: parameters.limits.dial_ports, ..Rules::default() };
    // What goes to a front has its port, 443.
    assert_eq!(names(&all, &rules, turn(&[])).unwrap(), ["FRONTED-MEEK-OSSH", "OSSH", "SSH", "TLS-OSSH"]);
    assert_eq!(names(&entry(&["QUIC"]), &rules, turn(&[])), Err(Skip::Ports));
    let tried = [TunnelProtocol::OSSH];
    assert_eq!(names(&entry(&["OSSH"]), &Rules::default(), turn(&tried)), Err(Skip::Tried));
    assert_eq!(names(&entry(&["OSSH", "SSH"]), &Rules::default(), turn(&tried)).unwrap(), ["SSH"]);
}

#[test]
fn what_takes_much_waits_when_enough_of_it_runs() {
    let spare = Turn { spare: true, ..turn(&[]) };
    assert_eq!(names(&entry(&["QUIC", "OSSH"]), &Rules::default(), spare).unwrap(), ["OSSH"]);
    let skip = names(&entry(&["QUIC"]), &Rules::default(), spare).unwrap_err();
    assert!(skip == Skip::Intensive && !skip.is_lasting());
}

#[test]
fn restricted_providers_lose_what_is_restricted() {
    let all = entry(&ALL);
    let restricted = |regions: &[&str], probability| Rules {
        restricted_direct: [("P".to_owned(), regions.iter().map(|it| (*it).to_owned()).collect())].into(),
        restricted_direct_probability: probability,
        ..Rules::default()
    };
    for regions in [&[""][..], &["FR", "CA"]] {
        assert_eq!(names(&all, &restricted(regions, 1.0), turn(&[])).unwrap(), ["FRONTED-MEEK-OSSH"]);
    }
    let only_direct = entry(&["OSSH"]);
    let skip = Skip::Provider("P".to_owned());
    assert_eq!(names(&only_direct, &restricted(&[""], 1.0), turn(&[])), Err(skip));
    for rules in [restricted(&["FR"], 1.0), restricted(&[""], 0.0)] {
        assert_eq!(names(&only_direct, &rules, turn(&[])).unwrap(), ["OSSH"]);
    }
    let fronts = Rules {
        restricted_fronting: vec!["F".to_owned()],
        restricted_fronting_probability: 1.0,
        ..Rules::default()
    };
    let skip = Skip::FrontingProvider("F".to_owned());
    assert_eq!(names(&entry(&["FRONTED-MEEK"]), &fronts, turn(&[])), Err(skip));
}

#[test]
fn through_a_proxy_goes_what_is_tcp_and_listed() {
    let all = entry(&ALL);
    let any = Rules { upstream: Upstream::AnyEntry, ..Rules::default() };
    assert!(!names(&all, &any, turn(&[])).unwrap().contains(&"QUIC-OSSH"));
    assert_eq!(names(&entry(&["QUIC"]), &any, turn(&[])), Err(Skip::UpstreamProxy));
    let listed = Rules { upstream: Upstream::ListedEntries, ..Rules::default() };
    assert_eq!(names(&all, &listed, turn(&[])), Err(Skip::UpstreamProxySource(EntrySource::Target)));
    let mut prng = Prng::new(&Seed::from_bytes([0; 32]));
    let (embedded, seen) = (Server { source: EntrySource::Embedded, ..all }, Experience::default());
    assert!(select(&embedded, &listed, turn(&[]), &seen, &mut prng).is_ok());
}

#[test]
fn each_protocol_is_as_likely_as_any_but_for_what_is_known() {
    let three = entry(&["OSSH", "SSH", "TLS"]);
    let mut prng = Prng::new(&Seed::from_bytes([7; 32]));
    let mut count = |seen: &Experience, hint| {
        let mut firsts = BTreeMap::<&str, u32>::new();
        for _ in 0..3000 {
            let turn = Turn { hint, ..turn(&[]) };
            let order = select(&three, &Rules::default(), turn, seen, &mut prng).unwrap();
            assert_eq!(order.len(), 3);
            *firsts.entry(order[0].name()).or_default() += 1;
        }
        firsts
    };
    let unknown = Experience::default();
    let even = count(&unknown, None);
    assert!(even.values().all(|count| (850..1150).contains(count)), "{even:?}");
    let mut seen = Experience::default();
    seen.worked(TunnelProtocol::SSH);
    (0..5).for_each(|_| seen.went_nowhere(TunnelProtocol::OSSH));
    let skewed = count(&seen, None);
    assert!(skewed["SSH"] > 2000 && skewed["OSSH"] < skewed["TLS-OSSH"] && skewed["OSSH"] > 10, "{skewed:?}");
    assert_eq!(count(&unknown, Some(TunnelProtocol::TLS_OSSH))["TLS-OSSH"], 3000);
}
