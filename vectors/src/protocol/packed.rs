//! The packed CBOR forms, and the tables of their keys.

use std::collections::{BTreeMap, BTreeSet};

use culvert_protocol::EntryFields;
use culvert_protocol::go_json;
use culvert_protocol::packed::{Converter, NumberForm, Params, Value as Param, decode, encode, table};
use culvert_protocol::server_entry::VerifyingKey;
use culvert_protocol::server_entry::fields::FIELDS;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{array, bytes, canonical, flag, number, plain, same, text};

pub(super) fn api_parameters(case: &Value, _: &Value) -> Result<(), String> {
    if case.get("pack_error").is_some() {
        let params = match (case.get("params_json"), text(case, "name")?) {
            (Some(_), _) => params(text(case, "params_json")?)?,
            (None, name) if name.starts_with("unknown name") => params(r#"{"nobody_knows_this":"1"}"#)?,
            (None, _) => return Err("the case has no input".to_owned()),
        };
        return same("failure", encode(&params).is_err(), flag(case, "pack_error")?);
    }
    let payload = bytes(case, "payload")?;
    same("payload", encode(&params(text(case, "params_json")?)?).map_err(plain)?, payload.as_slice())?;
    let decoded = decode(&payload).map_err(plain)?;
    same("decoded parameters", decoded.to_json(), canonical(text(case, "decoded_json")?)?)
}

/// Parameters of JSON text, with raw JSON members as they are written there.
fn params(json: &str) -> Result<Params, String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(plain)?;
    let mut params = Params::default();
    for (name, raw) in members {
        match table::by_name(&name) {
            Some((_, Converter::RawJson)) => params.set(&name, Param::RawJson(raw.get().to_owned())),
            _ => params.set(&name, go_json::parse(raw.get().as_bytes()).map_err(plain)?),
        }
    }
    Ok(params)
}

pub(super) fn server_entry(case: &Value, file: &Value) -> Result<(), String> {
    if case.get("pack_error").is_some() {
        let json = match (case.get("input_json"), text(case, "name")?) {
            (Some(_), _) => text(case, "input_json")?,
            (None, name) if name.starts_with("non-hex value in hex field") => r#"{"sshPassword":"zz"}"#,
            (None, _) => return Err("the case has no input".to_owned()),
        };
        let fields = EntryFields::from_json(json.as_bytes()).map_err(plain)?;
        return same("failure", fields.to_packed(NumberForm::Float).is_err(), flag(case, "pack_error")?);
    }
    let input = EntryFields::from_json(text(case, "input_json")?.as_bytes()).map_err(plain)?;
    let cbor = bytes(case, "cbor")?;
    // JSON does not tell which numbers the reference held as integers; only a case's name does.
    let forms = [NumberForm::Float, NumberForm::Natural].map(|form| input.to_packed(form));
    let [as_float, as_integer] = forms.map(|form| form.map_err(plain));
    if as_float.as_ref() != Ok(&cbor) {
        same("packed entry", as_integer?, cbor.as_slice())?;
    }
    let decoded = EntryFields::from_packed(&cbor).map_err(plain)?;
    same("decoded entry", decoded.canonical_json().as_str(), text(case, "decoded_json")?)?;
    let identical = decoded.canonical_json() == input.canonical_json();
    same("identity after a round trip", identical, flag(case, "round_trip_identical")?)?;
    if input.has_signature() || case.get("signature_valid_after_round_trip").is_some() {
        let key = VerifyingKey::from_base64(text(file, "public_key")?).map_err(plain)?;
        let expected = flag(case, "signature_valid_after_round_trip")?;
        same("validity of the signature", decoded.verify_signature(&key).is_ok(), expected)?;
    }
    Ok(())
}

pub(super) fn key_tables(file: &Value) -> Result<(), String> {
    let ours = table::API_PARAMETERS.iter().map(|(key, name, converter)| (*key, *name, *converter));
    compare("API parameters", ours, array(file, "api_parameters")?)?;
    let ours = FIELDS.iter().filter_map(|field| {
        let (key, converter) = field.packed?;
        Some((key, field.name, converter))
    });
    compare("server entry fields", ours, array(file, "server_entry_fields")?)
}

fn compare<'a>(
    what: &str,
    ours: impl Iterator<Item = (i64, &'a str, Converter)>,
    expected: &[Value],
) -> Result<(), String> {
    let ours: BTreeSet<_> = ours.map(|(key, name, converter)| (key, name, name_of(converter))).collect();
    let mut rows = BTreeSet::new();
    for row in expected {
        rows.insert((number(row, "key")?, text(row, "name")?, text(row, "converter")?));
    }
    same(&format!("size of {what}"), rows.len(), expected.len())?;
    let differing: Vec<_> = ours.symmetric_difference(&rows).collect();
    if differing.is_empty() { Ok(()) } else { Err(format!("{what} differ in {differing:?}")) }
}

fn name_of(converter: Converter) -> &'static str {
    match converter {
        Converter::AsIs => "none",
        Converter::Int => "int",
        Converter::Float => "float",
        Converter::LowerHex => "lower_hex",
        Converter::UpperHex => "upper_hex",
        Converter::Base64 => "base64",
        Converter::Base64Unpadded => "base64_unpadded",
        Converter::Authorizations => "authorizations",
        Converter::JsonMaps => "json_maps",
        Converter::RawJson => "raw_json",
    }
}
