//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy knows. Each check is a function from the tree's
//! text to findings, in a file of its own; this one runs them and prints what they found.

mod citations;
mod document;
mod headers;
mod layers;
mod machine_paths;
mod names;
mod purity;
mod sizes;
mod words;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::tree::{self, SourceFile};

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    fn at(file: &SourceFile, line: usize, what: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, what: what.into() }
    }

    fn in_file(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Runs every check on the repository; fails when one of them found something.
pub(crate) fn run() -> Result<ExitCode, Box<dyn Error>> {
    let root = tree::root();
    let files = tree::read(&root)?;
    let packages = layers::packages(&root)?;
    let mut findings = over_text(&files);
    findings.extend(layers::check(&files, &packages));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {}, {} findings", files.len(), sizes::summary(&files), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a check of the text alone looks like.
type TextCheck = fn(&[SourceFile]) -> Vec<Finding>;

fn over_text(files: &[SourceFile]) -> Vec<Finding> {
    let checks: [TextCheck; 7] = [
        citations::check,
        headers::check,
        machine_paths::check,
        names::check,
        purity::check,
        sizes::check,
        words::check,
    ];
    checks.iter().flat_map(|check| check(files)).collect()
}
