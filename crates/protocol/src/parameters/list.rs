//! The kinds of lists and tables, by what they consist of. PROTOCOL.md 6.5.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::CompartmentId;
use super::fault::{Fault, Flaw};
use super::named::{ConjureTransport, CustomTlsProfile, DtlsFingerprint, QuicVersion, TlsProfileName};
use super::value::{Unknown, Value, text, wrong_kind};
use crate::json_position::near_name;
use crate::tunnel_protocol::TunnelProtocol;

/// Longest list of a parameter.
const MOST_ITEMS: usize = 4096;

/// A thing that lists consist of.
pub(super) trait Item: Sized {
    /// What a list of them is, in words.
    const LIST: &'static str;
    /// What several lists with labels are.
    const LABELLED: &'static str;

    fn read_item(json: &Json) -> Result<Self, Flaw>;
    fn item_json(&self) -> Json;
    fn item_schema() -> Json;
}

/// An object with named members, which says itself what is wrong with it.
pub(super) trait Record: DeserializeOwned + Serialize {
    /// What one is, in words.
    const RECORD: &'static str;
    /// What a list of them is.
    const RECORDS: &'static str;

    /// Checks what the kinds of members leave open; what is wrong, in words.
    fn flaw(&self) -> Option<&'static str>;
}

impl<T: Item> Value for Vec<T> {
    const KIND: &'static str = T::LIST;
    type Bounds = ();

    fn read(json: &Json, unknown: &mut Unknown) -> Result<Self, Flaw> {
        let list = match json {
            Json::Null => return Ok(Self::new()),
            Json::Array(list) => list,
            _ => return Err(wrong_kind(Self::KIND, json)),
        };
        if list.len() > MOST_ITEMS {
            return Err(Fault::TooMany { most: MOST_ITEMS }.into());
        }
        let mut items = Self::new();
        for (index, item) in list.iter().enumerate() {
            match (T::read_item(item).map_err(|flaw| flaw.inside(index.into())), &mut *unknown) {
                (Ok(item), _) => items.push(item),
                (Err(flaw), Unknown::Drop(dropped)) if flaw.is_unknown_item() => dropped.push(flaw),
                (Err(flaw), _) => return Err(flaw),
            }
        }
        Ok(items)
    }

    fn to_json(&self) -> Json {
        Json::Array(self.iter().map(Item::item_json).collect())
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::item_schema(), "maxItems": MOST_ITEMS})
    }
}

impl<T: Item> Value for BTreeMap<String, Vec<T>> {
    const KIND: &'static str = T::LABELLED;
    type Bounds = ();

    fn read(json: &Json, unknown: &mut Unknown) -> Result<Self, Flaw> {
        let Some(table) = table(json, Self::KIND)? else { return Ok(Self::new()) };
        let mut lists = Self::new();
        for (label, list) in table {
            let before = dropped(unknown);
            let list = Vec::read(list, unknown).map_err(|flaw| flaw.inside(label.as_str().into()))?;
            if let Unknown::Drop(items) = unknown {
                let new = items.split_off(before.min(items.len()));
                items.extend(new.into_iter().map(|flaw| flaw.inside(label.as_str().into())));
            }
            lists.insert(label.clone(), list);
        }
        Ok(lists)
    }

    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(label, list)| (label.clone(), list.to_json())).collect())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": Vec::<T>::schema()})
    }
}

fn dropped(unknown: &Unknown) -> usize {
    match unknown {
        Unknown::Refuse => 0,
        Unknown::Drop(items) => items.len(),
    }
}

/// Names with values that mean something to others.
impl Value for BTreeMap<String, Json> {
    const KIND: &'static str = "an object with any members";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        let Some(table) = table(json, Self::KIND)? else { return Ok(Self::new()) };
        Ok(table.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn schema() -> Json {
        json!({"type": "object"})
    }
}

impl Value for BTreeMap<String, CompartmentId> {
    const KIND: &'static str = "an object whose members are 32 bytes in base64 without padding";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        let Some(table) = table(json, Self::KIND)? else { return Ok(Self::new()) };
        let member = |(name, value): (&String, &Json)| {
            let value = CompartmentId::read_item(value).map_err(|flaw| flaw.inside(name.as_str().into()))?;
            Ok((name.clone(), value))
        };
        table.iter().map(member).collect()
    }

    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(name, value)| (name.clone(), value.item_json())).collect())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": CompartmentId::item_schema()})
    }
}

impl Value for BTreeMap<String, Duration> {
    const KIND: &'static str = "an object whose members are durations such as \"10ms\"";
    type Bounds = ();

    fn read(json: &Json, unknown: &mut Unknown) -> Result<Self, Flaw> {
        let Some(table) = table(json, Self::KIND)? else { return Ok(Self::new()) };
        let member = |(name, value): (&String, &Json)| {
            let value = Duration::read(value, unknown).map_err(|flaw| flaw.inside(name.as_str().into()))?;
            Ok((name.clone(), value))
        };
        table.iter().map(member).collect()
    }

    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": Duration::schema()})
    }
}

/// The members of an object; `None` of null, which stands for an empty one.
pub(super) fn table<'a>(
    json: &'a Json,
    kind: &'static str,
) -> Result<Option<&'a serde_json::Map<String, Json>>, Flaw> {
    match json {
        Json::Null => Ok(None),
        Json::Object(table) if table.len() > MOST_ITEMS => Err(Fault::TooMany { most: MOST_ITEMS }.into()),
        Json::Object(table) => Ok(Some(table)),
        _ => Err(wrong_kind(kind, json)),
    }
}

/// Reads an object with named members.
pub(super) fn record<T: Record>(json: &Json) -> Result<T, Flaw> {
    let malformed = |detail: String| Fault::Malformed { expected: T::RECORD, detail };
    let record: T = serde_json::from_value(json.clone()).map_err(|error| malformed(error.to_string()))?;
    match record.flaw() {
        Some(flaw) => Err(malformed(flaw.to_owned()).into()),
        None => Ok(record),
    }
}

/// The JSON form of an object with named members.
pub(super) fn record_json<T: Record>(record: &T) -> Json {
    serde_json::to_value(record).unwrap_or_default()
}

impl<T: Record> Item for T {
    const LIST: &'static str = T::RECORDS;
    const LABELLED: &'static str = T::RECORDS;

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        record(json)
    }

    fn item_json(&self) -> Json {
        record_json(self)
    }

    fn item_schema() -> Json {
        json!({"type": "object"})
    }
}

impl Item for String {
    const LIST: &'static str = "a list of texts";
    const LABELLED: &'static str = "lists of texts, each with a label";

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        Ok(text(json)?.to_owned())
    }

    fn item_json(&self) -> Json {
        json!(self)
    }

    fn item_schema() -> Json {
        json!({"type": "string"})
    }
}

/// A pattern and a replacement.
impl Item for [String; 2] {
    const LIST: &'static str = "lists of [\"pattern\", \"replacement\"]";
    const LABELLED: &'static str = "named lists of [\"pattern\", \"replacement\"]";

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        serde_json::from_value(json.clone()).map_err(|_| wrong_kind(Self::LIST, json))
    }

    fn item_json(&self) -> Json {
        json!(self)
    }

    fn item_schema() -> Json {
        json!({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2})
    }
}

impl Item for TlsProfileName {
    const LIST: &'static str = "a list of TLS profiles";
    const LABELLED: &'static str = "lists of TLS profiles, each with a label";

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        // Whether it exists is known when the custom profiles are.
        Ok(Self::new(text(json)?))
    }

    fn item_json(&self) -> Json {
        json!(self.as_str())
    }

    fn item_schema() -> Json {
        json!({"type": "string", "examples": Self::KNOWN})
    }
}

impl Item for CustomTlsProfile {
    const LIST: &'static str = "a list of TLS profiles, each an object with a \"Name\"";
    const LABELLED: &'static str = Self::LIST;

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        let name = json.get("Name").and_then(Json::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| wrong_kind(Self::LIST, json))?;
        Ok(Self { name: TlsProfileName::new(name), definition: json.clone() })
    }

    fn item_json(&self) -> Json {
        self.definition.clone()
    }

    fn item_schema() -> Json {
        json!({"type": "object", "required": ["Name"], "properties": {"Name": {"type": "string"}}})
    }
}

/// Lists of things with a name each, of which there is a closed set.
macro_rules! named_items {
    ($($Item:ty, $list:literal, $labelled:literal, $what:literal, $all:expr;)*) => {
        $(
            impl Item for $Item {
                const LIST: &'static str = $list;
                const LABELLED: &'static str = $labelled;

                fn read_item(json: &Json) -> Result<Self, Flaw> {
                    let name = text(json)?;
                    name.parse().map_err(|_| {
                        let near = near_name(name, $all.into_iter().map(Self::name)).map(str::to_owned);
                        Fault::UnknownItem { what: $what, name: name.to_owned(), near }.into()
                    })
                }

                fn item_json(&self) -> Json {
                    json!(self.name())
                }

                fn item_schema() -> Json {
                    json!({"enum": $all.into_iter().map(Self::name).collect::<Vec<_>>()})
                }
            }
        )*
    };
}

named_items! {
    TunnelProtocol, "a list of tunnel protocols", "lists of tunnel protocols, each with a label",
        "a tunnel protocol", TunnelProtocol::all();
    QuicVersion, "a list of QUIC versions", "lists of QUIC versions, each with a label",
        "a QUIC version", QuicVersion::ALL;
    ConjureTransport, "a list of Conjure transports", "lists of Conjure transports, each with a label",
        "a Conjure transport", ConjureTransport::ALL;
    DtlsFingerprint, "a list of DTLS fingerprints", "lists of DTLS fingerprints, each with a label",
        "a DTLS fingerprint", DtlsFingerprint::ALL;
}
