//! The kinds of single values: how each is read from JSON, and what bounds mean for it. Not lists and tables: see `list.rs`.
//! PROTOCOL.md 6.5.

use std::ops::RangeInclusive;
use std::time::Duration;

use culvert_obfuscation::Prng;
use serde_json::{Value as Json, json};

use super::fault::{Fault, Flaw};
use crate::duration::SignedDuration;

/// What durations look like, for a JSON Schema.
const DURATION_PATTERN: &str = r"^[-+]?(0|([0-9]*\.?[0-9]+|[0-9]+\.)(ns|us|µs|μs|ms|s|m|h))+$";

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

    /// Whether it is done this time.
    pub fn happens(self, prng: &mut Prng) -> bool {
        prng.flip_weighted_coin(self.0)
    }

    /// The value of a parameter that has a probability of its own, named like it with `Probability` behind; `None`, which
    /// stands for the parameter's default, the other times. PROTOCOL.md 6.5.
    pub fn gate<'a, T: ?Sized>(self, value: &'a T, prng: &mut Prng) -> Option<&'a T> {
        self.happens(prng).then_some(value)
    }
}

/// A time that grows on slow networks: it cannot be read but with the factor by which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScaledDuration(Duration);

impl ScaledDuration {
    /// A time on a network without delays.
    #[must_use]
    pub const fn new(unscaled: Duration) -> Self {
        Self(unscaled)
    }

    /// The time for a latency multiplier; 0 is none.
    #[must_use]
    pub fn scaled(self, multiplier: f64) -> Duration {
        if multiplier > 0.0 && multiplier.is_finite() {
            Duration::try_from_secs_f64(self.0.as_secs_f64() * multiplier).unwrap_or(Duration::MAX)
        } else {
            self.0
        }
    }
}

/// A most that may be left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtMost {
    /// No limit, -1 in JSON.
    Unlimited,
    /// So many.
    Of(u32),
}

impl AtMost {
    /// Whether so many are allowed.
    #[must_use]
    pub const fn allows(self, count: u32) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Of(most) => count <= most,
        }
    }
}

/// What is done about names in lists that stand for nothing here.
pub(super) enum Unknown {
    Refuse,
    /// The list goes without them. They are noted.
    Drop(Vec<Flaw>),
}

/// A value that a parameter can have.
pub(super) trait Value: Sized {
    /// The kind, in words.
    const KIND: &'static str;
    /// Whether it cannot be read without a latency multiplier.
    const SCALED: bool = false;
    /// What its bounds are.
    type Bounds;

    fn read(json: &Json, unknown: &mut Unknown) -> Result<Self, Flaw>;
    fn to_json(&self) -> Json;

    /// A JSON Schema of what can be read.
    fn schema() -> Json;

    /// The bounds as JSON, and in words.
    fn shown(_bounds: &Self::Bounds) -> Option<(Json, Json)> {
        None
    }

    fn within(&self, _bounds: &Self::Bounds) -> bool {
        true
    }
}

/// A value and its bounds, of any kind.
pub(super) trait Setting {
    fn set(&mut self, json: &Json, unknown: &mut Unknown) -> Result<(), Flaw>;
    fn json(&self) -> Json;
    fn kind(&self) -> &'static str;
    fn bounds(&self) -> Option<(Json, Json)>;
    fn is_scaled(&self) -> bool;
    fn schema(&self) -> Json;
}

/// A value in its place.
pub(super) struct Bounded<'a, T: Value> {
    pub(super) value: &'a mut T,
    pub(super) bounds: T::Bounds,
}

/// The bounds of a declaration: those given, or none.
macro_rules! bounds {
    ($bounds:expr) => {
        $bounds
    };
    () => {
        ()
    };
}
pub(super) use bounds;

impl<T: Value> Setting for Bounded<'_, T> {
    fn set(&mut self, json: &Json, unknown: &mut Unknown) -> Result<(), Flaw> {
        let value = T::read(json, unknown)?;
        if value.within(&self.bounds) {
            *self.value = value;
            return Ok(());
        }
        let words = |bound: &Json| bound.as_str().map_or_else(|| bound.to_string(), str::to_owned);
        let expected = match T::shown(&self.bounds) {
            Some((least, most)) => format!("{} from {} to {}", T::KIND, words(&least), words(&most)),
            None => T::KIND.to_owned(),
        };
        Err(Fault::OutOfBounds { expected, found: words(json) }.into())
    }

    fn json(&self) -> Json {
        self.value.to_json()
    }

    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn bounds(&self) -> Option<(Json, Json)> {
        T::shown(&self.bounds)
    }

    fn is_scaled(&self) -> bool {
        T::SCALED
    }

    fn schema(&self) -> Json {
        let mut schema = T::schema();
        if let (Some((least, most)), Some(object)) = (self.bounds(), schema.as_object_mut())
            && least.is_number()
            && object.contains_key("type")
        {
            object.insert("minimum".to_owned(), least);
            object.insert("maximum".to_owned(), most);
        }
        schema
    }
}

impl Value for Probability {
    const KIND: &'static str = "a probability from 0.0 to 1.0";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        let number = json.as_f64().ok_or_else(|| wrong_kind(Self::KIND, json))?;
        Self::new(number).ok_or_else(|| {
            Fault::OutOfBounds { expected: Self::KIND.to_owned(), found: json.to_string() }.into()
        })
    }

    fn to_json(&self) -> Json {
        json!(self.0)
    }

    fn schema() -> Json {
        json!({"type": "number"})
    }

    fn shown(_bounds: &()) -> Option<(Json, Json)> {
        Some((json!(0.0), json!(1.0)))
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        json.as_bool().ok_or_else(|| wrong_kind(Self::KIND, json))
    }

    fn to_json(&self) -> Json {
        json!(self)
    }

    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

impl Value for String {
    const KIND: &'static str = "text in quotes";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        Ok(text(json)?.to_owned())
    }

    fn to_json(&self) -> Json {
        json!(self)
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

impl Value for u32 {
    const KIND: &'static str = "a whole number";
    type Bounds = RangeInclusive<Self>;

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        let whole = whole(json).ok_or_else(|| wrong_kind(Self::KIND, json))?;
        Self::try_from(whole).map_err(|_| {
            let expected = format!("a whole number from 0 to {}", Self::MAX);
            Fault::OutOfBounds { expected, found: json.to_string() }.into()
        })
    }

    fn to_json(&self) -> Json {
        json!(self)
    }

    fn schema() -> Json {
        json!({"type": "integer"})
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        Some((json!(bounds.start()), json!(bounds.end())))
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }
}

impl Value for AtMost {
    const KIND: &'static str = "a whole number, or -1 for no limit";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        match whole(json).ok_or_else(|| wrong_kind(Self::KIND, json))? {
            -1 => Ok(Self::Unlimited),
            count => u32::try_from(count).map(Self::Of).map_err(|_| {
                Fault::OutOfBounds { expected: Self::KIND.to_owned(), found: json.to_string() }.into()
            }),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Unlimited => json!(-1),
            Self::Of(count) => json!(count),
        }
    }

    fn schema() -> Json {
        json!({"type": "integer"})
    }

    fn shown(_bounds: &()) -> Option<(Json, Json)> {
        Some((json!(-1), json!(u32::MAX)))
    }
}

impl Value for f64 {
    const KIND: &'static str = "a number";
    type Bounds = RangeInclusive<Self>;

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        json.as_f64().ok_or_else(|| wrong_kind(Self::KIND, json))
    }

    fn to_json(&self) -> Json {
        json!(self)
    }

    fn schema() -> Json {
        json!({"type": "number"})
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        Some((json!(bounds.start()), json!(bounds.end())))
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }
}

/// A number that may be left open, which is 0 in JSON.
impl Value for Option<f64> {
    const KIND: &'static str = "0 for none, or a number";
    type Bounds = RangeInclusive<f64>;

    fn read(json: &Json, unknown: &mut Unknown) -> Result<Self, Flaw> {
        Ok(Some(f64::read(json, unknown)?).filter(|number| *number != 0.0))
    }

    fn to_json(&self) -> Json {
        json!(self.unwrap_or(0.0))
    }

    fn schema() -> Json {
        json!({"anyOf": [{"const": 0}, {"type": "number", "minimum": 1}]})
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        f64::shown(bounds)
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        self.is_none_or(|number| bounds.contains(&number))
    }
}

impl Value for Duration {
    const KIND: &'static str = "a duration such as \"10ms\"";
    type Bounds = RangeInclusive<Self>;

    fn read(json: &Json, unknown: &mut Unknown) -> Result<Self, Flaw> {
        let duration = match json {
            Json::String(text) => text.parse().ok(),
            // Nanoseconds, which nobody means who writes by hand.
            Json::Number(number) if matches!(unknown, Unknown::Drop(_)) => {
                number.as_i64().map(SignedDuration::from_nanoseconds)
            }
            _ => return Err(wrong_kind(Self::KIND, json)),
        };
        duration.and_then(SignedDuration::to_duration).ok_or_else(|| {
            Fault::OutOfBounds { expected: Self::KIND.to_owned(), found: json.to_string() }.into()
        })
    }

    fn to_json(&self) -> Json {
        json!(SignedDuration::from(*self))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": DURATION_PATTERN})
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        Some((bounds.start().to_json(), bounds.end().to_json()))
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }
}

impl Value for ScaledDuration {
    const KIND: &'static str = Duration::KIND;
    const SCALED: bool = true;
    type Bounds = RangeInclusive<Duration>;

    fn read(json: &Json, unknown: &mut Unknown) -> Result<Self, Flaw> {
        Duration::read(json, unknown).map(Self)
    }

    fn to_json(&self) -> Json {
        self.0.to_json()
    }

    fn schema() -> Json {
        Duration::schema()
    }

    fn shown(bounds: &Self::Bounds) -> Option<(Json, Json)> {
        Duration::shown(bounds)
    }

    fn within(&self, bounds: &Self::Bounds) -> bool {
        self.0.within(bounds)
    }
}

/// A whole number. Written by some with a fraction of zero; larger ones are out of any bounds.
fn whole(json: &Json) -> Option<i64> {
    let whole_float = || {
        let number = json.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
        Some(number as i64)
    };
    json.as_i64().or_else(whole_float)
}

pub(super) fn text(json: &Json) -> Result<&str, Flaw> {
    json.as_str().ok_or_else(|| wrong_kind("text in quotes", json))
}

pub(super) fn wrong_kind(expected: &'static str, json: &Json) -> Flaw {
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
