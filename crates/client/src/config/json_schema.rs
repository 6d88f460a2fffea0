//! A JSON Schema of the config file, for editors: from the same tables that the file is read by. Rules between keys are not
//! in it.
//!
//! Source: <https://json-schema.org/draft/2020-12/schema>

use std::collections::BTreeMap;

use culvert_protocol::parameters::{Parameters, Row};
use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Kind, Use};
use super::{about, parameters};

/// What a config file may hold.
pub fn json_schema() -> Value {
    let rows: BTreeMap<String, Row> =
        Parameters::table().into_iter().map(|row| (row.name.to_string(), row)).collect();
    let set = parameters::set_by_key();
    let properties: Map<String, Value> =
        KEYS.iter().map(|key| (key.name.to_owned(), property(key, set.get(key.name), &rows))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "client configuration",
        "type": "object",
        "required": ["PropagationChannelId", "SponsorId"],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(key: &Key, parameter: Option<&String>, rows: &BTreeMap<String, Row>) -> Value {
    let row = parameter.and_then(|name| rows.get(name));
    let mut schema = match row {
        _ if key.name == parameters::OBJECT => all_parameters(rows),
        // The key's number is in a unit of its own, or its list has one item.
        Some(row) if *row.name == *key.name => or_null(row.schema.clone()),
        _ => of_kind(key.kind),
    };
    let about = match row {
        Some(row) => format!("{} Sets the parameter {}.", row.description(), row.name),
        None => about::of(key.name).unwrap_or_default().to_owned(),
    };
    let remark = match (key.used, key.kind) {
        (_, Kind::Callback) => " Supplied by an embedding program, never by a file.",
        (Use::Now, _) => "",
        (Use::Later, _) => " Has no effect yet.",
        (Use::Refused, _) => " Not supported yet.",
    };
    if let Some(members) = schema.as_object_mut() {
        members.insert("description".to_owned(), format!("{about}{remark}").into());
    }
    schema
}

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Callback => json!({"type": "null"}),
        Kind::Integer => json!({"type": ["integer", "null"]}),
        Kind::List => json!({"type": ["array", "null"]}),
        Kind::Number => json!({"type": ["number", "null"]}),
        Kind::Switch => json!({"type": ["boolean", "null"]}),
        Kind::Table => json!({"type": ["object", "null"]}),
        Kind::Text => json!({"type": ["string", "null"]}),
        Kind::Texts => json!({"type": ["array", "null"], "items": {"type": "string"}}),
    }
}

/// The schema of a value that may also be left open.
fn or_null(mut schema: Value) -> Value {
    match schema.get("type").cloned() {
        Some(Value::String(kind)) => {
            if let Some(members) = schema.as_object_mut() {
                members.insert("type".to_owned(), json!([kind, "null"]));
            }
            schema
        }
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

fn all_parameters(rows: &BTreeMap<String, Row>) -> Value {
    let properties: Map<String, Value> =
        rows.iter().map(|(name, row)| (name.clone(), row.described_schema())).collect();
    json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_it_and_says_what_it_is_for() {
        let schema = json_schema();
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), KEYS.len());
        for key in KEYS {
            let about = properties[key.name]["description"].as_str().unwrap_or_default();
            assert!(about.len() > 10 && !about.starts_with(' '), "{}: {about:?}", key.name);
        }
        assert_eq!(
            properties["Parameters"]["properties"].as_object().unwrap().len(),
            Parameters::names().len()
        );
        // What is told where a parameter is declared is not told twice.
        let set = parameters::set_by_key();
        for (name, _) in about::ABOUT {
            assert!(KEYS.iter().any(|key| key.name == *name) && !set.contains_key(name), "{name}");
        }
    }
}
