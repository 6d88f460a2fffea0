//! Targets of `client` and `server`: configurations, and what goes out to logs and notices.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::Path;
use std::str::from_utf8;
use std::sync::Arc;

use culvert_client::config as client;
use culvert_client::notice::FreeText;
use culvert_client::store::Store;
use culvert_protocol::TunnelProtocol;
use culvert_protocol::packed::Params;
use culvert_protocol::server_entry::EntrySource;
use culvert_server::config::{Strictness, blocklist as list, parse, psinet, traffic_rules};
use culvert_server::control::Request;
use culvert_server::forward::destination::Destination;
use culvert_server::forward::names::question::question_name;
use culvert_server::geoip::{GeoIp, UNKNOWN};
use culvert_server::rules::{ClientFacts, HandshakeFacts, RuleSet, TextParameters};

/// A client's configuration, as it is run and as it is checked. What passes the check runs.
pub(crate) fn client_config(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let runs = client::parse("client.config", text).is_ok();
    let passes = client::parse_strictly("client.config", text).is_ok();
    assert!(runs || !passes, "a configuration passes the check and does not run");
}

/// A server's configuration, without the files that it names.
pub(crate) fn server_config(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let file = Path::new("psiphond.config");
    let runs = parse(file, text, Strictness::Run).is_ok();
    let passes = parse(file, text, Strictness::Check).is_ok();
    assert!(runs || !passes, "a configuration passes the check and does not run");
}

/// What somebody asks of a running server. What is understood means the same when it is written again.
pub(crate) fn control_requests(data: &[u8]) {
    let Ok(request) = Request::parse(data) else { return };
    let again = serde_json::to_vec(&request).expect("a request can be written");
    assert_eq!(Request::parse(&again), Ok(request));
}

/// Traffic rules.
pub(crate) fn server_traffic_rules(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let file = Path::new("traffic-rules.config");
    let runs = traffic_rules::parse(file, text, Strictness::Run).is_ok();
    let passes = traffic_rules::parse(file, text, Strictness::Check).is_ok();
    assert!(runs || !passes, "rules pass the check and do not run");
    let Ok(file) = traffic_rules::parse(file, text, Strictness::Run) else { return };
    let rules = RuleSet::compile(&file.value, "provider");
    // Clients made of what the rules speak of, so that some fit.
    let words: Vec<&str> = text.split('"').skip(1).step_by(2).filter(|word| word.len() < 100).collect();
    for start in 0..words.len().min(16) {
        let word = |number: usize| words.get((start * 7 + number * 3) % words.len()).copied().unwrap_or("");
        let place = [word(0), word(1), word(2), word(3)];
        let handshake =
            serde_json::json!({ "sponsor_id": word(4), "client_platform": word(5), "client_version": "7" });
        let parameters =
            Params::from_json(handshake.to_string().as_bytes()).map(|it| TextParameters::new(&it));
        let parameters = parameters.expect("it is an object of texts");
        let tokens = [word(6).to_owned(), word(7).to_owned()];
        let handshake = HandshakeFacts {
            parameters: &parameters,
            access_types: &tokens,
            authorization_ids: &tokens,
            revoked: start % 3 == 0,
        };
        let [country, isp, asn, city] = place;
        for handshake in [None, Some(handshake)] {
            let client = ClientFacts { protocol: TunnelProtocol::OSSH, country, isp, asn, city, handshake };
            let (chosen, first) = (rules.select(&client), rules.select_by_trying_all(&client));
            assert!(Arc::ptr_eq(&chosen, &first), "the index finds another filter than the first that fits");
            let address = word(8).split('/').next().and_then(|address| address.parse().ok());
            let address = address.unwrap_or(IpAddr::from([192, 0, 2, 1]));
            let _ = chosen.permits_tcp(SocketAddr::new(address, 443), &|_| Some(7));
            let _ = chosen.permits_udp(SocketAddr::new(address, 53), &|_| None);
        }
    }
}

/// The psinet database.
pub(crate) fn psinet_database(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let file = Path::new("psinet.json");
    let runs = psinet::parse(file, text, None, Strictness::Run).is_ok();
    let passes = psinet::parse(file, text, None, Strictness::Check).is_ok();
    assert!(runs || !passes, "a database passes the check and does not run");
}

/// A database of places: a damaged one is refused, or knows less.
pub(crate) fn geoip_database(data: &[u8]) {
    let Ok(geoip) = GeoIp::from_bytes(data.to_vec()) else { return };
    // Where the data says, besides everywhere that the committed inputs know.
    let (tail, _) = data.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let fixed = ["127.0.0.1", "192.0.2.1", "2001:db8::1", "::"].map(|text| text.parse().expect("an address"));
    for address in fixed.into_iter().chain([IpAddr::from(*tail)]) {
        let (place, network) = (geoip.look_up(address), geoip.look_up_network(address));
        assert!(!place.country.is_empty() && !place.asn.is_empty() && !network.isp.is_empty());
        assert!(network.asn == place.asn || network.asn == UNKNOWN);
    }
}

/// A list of servers, as it comes into a store. What is counted is there, and a second time changes nothing.
pub(crate) fn server_list(data: &[u8]) {
    let store = Store::in_memory();
    let import = || {
        store.import(data, &EntrySource::Embedded, |_| ControlFlow::Continue(())).expect("memory has room")
    };
    let first = import();
    assert_eq!(store.count(), first.added, "other servers were counted than stored");
    let ids = store.servers(None);
    let stored: Vec<_> =
        ids.iter().map(|id| store.server(*id).expect("it can be read again").entry).collect();
    assert!(ids.iter().zip(&stored).all(|(id, entry)| store.id_of(entry) == Some(*id)));
    let second = import();
    assert_eq!((second.added, second.replaced, second.bad), (0, 0, first.bad));
    assert_eq!(store.servers(None), ids);
}

/// Text for people: no address stays in it, whatever is around. The first 16 bytes make the address.
pub(crate) fn notice_text(data: &[u8]) {
    let Some((address, text)) = data.split_first_chunk::<16>() else { return };
    let Ok(text) = from_utf8(text) else { return };
    let [a, b, c, d, ..] = *address;
    for address in [IpAddr::from([a, b, c, d]), IpAddr::from(*address)] {
        let shown =
            FreeText::new(format!("{text} {address} {text} {} {text}", SocketAddr::new(address, 443)));
        // What stands beside it in the text is no address of ours, even if it looks the same.
        let expected = FreeText::new(format!("{text} 192.0.2.1 {text} 192.0.2.1:443 {text}"));
        assert_eq!(shown, expected, "an address was shown, or more than it removed");
    }
}

/// The destination of a forward: the first two bytes are its port.
pub(crate) fn forward_destination(data: &[u8]) {
    let Some(([a, b], host)) = data.split_first_chunk::<2>() else { return };
    let (Ok(host), port) = (from_utf8(host), u16::from_be_bytes([*a, *b])) else { return };
    let Ok(destination) = Destination::parse(host, port.into()) else { return };
    assert_eq!(destination.port(), port);
    assert!(Destination::parse(host, u32::from(port) + 65536).is_err(), "a port above 65535 was taken");
}

/// A blocklist. What is wrong with it has a place.
pub(crate) fn blocklist(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let lines = text.matches('\n').count() + 1;
    match list::parse(Path::new("list"), text) {
        Ok(list) => assert!(list.len() <= lines, "more destinations than lines"),
        Err(error) => {
            for finding in &error.findings {
                let position = finding.position.expect("a place");
                assert!((1..=lines).contains(&position.line) && position.column > 0, "{finding}");
            }
        }
    }
}

/// A datagram for a name server: what is read of it does not depend on what stands after its question.
pub(crate) fn dns_question(data: &[u8]) {
    let Ok(name) = question_name(data) else { return };
    assert!(name.len() <= 4 * 255 && !name.starts_with('.') && !name.ends_with('.'), "{name}");
    assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_control()), "{name}");
    let shortest = (0..=data.len()).find(|end| question_name(&data[..*end]).is_ok());
    assert_eq!(shortest.map(|end| question_name(&data[..end])), Some(Ok(name)));
}
