//! A real exchange between the reference's two halves, read and written again byte for byte.

use serde_json::Value as Json;

use super::*;
use crate::packed::{self, Params};
use crate::{go_json, text_form, timestamp};

const CAPTURE: &str = include_str!("../../../../vectors/data/live_api_capture.json");
const BEHAVIOUR: &str = include_str!("../../../../vectors/data/live_api_behaviour.json");

fn events(file: &str) -> Vec<Json> {
    let mut file: Json = serde_json::from_str(file).unwrap();
    serde_json::from_value(file["vectors"].take()).unwrap()
}

fn payload(event: &Json) -> Vec<u8> {
    text_form::hex(event["payload_hex"].as_str().unwrap()).unwrap()
}

fn reencode(name: &str, params: &Params) -> Result<Params, ParamError> {
    match name {
        request_name::HANDSHAKE => HandshakeRequest::parse(params).map(|request| request.to_params()),
        request_name::CONNECTED => ConnectedRequest::parse(params).map(|request| request.to_params()),
        request_name::STATUS => StatusRequest::parse(params).map(|request| request.to_params()),
        _ => panic!("unexpected request {name}"),
    }
}

fn check_request(name: &str, event: &Json) {
    let bytes = payload(event);
    let params = packed::decode(&bytes).unwrap();
    if let Some(decoded) = event["decoded_params"].as_str() {
        assert_eq!(params.to_json(), go_json::canonical(&go_json::parse(decoded.as_bytes()).unwrap()));
    }
    let encoding = match params.text("server_secret") {
        Some(server_secret) => RequestEncoding::Json { server_secret },
        None => RequestEncoding::Packed,
    };
    let again = encoding.encode(reencode(name, &params).unwrap()).unwrap();
    assert_eq!(text_form::to_hex(&again), text_form::to_hex(&bytes), "{name}");
}

fn check_reply(name: &str, bytes: &[u8]) {
    let again = match name {
        request_name::HANDSHAKE => {
            let json = bytes.starts_with(b"{");
            let encoding = if json { ReplyEncoding::Json } else { ReplyEncoding::Cbor };
            let reply = HandshakeReply::decode(bytes, encoding).unwrap();
            for line in &reply.encoded_server_list {
                crate::ServerEntry::decode(line).unwrap();
            }
            reply.encode(encoding).unwrap()
        }
        request_name::CONNECTED => ConnectedReply::from_json(bytes).unwrap().to_json().into_bytes(),
        request_name::STATUS => StatusReply::from_json(bytes).unwrap().to_json().into_bytes(),
        request_name::OSL => OslRequest::from_json(bytes).unwrap().to_json().into_bytes(),
        request_name::ALERT => Alert::from_json(bytes).unwrap().to_json().into_bytes(),
        request_name::KEEPALIVE => {
            let time = parse_speed_test_reply(bytes).unwrap();
            assert_eq!(time, timestamp::hour_of(time));
            speed_test_reply(time, &bytes[16..])
        }
        _ => panic!("unexpected message {name}"),
    };
    assert_eq!(text_form::to_hex(&again), text_form::to_hex(bytes), "{name}");
}

#[test]
fn a_captured_exchange_is_reproduced() {
    let mut seen = 0;
    for event in events(CAPTURE) {
        let name = event["name"].as_str().unwrap_or_default();
        match event["kind"].as_str().unwrap() {
            "ssh_auth" => {
                let field = event["password"].as_str().unwrap();
                assert_eq!(PasswordPayload::parse(field.as_bytes()).unwrap().to_json().as_str(), field);
            }
            "client_request" if name == request_name::KEEPALIVE => assert!(payload(&event).len() <= 256),
            "client_request" => check_request(name, &event),
            "client_reply" | "server_request" => check_reply(name, &payload(&event)),
            "channel_open" | "server_reply" => continue,
            kind => panic!("unexpected event {kind}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 21);
}

/// Events whose outcome depends on what went before, not on the request.
fn depends_on_order(event: &str) -> bool {
    event.starts_with("before handshake") || event.starts_with("second handshake")
}

#[test]
fn requests_are_accepted_and_refused_like_by_a_live_server() {
    let mut seen = 0;
    for event in events(BEHAVIOUR) {
        let name = event["name"].as_str().unwrap_or_default();
        let known = [request_name::HANDSHAKE, request_name::CONNECTED, request_name::STATUS].contains(&name);
        if !known || depends_on_order(event["event"].as_str().unwrap()) {
            continue;
        }
        let bytes = match event["request_text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => text_form::hex(event["request_hex"].as_str().unwrap()).unwrap(),
        };
        let params = packed::decode(&bytes).unwrap();
        assert_eq!(reencode(name, &params).is_ok(), event["ok"].as_bool().unwrap(), "{event}");
        if let Some(text) = event["reply_text"].as_str() {
            let full = event["reply_length"].is_null();
            let padding = response_padding(&params).len();
            assert!(
                !full
                    || padding == 0
                    || text.ends_with(&format!("\"padding\":\"{}\"}}", " ".repeat(padding)))
            );
            if full {
                check_reply(name, text.as_bytes());
            }
        }
        if let Some(hex) = event["reply_hex"].as_str() {
            assert_eq!(reply_encoding(&params), ReplyEncoding::Cbor);
            check_reply(name, &text_form::hex(hex).unwrap());
        }
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn server_requests_tolerate_what_is_absent() {
    for text in ["{}", r#"{"seed_payload":null}"#, r#"{"seed_payload":{"SLOKs":null}}"#] {
        assert!(OslRequest::from_json(text.as_bytes()).unwrap().sloks().is_empty(), "{text}");
    }
    // The reference's client needs the member, so it is there even when empty.
    assert_eq!(
        OslRequest::new(true, Vec::new()).to_json(),
        r#"{"clear_local_sloks":true,"seed_payload":{"SLOKs":[]}}"#
    );
    assert_eq!(
        Alert::from_json(b"{\"reason\":\"x\",\"action\":null}").unwrap().to_json(),
        r#"{"reason":"x"}"#
    );
    assert!(Alert::from_json(b" [\"x\"]").is_err());
    let shown =
        format!("{:?}", OslRequest::from_json(br#"{"seed_payload":{"SLOKs":[{"ID":"AA==","Key":"//8="}]}}"#));
    assert!(!shown.contains("255") && !shown.contains("//8="), "{shown}");
}

#[test]
fn a_reply_may_hold_less_or_more_than_we_know() {
    let cbor = |hex: &str| HandshakeReply::decode(&text_form::hex(hex).unwrap(), ReplyEncoding::Cbor);
    assert_eq!(cbor("a0").unwrap().encode(ReplyEncoding::Cbor).unwrap(), [0xa0]);
    assert_eq!(cbor("a3186401066255530af6").unwrap().client_region, "US");
    assert!(matches!(cbor("a10601"), Err(ReplyError::Type { key: 6 })));
    assert!(matches!(cbor("80"), Err(ReplyError::Type { key: 0 })));
    assert!(matches!(cbor("a106"), Err(ReplyError::Cbor(_))));
    let json = |text: &str| HandshakeReply::decode(text.as_bytes(), ReplyEncoding::Json).unwrap();
    assert!(json(r#"{"tactics_payload":null,"page_view_regexes":[],"new":{}}"#).tactics_payload.is_none());
    let kept = r#"{"tactics_payload":{"b":1.50,"a":"\u003c"}}"#;
    assert_eq!(json(kept).encode(ReplyEncoding::Json).unwrap(), kept.as_bytes());
}

#[test]
fn extensions_are_a_member_with_a_name() {
    let reply = HandshakeReply {
        client_region: "US".into(),
        culvert_extensions: vec!["a".into(), "b".into()],
        ..HandshakeReply::default()
    };
    for encoding in [ReplyEncoding::Json, ReplyEncoding::Cbor] {
        let bytes = reply.encode(encoding).unwrap();
        let again = HandshakeReply::decode(&bytes, encoding).unwrap();
        assert_eq!(
            (again.client_region, again.culvert_extensions),
            ("US".into(), reply.culvert_extensions.clone())
        );
    }
    let json = reply.encode(ReplyEncoding::Json).unwrap();
    assert_eq!(json, br#"{"client_region":"US","culvert_extensions":["a","b"]}"#);
    // Of another type, and with another name.
    let cbor = |hex: &str| HandshakeReply::decode(&text_form::hex(hex).unwrap(), ReplyEncoding::Cbor);
    let name = text_form::to_hex(b"culvert_extensions");
    assert!(matches!(cbor(&format!("a172{name}01")), Err(ReplyError::Type { key: 0 })));
    assert!(cbor(&format!("a172{name}f6")).unwrap().culvert_extensions.is_empty());
    assert!(cbor("a1617801").unwrap().culvert_extensions.is_empty());
}

#[test]
fn a_steering_ip_does_not_fail_a_packed_request() {
    let mut dial = DialParams::new(crate::TunnelProtocol::OSSH);
    dial.set_text("steering_ip", "192.0.2.1").unwrap();
    let base = BaseParams { client_version: "1".into(), ..BaseParams::default() };
    let request = HandshakeRequest { base, dial, ..HandshakeRequest::default() };
    let packed = RequestEncoding::Packed.encode(request.to_params()).unwrap();
    assert_eq!(packed::decode(&packed).unwrap().text("steering_ip"), None);
    let json = RequestEncoding::Json { server_secret: "aa" }.encode(request.to_params()).unwrap();
    assert_eq!(packed::decode(&json).unwrap().text("steering_ip"), Some("192.0.2.1"));
}

#[test]
fn damaged_messages_are_refused_or_stay_readable() {
    use culvert_obfuscation::{Prng, Seed};
    for round in 0..200u8 {
        let mut prng = Prng::new(&Seed::from_bytes([round; 32]));
        for event in events(CAPTURE).iter().filter(|event| event["payload_hex"].is_string()) {
            let mut bytes = payload(event);
            for _ in 0..=prng.range(0, 3) {
                let end = i64::try_from(bytes.len()).unwrap();
                if let Some(byte) = bytes.get_mut(usize::try_from(prng.range(0, end)).unwrap()) {
                    *byte ^= 1 << prng.range(0, 7);
                }
            }
            if prng.flip_coin() {
                bytes.truncate(usize::try_from(prng.range(0, i64::try_from(bytes.len()).unwrap())).unwrap());
            }
            let _ = (
                parse_speed_test_reply(&bytes),
                PasswordPayload::parse(&bytes),
                OslRequest::from_json(&bytes),
            );
            let _ = HandshakeReply::decode(&bytes, ReplyEncoding::Json);
            if let Ok(reply) = HandshakeReply::decode(&bytes, ReplyEncoding::Cbor) {
                let again = reply.encode(ReplyEncoding::Cbor).unwrap();
                assert!(HandshakeReply::decode(&again, ReplyEncoding::Cbor).is_ok(), "round {round}");
            }
            let Ok(params) = packed::decode(&bytes) else { continue };
            let _ = HandshakeRequest::parse(&params);
            let _ = StatusRequest::parse(&params);
            let again = Params::from_json(params.to_json().as_bytes()).unwrap();
            assert_eq!(again.to_json(), params.to_json(), "round {round}");
        }
    }
}
