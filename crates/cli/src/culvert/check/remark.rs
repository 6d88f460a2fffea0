//! One form for what the parsers of clients and servers say about a file.

use std::fmt;

use culvert_client::config as client;
use culvert_protocol::json_position::{Position, display_path};
use culvert_server::config as server;

/// Something to say about a file.
#[derive(Debug)]
pub(super) struct Remark {
    place: Place,
    weight: Weight,
    message: String,
}

/// What is meant.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) position: Option<Position>,
    /// Empty for the whole file.
    pub(super) field: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Weight {
    Problem,
    Note,
}

impl Place {
    pub(super) fn file(file: &str) -> Self {
        Self { file: file.to_owned(), position: None, field: String::new() }
    }
}

impl Remark {
    pub(super) fn problem(place: Place, message: String) -> Self {
        Self { place, weight: Weight::Problem, message }
    }

    pub(super) fn note(place: Place, message: String) -> Self {
        Self { place, weight: Weight::Note, message }
    }

    pub(super) fn is_problem(&self) -> bool {
        self.weight == Weight::Problem
    }
}

impl From<client::Problem> for Remark {
    fn from(problem: client::Problem) -> Self {
        let client::Problem { file, position, field, fault } = problem;
        Self::problem(Place { file, position, field }, fault.to_string())
    }
}

impl From<server::Finding> for Remark {
    fn from(finding: server::Finding) -> Self {
        let server::Finding { file, position, field, problem } = finding;
        let place = Place { file: file.display().to_string(), position, field: display_path(&field) };
        let message = problem.with_cause();
        let weight = match problem.severity() {
            server::Severity::Note => Weight::Note,
            server::Severity::Strict | server::Severity::Error => Weight::Problem,
        };
        Self { place, weight, message }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, position, field } = &self.place;
        f.write_str(file)?;
        if let Some(Position { line, column }) = position {
            write!(f, ":{line}:{column}")?;
        }
        if self.weight == Weight::Note {
            f.write_str(": note")?;
        }
        if !field.is_empty() {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.message)
    }
}
