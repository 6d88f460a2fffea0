//! Connections of a server whose parameters are set.

use std::time::Duration;

use culvert_transport::Remote;

use super::*;

fn entries() -> BTreeMap<String, ServerEntry> {
    let mut fields = culvert_protocol::EntryFields::default();
    for (name, value) in
        [("ipAddress", "192.0.2.1"), ("region", "CA"), ("providerID", "P"), ("frontingProviderID", "F")]
    {
        fields.set(name, value);
    }
    let line = fields.encode();
    BTreeMap::from([("tag".into(), ServerEntry::decode(&line).unwrap())])
}

fn rules(edit: impl FnOnce(&mut Tactics)) -> AcceptRules {
    let mut tactics = Tactics::default();
    edit(&mut tactics);
    AcceptRules::of(&tactics, &entries())
}

fn treatment(edit: impl FnOnce(&mut ServerReplay)) -> Treatment {
    let rules = rules(|tactics| {
        let parameters = &mut tactics.parameters;
        parameters.fragmentor.max_total_bytes = 100;
        parameters.replay.ttl = Duration::from_secs(3600);
        parameters.replay.target_wait_duration = Duration::from_secs(1);
        parameters.replay.unknown_geoip = true;
        parameters.replay.failed_count_threshold = 1;
        edit(&mut parameters.replay);
    });
    Treatment::new(rules, Seed::from_bytes([1; 32]))
}

impl Treatment {
    fn arrival(&self, protocol: TunnelProtocol) -> Arrival {
        let peer = Remote(([192, 0, 2, 9], 1).into());
        Arrival { protocol, port: 1, peer, at: Instant::now(), draw: self.draw(protocol, &Place::UNKNOWN) }
    }
}

const TLS: TunnelProtocol = TunnelProtocol::TLS_OSSH;

#[test]
fn providers_are_restricted_where_they_are() {
    let direct = |provider: &str, region: &str| {
        let regions = BTreeMap::from([(provider.to_owned(), vec![region.to_owned()])]);
        rules(|tactics| {
            tactics.restrict.direct_providers = regions;
            tactics.parameters.restrict.direct_probability = Probability::ALWAYS;
        })
    };
    for (provider, region, refused) in
        [("P", "CA", true), ("P", "", true), ("P", "FR", false), ("Q", "CA", false)]
    {
        let treatment = Treatment::new(direct(provider, region), Seed::from_bytes([1; 32]));
        assert_eq!(treatment.refuses_direct(TLS), refused, "{provider} {region}");
        assert!(!treatment.refuses_direct(TunnelProtocol::FRONTED_MEEK_OSSH));
        assert!(!treatment.refuses_fronted());
    }
    for (front, refused) in [("F", true), ("G", false)] {
        let rules = rules(|tactics| {
            tactics.restrict.fronting_providers = vec![front.into()];
            tactics.parameters.restrict.fronting_probability = Probability::ALWAYS;
        });
        assert_eq!(Treatment::new(rules, Seed::from_bytes([1; 32])).refuses_fronted(), refused);
    }
    let never = rules(|tactics| {
        tactics.restrict.direct_providers = BTreeMap::from([("P".into(), vec![String::new()])]);
    });
    assert!(!Treatment::new(never, Seed::from_bytes([1; 32])).refuses_direct(TLS), "the odds are 0");
}

#[tokio::test(start_paused = true)]
async fn what_worked_for_one_is_done_for_the_next() {
    let treatment = treatment(|replay| {
        replay.target_tunnel_duration = Duration::from_millis(500);
        replay.target_downstream_bytes = 10;
    });
    let places = GeoIp::default();
    let first = treatment.arrival(TLS);
    assert!(!first.draw.is_replayed());
    for (idle, bytes, works) in [(900, (0, 10), false), (0, (5, 9), false), (100, (0, 10), true)] {
        let mut trial = treatment.trial(first, &places).unwrap();
        trial.due().await;
        trial.judge(Duration::from_millis(idle), bytes);
        assert!(tokio::time::timeout(Duration::from_secs(9), trial.due()).await.is_err(), "only once");
        assert_eq!(treatment.arrival(TLS).draw.is_replayed(), works);
    }
    let second = treatment.arrival(TLS);
    assert_eq!(second.draw.number(), first.draw.number());
    assert!(!treatment.arrival(TunnelProtocol::SSH).draw.is_replayed(), "another protocol");
    // One whose handshake is answered, and one that ends before.
    treatment.trial(second, &places).unwrap().has_worked();
    assert!(treatment.arrival(TLS).draw.is_replayed());
    drop(treatment.trial(second, &places));
    assert!(!treatment.arrival(TLS).draw.is_replayed());
    assert_eq!(treatment.take_counts().deleted, 1);
}

#[test]
fn nothing_is_replayed_unless_it_is_wanted() {
    let places = GeoIp::default();
    let edits: [fn(&mut ServerReplay); 3] = [
        |replay| replay.ttl = Duration::ZERO,
        |replay| replay.fragmentor = false,
        |replay| replay.unknown_geoip = false,
    ];
    for edit in edits {
        let treatment = treatment(edit);
        assert!(treatment.trial(treatment.arrival(TLS), &places).is_none());
    }
    let treatment = treatment(|_| {});
    let ossh = treatment.arrival(TunnelProtocol::OSSH);
    assert!(treatment.trial(ossh, &places).is_none(), "its clients say how");
    assert_eq!(ossh.draw, Draw::default());
}

#[test]
fn other_parameters_forget_what_worked() {
    let treatment = treatment(|_| {});
    let arrival = treatment.arrival(TLS);
    let same = (*treatment.rules.get()).clone();
    treatment.trial(arrival, &GeoIp::default()).unwrap().judge(Duration::ZERO, (0, 0));
    treatment.replace(same.clone());
    assert!(treatment.arrival(TLS).draw.is_replayed(), "they are the same");
    treatment.replace(AcceptRules { with_prefix: true, ..same });
    assert!(!treatment.arrival(TLS).draw.is_replayed());
}
