//! The forms of address by which a client might reach what it should not, and dialling on loopback.

use super::*;
use crate::forward::destination::Destination;
use crate::forward::exit::tests::with_policy;
use crate::rules::{Networks, TrafficRules};

/// A public address that this host is said to have.
const OWN: &str = "198.41.0.4";
const OWN_V6: &str = "2001:503:ba3e::2:30";

fn policy() -> EgressPolicy {
    let own = OwnAddresses::default().with(OWN.parse().unwrap()).with(OWN_V6.parse().unwrap());
    EgressPolicy::PublicOnly(Arc::new(Live::new(own)))
}

fn judge(address: SocketAddr) -> Result<(), DialRefusal> {
    if policy().permits(address.ip()) { Ok(()) } else { Err(DialRefusal::Bogon) }
}

/// What `host` comes to without asking a resolver: the verdict on a literal or on the name's syntax.
fn verdict(host: &str) -> Result<(), DialRefusal> {
    match Destination::parse(host, 80)? {
        Destination::Address(address) => judge(address),
        Destination::Name { .. } => Ok(()),
    }
}

/// Each must be refused.
#[rustfmt::skip]
const INTERNAL: &[&str] = &[
    // IPv4: this network, private, shared, loopback, link local and its metadata services.
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1",
    "127.1.2.3", "127.255.255.255", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1",
    "172.31.255.254", "192.0.0.1", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    // IPv6: own kinds.
    "::", "::1", "100::1", "100:0:0:1::1", "2001:db8::1", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:1::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::a9fe:a9fe", "febf::1",
    "fec0::1", "feff::1", "ff02::1", "ff0e::1", "4000::1", "200::1", "e000::1",
    // IPv4 within IPv6: mapped, compatible, translated, 6to4, Teredo.
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:0.0.0.0",
    "::127.0.0.1", "::10.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b:1::8.8.8.8", "64:ff9b:1:fffe::10.0.0.1", "64:ff9b::1:808:808", "2002:7f00:1::1",
    "2002:a00:1::1", "2002:a9fe:a9fe::", "2002:c0a8:101::1", "2001:0:7f00:1::",
    "2001:0:808:808:0:0:f5ff:fffe", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    // ISATAP.
    "2606:4700::5efe:a00:1", "2606:4700::200:5efe:7f00:1", "2606:4700:0:1:0:5efe:192.168.1.1",
    "2606:4700::5efe:198.41.0.4",
    // This host, however spelt.
    OWN, OWN_V6, "::ffff:198.41.0.4", "64:ff9b::198.41.0.4", "2002:c629:4::1", "2001:503:BA3E:0:0:0:2:30",
];

#[test]
fn literals_that_must_not_be_dialled() {
    assert!(INTERNAL.len() >= 60);
    for form in INTERNAL {
        assert!(form.parse::<IpAddr>().is_ok(), "{form} is meant to be a literal");
        assert_eq!(verdict(form), Err(DialRefusal::Bogon), "{form}");
    }
}

#[test]
fn spellings_that_only_a_resolver_would_take_for_an_address() {
    for form in ["2130706433", "0x7f.1", "0x7f000001", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.01", "0"] {
        assert_eq!(verdict(form), Err(DialRefusal::NameNotFound), "{form}");
    }
    assert_eq!(verdict("printer.local"), Err(DialRefusal::Bogon));
}

#[test]
fn public_addresses_may_be_dialled() {
    for form in [
        "8.8.8.8",
        "1.1.1.1",
        "198.41.0.5",
        "192.31.196.1",
        "192.52.193.1",
        "192.175.48.6",
        "223.255.255.254",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:503:ba3e::2:31",
        "2001:3::1",
        "2620:4f:8000::6",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700::5efe:808:808",
        "example.com",
    ] {
        assert_eq!(verdict(form), Ok(()), "{form}");
    }
}

#[test]
fn a_mix_of_answers_keeps_only_the_permitted_ones_in_order() {
    let answers = ["[2606:4700::1]:80", "127.0.0.1:80", "8.8.8.8:80", "[::1]:80", "[::ffff:1.1.1.1]:80"];
    let answers = answers.iter().map(|answer| answer.parse().unwrap());
    let kept = permitted(answers, judge).unwrap();
    let kept: Vec<String> = kept.iter().map(SocketAddr::to_string).collect();
    assert_eq!(kept, ["[2606:4700::1]:80", "8.8.8.8:80", "1.1.1.1:80"], "families by turns");
}

#[test]
fn no_permitted_answer_is_a_refusal_and_no_answer_is_no_name() {
    let internal = vec!["10.0.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap()];
    assert_eq!(permitted(internal, judge), Err(DialRefusal::Bogon));
    assert_eq!(permitted(Vec::new(), judge), Err(DialRefusal::NameNotFound));
}

#[test]
fn the_number_of_answers_is_bounded() {
    let many = (0..200).map(|n| SocketAddr::from(([8, 8, 8, n], 80)));
    assert_eq!(permitted(many, judge).unwrap().len(), MAX_ANSWERS);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn go(host: &str, port: u16, policy: &EgressPolicy) -> Result<TcpStream, DialRefusal> {
    let destination = Destination::parse(host, port.into())?;
    let exit = with_policy(policy.clone());
    exit.connect(&destination, &TrafficRules::default(), Some(Duration::from_secs(5))).await
}

#[test]
fn loopback_is_refused_although_something_listens_unless_everything_is_allowed() {
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let public_only = EgressPolicy::new(false, []).unwrap();
        for host in ["127.0.0.1", "localhost", "::ffff:127.0.0.1"] {
            assert_eq!(go(host, port, &public_only).await.err(), Some(DialRefusal::Bogon), "{host}");
            assert!(go(host, port, &EgressPolicy::Anything).await.is_ok(), "{host}");
        }
    });
}

#[test]
fn a_closed_port_is_told_from_an_unknown_name() {
    runtime().block_on(async {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let policy = EgressPolicy::Anything;
        assert_eq!(go("127.0.0.1", closed, &policy).await.err(), Some(DialRefusal::ConnectionRefused));
        assert_eq!(go("no-such-name.onion", 80, &policy).await.err(), Some(DialRefusal::NameNotFound));
    });
}

#[test]
fn a_dead_first_address_does_not_hide_a_live_second_one() {
    runtime().block_on(async {
        let closed: SocketAddr =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [closed, live.local_addr().unwrap()];
        assert!(dial(&EgressPolicy::Anything, &addresses, None).await.is_ok());
        assert_eq!(
            dial(&EgressPolicy::Anything, &addresses[..1], None).await.err(),
            Some(DialRefusal::ConnectionRefused)
        );
    });
}

#[test]
fn rules_apply_to_the_address_that_is_dialled() {
    let rules = TrafficRules {
        disallow: Networks::of_subnets(["8.8.8.0/24".parse().unwrap()]),
        ..TrafficRules::default()
    };
    let exit = with_policy(policy());
    let judge = |address: &str| exit.judge_udp(address.parse().unwrap(), &rules);
    assert_eq!(judge("8.8.8.8:53"), Err(DialRefusal::Rules));
    assert_eq!(judge("8.8.4.4:53"), Ok(()));
    assert_eq!(judge("127.0.0.1:53"), Err(DialRefusal::Bogon));
}
