//! A JSON Schema of each file, for editors: from the same tables that the files are read by. Rules between settings are not
//! in it.
//!
//! Source: <https://json-schema.org/draft/2020-12/schema>

use culvert_protocol::parameters::{Parameters, ServerParameters};
use serde_json::{Map, Value, json};

use super::check::FileKind;
use super::schema::{Effect, Key, Kind};

/// Where parameters stand in the file of tactics.
const PARAMETERS: &str = "Parameters";

impl FileKind {
    /// What a file of this kind may hold.
    pub fn json_schema(self) -> Value {
        let mut schema = object(self.keys());
        if let Some(members) = schema.as_object_mut() {
            members.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
            members.insert("title".to_owned(), self.name().into());
            if self == Self::Main {
                members.insert("required".to_owned(), json!(REQUIRED));
            }
        }
        schema
    }
}

/// What a server cannot do without.
const REQUIRED: [&str; 4] = ["ServerIPAddress", "SSHPrivateKey", "SSHUserName", "SSHPassword"];

fn object(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false})
}

fn property(key: &Key) -> Value {
    let mut schema = match key.kind {
        Kind::Anything if key.name == PARAMETERS => parameters(),
        kind => value(kind),
    };
    let remark = match key.effect {
        Effect::Applied => "",
        Effect::Later => " Has no effect yet.",
        Effect::Moot => " Has no effect here.",
    };
    let about = format!("{}{remark}", key.about);
    if let Some(members) = schema.as_object_mut()
        && !about.is_empty()
    {
        members.insert("description".to_owned(), about.trim_start().into());
    }
    schema
}

fn value(kind: Kind) -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": text});
    let map = |of: Value| json!({"type": ["object", "null"], "additionalProperties": {"anyOf": [of, {"type": "null"}]}});
    match kind {
        Kind::Flag => json!({"type": ["boolean", "null"]}),
        Kind::Integer => json!({"type": ["integer", "null"]}),
        Kind::Text => json!({"type": ["string", "null"]}),
        Kind::TextList => json!({"type": ["array", "null"], "items": text}),
        Kind::TextMap => map(text),
        Kind::TextListMap => map(texts),
        Kind::IntegerMap => map(json!({"type": "integer"})),
        Kind::PortList => {
            let port = json!({"type": "integer", "minimum": 0, "maximum": 65_535});
            let pair = json!({"type": "array", "items": port, "minItems": 2, "maxItems": 2});
            json!({"type": ["array", "null"], "items": {"anyOf": [port, pair]}})
        }
        Kind::Object(keys) => object(keys),
        Kind::ObjectList(keys) => json!({"type": ["array", "null"], "items": object(keys)}),
        Kind::ObjectMap(keys) => map(object(keys)),
        Kind::ObjectListMap(keys) => map(json!({"type": "array", "items": object(keys)})),
        Kind::FlagMap => map(json!({"type": "boolean"})),
        Kind::Anything => json!({}),
    }
}

/// Parameters of either end: servers pass on what clients read.
fn parameters() -> Value {
    let mut properties = Map::new();
    for row in Parameters::table().into_iter().chain(ServerParameters::table()) {
        properties.insert(row.name.to_string(), row.described_schema());
    }
    json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false})
}
