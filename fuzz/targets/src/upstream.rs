//! Targets of what lies between a client and the servers: proxies of the user and servers of names.

use std::time::SystemTime;

use bytes::BytesMut;
use culvert_transport::Endpoint;
use culvert_transport::resolve::is_bogus;
use culvert_transport::resolve::wire::{Asking, Family, Found, Question};
use culvert_transport::upstream::wire::ntlm::{Account, ServerChallenge, authenticate};
use culvert_transport::upstream::wire::{Fresh, Handshake, Step};
use culvert_transport::upstream::{CustomHeaders, ProxyUrl};

/// What all questions ask for.
const NAME: &str = "www.example.org";
const ID: u16 = 0x1234;

/// What claims to be an answer to either question.
pub(crate) fn dns_answer(data: &[u8]) {
    for family in [Family::V4, Family::V6] {
        for name_must_match in [false, true] {
            let asking = Asking {
                name: NAME,
                family,
                id: ID,
                edns0: false,
                casing: None,
                transform: None,
                name_must_match,
            };
            let question = Question::new(asking).expect("the name is one");
            let Ok(Found { addresses, .. }) = question.answer(data) else { continue };
            assert!(family == Family::V6 || !addresses.is_empty());
            assert!(addresses.iter().all(|address| !is_bogus(*address)));
            assert!(addresses.iter().all(|address| address.is_ipv4() == (family == Family::V4)));
            assert_eq!(data.get(..2), Some(&ID.to_be_bytes()[..]));
        }
    }
}

/// What a proxy sends, by the first byte to a client of one kind or another: in pieces it means the same.
pub(crate) fn proxy_replies(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let url = match kind % 4 {
        0 => "http://domain%5Cuser:password@proxy:1",
        1 => "socks4a://user@proxy:1",
        2 => "socks5://user:password@proxy:1",
        _ => "socks5://proxy:1",
    };
    let whole = converse(url, data, data.len().max(1));
    assert_eq!(whole, converse(url, data, 1), "pieces meant something else than the whole");
}

/// All that the client says, how it ended, and what was left for the tunnel.
fn converse(url: &str, data: &[u8], piece: usize) -> (Vec<Vec<u8>>, String, usize) {
    let proxy = ProxyUrl::parse(url).expect("the URL is one");
    let target = Endpoint::Name("target".to_owned(), 443);
    let fresh = Fresh { random: [7; Fresh::LEN], now: SystemTime::UNIX_EPOCH };
    let headers = CustomHeaders::default();
    let mut handshake = Handshake::new(&proxy, &target, &headers, fresh).expect("it can be asked for");
    let (mut said, mut received, mut pieces) = (Vec::new(), BytesMut::new(), data.chunks(piece));
    let mut taken = 0;
    loop {
        match handshake.step(&mut received) {
            Ok(Step::Write(bytes)) => said.push(bytes),
            Ok(Step::Connected) => {
                return (said, "connected".to_owned(), data.len() - taken + received.len());
            }
            // What the next connection brings depends on what this one had left.
            Ok(Step::Reconnect) => return (said, "reconnect".to_owned(), 0),
            Ok(Step::Read) => match pieces.next() {
                Some(piece) => {
                    taken += piece.len();
                    received.extend_from_slice(piece);
                }
                None => return (said, "wanting".to_owned(), 0),
            },
            Err(error) => return (said, error.to_string(), 0),
        }
    }
}

/// The second message of NTLM.
pub(crate) fn ntlm_challenge(data: &[u8]) {
    let Ok(challenge) = ServerChallenge::parse(data) else { return };
    let account = Account::new("domain\\user", "password");
    let responses = challenge.respond(account, [7; 8], SystemTime::UNIX_EPOCH);
    assert_eq!(responses.lm.len(), 24);
    assert!(authenticate(&challenge, account, &responses).starts_with(b"NTLMSSP\0\x03\0\0\0"));
}

/// A proxy's URL in the settings.
pub(crate) fn proxy_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ProxyUrl::parse(text) {
        Ok(proxy) => {
            let login = proxy.credentials.map(|login| login.user.len());
            assert_ne!(login, Some(0));
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.at), "{error}"),
    }
}
