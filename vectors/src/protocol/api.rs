//! API messages, and the rules for request parameters.

use culvert_protocol::api::{
    self, Alert, ConnectedReply, HandshakeReply, InproxyRelay, MeekCookie, OslRequest, PasswordPayload,
    RandomStream, ReplyEncoding, Shape, Spec, StatusReply, Validator,
};
use serde_json::{Value, json};

use super::{array, bytes, flag, plain, same, text};

pub(super) fn message_sample(case: &Value, _: &Value) -> Result<(), String> {
    let json = || text(case, "json").map(str::as_bytes);
    let again = match text(case, "name")? {
        "handshake response JSON" => {
            let reply = HandshakeReply::decode(json()?, ReplyEncoding::Json).map_err(plain)?;
            let packed = reply.encode(ReplyEncoding::Cbor).map_err(plain)?;
            let unpacked = HandshakeReply::decode(&packed, ReplyEncoding::Cbor).map_err(plain)?;
            same("reply through CBOR", unpacked.encode(ReplyEncoding::Cbor).map_err(plain)?, packed)?;
            String::from_utf8(reply.encode(ReplyEncoding::Json).map_err(plain)?).map_err(plain)?
        }
        "handshake response CBOR" => {
            let cbor = bytes(case, "cbor")?;
            let reply = HandshakeReply::decode(&cbor, ReplyEncoding::Cbor).map_err(plain)?;
            return same("message", reply.encode(ReplyEncoding::Cbor).map_err(plain)?, cbor);
        }
        "connected response" => ConnectedReply::from_json(json()?).map_err(plain)?.to_json(),
        "status response" => StatusReply::from_json(json()?).map_err(plain)?.to_json(),
        "OSL request" => OslRequest::from_json(json()?).map_err(plain)?.to_json(),
        "alert request" => Alert::from_json(json()?).map_err(plain)?.to_json(),
        "random stream channel extra data" => RandomStream::from_json(json()?).map_err(plain)?.to_json(),
        "meek cookie data" => MeekCookie::from_json(json()?).map_err(plain)?.to_json(),
        "SSH password payload" => {
            PasswordPayload::parse(json()?).map_err(plain)?.to_json().as_str().to_owned()
        }
        name if name.starts_with("legacy SSH password payload") => {
            let payload = text(case, "text")?;
            let parsed = PasswordPayload::parse(payload.as_bytes()).map_err(plain)?;
            return same("payload", parsed.to_legacy().as_str(), payload);
        }
        "inproxy relay request/response CBOR" => {
            let cbor = bytes(case, "cbor")?;
            return same("message", InproxyRelay::from_cbor(&cbor).map_err(plain)?.to_cbor(), cbor);
        }
        name => return Err(format!("no message is called {name:?}")),
    };
    same("message", again.as_str(), text(case, "json")?)
}

pub(super) fn param_specs(file: &Value) -> Result<(), String> {
    let lists = file.get("lists").and_then(Value::as_object).ok_or("the file has no lists")?;
    for (name, rows) in lists {
        let ours: Vec<_> = list(name)?.into_iter().map(row).collect();
        let rows = rows.as_array().ok_or_else(|| format!("{name} is not a list"))?;
        // The reference lists one parameter twice, with the same rule.
        let mut expected: Vec<Value> = Vec::new();
        for row in rows {
            if !expected.contains(row) {
                expected.push(row.clone());
            }
        }
        if let Some((ours, expected)) = ours.iter().zip(&expected).find(|(ours, expected)| ours != expected) {
            return Err(format!("{name} differs\n    ours: {ours}\nexpected: {expected}"));
        }
        same(&format!("length of {name}"), ours.len(), expected.len())?;
    }
    for case in array(file, "vectors")? {
        validator_cases(case)?;
    }
    Ok(())
}

fn validator_cases(case: &Value) -> Result<(), String> {
    let name = text(case, "validator")?;
    let (validator, _) = VALIDATORS
        .iter()
        .find(|(_, known)| *known == name)
        .ok_or_else(|| format!("no validator is called {name:?}"))?;
    let cases = case.get("cases").and_then(Value::as_object).ok_or_else(|| format!("{name} has no cases"))?;
    for text in cases.keys() {
        let expected = flag(case.get("cases").unwrap_or(&Value::Null), text)?;
        same(&format!("{name}({text:?})"), validator.accepts(text), expected)?;
    }
    Ok(())
}

fn list(name: &str) -> Result<Vec<&'static Spec>, String> {
    let list: Vec<&'static Spec> = match name {
        "baseParams" => api::BASE.iter().collect(),
        "baseDialParams" => api::DIAL.iter().collect(),
        "inproxyDialParams" => api::INPROXY.iter().collect(),
        "tacticsParams" => api::TACTICS.iter().collect(),
        "handshakeRequestParams_extra" => api::HANDSHAKE.iter().collect(),
        "connectedRequestParams_extra" => api::CONNECTED.iter().chain(&api::UNIQUE_USER).collect(),
        "remoteServerListStatParams_extra" => api::REMOTE_SERVER_LIST.iter().collect(),
        "failedTunnelStatParams_extra" => api::FAILED_TUNNEL.iter().collect(),
        _ => return Err(format!("no list is called {name:?}")),
    };
    Ok(list)
}

fn row(spec: &Spec) -> Value {
    let name = VALIDATORS.iter().find(|(validator, _)| *validator == spec.validator).map(|(_, name)| *name);
    let mut row = json!({ "name": spec.name, "required": spec.required, "validator": name });
    match spec.shape {
        Shape::Text => {}
        Shape::List => row["array"] = true.into(),
        Shape::Json => {
            row["json"] = true.into();
            row["validator"] = "none".into();
        }
    }
    row
}

/// The validators, and what the files call them.
const VALIDATORS: [(Validator, &str); 20] = [
    (Validator::Any, "isAnyString"),
    (Validator::HexDigits, "isHexDigits"),
    (Validator::SponsorId, "isSponsorID"),
    (Validator::Int, "isIntString"),
    (Validator::Float, "isFloatString"),
    (Validator::ClientPlatform, "isClientPlatform"),
    (Validator::GeoHash, "isGeoHashString"),
    (Validator::RegionCode, "isRegionCode"),
    (Validator::RelayProtocol, "isRelayProtocol"),
    (Validator::UpstreamProxyType, "isUpstreamProxyType"),
    (Validator::DialAddress, "isDialAddress"),
    (Validator::IpAddress, "isIPAddress"),
    (Validator::Domain, "isDomain"),
    (Validator::HostHeader, "isHostHeader"),
    (Validator::Flag, "isBooleanFlag"),
    (Validator::EntrySource, "isServerEntrySource"),
    (Validator::Iso8601, "isISO8601Date"),
    (Validator::LastConnected, "isLastConnected"),
    (Validator::Base64, "isBase64String"),
    (Validator::Base64Unpadded, "isUnpaddedBase64String"),
];
