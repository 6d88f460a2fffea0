//! Ways out for tests, and what the blocklist does.

use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::forward::names::Family;
use crate::log::{Level, Logger, Origin};

/// Remembers what it was told.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn add(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl HitObserver for Told {
    fn hit(&self, listed: Listed<'_>, tag: &Tag) {
        let what = match listed {
            Listed::Address(address) => address.to_string(),
            Listed::Name(name) => name.to_owned(),
        };
        self.add(format!("{what} {}", tag.subject));
    }

    fn hits_exceeded(&self) {
        self.add("exceeded".to_owned());
    }

    fn blocked(&self, tag: &Tag) {
        self.add(format!("blocked {}", tag.subject));
    }
}

fn way_out(policy: EgressPolicy, list: &str, blocks: bool) -> (Exit, Told) {
    let (log, _) = Logger::captured(Level::Info, Origin::default());
    let blocklist = crate::config::blocklist::parse(Path::new("list"), list).unwrap();
    let egress = Egress {
        policy,
        resolver: Arc::new(Resolver::new(None, Family::V4)),
        blocklist: Arc::new(Live::new(blocklist)),
        geoip: Arc::default(),
        header_keys: BTreeMap::new(),
        headers: Live::new(Headers::default()),
        destination_bytes: DestinationBytes::new(
            std::collections::BTreeSet::new(),
            None,
            Arc::new(Live::new(GeoIp::default())),
            log.clone(),
        ),
        blocks,
        limits_udp: true,
        names: Live::new(CacheLimits { names: 32, time: Duration::from_secs(10) }),
        exhausted: Aggregated::new(log, Level::Error, "exhausted", Duration::from_secs(60)),
    };
    let told = Told::default();
    (Exit::new(Arc::new(egress), Box::new(told.clone()), tally()), told)
}

/// Counts for nobody.
pub(crate) fn tally() -> Arc<Tally> {
    let figures = crate::figures::Figures::new(&[]);
    figures
        .tunnel(culvert_protocol::TunnelProtocol::OSSH, crate::figures::Country::UNKNOWN, None)
        .tally()
        .clone()
}

/// A way out that refuses nothing but what rules do.
pub(crate) fn to_anywhere() -> Exit {
    way_out(EgressPolicy::Anything, "", false).0
}

/// A way out with this policy.
pub(crate) fn with_policy(policy: EgressPolicy) -> Exit {
    way_out(policy, "", false).0
}

fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

const LIST: &str = "192.0.2.1,s,malware\nbad.example,s,phishing\nlocalhost,s,here\n";

#[test]
fn what_is_listed_is_reported_and_refused_only_if_wanted() {
    let rules = TrafficRules::default();
    let address = "[::ffff:192.0.2.1]:80".parse().unwrap();
    let (exit, told) = way_out(EgressPolicy::Anything, LIST, false);
    assert_eq!(exit.judge_udp(address, &rules), Ok(()));
    assert!(exit.permits_query(&query("BAD.example")));
    assert!(exit.permits_query(&query("www.bad.example")), "only the name itself is listed");
    assert_eq!(told.take(), ["192.0.2.1 malware", "bad.example phishing"]);
    let (exit, told) = way_out(EgressPolicy::Anything, LIST, true);
    assert_eq!(exit.judge_udp(address, &rules), Err(DialRefusal::Blocked));
    assert!(!exit.permits_query(&query("bad.example")));
    assert_eq!(
        told.take(),
        ["192.0.2.1 malware", "blocked malware", "bad.example phishing", "blocked phishing"]
    );
}

#[test]
fn queries_must_be_queries_and_not_of_the_local_link() {
    let exit = to_anywhere();
    assert!(exit.permits_query(&query("example.com")));
    for packet in [query("printer.local"), query("LOCAL"), b"no query".to_vec(), Vec::new()] {
        assert!(!exit.permits_query(&packet), "{packet:?}");
    }
}

#[test]
fn reports_of_one_tunnel_are_bounded() {
    let (exit, told) = way_out(EgressPolicy::Anything, LIST, false);
    for _ in 0..3 * MOST_HITS {
        exit.permits_query(&query("bad.example"));
    }
    let told = told.take();
    assert_eq!(told.len() as u64, MOST_HITS + 1);
    assert_eq!(told.last().map(String::as_str), Some("exceeded"));
}

#[tokio::test]
async fn a_new_list_holds_for_the_next_flow() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let destination = Destination::parse("localhost", port.into()).unwrap();
    let (exit, told) = way_out(EgressPolicy::Anything, "", true);
    let go = async || exit.connect(&destination, &TrafficRules::default(), None).await.map(drop);
    assert_eq!(go().await, Ok(()));
    exit.shared.blocklist.replace(crate::config::blocklist::parse(Path::new("list"), LIST).unwrap());
    assert_eq!(go().await, Err(DialRefusal::Blocked));
    assert_eq!(told.take(), ["localhost here", "blocked here"]);
}
