//! The packed form of a list of authorizations, and the text rebuilt from it. PROTOCOL.md 6.3.
//!
//! The signature covers the JSON text, so the receiver rebuilds it byte for byte in the reference's form; what was made
//! in another form does not survive packing. Nothing is verified here.

use serde::{Deserialize, Serialize};

use super::ConvertError;
use crate::cbor::Cbor;
use crate::{go_json, text_form, timestamp};

/// The signed part; field order is that of the reference.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Authorization {
    #[serde(rename = "ID", default)]
    id: Option<String>,
    #[serde(default)]
    access_type: String,
    #[serde(default)]
    expires: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    authorization: Authorization,
    #[serde(rename = "SigningKeyID", default)]
    signing_key_id: Option<String>,
    #[serde(default)]
    signature: Option<String>,
}

/// What the reference writes for a time that was never set.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

pub(super) fn pack(list: &[String]) -> Result<Vec<u8>, ConvertError> {
    let items = list.iter().map(|text| pack_one(text).ok_or(ConvertError::Authorizations));
    Ok(Cbor::Array(items.collect::<Result<_, _>>()?).write())
}

pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<String>, ConvertError> {
    match Cbor::read(bytes) {
        Ok(Cbor::Array(items)) => {
            items.into_iter().map(|item| unpack_one(item).ok_or(ConvertError::Authorizations)).collect()
        }
        Ok(Cbor::Null) => Ok(Vec::new()),
        _ => Err(ConvertError::Authorizations),
    }
}

fn pack_one(text: &str) -> Option<Cbor> {
    let json = text_form::base64(text)?;
    let signed: Signed = go_json::read(&json).ok()?;
    let mut pairs = Vec::new();
    let mut add = |key: i64, value: Cbor| pairs.push((Cbor::Int(key.into()), value));
    let bytes = |text: Option<String>| text_form::base64(text.as_deref().unwrap_or_default());
    let id = bytes(signed.authorization.id)?;
    if !id.is_empty() {
        add(1, Cbor::Bytes(id));
    }
    if !signed.authorization.access_type.is_empty() {
        add(2, Cbor::Text(signed.authorization.access_type));
    }
    let expires = signed.authorization.expires.unwrap_or_else(|| NO_TIME.to_owned());
    add(3, Cbor::Text(timestamp::renormalised(&expires)?));
    for (key, text) in [(4, signed.signing_key_id), (5, signed.signature)] {
        let value = bytes(text)?;
        if !value.is_empty() {
            add(key, Cbor::Bytes(value));
        }
    }
    Some(Cbor::Map(pairs))
}

fn unpack_one(item: Cbor) -> Option<String> {
    let Cbor::Map(pairs) = item else { return None };
    let mut authorization =
        Authorization { id: None, access_type: String::new(), expires: Some(NO_TIME.to_owned()) };
    let (mut signing_key_id, mut signature) = (None, None);
    for (key, value) in pairs {
        match (key, value) {
            (Cbor::Int(1), Cbor::Bytes(id)) => authorization.id = Some(text_form::to_base64(&id)),
            (Cbor::Int(2), Cbor::Text(text)) => authorization.access_type = text,
            (Cbor::Int(3), Cbor::Text(text)) => authorization.expires = Some(timestamp::renormalised(&text)?),
            (Cbor::Int(4), Cbor::Bytes(id)) => signing_key_id = Some(text_form::to_base64(&id)),
            (Cbor::Int(5), Cbor::Bytes(bytes)) => signature = Some(text_form::to_base64(&bytes)),
            (Cbor::Int(1..=5), value) if value != Cbor::Null => return None,
            _ => {}
        }
    }
    let signed = Signed { authorization, signing_key_id, signature };
    go_json::to_string(&signed).ok().map(|json| text_form::to_base64(json.as_bytes()))
}
