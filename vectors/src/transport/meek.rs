//! Cases of meek: cookies, one recorded exchange, payload padding, and the values that clients choose.

use culvert_obfuscation::{Prng, identification};
use culvert_protocol::TunnelProtocol;
use culvert_transport::meek::wire::names::{
    content_type, cookie_name, generated_content_type, generated_cookie_name,
};
use culvert_transport::meek::wire::{
    CookieOpener, CookiePlan, CookieRequest, CookieSealer, Flow, KEY_LEN, Opened, PaddingReceiver,
    PaddingSender, PayloadPaddingKey, SealedCookie, SessionId, VERSION,
};
use data_encoding::BASE64;
use serde_json::Value;

use crate::obfuscation::fields::{
    Checked, array, boolean, bytes, expect_bytes, expect_len, float, integer, list, obfuscator_seed, same,
    same_bytes, seed, text,
};

pub(super) fn cookie(file: &Value) -> Checked {
    for case in list(file, "cases")? {
        one_cookie(file, case).map_err(|error| format!("index {}: {error}", case["index"]))?;
    }
    Ok(())
}

fn base64_key(case: &Value, name: &str) -> Checked<[u8; KEY_LEN]> {
    let bytes = BASE64.decode(text(case, name)?.as_bytes()).map_err(|error| error.to_string())?;
    bytes.try_into().map_err(|_| format!("{name} is not {KEY_LEN} bytes"))
}

/// An absent member is an empty text.
fn optional<'c>(case: &'c Value, name: &str) -> Option<&'c str> {
    case.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn one_cookie(file: &Value, case: &Value) -> Checked {
    let key = text(file, "meek_obfuscated_key")?;
    let plan = CookiePlan {
        obfuscator_seed: obfuscator_seed(case, "obfuscator_seed_hex")?,
        padding_seed: seed(case, "padding_seed_hex")?,
    };
    let protocol: Option<TunnelProtocol> = optional(case, "client_tunnel_protocol")
        .map(str::parse)
        .transpose()
        .map_err(|_| "unknown protocol")?;
    let request = CookieRequest {
        version: VERSION,
        payload_padding: boolean(case, "enable_payload_padding")?,
        protocol,
        endpoint: optional(case, "end_point").map(str::to_owned),
    };
    same("json_payload", text(case, "json_payload")?, &request.to_json())?;
    let sealer = CookieSealer::new(key, base64_key(file, "server_public_key_b64")?);
    let ephemeral = array(case, "ephemeral_private_key_hex")?;
    let value = sealer.seal(&plan, &ephemeral, &request).map_err(|error| error.to_string())?;
    same("cookie_value", text(case, "cookie_value")?, &value)?;
    let probability = float(file, "alternate_name_probability")?;
    let name = cookie_name(&plan.padding_seed, probability);
    same("cookie_name", text(case, "cookie_name")?, &name)?;
    same("cookie_header", text(case, "cookie_header")?, &format!("{name}={value}"))?;
    same("content_type", text(case, "content_type")?, &content_type(&plan.padding_seed, probability))?;
    let opened = open(key, &base64_key(file, "server_private_key_b64")?, &value)?;
    same("opened", Opened { seed: plan.obfuscator_seed, request }, opened)
}

fn open(key: &str, private: &[u8; KEY_LEN], value: &str) -> Checked<Opened> {
    let sealed = SealedCookie::parse(value.as_bytes()).ok_or("the value is not taken for a cookie")?;
    let opener = CookieOpener::new(key, private).map_err(|error| error.to_string())?;
    opener.open(&sealed).map_err(|error| error.to_string())
}

/// The first request opens with the keys, the first response names a session, and from then on that is the cookie.
pub(super) fn http(file: &Value) -> Checked {
    let decoded = file.get("cookie_decoded").ok_or("no cookie_decoded")?;
    let value = text(file, "cookie_value_of_first_request")?;
    let key = text(decoded, "meek_obfuscated_key")?;
    let opened = open(key, &base64_key(decoded, "meek_cookie_encryption_private_key")?, value)?;
    same("payload", text(decoded, "payload")?, &opened.request.to_json())?;
    let exchanges = list(file, "exchanges")?;
    let heads: Checked<Vec<&str>> = exchanges.iter().map(|exchange| text(exchange, "request_head")).collect();
    let cookies: Vec<&str> = heads?.into_iter().filter_map(|head| header(head, "Cookie: ")).collect();
    let (first, later) = cookies.split_first().ok_or("no exchange")?;
    same("first cookie", Some(value), first.split_once('=').map(|(_, value)| value))?;
    let set = text(&exchanges[0], "response_head")?;
    let set = header(set, "Set-Cookie: ").ok_or("no Set-Cookie")?;
    let (_, id) = set.split_once('=').ok_or("no value in Set-Cookie")?;
    let parsed = SessionId::parse(id.as_bytes()).ok_or("the session's name is not taken for one")?;
    same("session", id, parsed.as_str())?;
    for cookie in later {
        same("later cookie", set, cookie)?;
    }
    for (at, exchange) in exchanges.iter().enumerate() {
        super::meek_heads::exchange(exchange).map_err(|error| format!("exchange {at}: {error}"))?;
    }
    Ok(())
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name))
}

pub(super) fn payload_padding(file: &Value) -> Checked {
    for (at, case) in list(file, "cases")?.iter().enumerate() {
        padded_bodies(case).map_err(|error| format!("case {at}: {error}"))?;
    }
    Ok(())
}

fn padded_bodies(case: &Value) -> Checked {
    let flow = match text(case, "direction")? {
        "requests" => Flow::Requests,
        "responses" => Flow::Responses,
        other => return Err(format!("direction {other}")),
    };
    let key = PayloadPaddingKey::derive(
        text(case, "meek_obfuscated_key")?,
        text(case, "initial_cookie_value")?,
        flow,
    );
    expect_bytes(case, "aes256_ctr_key_hex", key.as_bytes())?;
    let (mut sender, mut receiver) = (PaddingSender::new(&key), PaddingReceiver::new(&key));
    for (at, step) in list(case, "steps")?.iter().enumerate() {
        padded_body(step, &mut sender, &mut receiver).map_err(|error| format!("step {at}: {error}"))?;
    }
    Ok(())
}

fn padded_body(step: &Value, sender: &mut PaddingSender, receiver: &mut PaddingReceiver) -> Checked {
    receiver.begin_body();
    let received = |receiver: &mut PaddingReceiver, body: &[u8]| {
        receiver.receive(body).map(<[u8]>::to_vec).map_err(|error| error.to_string())
    };
    if step.get("padding_size").is_none_or(Value::is_null) {
        let header = sender.before_payload();
        expect_bytes(step, "wire_header_hex", &header)?;
        expect_len(step, "consumed_by_receiver", header.len())?;
        let payload = bytes(step, "payload_hex")?;
        let body = [&header[..], &payload].concat();
        expect_bytes(step, "body_hex", &body)?;
        return same_bytes("payload", &payload, &received(receiver, &body)?);
    }
    let body = sender.padding_body(&vec![0xA5; integer(step, "padding_size")?]);
    expect_bytes(step, "wire_header_hex", body.get(..3).unwrap_or(&body))?;
    expect_len(step, "consumed_by_receiver", body.len())?;
    same_bytes("payload", &[], &received(receiver, &body)?)
}

/// Each drawn anew from the seed, one after the other or each alone.
pub(super) fn values(file: &Value) -> Checked {
    for (at, case) in list(file, "cases")?.iter().enumerate() {
        let seed = seed(case, "seed_hex")?;
        let name = generated_cookie_name(&mut Prng::new(&seed));
        same("cookie_name", text(case, "cookie_name")?, &name)
            .map_err(|error| format!("case {at}: {error}"))?;
        let kind = generated_content_type(&mut Prng::new(&seed));
        same("content_type", text(case, "content_type")?, &kind)
            .map_err(|error| format!("case {at}: {error}"))?;
        let version = identification(&mut Prng::new(&seed));
        same("ssh_server_version", text(case, "ssh_server_version")?, &version)
            .map_err(|error| format!("case {at}: {error}"))?;
    }
    Ok(())
}
