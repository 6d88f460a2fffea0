//! Turns a folder of case files into tests. A file nobody reads is a test marked ignored, so that it cannot pass for checked; a
//! registered file that cannot be read is a test that fails, so that it cannot vanish.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use libtest_mimic::{Completion, Failed, Trial};
use serde_json::Value;

use crate::{Runner, registered, runner_for};

/// Which folder is read.
pub enum Folder {
    /// The repository's own: every registered file must be in it.
    Own(PathBuf),
    /// Named by the user: it may hold fewer.
    Given(PathBuf),
}

/// One test per case of every `*.json` in the folder. Fails when the folder is missing, unreadable or without a case file.
pub fn trials(folder: &Folder) -> io::Result<Vec<Trial>> {
    let (Folder::Own(path) | Folder::Given(path)) = folder;
    let files = case_files(path)?;
    let present: BTreeSet<String> = files.iter().map(|file| stem(file)).collect();
    let mut trials: Vec<Trial> = files.iter().flat_map(|file| of_file(file)).collect();
    for (name, _) in registered() {
        if !present.contains(name) {
            trials.push(of_absent(name, folder));
        }
    }
    Ok(trials)
}

fn case_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let named = |what: &str| io::Error::other(format!("{}: {what}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| named(&error.to_string()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(named("no *.json file here"));
    }
    files.sort();
    Ok(files)
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn of_file(file: &Path) -> Vec<Trial> {
    let stem = stem(file);
    if stem.starts_with("live_") {
        return vec![ignored(&stem, "an observation, not a case")];
    }
    let Some(runner) = runner_for(&stem) else {
        return vec![ignored(&stem, "of another area")];
    };
    match fs::read(file).map_err(|error| error.to_string()).and_then(|text| of_text(&stem, &text, runner)) {
        Ok(trials) => trials,
        Err(reason) => vec![failing(&stem, format!("{}: {reason}", file.display()))],
    }
}

fn of_text(stem: &str, text: &[u8], runner: Runner) -> Result<Vec<Trial>, String> {
    let whole: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let vectors = whole.get("vectors");
    if vectors.is_some_and(|list| list.as_array().is_none_or(Vec::is_empty)) {
        return Err("`vectors` is not an array or is empty".to_owned());
    }
    match runner {
        Runner::WholeFile(check) => {
            if whole.as_object().is_none_or(|members| members.len() < 2) {
                return Err("not an object with cases".to_owned());
            }
            let run = move || check(&whole).map_err(Failed::from);
            Ok(vec![Trial::test(format!("vectors::{stem}"), run)])
        }
        Runner::PerCase(check) => {
            let cases = vectors.and_then(Value::as_array).cloned().ok_or("no `vectors` array")?;
            let whole = Arc::new(whole);
            let names = case_names(&cases);
            Ok(names
                .into_iter()
                .zip(cases)
                .map(|(name, case)| of_case(stem, &name, case, &whole, check))
                .collect())
        }
    }
}

fn of_case(
    stem: &str,
    name: &str,
    case: Value,
    whole: &Arc<Value>,
    check: fn(&Value, &Value) -> Result<(), String>,
) -> Trial {
    let whole = Arc::clone(whole);
    Trial::test(format!("vectors::{stem}::{name}"), move || check(&case, &whole).map_err(Failed::from))
}

/// Each case's own name when all have one and no two are the same, else their places.
fn case_names(cases: &[Value]) -> Vec<String> {
    let width = cases.len().saturating_sub(1).to_string().len();
    let own: Option<Vec<String>> = cases
        .iter()
        .map(|case| {
            case.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(as_test_name)
        })
        .collect();
    own.filter(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len())
        .unwrap_or_else(|| (0..cases.len()).map(|index| format!("{index:0width$}")).collect())
}

fn as_test_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

fn ignored(stem: &str, reason: &'static str) -> Trial {
    Trial::ignorable_test(format!("vectors::{stem}"), move || Ok(Completion::ignored_with(reason)))
        .with_kind(reason)
        .with_ignored_flag(true)
}

fn failing(stem: &str, reason: String) -> Trial {
    Trial::test(format!("vectors::{stem}"), move || Err(Failed::from(reason)))
}

fn of_absent(stem: &str, folder: &Folder) -> Trial {
    match folder {
        Folder::Own(path) => {
            failing(stem, format!("{}: {stem}.json is registered but not here", path.display()))
        }
        Folder::Given(_) => ignored(stem, "not in this folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_needs_two(case: &Value, _: &Value) -> Result<(), String> {
        if case["n"] == 2 { Ok(()) } else { Err(format!("n is {}", case["n"])) }
    }

    fn names(text: &str) -> Result<Vec<String>, String> {
        let trials = of_text("f", text.as_bytes(), Runner::PerCase(one_needs_two))?;
        Ok(trials.iter().map(|trial| trial.name().to_owned()).collect())
    }

    #[test]
    fn a_case_is_named_by_its_name_or_its_place() {
        assert_eq!(
            names(r#"{"vectors":[{"name":"a b"},{"name":"c"}]}"#).unwrap(),
            ["vectors::f::a_b", "vectors::f::c"]
        );
        assert_eq!(
            names(r#"{"vectors":[{"name":"a"},{"name":"a"}]}"#).unwrap(),
            ["vectors::f::0", "vectors::f::1"]
        );
        assert_eq!(names(r#"{"vectors":[{"name":"a"},{}]}"#).unwrap(), ["vectors::f::0", "vectors::f::1"]);
    }

    #[test]
    fn a_registered_file_without_cases_is_an_error() {
        for text in ["", "{", "[]", "{}", r#"{"vectors":[]}"#, r#"{"vectors":{}}"#, r#"{"note":"x"}"#] {
            assert!(names(text).is_err(), "{text}");
            assert!(of_text("f", text.as_bytes(), Runner::WholeFile(|_| Ok(()))).is_err(), "{text}");
        }
    }

    #[test]
    fn a_folder_without_case_files_is_an_error() {
        let missing = Folder::Given(Path::new(env!("CARGO_MANIFEST_DIR")).join("no such folder"));
        let without = Folder::Given(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        assert!(trials(&missing).is_err());
        assert!(trials(&without).is_err());
    }

    #[test]
    fn a_file_of_another_area_is_ignored_and_never_passes() {
        let trial = &of_file(Path::new("not_registered_anywhere.json"))[0];
        assert!(trial.has_ignored_flag());
        assert_eq!(trial.kind(), "of another area");
        assert!(of_file(Path::new("live_x.json"))[0].has_ignored_flag());
    }

    #[test]
    fn no_file_is_registered_twice() {
        let mut seen = BTreeSet::new();
        for (name, _) in registered() {
            assert!(seen.insert(name), "{name} is registered twice");
        }
    }
}
