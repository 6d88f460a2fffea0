//! API parameters and their two wire forms: packed CBOR with integer keys, and JSON text.
//!
//! Not here: which parameters a request must have (`api::specs`). PROTOCOL.md 4.1.

mod authorizations;
mod convert;
pub mod table;

pub use convert::{ConvertError, Converter, NumberForm};

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use crate::cbor::{Cbor, CborError};
use crate::{go_json, text_form};

/// The bytes before the packed form. JSON never starts so.
const PREAMBLE: [u8; 2] = [0, 1];

/// One parameter's value. Nearly all are text, numbers and flags included ("42", "1").
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A list of text.
    TextList(Vec<String>),
    /// Anything else that JSON can hold; null is the same as absent.
    Json(Json),
    /// JSON text to be sent as it is.
    RawJson(String),
    /// A byte string, which no parameter has in logical form: it fails every validation.
    Bytes(Vec<u8>),
}

/// The parameters of one request by name.
#[derive(Clone, Default, PartialEq)]
pub struct Params(BTreeMap<String, Value>);

/// Why a request's bytes are not parameters, or parameters cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Malformed CBOR from the peer.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Malformed JSON from the peer.
    #[error("the peer's JSON parameters are malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// The CBOR value is not a map with integer keys.
    #[error("the peer's packed parameters are not a map with whole numbers as keys")]
    NotAMap,
    /// A value does not have the type that its name calls for.
    #[error("parameter {name}: {problem}")]
    Value {
        /// The parameter.
        name: String,
        /// What is wrong.
        problem: ConvertError,
    },
    /// A name without a key, which cannot be packed. Send it as JSON or leave it out.
    #[error("parameter {name} has no packed key: leave it out, or send the request as JSON")]
    UnknownName {
        /// The parameter.
        name: String,
    },
}

/// Reads the parameters of a request in either form.
///
/// # Errors
/// See [`PackError`]. Unknown keys of the packed form are no error: they are dropped, for clients newer than we are.
pub fn decode(payload: &[u8]) -> Result<Params, PackError> {
    match payload.strip_prefix(&PREAMBLE) {
        Some(packed) => decode_packed(packed),
        None => Params::from_json(payload),
    }
}

/// Writes the packed form, with its preamble.
///
/// # Errors
/// A name has no key, or a value does not fit its conversion.
pub fn encode(params: &Params) -> Result<Vec<u8>, PackError> {
    let pairs = params.0.iter().map(|(name, value)| {
        let (key, converter) =
            table::by_name(name).ok_or_else(|| PackError::UnknownName { name: name.clone() })?;
        let packed = converter
            .pack(value, NumberForm::Natural)
            .map_err(|problem| PackError::Value { name: name.clone(), problem })?;
        Ok((Cbor::Int(key.into()), packed))
    });
    let map = Cbor::Map(pairs.collect::<Result<_, PackError>>()?);
    let mut payload = PREAMBLE.to_vec();
    payload.extend(map.write());
    Ok(payload)
}

fn decode_packed(packed: &[u8]) -> Result<Params, PackError> {
    let pairs = match Cbor::read(packed)? {
        Cbor::Map(pairs) => pairs,
        Cbor::Null => Vec::new(),
        _ => return Err(PackError::NotAMap),
    };
    // Of a repeated key the last value counts, also where an earlier one would not convert.
    let mut by_key = BTreeMap::new();
    for (key, value) in pairs {
        by_key.insert(key.as_int().ok_or(PackError::NotAMap)?, value);
    }
    let mut params = Params::default();
    for (key, value) in by_key {
        let Some((name, converter)) = table::by_key(key) else { continue };
        let value =
            converter.unpack(value).map_err(|problem| PackError::Value { name: name.to_owned(), problem })?;
        params.0.insert(name.to_owned(), value);
    }
    Ok(params)
}

impl Params {
    /// Reads JSON text.
    ///
    /// # Errors
    /// Not one JSON object. White space around it passes.
    pub fn from_json(text: &[u8]) -> Result<Self, PackError> {
        let map = go_json::parse_object(text)?;
        Ok(Self(map.into_iter().map(|(name, value)| (name, value.into())).collect()))
    }

    /// Writes JSON text as the reference does: sorted names, HTML characters escaped.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (i, (name, value)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            go_json::write_string(&mut out, name);
            out.push(':');
            match value {
                Value::RawJson(text) => out.push_str(&go_json::escape_html(text)),
                other => out.push_str(&go_json::canonical(&Json::from(other))),
            }
        }
        out.push('}');
        out
    }

    /// The value of a parameter; null counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !matches!(value, Value::Json(Json::Null)))
    }

    /// The value of a parameter if it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of a parameter if it is a list of text.
    #[must_use]
    pub fn text_list(&self, name: &str) -> Option<&[String]> {
        match self.get(name) {
            Some(Value::TextList(list)) => Some(list),
            _ => None,
        }
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// All parameters in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Adds all of another set; of a name in both, the other's value counts.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// Shows names only: values may be addresses or authorizations.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Params{:?}", self.0.keys().collect::<Vec<_>>())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::TextList(list)
    }
}

impl From<Json> for Value {
    fn from(value: Json) -> Self {
        match value {
            Json::String(text) => Self::Text(text),
            Json::Array(items) if items.iter().all(Json::is_string) => {
                Self::TextList(items.into_iter().filter_map(into_text).collect())
            }
            other => Self::Json(other),
        }
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Json::String(text.clone()),
            Value::TextList(list) => list.iter().cloned().collect(),
            Value::Json(value) => value.clone(),
            Value::RawJson(text) => go_json::parse(text.as_bytes()).unwrap_or(Json::Null),
            Value::Bytes(bytes) => Json::String(text_form::to_base64(bytes)),
        }
    }
}

fn into_text(value: Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
