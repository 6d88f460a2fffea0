//! What is in a JSON file, remembered in so little that two of them can be compared later and the difference said in words. Holds
//! numbers and switches as they are and a hash of everything else, so no secret.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use culvert_protocol::json_position::{Step, display_path};
use serde_json::Value;

/// How deep members are told apart.
const DEPTH: usize = 4;

/// A value's outline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outline {
    Nothing,
    /// A number or a switch.
    Plain(String),
    Other(u64),
    Object(BTreeMap<String, Outline>),
    List(Vec<u64>),
}

impl Outline {
    pub(super) fn of(value: &Value) -> Self {
        Self::at(value, DEPTH)
    }

    fn at(value: &Value, depth: usize) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) | Value::Number(_) => Self::Plain(value.to_string()),
            Value::Object(members) if depth > 0 => Self::Object(
                members.iter().map(|(name, value)| (name.clone(), Self::at(value, depth - 1))).collect(),
            ),
            Value::Array(elements) => Self::List(elements.iter().map(hash).collect()),
            Value::String(_) | Value::Object(_) => Self::Other(hash(value)),
        }
    }

    /// How `new` differs from this, at most so many lines.
    pub(super) fn changes(&self, new: &Self, most: usize) -> Vec<String> {
        let mut changes = Changes { path: Vec::new(), lines: Vec::new() };
        changes.compare(self, new);
        let mut lines = changes.lines;
        let more = lines.len().saturating_sub(most);
        lines.truncate(most);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines
    }

    /// The members of the root that differ.
    pub(super) fn changed_members(&self, new: &Self) -> Vec<String> {
        let none = BTreeMap::new();
        let members = |outline: &'_ Self| match outline {
            Self::Object(members) => members.clone(),
            _ => none.clone(),
        };
        let (old, new) = (members(self), members(new));
        let mut names: Vec<_> = old.keys().chain(new.keys()).cloned().collect();
        names.sort();
        names.dedup();
        let at = |members: &BTreeMap<String, Self>, name: &String| {
            members.get(name).cloned().unwrap_or(Self::Nothing)
        };
        names.retain(|name| at(&old, name) != at(&new, name));
        names
    }
}

struct Changes {
    path: Vec<Step>,
    lines: Vec<String>,
}

impl Changes {
    fn compare(&mut self, old: &Outline, new: &Outline) {
        match (old, new) {
            (old, new) if old == new => {}
            (Outline::Object(old), Outline::Object(new)) => self.compare_members(old, new),
            (Outline::List(old), Outline::List(new)) => self.compare_lists(old, new),
            (Outline::Plain(old), Outline::Plain(new)) => self.say(&format!("{old} is now {new}")),
            (Outline::Nothing, Outline::Plain(new)) => self.say(&format!("set to {new}")),
            (Outline::Nothing, Outline::List(new)) => self.say(&format!("set, {} in the list", new.len())),
            (Outline::Nothing, _) => self.say("set"),
            (_, Outline::Nothing) => self.say("no longer set"),
            _ => self.say("changed"),
        }
    }

    fn compare_members(&mut self, old: &BTreeMap<String, Outline>, new: &BTreeMap<String, Outline>) {
        let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            self.path.push(Step::Key(name.clone()));
            let nothing = Outline::Nothing;
            self.compare(old.get(name).unwrap_or(&nothing), new.get(name).unwrap_or(&nothing));
            self.path.pop();
        }
    }

    /// What both begin and end with is left out; what is between was replaced.
    fn compare_lists(&mut self, old: &[u64], new: &[u64]) {
        let front = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let (old_rest, new_rest) =
            (old.get(front..).unwrap_or_default(), new.get(front..).unwrap_or_default());
        let back =
            old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
        let (gone, come) = (old_rest.len() - back, new_rest.len() - back);
        let are = new.len();
        let text = match (gone, come) {
            (0, come) => format!("{come} added from [{front}] on, {are} in all"),
            (gone, 0) => format!("{gone} removed from [{front}] on, {are} in all"),
            (1, 1) => format!("[{front}] changed, {are} in all"),
            (gone, come) => format!("{gone} replaced by {come} from [{front}] on, {are} in all"),
        };
        self.say(&text);
    }

    fn say(&mut self, text: &str) {
        let path = display_path(&self.path);
        self.lines.push(if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") });
    }
}

fn hash(value: &Value) -> u64 {
    // One for the whole process: what is compared must have been hashed alike.
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new).hash_one(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> Outline {
        Outline::of(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn differences_are_named() {
        let old = outline(r#"{"a": 1, "b": {"c": [1, 2, 3], "d": "x"}, "e": null, "f": [1]}"#);
        for (new, changes) in [
            (r#"{"a": 2, "b": {"c": [1, 2, 3], "d": "x"}, "f": [1]}"#, vec!["a: 1 is now 2"]),
            (
                r#"{"b": {"c": [1, 9, 3], "d": "y"}, "e": true, "f": [1]}"#,
                vec!["a: no longer set", "b.c: [1] changed, 3 in all", "b.d: changed", "e: set to true"],
            ),
            (
                r#"{"a": 1, "b": {"c": [1, 2, 7, 8, 3], "d": "x"}, "f": []}"#,
                vec!["b.c: 2 added from [2] on, 5 in all", "f: 1 removed from [0] on, 0 in all"],
            ),
            (
                r#"{"a": 1, "b": {"c": [4, 5], "d": "x"}, "f": [1]}"#,
                vec!["b.c: 3 replaced by 2 from [0] on, 2 in all"],
            ),
        ] {
            assert_eq!(old.changes(&outline(new), 10), changes, "{new}");
        }
        assert!(old.changes(&old.clone(), 10).is_empty());
        assert_eq!(old.changes(&outline("{}"), 1), ["a: no longer set", "and 2 more"]);
        assert_eq!(old.changed_members(&outline(r#"{"a": 1, "b": {}, "g": 1}"#)), ["b", "f", "g"]);
    }

    #[test]
    fn texts_are_not_kept() {
        assert!(!format!("{:?}", outline(r#"{"k": "secret", "l": ["secret"]}"#)).contains("secret"));
    }
}
