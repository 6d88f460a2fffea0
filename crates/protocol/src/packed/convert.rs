//! The conversions between a value's logical form and its packed form. PROTOCOL.md 4.1.

use serde_json::{Map, Number, Value as Json};

use super::{Value, authorizations};
use crate::cbor::Cbor;
use crate::{go_json, go_number, text_form};

/// How one parameter or member is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converter {
    /// Unchanged: text, lists of text, null.
    AsIs,
    /// Decimal text as a whole number.
    Int,
    /// Decimal text as a 64-bit float, read back with six decimals.
    Float,
    /// Hex as bytes, read back in lower case.
    LowerHex,
    /// Hex as bytes, read back in upper case.
    UpperHex,
    /// Padded base64 as bytes.
    Base64,
    /// Unpadded base64 as bytes.
    Base64Unpadded,
    /// A list of authorizations as one byte string of CBOR.
    Authorizations,
    /// An array of maps with text keys.
    JsonMaps,
    /// A byte string with the text of a JSON object.
    RawJson,
}

/// How a JSON number is packed where no conversion applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberForm {
    /// Whole numbers as integers: API parameters, and entries that never were JSON.
    Natural,
    /// Always a 64-bit float: entries that were read from JSON by the reference.
    Float,
}

/// Why a value does not convert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Not a whole number within 64 bits.
    #[error("not a whole number")]
    Int,
    /// Not a number.
    #[error("not a number with a fraction")]
    Float,
    /// Not pairs of hex digits.
    #[error("not hex, or not a byte string")]
    Hex,
    /// Not base64 of the expected kind.
    #[error("not base64, or not a byte string")]
    Base64,
    /// Not a list of authorizations.
    #[error("not a list of authorizations")]
    Authorizations,
    /// Not an array of maps with text keys.
    #[error("not a list of objects")]
    Maps,
    /// Not a JSON object.
    #[error("not a JSON object")]
    Object,
    /// Nothing that a value can be.
    #[error("of a type that no value has")]
    Type,
}

impl Converter {
    /// Packs a value.
    ///
    /// # Errors
    /// The value is not of the form that the conversion takes.
    pub fn pack(self, value: &Value, numbers: NumberForm) -> Result<Cbor, ConvertError> {
        match (self, value) {
            (Self::AsIs, value) => Ok(value_to_cbor(value, numbers)),
            (Self::Int, Value::Text(text)) => {
                go_number::parse_int(text).map(|x| Cbor::Int(x.into())).ok_or(ConvertError::Int)
            }
            (Self::Int, Value::Json(Json::Number(x))) => truncate(x),
            (Self::Int, _) => Err(ConvertError::Int),
            (Self::Float, Value::Text(text)) => {
                go_number::parse_float(text).map(Cbor::Float).ok_or(ConvertError::Float)
            }
            (Self::Float, Value::Json(Json::Number(x))) => {
                x.as_f64().map(Cbor::Float).ok_or(ConvertError::Float)
            }
            (Self::Float, _) => Err(ConvertError::Float),
            (Self::LowerHex | Self::UpperHex, value) => {
                text_of(value).and_then(text_form::hex).map(Cbor::Bytes).ok_or(ConvertError::Hex)
            }
            (Self::Base64, value) => {
                text_of(value).and_then(text_form::base64).map(Cbor::Bytes).ok_or(ConvertError::Base64)
            }
            (Self::Base64Unpadded, value) => text_of(value)
                .and_then(text_form::base64_unpadded)
                .map(Cbor::Bytes)
                .ok_or(ConvertError::Base64),
            (Self::Authorizations, Value::TextList(list)) => authorizations::pack(list).map(Cbor::Bytes),
            (Self::Authorizations, Value::Json(Json::Null)) => authorizations::pack(&[]).map(Cbor::Bytes),
            (Self::Authorizations, _) => Err(ConvertError::Authorizations),
            (Self::JsonMaps, value) => match value_to_cbor(value, numbers) {
                maps if is_maps(&maps) => Ok(maps),
                _ => Err(ConvertError::Maps),
            },
            (Self::RawJson, Value::RawJson(text)) => Ok(Cbor::Bytes(text.clone().into_bytes())),
            (Self::RawJson, Value::Json(value @ Json::Object(_))) => {
                Ok(Cbor::Bytes(go_json::canonical(value).into_bytes()))
            }
            (Self::RawJson, _) => Err(ConvertError::Object),
        }
    }

    /// Reads a packed value.
    ///
    /// # Errors
    /// The CBOR type is not what the conversion makes.
    pub fn unpack(self, value: Cbor) -> Result<Value, ConvertError> {
        match (self, value) {
            (Self::AsIs, Cbor::Bytes(bytes)) => Ok(Value::Bytes(bytes)),
            (Self::AsIs, value) => cbor_to_json(value).map(Value::from),
            (Self::Int, Cbor::Int(x)) => Ok(Value::Text(x.to_string())),
            (Self::Int, _) => Err(ConvertError::Int),
            (Self::Float, Cbor::Float(x)) => Ok(Value::Text(go_number::fixed6(x))),
            (Self::Float, _) => Err(ConvertError::Float),
            (Self::LowerHex, Cbor::Bytes(bytes)) => Ok(Value::Text(text_form::to_hex(&bytes))),
            (Self::UpperHex, Cbor::Bytes(bytes)) => Ok(Value::Text(text_form::to_hex_upper(&bytes))),
            (Self::LowerHex | Self::UpperHex, _) => Err(ConvertError::Hex),
            (Self::Base64, Cbor::Bytes(bytes)) => Ok(Value::Text(text_form::to_base64(&bytes))),
            (Self::Base64Unpadded, Cbor::Bytes(bytes)) => {
                Ok(Value::Text(text_form::to_base64_unpadded(&bytes)))
            }
            (Self::Base64 | Self::Base64Unpadded, _) => Err(ConvertError::Base64),
            (Self::Authorizations, Cbor::Bytes(bytes)) => authorizations::unpack(&bytes).map(Value::TextList),
            (Self::Authorizations, _) => Err(ConvertError::Authorizations),
            (Self::JsonMaps, Cbor::Null) => Ok(Value::Json(Json::Null)),
            (Self::JsonMaps, Cbor::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Cbor::Map(_) => cbor_to_json(item).map_err(|_| ConvertError::Maps),
                    _ => Err(ConvertError::Maps),
                })
                .collect::<Result<_, _>>()
                .map(|items| Value::Json(Json::Array(items))),
            (Self::JsonMaps, _) => Err(ConvertError::Maps),
            (Self::RawJson, Cbor::Bytes(text)) => go_json::parse_object(&text)
                .map(|map| Value::Json(Json::Object(map)))
                .map_err(|_| ConvertError::Object),
            (Self::RawJson, _) => Err(ConvertError::Object),
        }
    }
}

/// JSON as CBOR.
pub(crate) fn json_to_cbor(value: &Json, numbers: NumberForm) -> Cbor {
    match value {
        Json::Null => Cbor::Null,
        Json::Bool(flag) => Cbor::Bool(*flag),
        Json::Number(x) => number_to_cbor(x, numbers),
        Json::String(text) => Cbor::Text(text.clone()),
        Json::Array(items) => Cbor::Array(items.iter().map(|item| json_to_cbor(item, numbers)).collect()),
        Json::Object(map) => Cbor::Map(
            map.iter()
                .map(|(name, value)| (Cbor::Text(name.clone()), json_to_cbor(value, numbers)))
                .collect(),
        ),
    }
}

/// CBOR as JSON. Byte strings become base64 text, as in the reference's JSON.
pub(crate) fn cbor_to_json(value: Cbor) -> Result<Json, ConvertError> {
    Ok(match value {
        Cbor::Int(x) => match (u64::try_from(x), i64::try_from(x)) {
            (Ok(x), _) => x.into(),
            (_, Ok(x)) => x.into(),
            _ => return Err(ConvertError::Type),
        },
        Cbor::Bytes(bytes) => Json::String(text_form::to_base64(&bytes)),
        Cbor::Text(text) => Json::String(text),
        Cbor::Array(items) => Json::Array(items.into_iter().map(cbor_to_json).collect::<Result<_, _>>()?),
        Cbor::Map(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                let Cbor::Text(name) = key else { return Err(ConvertError::Type) };
                map.insert(name, cbor_to_json(value)?);
            }
            Json::Object(map)
        }
        Cbor::Bool(flag) => Json::Bool(flag),
        Cbor::Null => Json::Null,
        Cbor::Float(x) => Json::Number(Number::from_f64(x).ok_or(ConvertError::Type)?),
        Cbor::Other => return Err(ConvertError::Type),
    })
}

fn value_to_cbor(value: &Value, numbers: NumberForm) -> Cbor {
    match value {
        Value::Text(text) => Cbor::Text(text.clone()),
        Value::TextList(list) => Cbor::Array(list.iter().cloned().map(Cbor::Text).collect()),
        Value::Json(value) => json_to_cbor(value, numbers),
        Value::RawJson(text) => Cbor::Bytes(text.clone().into_bytes()),
        Value::Bytes(bytes) => Cbor::Bytes(bytes.clone()),
    }
}

fn number_to_cbor(x: &Number, numbers: NumberForm) -> Cbor {
    match (x.as_i64(), x.as_u64(), x.as_f64()) {
        (Some(x), ..) if numbers == NumberForm::Natural => Cbor::Int(x.into()),
        (_, Some(x), _) if numbers == NumberForm::Natural => Cbor::Int(x.into()),
        (.., Some(x)) => Cbor::Float(x),
        _ => Cbor::Null,
    }
}

/// What [`Converter::JsonMaps`] reads back.
fn is_maps(value: &Cbor) -> bool {
    match value {
        Cbor::Null => true,
        Cbor::Array(items) => items.iter().all(|item| matches!(item, Cbor::Map(_))),
        _ => false,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked; the fraction is dropped on purpose"
)]
fn truncate(x: &Number) -> Result<Cbor, ConvertError> {
    match (x.as_i64(), x.as_f64()) {
        (Some(x), _) => Ok(Cbor::Int(x.into())),
        (_, Some(x)) if x.abs() < 9.2e18 => Ok(Cbor::Int((x as i64).into())),
        _ => Err(ConvertError::Int),
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
