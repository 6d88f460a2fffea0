//! Which headers an HTTP proxy passes on. Pure.
//!
//! Source: RFC 9110 section 7.6.1 (Connection and hop-by-hop fields), section 7.8 (Upgrade).

use hyper::HeaderMap;
use hyper::header::{CONNECTION, EXPECT, HeaderName, HeaderValue, UPGRADE};

/// Headers that concern one connection only, whether `Connection` names them or not.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Takes out what concerns only the connection it came on. An upgrade is kept: the proxy passes it through.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let upgrade = wanted_upgrade(headers);
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(UPGRADE);
    // The proxy itself has already asked for the body.
    headers.remove(EXPECT);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Takes out a wish to upgrade, where none can be met.
pub(super) fn strip_upgrade(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
}

/// The protocol that the headers ask to switch to, if any.
pub(super) fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asks).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(pairs: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        left
    }

    #[test]
    fn hop_by_hop_headers_go() {
        let left = stripped(&[
            ("connection", "close, X-Private"),
            ("connection", "x-other"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("x-end", "3"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
        ]);
        assert_eq!(left, ["x-end: 3"]);
    }

    #[test]
    fn an_upgrade_stays() {
        let left = stripped(&[("connection", "keep-alive, upgrade"), ("upgrade", "websocket"), ("a", "b")]);
        assert_eq!(left, ["a: b", "connection: Upgrade", "upgrade: websocket"]);
    }
}
