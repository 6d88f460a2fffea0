//! Inputs taken from the known-answer cases.

use std::path::Path;
use std::{fs, io};

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde_json::Value;

use crate::Input;

pub(crate) fn inputs() -> io::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for case in cases("packed_api_parameters", "vectors")? {
        add(&mut inputs, &["api_parameters", "api_requests"], &case, "params_json", as_text);
        add(&mut inputs, &["api_parameters", "api_requests"], &case, "payload", as_hex);
    }
    for case in cases("api_message_samples", "vectors")? {
        add(&mut inputs, &["api_replies", "ssh_password", "json_positions"], &case, "json", as_text);
        add(&mut inputs, &["api_replies", "cbor"], &case, "cbor", as_hex);
    }
    for case in cases("server_entry_packed", "vectors")? {
        add(&mut inputs, &["server_entry_packed", "cbor"], &case, "cbor", as_hex);
    }
    for case in cases("server_entry_signature", "vectors")? {
        add(&mut inputs, &["server_entry_json"], &case, "input_json", as_text);
    }
    let mut list = Vec::new();
    for case in cases("server_entry_encoding", "vectors")? {
        add(&mut inputs, &["server_entry"], &case, "encoded", as_text);
        list.extend(as_text(&case["encoded"]).unwrap_or_default());
        list.extend_from_slice(b"\nnot an entry\n\n");
    }
    inputs.push(("server_list", "list".to_owned(), list.clone()));
    inputs.push(("server_entry_list", "list".to_owned(), list));
    for case in cases("speed_test", "vectors")? {
        add(&mut inputs, &["api_replies"], &case, "response_without_padding", as_hex);
    }
    for (number, case) in cases("transport-regen", "cases")?.into_iter().enumerate() {
        let kind = u8::from(case["byte_mode"] == true);
        let pattern = as_text(&case["pattern"]).unwrap_or_default();
        inputs.push(("regen", format!("case_{number}"), [vec![kind], pattern].concat()));
    }
    for (number, case) in cases("transport-quic-obfuscation", "server_decode")?.into_iter().enumerate() {
        let datagrams = case["datagrams_hex"].as_array().map(Vec::as_slice).unwrap_or_default();
        let with_length = |datagram: Vec<u8>| {
            let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
            [&length.to_be_bytes()[..], &datagram].concat()
        };
        let bytes = datagrams.iter().filter_map(as_hex).flat_map(with_length).collect();
        inputs.push(("quic_datagrams", format!("case_{number}"), bytes));
    }
    Ok(inputs)
}

fn cases(file: &str, member: &str) -> io::Result<Vec<Value>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/data").join(file).with_extension("json");
    let mut whole: Value = serde_json::from_slice(&fs::read(path)?)?;
    match whole[member].take() {
        Value::Array(cases) => Ok(cases),
        _ => Err(io::Error::other(format!("{file}.json has no `{member}`"))),
    }
}

/// One member of a case as an input of several targets, if it is there.
fn add(
    inputs: &mut Vec<Input>,
    targets: &[&'static str],
    case: &Value,
    member: &str,
    read: fn(&Value) -> Option<Vec<u8>>,
) {
    let Some(bytes) = read(&case[member]) else { return };
    for target in targets {
        let number = inputs.iter().filter(|input| input.0 == *target).count();
        inputs.push((target, format!("{member}_{number}"), bytes.clone()));
    }
}

fn as_text(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|text| text.as_bytes().to_vec())
}

/// Hexadecimal, or base64 if it is not that.
fn as_hex(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?.as_bytes();
    HEXLOWER_PERMISSIVE.decode(text).or_else(|_| BASE64.decode(text)).ok()
}
