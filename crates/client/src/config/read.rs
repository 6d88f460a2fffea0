//! From JSON text to fields of the right kind, with every problem placed in the text. Not the meaning of the fields:
//! see `build.rs` and `rules.rs`.

use std::collections::BTreeMap;

use culvert_protocol::json_position::{self, Position, Step, near_name};
use culvert_protocol::json_syntax::syntax_detail;
use serde_json::{Map, Value};

use super::keys::{self, KEYS, Key, Kind, Use};
use super::problem::{ConfigError, Fault, Problem};

/// Further unknown or repeated keys are not reported: the work of placing each one grows with the text.
const MOST_WARNINGS: usize = 50;

/// The fields of one config file, by their exact names, with the problems found so far.
pub(super) struct Fields<'a> {
    file: &'a str,
    text: &'a str,
    values: BTreeMap<&'static str, Field>,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

struct Field {
    as_written: String,
    value: Value,
}

impl<'a> Fields<'a> {
    /// Reads the text. Fails at once only where nothing can be told about single fields.
    pub(super) fn read(file: &'a str, text: &'a str) -> Result<Self, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let position = Position { line: error.line().max(1), column: error.column().max(1) };
            ConfigError::of_file(file, Some(position), Fault::Syntax { detail: syntax_detail(&error) })
        })?;
        let Value::Object(object) = value else {
            return Err(ConfigError::of_file(file, None, Fault::NotAnObject));
        };
        let mut fields =
            Self { file, text, values: BTreeMap::new(), errors: Vec::new(), warnings: Vec::new() };
        fields.note_repetitions();
        fields.sort_in(object);
        fields.check_kinds();
        Ok(fields)
    }

    /// The keys that are set but have no effect yet.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        let later = |name: &&&'static str| keys::exact(name).is_some_and(|key| key.used == Use::Later);
        self.values.keys().filter(later).copied().collect()
    }

    /// Whether a key is set to something else than the empty value of its kind.
    pub(super) fn is_set(&self, name: &'static str) -> bool {
        self.value(name).is_some_and(|value| !is_empty(value))
    }

    pub(super) fn value(&self, name: &'static str) -> Option<&Value> {
        debug_assert!(keys::exact(name).is_some(), "{name} is not in the table of keys");
        self.values.get(name).map(|field| &field.value)
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.value(name)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn texts(&self, name: &'static str) -> Vec<String> {
        let list = self.value(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    pub(super) fn switch(&self, name: &'static str) -> bool {
        self.value(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A whole number within bounds; out of them is an error that says what is `expected`.
    pub(super) fn integer<T: TryFrom<i64>>(
        &mut self,
        name: &'static str,
        within: std::ops::RangeInclusive<i64>,
        expected: &'static str,
    ) -> Option<T> {
        let given = self.value(name)?.as_i64()?;
        let fitting = Some(given).filter(|n| within.contains(n)).and_then(|n| T::try_from(n).ok());
        if fitting.is_none() {
            self.fault(name, Fault::OutOfRange { expected, found: given.to_string() });
        }
        fitting
    }

    /// Whether an error about the field was noted already.
    pub(super) fn has_error(&self, name: &str) -> bool {
        self.errors.iter().any(|problem| problem.field.eq_ignore_ascii_case(name))
    }

    /// Notes an error about a field, placed where the field stands.
    pub(super) fn fault(&mut self, name: &'static str, fault: Fault) {
        self.fault_at(name, &[], fault);
    }

    /// Notes an error about something inside a field.
    pub(super) fn fault_at(&mut self, name: &'static str, inside: &[Step], fault: Fault) {
        let written = self.values.get(name).map_or(name, |field| field.as_written.as_str());
        let mut path = vec![Step::from(written)];
        path.extend(inside.iter().cloned());
        let problem = self.problem(path, fault);
        self.errors.push(problem);
    }

    fn warn(&mut self, as_written: &str, fault: Fault) {
        let problem = self.problem(vec![as_written.into()], fault);
        self.warnings.push(problem);
    }

    fn problem(&self, path: Vec<Step>, fault: Fault) -> Problem {
        Problem {
            file: self.file.to_owned(),
            position: json_position::key_position(self.text, &path),
            field: json_position::display_path(&path),
            fault,
        }
    }

    fn note_repetitions(&mut self) {
        for repeated in json_position::duplicate_keys(self.text).into_iter().take(MOST_WARNINGS) {
            self.warnings.push(Problem {
                file: self.file.to_owned(),
                position: Some(repeated.again),
                field: json_position::display_path(&repeated.path),
                fault: Fault::Repeated { first: repeated.first },
            });
        }
    }

    /// Files each value under its exact name. An exactly spelled key wins over one in other letter case.
    fn sort_in(&mut self, object: Map<String, Value>) {
        for (as_written, value) in object {
            let Some(key) = keys::any_case(&as_written) else {
                if self.warnings.len() < MOST_WARNINGS {
                    let near = near_name(&as_written, KEYS.iter().map(|key| key.name));
                    self.warn(&as_written, Fault::UnknownKey { near });
                }
                continue;
            };
            if key.name != as_written {
                if self.warnings.len() < MOST_WARNINGS {
                    self.warn(&as_written, Fault::OtherCase { exact: key.name });
                }
                if self.values.get(key.name).is_some_and(|field| field.as_written == key.name) {
                    continue;
                }
            }
            if value.is_null() {
                continue;
            }
            self.values.insert(key.name, Field { as_written, value });
        }
    }

    /// Drops every value of a wrong kind, noting it, so that the typed readers need not look again.
    fn check_kinds(&mut self) {
        for key in KEYS {
            let Some(field) = self.values.get(key.name) else { continue };
            if let Some((inside, fault)) = wrong_kind(key, &field.value) {
                self.fault_at(key.name, &inside, fault);
                self.values.remove(key.name);
            }
        }
    }
}

fn wrong_kind(key: &Key, value: &Value) -> Option<(Vec<Step>, Fault)> {
    let right = match key.kind {
        Kind::Callback => return Some((Vec::new(), Fault::Callback)),
        Kind::Integer => value.as_i64().is_some(),
        Kind::List => value.is_array(),
        Kind::Number => value.is_number(),
        Kind::Switch => value.is_boolean(),
        Kind::Table => value.is_object(),
        Kind::Text => value.is_string(),
        Kind::Texts => value.is_array(),
    };
    if !right {
        return Some((Vec::new(), wrong_kind_fault(key.kind, value)));
    }
    if key.kind == Kind::Texts {
        let list = value.as_array()?;
        let (index, wrong) = list.iter().enumerate().find(|(_, item)| !item.is_string())?;
        return Some((vec![index.into()], wrong_kind_fault(Kind::Text, wrong)));
    }
    if key.used == Use::Refused && !is_empty(value) {
        return Some((Vec::new(), Fault::NotSupported));
    }
    None
}

fn wrong_kind_fault(expected: Kind, value: &Value) -> Fault {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() && expected == Kind::Integer => "a number with a fraction",
        Value::Number(number) if number.is_u64() && expected == Kind::Integer => "a number that is too large",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let hint = match (expected, value) {
        (Kind::Integer, Value::String(text)) if text.parse::<i64>().is_ok() => {
            format!("; write {text} without quotes")
        }
        (Kind::Number, Value::String(text)) if text.parse::<f64>().is_ok() => {
            format!("; write {text} without quotes")
        }
        (Kind::Switch, Value::String(text)) if text == "true" || text == "false" => {
            format!("; write {text} without quotes")
        }
        (Kind::Text, Value::Number(number)) => format!("; write \"{number}\" with quotes"),
        (Kind::Texts, Value::String(_)) => "; put it in square brackets".to_owned(),
        _ => String::new(),
    };
    Fault::WrongKind { expected: expected.words(), found, hint }
}

/// Whether a value is what the reference takes for "not set".
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
    }
}
