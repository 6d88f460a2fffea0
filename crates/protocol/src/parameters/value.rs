//! The kinds of values: how each is read from JSON, and what bounds mean for it. PROTOCOL.md 6.5.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Row;
use super::fault::{Fault, Flaw};
use super::named::{CustomTlsProfile, QuicVersion, TlsProfileName};
use crate::duration::SignedDuration;
use crate::json_position::near_name;
use crate::tunnel_protocol::TunnelProtocol;

/// Longest list of a parameter.
const MOST_ITEMS: usize = 4096;

/// How likely something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Probability(f64);

impl Probability {
    /// 0.
    pub const NEVER: Self = Self(0.0);
    /// 1.
    pub const ALWAYS: Self = Self(1.0);
    /// 0.5.
    pub const HALF: Self = Self(0.5);
    /// 0.25.
    pub const QUARTER: Self = Self(0.25);

    /// A probability from 0.0 to 1.0.
    #[must_use]
    pub fn new(probability: f64) -> Option<Self> {
        (0.0..=1.0).contains(&probability).then_some(Self(probability))
    }

    /// The number, from 0.0 to 1.0.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A value that a parameter can have.
pub(super) trait Value: Sized {
    /// The kind, in words.
    const KIND: &'static str;
    /// What its bounds are.
    type Bounds;

    fn read(json: &Json) -> Result<Self, Flaw>;
    fn to_json(&self) -> Json;

    /// The bounds as JSON, and in words.
    fn shown(_bounds: &Self::Bounds) -> Option<(Json, Json)> {
        None
    }

    fn within(&self, _bounds: &Self::Bounds) -> bool {
        true
    }
}

/// The bounds of a declaration: those given, or none.
macro_rules! bounds {
    ($Kind:ty, $bounds:expr) => {
        &$bounds
    };
    ($Kind:ty) => {
        &()
    };
}
pub(super) use bounds;

/// Reads a value and holds it against its bounds.
pub(super) fn read<T: Value>(json: &Json, bounds: &T::Bounds) -> Result<T, Flaw> {
    let value = T::read(json)?;
    if value.within(bounds) {
        return Ok(value);
    }
    let words = |bound: &Json| bound.as_str().map_or_else(|| bound.to_string(), str::to_owned);
    let expected = match T::shown(bounds) {
        Some((least, most)) => format!("{} from {} to {}", T::KIND, words(&least), words(&most)),
        None => T::KIND.to_owned(),
    };
    Err(Fault::OutOfBounds { expected, found: words(json) }.into())
}

/// The row of a parameter.
pub(super) fn row<T: Value>(name: &'static str, default: &T, bounds: &T::Bounds, about: &'static str) -> Row {
    Row {
        name: name.into(),
        kind: T::KIND,
        default: default.to_json(),
        bounds: T::shown(bounds),
        about: about.trim_ascii(),
    }
}

impl Value for Probability {
    const KIND: &'static str = "a probability from 0.0 to 1.0";
    type Bounds = ();

    fn read(json: &Json) -> Result<Self, Flaw> {
        let number = json.as_f64().ok_or_else(|| wrong_kind(Self::KIND, json))?;
        Self::new(number).ok_or_else(|| {
            Fault::OutOfBounds { expected: Self::KIND.to_owned(), found: json.to_string() }.into()
        })
    }

    fn to_json(&self) -> Json {
        json!(self.0)
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    type Bounds = ();

    fn read(json: &Json) -> Result<Self, Flaw> {
        json.as_bool().ok_or_else(|| wrong_kind(Self::KIND, json))
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

impl Value for u32 {
    const KIND: &'static str = "a whole number";
    type Bounds = RangeInclusive<Self>;

    fn read(json: &Json) -> Result<Self, Flaw> {
        // Written by some with a fraction of zero; larger ones are out of any bounds.
        let whole =
            json.as_i64().or_else(|| whole_float(json)).ok_or_else(|| wrong_kind(Self::KIND, json))?;
        Self::try_from(whole).map_err(|_| {
            let expected = format!("a whole number from 0 to {}", Self::MAX);
            Fault::OutOfBounds { expected, found: json.to_string() }.into()
        })
    }

    fn to_json(&self) -> Json {
        json!(self)
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        Some((json!(bounds.start()), json!(bounds.end())))
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }
}

fn whole_float(json: &Json) -> Option<i64> {
    let number = json.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
    Some(number as i64)
}

impl Value for f64 {
    const KIND: &'static str = "a number";
    type Bounds = RangeInclusive<Self>;

    fn read(json: &Json) -> Result<Self, Flaw> {
        json.as_f64().ok_or_else(|| wrong_kind(Self::KIND, json))
    }

    fn to_json(&self) -> Json {
        json!(self)
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        Some((json!(bounds.start()), json!(bounds.end())))
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }
}

impl Value for Duration {
    const KIND: &'static str = "a duration such as \"10ms\"";
    type Bounds = RangeInclusive<Self>;

    fn read(json: &Json) -> Result<Self, Flaw> {
        let text = json.as_str().ok_or_else(|| wrong_kind(Self::KIND, json))?;
        let duration: Option<SignedDuration> = text.parse().ok();
        let duration = duration.and_then(SignedDuration::to_duration);
        duration.ok_or_else(|| {
            Fault::OutOfBounds { expected: Self::KIND.to_owned(), found: json.to_string() }.into()
        })
    }

    fn to_json(&self) -> Json {
        json!(SignedDuration::from(*self))
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        Some((bounds.start().to_json(), bounds.end().to_json()))
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }
}

/// A thing that lists consist of.
pub(super) trait Item: Sized {
    /// What a list of them is, in words.
    const LIST: &'static str;
    /// What several lists with labels are.
    const LABELLED: &'static str;

    fn read_item(json: &Json) -> Result<Self, Flaw>;
    fn item_json(&self) -> Json;
}

impl<T: Item> Value for Vec<T> {
    const KIND: &'static str = T::LIST;
    type Bounds = ();

    fn read(json: &Json) -> Result<Self, Flaw> {
        let list = match json {
            Json::Null => return Ok(Self::new()),
            Json::Array(list) => list,
            _ => return Err(wrong_kind(Self::KIND, json)),
        };
        if list.len() > MOST_ITEMS {
            return Err(Fault::TooMany { most: MOST_ITEMS }.into());
        }
        let item =
            |(index, item): (usize, &Json)| T::read_item(item).map_err(|flaw| flaw.inside(index.into()));
        list.iter().enumerate().map(item).collect()
    }

    fn to_json(&self) -> Json {
        Json::Array(self.iter().map(Item::item_json).collect())
    }
}

impl<T: Item> Value for BTreeMap<String, Vec<T>> {
    const KIND: &'static str = T::LABELLED;
    type Bounds = ();

    fn read(json: &Json) -> Result<Self, Flaw> {
        let table = match json {
            Json::Null => return Ok(Self::new()),
            Json::Object(table) => table,
            _ => return Err(wrong_kind(Self::KIND, json)),
        };
        if table.len() > MOST_ITEMS {
            return Err(Fault::TooMany { most: MOST_ITEMS }.into());
        }
        let entry = |(label, list): (&String, &Json)| {
            let list = Vec::read(list).map_err(|flaw| flaw.inside(label.as_str().into()))?;
            Ok((label.clone(), list))
        };
        table.iter().map(entry).collect()
    }

    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(label, list)| (label.clone(), list.to_json())).collect())
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
}

impl Item for TunnelProtocol {
    const LIST: &'static str = "a list of tunnel protocols";
    const LABELLED: &'static str = "lists of tunnel protocols, each with a label";

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        let name = text(json)?;
        name.parse().map_err(|_| {
            let near = near_name(name, Self::all().map(Self::name)).map(str::to_owned);
            Fault::UnknownItem { what: "a tunnel protocol", name: name.to_owned(), near }.into()
        })
    }

    fn item_json(&self) -> Json {
        json!(self.name())
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
}

impl Item for QuicVersion {
    const LIST: &'static str = "a list of QUIC versions";
    const LABELLED: &'static str = "lists of QUIC versions, each with a label";

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        let name = text(json)?;
        name.parse().map_err(|_| {
            let near = near_name(name, Self::ALL.map(Self::name)).map(str::to_owned);
            Fault::UnknownItem { what: "a QUIC version", name: name.to_owned(), near }.into()
        })
    }

    fn item_json(&self) -> Json {
        json!(self.name())
    }
}

fn text(json: &Json) -> Result<&str, Flaw> {
    json.as_str().ok_or_else(|| wrong_kind("text in quotes", json))
}

fn wrong_kind(expected: &'static str, json: &Json) -> Flaw {
    let found = match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    };
    Fault::WrongKind { expected, found }.into()
}
