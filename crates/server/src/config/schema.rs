//! Tables of settings and the check of a JSON object against one: names, kinds of value, repetitions. Says nothing about
//! what a value means. The reference ignores the case of names and takes null for absent; so do we.

use culvert_protocol::json_position::Step;
use serde_json::{Map, Value};

use super::document::Document;
use super::finding::Problem;

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub effect: Effect,
    /// What it is for, in one line for people; may be empty.
    pub about: &'static str,
}

/// What a setting does in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Applied,
    /// The feature does not exist yet: worth a note when the setting asks for it.
    Later,
    /// Tunes something that this program does not have, such as a garbage collector: accepted in silence.
    Moot,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Flag,
    Integer,
    Text,
    TextList,
    TextMap,
    TextListMap,
    IntegerMap,
    FlagMap,
    /// Ports and pairs of ports.
    PortList,
    Object(&'static [Key]),
    ObjectList(&'static [Key]),
    ObjectMap(&'static [Key]),
    ObjectListMap(&'static [Key]),
    /// Checked by whoever will use it.
    Anything,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, effect: Effect) -> Self {
        Self { name, kind, effect, about: "" }
    }

    pub(super) const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    pub(super) const fn applied(name: &'static str, kind: Kind) -> Self {
        Self::new(name, kind, Effect::Applied)
    }

    pub(super) const fn later(name: &'static str, kind: Kind) -> Self {
        Self::new(name, kind, Effect::Later)
    }

    pub(super) const fn moot(name: &'static str, kind: Kind) -> Self {
        Self::new(name, kind, Effect::Moot)
    }
}

/// Checks `object` and everything in it; findings go to the document.
pub(super) fn check(
    document: &mut Document<'_>,
    path: &mut Vec<Step>,
    object: &Map<String, Value>,
    keys: &[Key],
) {
    for (name, value) in object {
        path.push(Step::Key(name.clone()));
        match key_for(keys, name) {
            None => {
                let near = culvert_protocol::json_position::near_name(name, names(keys));
                document.find(path, Problem::UnknownKey { near });
            }
            Some(key) => {
                if key.name != name && object.contains_key(key.name) {
                    let mut exact = path.clone();
                    exact.pop();
                    exact.push(Step::from(key.name));
                    if let Some(first) = document.position(&exact) {
                        document.find(path, Problem::Duplicate { first });
                    }
                }
                check_value(document, path, value, key.kind);
                if key.effect == Effect::Later && asks_for_something(value) {
                    document.find(path, Problem::NoEffectYet);
                }
            }
        }
        path.pop();
    }
}

fn names(keys: &[Key]) -> impl Iterator<Item = &'static str> {
    keys.iter().map(|key| key.name)
}

/// The setting that `name` names: exactly, or but for the case of letters.
pub(super) fn key_for<'k>(keys: &'k [Key], name: &str) -> Option<&'k Key> {
    let exact = keys.iter().find(|key| key.name == name);
    exact.or_else(|| keys.iter().find(|key| key.name.eq_ignore_ascii_case(name)))
}

/// The value set for `name` in `object`; null is absent.
pub(super) fn value_of<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let exact = object.get(name);
    let found = exact.or_else(|| {
        object.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    });
    found.filter(|value| !value.is_null())
}

fn check_value(document: &mut Document<'_>, path: &mut Vec<Step>, value: &Value, kind: Kind) {
    let member = |value: &Value, fits: fn(&Value) -> bool| {
        value.is_null() || value.as_object().is_some_and(|map| map.values().all(|v| v.is_null() || fits(v)))
    };
    let is_integer = |value: &Value| value.is_i64() || value.is_u64();
    let is_text_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let fits = match kind {
        _ if value.is_null() => true,
        Kind::Flag => value.is_boolean(),
        Kind::Integer => value.as_i64().is_some(),
        Kind::Text => value.is_string(),
        Kind::TextList => is_text_list(value),
        Kind::TextMap => member(value, Value::is_string),
        Kind::TextListMap => member(value, is_text_list),
        Kind::IntegerMap => member(value, is_integer),
        Kind::FlagMap => member(value, Value::is_boolean),
        Kind::PortList | Kind::ObjectList(_) => value.is_array(),
        Kind::Object(_) | Kind::ObjectMap(_) | Kind::ObjectListMap(_) => value.is_object(),
        Kind::Anything => true,
    };
    if let (false, Some(member_kind), Some(members)) = (fits, kind.of_members(), value.as_object()) {
        return check_members(document, path, members, member_kind);
    }
    if !fits {
        document.find(path, Problem::WrongKind { expected: kind.expected(), found: describe(value) });
        return;
    }
    match (kind, value) {
        (Kind::Object(keys), Value::Object(object)) => check(document, path, object, keys),
        (Kind::ObjectList(keys), Value::Array(list)) => {
            for (index, element) in list.iter().enumerate() {
                path.push(Step::Index(index));
                check_value(document, path, element, Kind::Object(keys));
                path.pop();
            }
        }
        (Kind::ObjectMap(keys), Value::Object(object)) => {
            check_members(document, path, object, Kind::Object(keys));
        }
        (Kind::ObjectListMap(keys), Value::Object(object)) => {
            check_members(document, path, object, Kind::ObjectList(keys));
        }
        _ => {}
    }
}

/// Members with names of their own, all of one kind.
fn check_members(document: &mut Document<'_>, path: &mut Vec<Step>, object: &Map<String, Value>, kind: Kind) {
    for (name, value) in object {
        path.push(Step::Key(name.clone()));
        check_value(document, path, value, kind);
        path.pop();
    }
}

/// Whether a value differs from the ones that mean "not set": zero, false, empty.
pub(super) fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => object.values().any(asks_for_something),
    }
}

pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction or out of range",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list like this",
        Value::Object(_) => "an object like this",
    }
}

impl Kind {
    /// What the members of a map are, whose names are free.
    fn of_members(self) -> Option<Self> {
        match self {
            Self::TextMap => Some(Self::Text),
            Self::TextListMap => Some(Self::TextList),
            Self::IntegerMap => Some(Self::Integer),
            Self::FlagMap => Some(Self::Flag),
            _ => None,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Integer => "a whole number",
            Self::Text => "a string",
            Self::TextList => "a list of strings",
            Self::TextMap => "an object whose values are strings",
            Self::TextListMap => "an object whose values are lists of strings",
            Self::IntegerMap => "an object whose values are whole numbers",
            Self::FlagMap => "an object whose values are true or false",
            Self::PortList => "a list of ports and [FIRST, LAST] pairs",
            Self::Object(_) => "an object",
            Self::ObjectList(_) => "a list of objects",
            Self::ObjectMap(_) => "an object whose values are objects",
            Self::ObjectListMap(_) => "an object whose values are lists of objects",
            Self::Anything => "any value",
        }
    }
}
