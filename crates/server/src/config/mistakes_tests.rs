//! Every setting of every file of a server, misspelt, and with a value of a wrong kind: refused by a check with file, line, column and name, and
//! the misspelling with what was meant. Driven by the tables that the files are read by, so that no setting can be left out.

use std::path::Path;

use culvert_protocol::json_position::{Step, display_path};
use serde_json::{Value, json};

use super::check::FileKind;
use super::document::{Document, Strictness};
use super::schema::{Key, Kind};

/// A setting and the way to it.
struct Found {
    path: Vec<Step>,
    key: &'static Key,
    /// The settings beside it.
    beside: &'static [Key],
}

/// All settings below a table.
fn all(keys: &'static [Key], path: &[Step], found: &mut Vec<Found>) {
    for key in keys {
        let here = [path, &[Step::from(key.name)]].concat();
        found.push(Found { path: here.clone(), key, beside: keys });
        let (below, inside): (&[Step], &'static [Key]) = match key.kind {
            Kind::Object(inside) => (&[], inside),
            Kind::ObjectList(inside) => (&[Step::Index(0)], inside),
            Kind::ObjectMap(inside) => (&[Step::Key("own".into())], inside),
            Kind::ObjectListMap(inside) => (&[Step::Key("own".into()), Step::Index(0)], inside),
            _ => continue,
        };
        all(inside, &[&here, below].concat(), found);
    }
}

/// A file that sets one thing.
fn text(path: &[Step], value: Value) -> String {
    let nested = path.iter().rev().fold(value, |inside, step| match step {
        Step::Key(name) => json!({ name.as_str(): inside }),
        Step::Index(_) => json!([inside]),
    });
    format!("{nested:#}")
}

/// Where the last setting of this name begins, as people count.
fn place(text: &str, name: &str) -> (usize, usize) {
    let before = &text[..text.rfind(&format!("\"{name}\":")).unwrap()];
    let line = before.lines().count();
    (line, before.len() - before.rfind('\n').unwrap())
}

fn refusal(file: FileKind, text: &str) -> String {
    let checked = Document::parse(Path::new("dir/file"), text, file.keys())
        .and_then(|(document, _)| document.finish(Some(()), Strictness::Check));
    match checked {
        Err(error) => error.to_string(),
        Ok(_) => panic!("taken: {text}"),
    }
}

/// One letter less, in the middle.
fn misspelt(name: &str) -> String {
    let at = name.len() / 2;
    format!("{}{}", &name[..at], &name[at + 1..])
}

fn every(judge: impl Fn(FileKind, &Found)) -> usize {
    let mut count = 0;
    for file in FileKind::ALL {
        let mut found = Vec::new();
        all(file.keys(), &[], &mut found);
        found.iter().for_each(|found| judge(file, found));
        count += found.len();
    }
    count
}

#[test]
fn a_value_of_a_wrong_kind_is_refused_where_it_is() {
    let count = every(|file, Found { path, key, .. }| {
        let wrong = match key.kind {
            Kind::Anything => return,
            Kind::Flag | Kind::Integer => json!("text"),
            _ => json!(5),
        };
        let text = text(path, wrong);
        let (line, column) = place(&text, key.name);
        let expected = format!("dir/file:{line}:{column}: {}: must be ", display_path(path));
        let refusal = refusal(file, &text);
        assert!(refusal.contains(&expected), "{expected}\n{refusal}");
    });
    assert!(count > 200, "{count} settings");
}

#[test]
fn a_misspelt_setting_is_refused_with_what_was_meant() {
    every(|file, Found { path, key, beside }| {
        let name = misspelt(key.name);
        // Too short to be like anything, or another setting.
        if key.name.len() < 5 || beside.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
            return;
        }
        let mut path = path.clone();
        path.pop();
        path.push(Step::Key(name.clone()));
        let text = text(&path, Value::Bool(true));
        let (line, column) = place(&text, &name);
        let (path, meant) = (display_path(&path), key.name);
        let expected = format!("dir/file:{line}:{column}: {path}: unknown setting (did you mean {meant}?)");
        let refusal = refusal(file, &text);
        assert!(refusal.contains(&expected), "{expected}\n{refusal}");
    });
}
