//! Request parameters as typed log fields. PROTOCOL.md 4.4 names the parameters; the log's names are the reference's.

use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use super::specs::{LogAs, RequestKind, Spec};
use crate::go_number;
use crate::packed::{Params, Value};
use crate::tunnel_protocol::{BaseProtocol, Feature, MeekKind, TunnelProtocol};

/// The log fields of a request whose parameters were validated. `prefix` goes before each name.
#[must_use]
pub fn log_fields(kind: RequestKind, params: &Params, prefix: &str) -> Map<String, Json> {
    let protocol = params.text("relay_protocol").and_then(|name| name.parse().ok());
    let mut fields = Map::new();
    for spec in kind.specs().filter(|spec| is_logged(spec, params, protocol)) {
        if let Some((name, value)) = field(spec, params.get(spec.name)) {
            fields.insert(format!("{prefix}{name}"), value);
        }
    }
    fields
}

/// Some values are the server's own address for some protocols, and the log must not hold it.
fn is_logged(spec: &Spec, params: &Params, protocol: Option<TunnelProtocol>) -> bool {
    let fronted = protocol.is_some_and(|p| p.has(Feature::Fronted));
    match spec.log {
        LogAs::Never => false,
        LogAs::IfIndirect => fronted || protocol.is_some_and(|p| p.base() == BaseProtocol::Conjure),
        LogAs::IfTransformed => match protocol.and_then(|p| p.base().traits().meek) {
            Some(_) if fronted => true,
            None => true,
            Some(MeekKind::Https) => false,
            Some(_) => params.text("meek_transformed_host_name") == Some("1"),
        },
        _ => true,
    }
}

fn field(spec: &Spec, value: Option<&Value>) -> Option<(&'static str, Json)> {
    let text = match value {
        None if spec.log == LogAs::AsFlagOrFalse => return Some((spec.name, false.into())),
        None => return None,
        Some(Value::Text(text)) => text.as_str(),
        Some(other) if spec.name == "speed_test_samples" => return Some((spec.name, samples(other.into()))),
        Some(other) => return Some((spec.name, other.into())),
    };
    let value = match (spec.name, spec.log) {
        ("meek_dial_address", _) => {
            let host = text.rsplit_once(':').map_or("", |(host, _)| host);
            let is_ip = host.parse::<IpAddr>().is_ok();
            return Some((if is_ip { "meek_dial_ip_address" } else { "meek_dial_domain" }, host.into()));
        }
        ("upstream_proxy_type", _) => text.to_ascii_lowercase().into(),
        // Some old clients send empty text here.
        ("speed_test_samples", _) => return None,
        ("tunnel_error", _) => without_proxy_url(text).into(),
        (_, LogAs::AsInt) => go_number::parse_int(text).unwrap_or(0).into(),
        (_, LogAs::AsFloat) => go_number::parse_float(text).unwrap_or(0.0).into(),
        (_, LogAs::AsLength) => text.len().into(),
        (_, LogAs::AsFlag | LogAs::AsFlagOrFalse) => (text == "1").into(),
        _ => text.into(),
    };
    Some((spec.name, value))
}

/// Old clients report their user's proxy URL in this one error.
fn without_proxy_url(error: &str) -> String {
    const BEFORE_URL: &str = "upstreamproxy error: proxyURI url.Parse: parse ";
    match error.split_once(BEFORE_URL) {
        Some((start, _)) => format!("{start}{BEFORE_URL}<redacted>"),
        None => error.to_owned(),
    }
}

fn samples(value: Json) -> Json {
    let Json::Array(items) = value else { return value };
    let long_name = |name: String| match name.as_str() {
        "s" => "timestamp".to_owned(),
        "r" => "server_region".to_owned(),
        "p" => "relay_protocol".to_owned(),
        "t" => "round_trip_time_ms".to_owned(),
        "u" => "bytes_up".to_owned(),
        "d" => "bytes_down".to_owned(),
        _ => name,
    };
    let rename = |item| match item {
        Json::Object(map) => map.into_iter().map(|(name, value)| (long_name(name), value)).collect(),
        _ => Map::new(),
    };
    Json::Array(items.into_iter().map(|item| Json::Object(rename(item))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(json: &str) -> Json {
        Json::Object(log_fields(RequestKind::BaseAndDial, &Params::from_json(json.as_bytes()).unwrap(), "x_"))
    }

    #[test]
    fn values_get_types_and_addresses_stay_out() {
        let unfronted = logged(
            r#"{"relay_protocol":"UNFRONTED-MEEK-HTTPS-OSSH","client_version":"42","padding":"   ","is_replay":"1",
                "network_latency_multiplier":"1.500000","meek_dial_address":"192.0.2.1:443","meek_host_header":"192.0.2.1",
                "upstream_proxy_type":"SOCKS5","compress_response":"1","client_features":["VPN"]}"#,
        );
        let expected = serde_json::json!({
            "x_relay_protocol": "UNFRONTED-MEEK-HTTPS-OSSH", "x_client_version": 42, "x_padding": 3, "x_is_replay": true,
            "x_replay_ignored_change": false, "x_dsl_prioritized": false, "x_network_latency_multiplier": 1.5,
            "x_upstream_proxy_type": "socks5", "x_client_features": ["VPN"],
        });
        assert_eq!(unfronted, expected);
        let fronted = logged(r#"{"relay_protocol":"FRONTED-MEEK-OSSH","meek_dial_address":"a.org:443"}"#);
        assert_eq!(fronted["x_meek_dial_domain"], "a.org");
        let fronted = logged(r#"{"relay_protocol":"FRONTED-MEEK-OSSH","meek_dial_address":"192.0.2.1:443"}"#);
        assert_eq!(fronted["x_meek_dial_ip_address"], "192.0.2.1");
    }

    #[test]
    fn samples_get_long_names() {
        let value = serde_json::json!([{"s": "x", "t": 3, "other": 1}, 5]);
        let expected = serde_json::json!([{"timestamp": "x", "round_trip_time_ms": 3, "other": 1}, {}]);
        assert_eq!(samples(value), expected);
    }
}
