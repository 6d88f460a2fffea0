//! Server entries: encoded form, tags, signatures, capabilities.

use culvert_protocol::server_entry::{
    SigningKey, Tag, Unverified, VerifyingKey, decode_line, diagnostic_id, encode_line,
};
use culvert_protocol::{EntryFields, ServerEntry, TunnelProtocol};
use serde_json::{Map, Value};

use super::{array, canonical, flag, plain, same, text, texts};

pub(super) fn encoding(case: &Value, _: &Value) -> Result<(), String> {
    let (encoded, json) = (text(case, "encoded")?, text(case, "json")?);
    let fields = EntryFields::from_json(json.as_bytes()).map_err(plain)?;
    same("encoding", encode_line(fields.prefix(), json).as_str(), encoded)?;
    let mut decoded = decode_line(encoded).map_err(plain)?;
    same("decoded fields", decoded.canonical_json(), canonical(json)?)?;
    let again = decode_line(&decoded.encode()).map_err(plain)?;
    same("fields encoded again", &again, &decoded)?;
    let entry = ServerEntry::decode(encoded).map_err(plain)?;
    same("checked entry", entry.fields(), &decoded)?;
    let with_source = ["decode_source", "decode_timestamp", "decoded_fields_json_sorted"];
    if with_source.iter().any(|name| case.get(name).is_some()) {
        decoded.set("localSource", text(case, "decode_source")?);
        decoded.set("localTimestamp", text(case, "decode_timestamp")?);
        let expected = text(case, "decoded_fields_json_sorted")?;
        same("decoded fields with source", decoded.canonical_json().as_str(), expected)?;
    }
    Ok(())
}

pub(super) fn tag(case: &Value, _: &Value) -> Result<(), String> {
    let tag = Tag::derive(text(case, "ip_address")?, text(case, "web_server_secret")?);
    same("tag", tag.as_str(), text(case, "tag")?)?;
    same("diagnostic ID", tag.diagnostic_id(), text(case, "diagnostic_id")?)?;
    same("diagnostic ID of the given tag", diagnostic_id(text(case, "tag")?), text(case, "diagnostic_id")?)
}

pub(super) fn signature(case: &Value, file: &Value) -> Result<(), String> {
    let key = match case.get("public_key") {
        Some(_) => text(case, "public_key")?,
        None => text(file, "public_key")?,
    };
    let key = VerifyingKey::from_base64(key).map_err(plain)?;
    let output = EntryFields::from_json(text(case, "output_json")?.as_bytes()).map_err(plain)?;
    let verified = output.verify_signature(&key);
    if verified.is_ok() != flag(case, "verify_ok")? {
        return Err(format!("verification gives {verified:?}"));
    }
    let is_entry = ServerEntry::try_from(output.clone()).is_ok();
    same("typed verification", Unverified::new(output).verify(&key).is_ok(), verified.is_ok() && is_entry)?;
    if verified.is_err() && case.get("input_json").is_none() {
        return Ok(());
    }
    let signing = SigningKey::from_base64(text(file, "private_key")?).map_err(plain)?;
    let mut fields = EntryFields::from_json(text(case, "input_json")?.as_bytes()).map_err(plain)?;
    same("signed message", fields.signed_message().as_str(), text(case, "signed_message")?)?;
    same("signed bytes", fields.signed_message().into_bytes(), super::bytes(case, "signed_message_hex")?)?;
    fields.sign(&signing);
    let field = fields.text("signature").unwrap_or_default();
    same("signature", field, text(case, "signature_field")?)?;
    same("signed entry", fields.canonical_json().as_str(), text(case, "output_json")?)
}

pub(super) fn capabilities(case: &Value, file: &Value) -> Result<(), String> {
    let mut fields = EntryFields::default();
    fields.set("ipAddress", "192.0.2.1");
    fields.set("capabilities", array(case, "capabilities")?.to_vec());
    for (name, port) in ports(text(file, "note")?)? {
        fields.set(name, port);
    }
    let entry = ServerEntry::try_from(fields).map_err(plain)?;
    let supported: Vec<_> = entry.supported_protocols().map(TunnelProtocol::name).collect();
    let expected = match case.get("supports") {
        Some(Value::Null) => Vec::new(),
        _ => texts(case, "supports")?,
    };
    same("supported protocols", &supported, &expected)?;
    let tactics: Vec<_> = entry.tactics_protocols().map(TunnelProtocol::name).collect();
    same("tactics protocols", tactics, texts(case, "tactics_protocols")?)?;
    // The reference gives port 0 where ours says that there is none.
    let dial_ports = entry
        .supported_protocols()
        .map(|protocol| (protocol.name().to_owned(), entry.dial_port(protocol).unwrap_or(0).into()));
    same("dial ports", Some(&Value::Object(dial_ports.collect::<Map<_, _>>())), case.get("dial_ports"))?;
    same("API over SSH", entry.takes_ssh_api_requests(), flag(case, "ssh_api_requests")?)?;
    same("QUICv1 only", entry.only_quic_v1(), flag(case, "only_quicv1")?)?;
    let protocol: TunnelProtocol = "UNFRONTED-MEEK-SESSION-TICKET-OSSH".parse().map_err(plain)?;
    let expected = flag(case, "legacy_passthrough_session_ticket")?;
    same("legacy passthrough", entry.uses_legacy_passthrough(protocol), expected)
}

/// The ports that all cases use, as the file's note lists them: `sshPort=1 ...`.
fn ports(note: &str) -> Result<Vec<(&str, u16)>, String> {
    let assignments = note.split_whitespace().filter_map(|word| word.trim_end_matches(',').split_once('='));
    let ports: Vec<_> = assignments.filter_map(|(name, port)| Some((name, port.parse().ok()?))).collect();
    if ports.is_empty() { Err(format!("the note names no ports: {note:?}")) } else { Ok(ports) }
}
