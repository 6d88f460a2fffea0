//! Plans as a whole: that they stay what they are, and that they are replayed.

use culvert_obfuscation::Seed;
use culvert_protocol::parameters::{Parameters, Probability};
use culvert_protocol::{EntryFields, ServerEntry, TunnelProtocol};
use culvert_ssh::kexinit::{self, OfferPolicy};
use culvert_ssh::{Role, ServerKind};
use culvert_transport::upstream::CustomHeaders;

use super::choices::Choices;
use super::{DialPlan, Earlier, Planner, Wanted, draw};
use crate::SPOKEN;
use crate::notice::DialOrigin;

/// A server with everything.
pub(crate) const ENTRY: &str = r#"{"ipAddress":"192.0.2.7","sshPort":22,"sshObfuscatedPort":1022,"sshObfuscatedTLSPort":1443,
    "sshShadowsocksPort":1080,"sshObfuscatedQUICPort":1444,"meekServerPort":8080,
    "sshUsername":"user","sshPassword":"password","sshHostKey":"AAAA","sshObfuscatedKey":"obfuscated",
    "sshShadowsocksKey":"shadowsocks","region":"CA","configurationVersion":3,"frontingProviderID":"CDN",
    "capabilities":["SSH","OSSH","TLS","SHADOWSOCKS","QUIC","UNFRONTED-MEEK","UNFRONTED-MEEK-HTTPS",
        "UNFRONTED-MEEK-SESSION-TICKET","FRONTED-MEEK","FRONTED-MEEK-HTTP","FRONTED-MEEK-QUIC"],
    "meekObfuscatedKey":"0101010101010101010101010101010101010101010101010101010101010101",
    "meekCookieEncryptionPublicKey":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    "meekFrontingAddresses":["one.example","two.example"],"meekFrontingHosts":["host.example"]}"#;

pub(crate) fn entry() -> ServerEntry {
    ServerEntry::try_from(EntryFields::from_json(ENTRY.as_bytes()).unwrap()).unwrap()
}

/// Parameters under which everything that may be chosen is.
fn all_on() -> Parameters {
    let mut parameters = Parameters::default();
    let transforms = [
        (&mut parameters.ossh_seed, "^.{4}"),
        (&mut parameters.quic_nonce, "^.{4}"),
        (&mut parameters.direct_http, "^POST"),
        (&mut parameters.fronted_http, "^POST"),
    ];
    for (of, matcher) in transforms {
        of.probability = Probability::ALWAYS;
        of.specs.insert("spec".to_owned(), vec![[matcher.to_owned(), "00ff".to_owned()]]);
        of.scoped_names.insert(String::new(), vec!["spec".to_owned()]);
    }
    parameters.fragmentor.probability = Probability::ALWAYS;
    parameters.fragmentor.max_total_bytes = 1000;
    parameters.fragmentor.max_write_bytes = 100;
    parameters
}

fn plan(protocol: TunnelProtocol, seed: u8, parameters: &Parameters, earlier: Option<&Earlier>) -> DialPlan {
    let entry = entry();
    let (wanted, server) = (Wanted::Any, ServerKind::Any);
    let seed = Seed::from_bytes([seed; 32]);
    let headers = &CustomHeaders::default();
    let planner =
        Planner { entry: &entry, parameters, seed, wanted, server, earlier, headers, steering: None };
    planner.plan(protocol).unwrap_or_else(|error| panic!("{protocol}: {error}"))
}

fn earlier(plan: &DialPlan) -> Earlier {
    let (protocol, choices) = (plan.protocol, plan.choices.clone());
    Earlier { protocol, choices, origin: DialOrigin::Replay }
}

fn same(one: &DialPlan, other: &DialPlan) -> bool {
    let ossh = |plan: &DialPlan| {
        let ossh = plan.obfuscated_ssh.clone();
        let ossh = ossh.map(|ossh| {
            let prefix = ossh.prefix.map(|prefix| (prefix.name, prefix.prefix, prefix.split));
            (ossh.padding_seed, prefix, ossh.seed_transform.map(|(name, _, seed)| (name, seed)))
        });
        let ssh = (plan.ssh.ident.clone(), plan.ssh.kex_seed.clone());
        (ossh, ssh, plan.splitting.clone(), plan.fragmentor.clone(), plan.api_padding_seed.clone())
    };
    one.choices == other.choices && one.transport == other.transport && ossh(one) == ossh(other)
}

/// A plan that changes without its parameters is a plan that replays no longer, and a look that is another: say why in the commit.
#[test]
fn the_same_seed_makes_the_plan_that_it_always_made() {
    let mut plans = String::new();
    for protocol in SPOKEN {
        for seed in [1, 2] {
            let plan = plan(protocol, seed, &Parameters::default(), None);
            let choices = serde_json::to_string_pretty(&plan.choices).unwrap();
            plans.push_str(&format!("{protocol} seed {seed}\n{choices}\n"));
        }
    }
    let golden = include_str!("golden.txt");
    let differs = golden.lines().zip(plans.lines()).position(|(golden, made)| golden != made);
    assert!(golden == plans, "golden.txt differs from line {differs:?} on; the plans are now\n{plans}");
}

#[test]
fn a_replay_is_the_plan_that_worked() {
    for parameters in [Parameters::default(), all_on()] {
        for protocol in SPOKEN {
            for seed in 1..12 {
                let first = plan(protocol, seed, &parameters, None);
                let text = serde_json::to_vec(&first.choices).unwrap();
                let choices: Choices = serde_json::from_slice(&text).unwrap();
                let stored = Earlier { choices, ..earlier(&first) };
                let again = plan(protocol, seed + 100, &parameters, Some(&stored));
                assert!(same(&first, &again), "{protocol} seed {seed}");
                assert_eq!(again.origin, DialOrigin::Replay);
                let other = plan(protocol, seed + 100, &parameters, None);
                assert!(!same(&first, &other), "{protocol} seed {seed}");
                assert_eq!(other.origin, DialOrigin::Fresh);
            }
        }
    }
}

#[test]
fn a_plan_for_one_protocol_says_nothing_of_another() {
    let parameters = Parameters::default();
    let stored = earlier(&plan(TunnelProtocol::OSSH, 1, &parameters, None));
    let tls = plan(TunnelProtocol::TLS_OSSH, 2, &parameters, Some(&stored));
    assert!(same(&tls, &plan(TunnelProtocol::TLS_OSSH, 2, &parameters, None)));
    assert_eq!(tls.origin, DialOrigin::Fresh);
}

/// A switch by its name, the protocol that it matters for, and the choices that it is about.
type Off = (&'static str, fn(&mut Parameters), TunnelProtocol, &'static [&'static str]);

#[test]
fn what_is_not_to_be_replayed_is_chosen_anew_and_nothing_else() {
    let off: [Off; 9] = [
        ("SSH", |p| p.replay_parts.ssh = false, TunnelProtocol::OSSH, &["ssh-ident", "ssh-kex"]),
        ("prefix", |p| p.replay_parts.ossh_prefix = false, TunnelProtocol::OSSH, &["ossh-prefix"]),
        (
            "padding",
            |p| p.replay_parts.obfuscator_padding = false,
            TunnelProtocol::UNFRONTED_MEEK_OSSH,
            &["ossh-padding", "meek-cookie", "meek-pace"],
        ),
        (
            "TLS",
            |p| p.replay_parts.tls_profile = false,
            TunnelProtocol::TLS_OSSH,
            &["tls-profile", "tls-session-id", "tls-ticket"],
        ),
        ("test", |p| p.replay_parts.liveness_test = false, TunnelProtocol::OSSH, &["liveness"]),
        ("name", |p| p.replay_parts.hostname = false, TunnelProtocol::QUIC_OSSH, &["server-name"]),
        ("front", |p| p.replay_parts.fronting = false, TunnelProtocol::FRONTED_MEEK_OSSH, &["front"]),
        ("agent", |p| p.replay_parts.user_agent = false, TunnelProtocol::FRONTED_MEEK_OSSH, &["user-agent"]),
        (
            "salt",
            |p| p.replay_parts.shadowsocks_prefix = false,
            TunnelProtocol::SHADOWSOCKS_OSSH,
            &["shadowsocks-prefix"],
        ),
    ];
    for (what, switch, protocol, names) in off {
        let mut parameters = Parameters::default();
        switch(&mut parameters);
        let mut changed = std::collections::BTreeSet::new();
        for seed in 1..16 {
            let first = plan(protocol, seed, &Parameters::default(), None);
            let again = plan(protocol, seed + 100, &parameters, Some(&earlier(&first)));
            let (first, again) = (json(&first), json(&again));
            assert!(first.keys().eq(again.keys()), "{what}");
            changed.extend(
                first.into_iter().filter(|(name, value)| again.get(name) != Some(value)).map(|it| it.0),
            );
        }
        let expected: std::collections::BTreeSet<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(changed, expected, "{what}");
    }
}

#[test]
fn a_front_is_dialed_where_it_says_and_that_alone_is_no_replay() {
    let mut parameters = Parameters::default();
    let entry = entry();
    let headers = &CustomHeaders::default();
    let made = |steering: Option<&str>, earlier: Option<&DialPlan>, parameters: &Parameters| {
        let earlier = earlier.map(self::earlier);
        let planner = Planner {
            entry: &entry,
            parameters,
            seed: Seed::from_bytes([5; 32]),
            wanted: Wanted::Any,
            server: ServerKind::Any,
            earlier: earlier.as_ref(),
            headers,
            steering: steering.map(|address| address.parse().unwrap()),
        };
        planner.plan(TunnelProtocol::FRONTED_MEEK_OSSH).unwrap()
    };
    let look = |plan: &DialPlan| (plan.origin, plan.steering.map(|address| address.to_string()));
    let steered = |origin| (origin, Some("192.0.2.77".to_owned()));
    let plain = made(None, None, &parameters);
    assert_eq!(look(&plain), (DialOrigin::Fresh, None));
    let begun = made(Some("192.0.2.77"), Some(&plain), &parameters);
    assert_eq!(look(&begun), steered(DialOrigin::Fresh));
    // The rest is as it was.
    assert_eq!(json(&begun)["front"], json(&plain)["front"]);
    let again = made(Some("192.0.2.77"), Some(&begun), &parameters);
    assert_eq!(look(&again), steered(DialOrigin::Replay));
    assert_eq!(look(&made(None, Some(&begun), &parameters)), (DialOrigin::Fresh, None));
    assert_eq!(look(&made(None, Some(&plain), &parameters)), (DialOrigin::Replay, None));
    // Parameters that want none let go on with what there is.
    parameters.fronting.steering_ip_probability = Probability::NEVER;
    assert_eq!(look(&made(Some("192.0.2.77"), Some(&plain), &parameters)), (DialOrigin::Replay, None));
    assert_eq!(look(&made(Some("192.0.2.77"), Some(&begun), &parameters)), steered(DialOrigin::Replay));
}

#[test]
fn waits_are_chosen_with_the_plan_and_repeat() {
    let mut parameters = Parameters::default();
    parameters.hold_off.protocol_names = vec![TunnelProtocol::OSSH];
    parameters.hold_off.protocol_probability = Probability::ALWAYS;
    parameters.hold_off.protocol_min = std::time::Duration::from_secs(1);
    parameters.hold_off.protocol_max = std::time::Duration::from_secs(9);
    let first = plan(TunnelProtocol::OSSH, 1, &parameters, None);
    let second = plan(TunnelProtocol::OSSH, 2, &parameters, Some(&earlier(&first)));
    assert!(first.hold_off.is_some());
    assert_eq!((first.hold_off, first.latency.to_bits()), (second.hold_off, second.latency.to_bits()));
    assert_eq!(plan(TunnelProtocol::TLS_OSSH, 1, &parameters, None).hold_off, None);
    // A factor that is not drawn any more is not kept.
    parameters.latency.multiplier_min = 5.0;
    parameters.latency.multiplier_max = 6.0;
    assert!(plan(TunnelProtocol::OSSH, 2, &parameters, Some(&earlier(&first))).latency >= 5.0);
}

#[test]
fn a_choice_that_cannot_be_read_is_made_anew() {
    let parameters = all_on();
    let junk = [
        serde_json::json!(null),
        serde_json::json!([1]),
        serde_json::json!({"name": 7}),
        serde_json::json!("?"),
    ];
    for protocol in SPOKEN {
        let first = plan(protocol, 1, &parameters, None);
        for name in json(&first).into_iter().map(|it| it.0) {
            for junk in &junk {
                let mut damaged = json(&first);
                damaged.insert(name.clone(), junk.clone());
                let choices: Choices = serde_json::from_value(damaged.into()).unwrap();
                // Whatever comes of it is a plan.
                plan(protocol, 2, &parameters, Some(&Earlier { choices, ..earlier(&first) }));
            }
        }
    }
}

fn json(plan: &DialPlan) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(&plan.choices).unwrap() {
        serde_json::Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

#[test]
fn draws_end_in_what_is_wanted() {
    let (mut modp, mut best) = (0, 0);
    for number in 0..100 {
        let base = Seed::from_bytes([number; 32]);
        for wanted in [Wanted::Any, Wanted::Quick, Wanted::QuickWithAesGcm] {
            let mut policy = OfferPolicy {
                role: Role::Client,
                no_encrypt_then_mac: true,
                seed: None,
                peer_seed: None,
                host_key_names: Vec::new(),
            };
            policy.seed = Some(draw(&base, &mut policy, wanted));
            let agreed = kexinit::predict(&policy, &kexinit::offer(&policy, true)).unwrap();
            // AES-128 is rarely not to be had.
            assert!(wanted.cost(&agreed) <= 1, "{number} {wanted:?}");
            best += usize::from(wanted.cost(&agreed) == 0);
            modp += usize::from(agreed.kex.is_modp());
        }
    }
    assert!(best > 290, "{best}");
    assert!(modp > 0, "the reference's choice is not narrowed where nothing is wanted");
}
