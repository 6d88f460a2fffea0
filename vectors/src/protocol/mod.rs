//! Cases of the `protocol` crate: server entries, packed parameters, API messages and their rules.

mod api;
mod authorizations;
mod entries;
mod packed;
mod parameters;
mod small;

use std::fmt::Debug;

use culvert_protocol::go_json;
use serde_json::Value;

use crate::Runner;

/// The files this area reads, by name without `.json`.
pub const FILES: &[(&str, Runner)] = &[
    ("access_control", Runner::PerCase(authorizations::access_control)),
    ("api_message_samples", Runner::PerCase(api::message_sample)),
    ("api_param_specs", Runner::WholeFile(api::param_specs)),
    ("duration_strings", Runner::PerCase(small::duration)),
    ("packed_api_parameters", Runner::PerCase(packed::api_parameters)),
    ("packed_key_tables", Runner::WholeFile(packed::key_tables)),
    ("parameters_defaults", Runner::WholeFile(parameters::defaults)),
    ("proxy_protocol_header", Runner::PerCase(small::proxy_header)),
    ("server_entry_capabilities", Runner::PerCase(entries::capabilities)),
    ("server_entry_encoding", Runner::PerCase(entries::encoding)),
    ("server_entry_packed", Runner::PerCase(packed::server_entry)),
    ("server_entry_signature", Runner::PerCase(entries::signature)),
    ("server_entry_tag", Runner::PerCase(entries::tag)),
    ("speed_test", Runner::WholeFile(small::speed_test)),
    ("udpgw", Runner::PerCase(small::udpgw)),
];

fn text<'a>(case: &'a Value, name: &str) -> Result<&'a str, String> {
    case.get(name).and_then(Value::as_str).ok_or_else(|| format!("the case has no text {name:?}"))
}

fn flag(case: &Value, name: &str) -> Result<bool, String> {
    case.get(name).and_then(Value::as_bool).ok_or_else(|| format!("the case has no flag {name:?}"))
}

fn number(case: &Value, name: &str) -> Result<i64, String> {
    case.get(name).and_then(Value::as_i64).ok_or_else(|| format!("the case has no whole number {name:?}"))
}

fn array<'a>(case: &'a Value, name: &str) -> Result<&'a [Value], String> {
    let list = case.get(name).and_then(Value::as_array).map(Vec::as_slice);
    list.ok_or_else(|| format!("the case has no list {name:?}"))
}

fn texts<'a>(case: &'a Value, name: &str) -> Result<Vec<&'a str>, String> {
    let items = array(case, name)?.iter().map(Value::as_str);
    items.collect::<Option<_>>().ok_or_else(|| format!("{name:?} is not a list of text"))
}

fn bytes(case: &Value, name: &str) -> Result<Vec<u8>, String> {
    let hex = text(case, name)?;
    culvert_protocol::text_form::hex(hex).ok_or_else(|| format!("{name:?} is not hex: {hex:?}"))
}

fn canonical(json: &str) -> Result<String, String> {
    go_json::parse(json.as_bytes())
        .map(|value| go_json::canonical(&value))
        .map_err(|error| format!("{error}: {json}"))
}

fn same<A: Debug + PartialEq<B>, B: Debug>(what: &str, ours: A, expected: B) -> Result<(), String> {
    if ours == expected {
        Ok(())
    } else {
        Err(format!("{what} differs\n    ours: {ours:?}\nexpected: {expected:?}"))
    }
}

fn plain<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}
