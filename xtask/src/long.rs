//! `cargo xtask long`: what takes too long for CI. Gives the fuzz targets to libFuzzer for a while each, which needs a nightly compiler
//! and cargo-fuzz, and runs all cycles of the tests that CI runs a part of.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{fs, io};

use crate::tree;

const DEFAULT_SECONDS: u64 = 600;
/// Far more than any target needs for the inputs it is given: above it an input has chosen the size of an allocation.
const LIMITS: &[&str] = &["-rss_limit_mb=2048", "-malloc_limit_mb=64", "-max_len=65536", "-timeout=10"];

/// Tests with more cycles than CI runs: the name here, the package, the test, and the variable that asks for all.
const TESTS: &[(&str, &str, &str, &str)] = &[
    ("sim", "culvert-sim", "establish", "CULVERT_SIM_LONG"),
    ("store", "culvert-client", "store_hard", "CULVERT_STORE_LONG"),
];

/// Runs the named targets and tests, or all, each target for the seconds that the first word says. What it finds is kept outside the committed
/// inputs, in `fuzz/target`; an input that breaks a target is in `fuzz/artifacts`.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    let root = tree::root();
    let (seconds, named) = parse(words)?;
    let mut all = targets(&root.join("fuzz/fuzz_targets"))?;
    all.extend(TESTS.iter().map(|(name, ..)| (*name).to_owned()));
    let chosen = if named.is_empty() { all.clone() } else { named };
    if let Some(unknown) = chosen.iter().find(|name| !all.contains(name)) {
        return Err(format!("no fuzz target `{unknown}`; there are {}", all.join(", ")).into());
    }
    let mut broken = Vec::new();
    for name in &chosen {
        println!("== {name}");
        let held = match TESTS.iter().find(|(test, ..)| test == name) {
            Some((_, package, test, variable)) => all_cycles(&root, package, test, variable)?,
            None => fuzz(&root, name, seconds)?,
        };
        if !held {
            broken.push(name.as_str());
        }
    }
    println!(
        "long: {} targets, {seconds} s each, {} broken: {}",
        chosen.len(),
        broken.len(),
        broken.join(", ")
    );
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An optional number of seconds, then names.
fn parse(words: &[&str]) -> Result<(u64, Vec<String>), Box<dyn Error>> {
    let (seconds, names) = match words.split_first() {
        Some((first, rest)) if first.starts_with(|c: char| c.is_ascii_digit()) => (first.parse()?, rest),
        _ => (DEFAULT_SECONDS, words),
    };
    // To libFuzzer 0 means for ever.
    if seconds == 0 {
        return Err("the number of seconds is at least 1".into());
    }
    Ok((seconds, names.iter().map(|name| (*name).to_owned()).collect()))
}

fn targets(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Whether the target held.
fn fuzz(root: &Path, name: &str, seconds: u64) -> io::Result<bool> {
    let found = root.join("fuzz/target/corpus").join(name);
    fs::create_dir_all(&found)?;
    let status = Command::new("cargo")
        // The proxy's own choice of compiler, made for this program, would hide the nightly one.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .args(["+nightly", "fuzz", "run", name])
        .args([found, root.join("fuzz/corpus").join(name)])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(LIMITS)
        .current_dir(root)
        .status()?;
    Ok(status.success())
}

/// Whether a test held in all its cycles, however long they take.
fn all_cycles(root: &Path, package: &str, test: &str, variable: &str) -> io::Result<bool> {
    let words = ["test", "--release", "-p", package, "--test", test];
    let status = Command::new("cargo").args(words).env(variable, "1").current_dir(root).status()?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_seconds_and_names() {
        assert_eq!(parse(&[]).unwrap(), (DEFAULT_SECONDS, vec![]));
        assert_eq!(parse(&["30"]).unwrap(), (30, vec![]));
        assert_eq!(parse(&["30", "a", "b"]).unwrap(), (30, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(parse(&["a"]).unwrap(), (DEFAULT_SECONDS, vec!["a".to_owned()]));
        assert!(parse(&["0"]).is_err());
        assert!(parse(&["3x"]).is_err());
    }

    #[test]
    fn an_unknown_target_is_refused_by_name() {
        let error = run(&["1", "no_such_target"]).unwrap_err().to_string();
        assert!(error.contains("no_such_target") && error.contains("preamble"), "{error}");
    }
}
