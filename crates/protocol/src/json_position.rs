//! Where in a JSON text a key stands, which keys it repeats, and which known name a misspelt one resembles.
//! Not a parser: `serde_json` decides what a text means; this only finds the place to name in a message, so it accepts
//! anything and answers `None` rather than failing. Syntax after RFC 8259; keys are matched as the reference matches
//! them, exactly if possible and else without regard to ASCII case.

use std::collections::BTreeMap;
use std::fmt;

/// Nesting beyond this is not searched; `serde_json` refuses such texts anyway.
const MAX_DEPTH: usize = 128;

/// A place in a text. Both numbers start at 1; the column counts characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One step of the way from the root of a JSON text to a member or an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    /// Counted from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// A path as people write it: `FilteredRules[2].Rules.AllowTCPPorts`.
pub fn display_path(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Where the last step of `path` begins: a key's opening quote, an element's first character. When a text repeats a
/// key the last one counts, as it does for decoders; an exact match is preferred to one that differs in case.
pub fn key_position(text: &str, path: &[Step]) -> Option<Position> {
    let mut exact = None;
    let mut folded = None;
    walk(text, &mut |found, offset| {
        if found == path {
            exact = Some(offset);
        } else if same_ignoring_case(found, path) {
            folded = Some(offset);
        }
    });
    exact.or(folded).map(|offset| position_of(text, offset))
}

/// The position of a byte offset; one past the end, or inside a character, counts as the character's start.
pub fn position_of(text: &str, offset: usize) -> Position {
    let mut position = Position { line: 1, column: 1 };
    for (at, character) in text.char_indices() {
        if at + character.len_utf8() > offset {
            break;
        }
        if character == '\n' {
            position.line += 1;
            position.column = 1;
        } else {
            position.column += 1;
        }
    }
    position
}

/// A key that an object holds more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey {
    pub path: Vec<Step>,
    pub first: Position,
    pub again: Position,
}

/// Every repetition of a key within one object, in the order of the text. Keys that differ only in case are different
/// keys here, since some objects are maps of arbitrary names.
pub fn duplicate_keys(text: &str) -> Vec<DuplicateKey> {
    let mut seen: BTreeMap<Vec<Step>, usize> = BTreeMap::new();
    let mut duplicates = Vec::new();
    walk(text, &mut |path, offset| {
        if let Some(first) = seen.get(path) {
            if matches!(path.last(), Some(Step::Key(_))) {
                duplicates.push((path.to_vec(), *first, offset));
            }
        } else {
            seen.insert(path.to_vec(), offset);
        }
    });
    // The members of a repeated object repeat with it: only the outermost repetition is worth a message.
    let outermost: Vec<_> = duplicates
        .iter()
        .filter(|(path, ..)| {
            !duplicates.iter().any(|(other, ..)| other.len() < path.len() && path.starts_with(other))
        })
        .map(|(path, first, again)| DuplicateKey {
            path: path.clone(),
            first: position_of(text, *first),
            again: position_of(text, *again),
        })
        .collect();
    outermost
}

/// The fewest letters by which a name can be told whose end is missing.
const LEAST_BEGINNING: usize = 3;

/// The candidate that `name` most likely meant: the closest by edit distance with swaps, ignoring case, if it is close
/// enough to be worth saying, or else the shortest of which it is the beginning. The first of equally close ones wins.
pub fn near_name<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().take(128).collect();
    let tolerance = (name.len() / 4).clamp(1, 4);
    let rank = |candidate: &str| {
        let other: Vec<char> = candidate.to_lowercase().chars().take(128).collect();
        let distance = edit_distance(&name, &other);
        let is_close = distance <= tolerance && distance < name.len().max(1);
        let is_beginning = name.len() >= LEAST_BEGINNING && other.starts_with(&name);
        (is_close || is_beginning).then_some((!is_close, distance))
    };
    let ranked = candidates.into_iter().filter_map(|candidate| Some((rank(candidate)?, candidate)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, candidate)| candidate)
}

fn same_ignoring_case(a: &[Step], b: &[Step]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| match (a, b) {
            (Step::Key(a), Step::Key(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a == b,
        })
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j + 1) + 1).min(at(&row, j) + 1).min(at(&last, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(a.len())
}

/// What the scanner is inside of.
enum Container {
    /// An object whose next string is a key, or (`false`) a value.
    Object {
        key_next: bool,
    },
    Array {
        index: usize,
        fresh: bool,
    },
}

/// Calls `visit` with the path and offset of every key and every array element, in the order of the text.
fn walk(text: &str, visit: &mut dyn FnMut(&[Step], usize)) {
    let bytes = text.as_bytes();
    let mut stack: Vec<Container> = Vec::new();
    let mut path: Vec<Step> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        let starts_value = !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b']' | b'}');
        if let (true, Some(Container::Array { index, fresh: fresh @ true })) =
            (starts_value, stack.last_mut())
        {
            *fresh = false;
            path.push(Step::Index(*index));
            visit(&path, at);
        }
        let length = token_length(bytes, at);
        match byte {
            b'"' => {
                if let Some(Container::Object { key_next: key_next @ true }) = stack.last_mut() {
                    *key_next = false;
                    path.push(Step::Key(unquote(text, at, length)));
                    visit(&path, at);
                }
            }
            b'{' | b'[' if stack.len() >= MAX_DEPTH => return,
            b'{' => stack.push(Container::Object { key_next: true }),
            b'[' => stack.push(Container::Array { index: 0, fresh: true }),
            b',' => next_member(stack.last_mut(), &mut path),
            b'}' | b']' => {
                next_member(stack.last_mut(), &mut path);
                stack.pop();
            }
            _ => {}
        }
        at += length;
    }
}

/// Leaves the member or element that `path` ends with, if one was entered, and expects the next one.
fn next_member(container: Option<&mut Container>, path: &mut Vec<Step>) {
    let entered = match container {
        Some(Container::Object { key_next }) => !std::mem::replace(key_next, true),
        Some(Container::Array { index, fresh }) => {
            *index += 1;
            !std::mem::replace(fresh, true)
        }
        None => false,
    };
    if entered {
        path.pop();
    }
}

/// The bytes of the token at `at`: a whole string, or one byte of anything else.
fn token_length(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.first() != Some(&b'"') {
        return 1;
    }
    let mut escaped = false;
    for (length, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return length + 1,
            _ => {}
        }
    }
    rest.len()
}

fn unquote(text: &str, at: usize, length: usize) -> String {
    let token = text.get(at..at + length).unwrap_or_default();
    serde_json::from_str(token).unwrap_or_else(|_| token.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"Ports\": {\"OSSH\": 1, \"SSH\": 2},\n  \"List\": [1, {\"a\": [\"x\", \"y\"]}, \"\u{e9}\"],\n  \"Last\\u0041\": \"{\\\"no\\\": 1}\"\n}";

    fn find(path: &[Step]) -> Option<(usize, usize)> {
        key_position(TEXT, path).map(|position| (position.line, position.column))
    }

    #[test]
    fn positions_of_keys_and_elements() {
        assert_eq!(find(&["Ports".into()]), Some((2, 3)));
        assert_eq!(find(&["Ports".into(), "SSH".into()]), Some((2, 24)));
        assert_eq!(find(&["ports".into(), "ssh".into()]), Some((2, 24)), "case is ignored");
        assert_eq!(find(&["List".into(), 0.into()]), Some((3, 12)));
        assert_eq!(find(&["List".into(), 1.into(), "a".into(), 1.into()]), Some((3, 27)));
        assert_eq!(find(&["List".into(), 2.into()]), Some((3, 34)));
        assert_eq!(find(&["LastA".into()]), Some((4, 3)), "escapes are decoded");
        assert_eq!(find(&["no".into()]), None, "strings are opaque");
        assert_eq!(find(&["List".into(), 3.into()]), None);
    }

    #[test]
    fn columns_count_characters() {
        let text = "{\"\u{e9}\u{e9}\": 1, \"b\": 2}";
        assert_eq!(key_position(text, &["b".into()]), Some(Position { line: 1, column: 11 }));
    }

    #[test]
    fn broken_texts_are_tolerated() {
        for length in 0..TEXT.len() {
            let Some(cut) = TEXT.get(..length) else { continue };
            key_position(cut, &["Last".into()]);
            duplicate_keys(cut);
        }
        for text in ["", "]", "}}}", "[[[,,,", "{\"a\"\"b\":}", "{,}", "\"\\", "{\"a\":{\"a\":{]"] {
            key_position(text, &["a".into()]);
            duplicate_keys(text);
        }
        let deep = "[".repeat(100_000);
        assert_eq!(key_position(&deep, &["a".into()]), None);
    }

    #[test]
    fn duplicates() {
        let text = "{\"a\": 1,\n \"b\": {\"x\": 1, \"x\": 2},\n \"a\": 3, \"c\": [{\"k\": 1}, {\"k\": 2}], \"A\": 0}";
        let found = duplicate_keys(text);
        let paths: Vec<_> = found.iter().map(|duplicate| display_path(&duplicate.path)).collect();
        assert_eq!(paths, ["b.x", "a"]);
        assert_eq!(found[1].first, Position { line: 1, column: 2 });
        assert_eq!(found[1].again, Position { line: 3, column: 2 });
    }

    #[test]
    fn a_repeated_object_is_reported_once() {
        let found = duplicate_keys("{\"o\": {\"p\": 1}, \"o\": {\"p\": 2}}");
        assert_eq!(found.len(), 1);
        assert_eq!(display_path(&found[0].path), "o");
    }

    #[test]
    fn near_names() {
        let names =
            ["ServerIPAddress", "SSHPassword", "SSHUserName", "HostID", "DisallowTCPPorts", "AllowTCPPorts"];
        assert_eq!(near_name("ServerIPAdress", names), Some("ServerIPAddress"));
        assert_eq!(near_name("hostid", names), Some("HostID"));
        assert_eq!(near_name("HosdIt", names), None);
        assert_eq!(near_name("HotsID", names), Some("HostID"), "a swap is one edit");
        assert_eq!(near_name("DisalowTCPPort", names), Some("DisallowTCPPorts"));
        assert_eq!(near_name("SSHPass", names), Some("SSHPassword"), "the end is missing");
        assert_eq!(near_name("SS", names), None);
        assert_eq!(near_name("Unrelated", names), None);
        assert_eq!(near_name("", names), None);
    }

    #[test]
    fn paths_read_well() {
        let path = ["FilteredRules".into(), 2.into(), "Rules".into()];
        assert_eq!(display_path(&path), "FilteredRules[2].Rules");
    }
}
