//! Strictness of the packed form, beyond the known-answer cases. PROTOCOL.md 4.1.

use super::*;

fn packed(hex: &str) -> Result<Params, PackError> {
    let mut payload = PREAMBLE.to_vec();
    payload.extend(text_form::hex(hex).unwrap());
    decode(&payload)
}

#[test]
fn lenient_where_the_reference_is() {
    // client_version 8, client_platform 9: unsorted, then indefinite, then repeated with a first value that would fail.
    for form in ["a209615708182a", "bf08182a096157ff", "a308615809615708182a"] {
        let params = packed(form).unwrap();
        assert_eq!(params.text("client_version"), Some("42"), "{form}");
        assert_eq!(params.text("client_platform"), Some("W"), "{form}");
    }
    assert_eq!(packed("a11903e701").unwrap(), Params::default());
    assert_eq!(packed("f6").unwrap(), Params::default());
}

#[test]
fn strict_where_the_reference_is() {
    for form in [
        "a108182a00",             // trailing byte
        "a108fb4045000000000000", // float for an integer
        "a108623432",             // text for an integer
        "a10761ff",               // text for hex
        "a118341a00000001",       // integer for a float
        "a1613801",               // text key
        "8108",                   // no map
        "a1188e4131",             // statusData that is no object
        "a1",                     // cut short
        "a10381a10102",           // sample with a key that is not text
    ] {
        assert!(packed(form).is_err(), "{form}");
    }
}

#[test]
fn packs_what_it_can_and_names_what_it_cannot() {
    let mut params = Params::default();
    params.set("client_version", Value::Json(serde_json::json!(42.9)));
    assert_eq!(text_form::to_hex(&encode(&params).unwrap()), "0001a108182a");
    params.set("steering_ip", "192.0.2.1");
    assert!(matches!(encode(&params), Err(PackError::UnknownName { name }) if name == "steering_ip"));
    params.take("steering_ip");
    params.set("sponsor_id", "xyz");
    assert!(matches!(encode(&params), Err(PackError::Value { name, .. }) if name == "sponsor_id"));
}

#[test]
fn json_is_recognised_by_its_first_bytes() {
    assert_eq!(decode(b" \n{\"a\":\"1\"}").unwrap().text("a"), Some("1"));
    assert!(decode(b"{}x").is_err());
    assert!(decode(b"[]").is_err());
    assert!(decode(b"").is_err());
    assert!(decode(&[0]).is_err());
    assert!(decode(&[0, 2, 0xa0]).is_err());
}
