//! One JSON file while it is being understood: its text, its value, and what was found about it so far.

use std::path::Path;

use culvert_protocol::json_position::{self, Position, Step};
use culvert_protocol::json_syntax::syntax_detail;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::finding::{ConfigError, Finding, Problem, Severity};
use super::schema::{self, Key};

/// How to treat what the reference lets pass, such as misspelt settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Warn, since a configuration that served yesterday must serve today.
    Run,
    /// Refuse: the file is being checked by somebody who wants to know.
    Check,
}

/// What was understood, and the remarks that did not stand in the way.
#[derive(Debug)]
pub struct Loaded<T> {
    pub value: T,
    pub warnings: Vec<Finding>,
}

pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    findings: Vec<Finding>,
}

/// The members of one object in the file, addressed by the constants of its table.
#[derive(Clone, Copy)]
pub(super) struct Members<'v>(&'v Map<String, Value>);

/// Reads a file of at most this size; larger ones are not configurations.
const MAX_FILE: u64 = 64 << 20;

/// Wiped when dropped: there may be keys in it.
pub(crate) fn read(file: &Path) -> Result<Zeroizing<String>, ConfigError> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |problem| ConfigError {
        findings: vec![Finding { file: file.to_owned(), position: None, field: Vec::new(), problem }],
    };
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::OpenOptions::new()
        .read(true)
        // A pipe or a device by mistake must not hold up the start.
        .custom_flags(libc::O_NONBLOCK)
        .open(file)
        .and_then(|opened| opened.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|error| failed(Problem::Unreadable(error)))?;
    match String::from_utf8(std::mem::take(&mut bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            *bytes = error.into_bytes();
            Err(failed(Problem::NotText))
        }
    }
}

impl<'a> Document<'a> {
    /// Parses the text and checks it against the table of its settings. What cannot be parsed ends here.
    pub(super) fn parse(
        file: &'a Path,
        text: &'a str,
        keys: &[Key],
    ) -> Result<(Self, Map<String, Value>), ConfigError> {
        // What some editors begin files with.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document = Self { file, text, findings: Vec::new() };
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                let position = Some(Position { line: error.line(), column: error.column().max(1) });
                let problem = Problem::NotJson(syntax_detail(&error));
                document.push(position.filter(|position| position.line > 0), &[], problem);
                return Err(document.into_error());
            }
        };
        let Value::Object(object) = value else {
            document.find(&[], Problem::NotAnObject);
            return Err(document.into_error());
        };
        for duplicate in json_position::duplicate_keys(text) {
            document.push(
                Some(duplicate.again),
                &duplicate.path,
                Problem::Duplicate { first: duplicate.first },
            );
        }
        schema::check(&mut document, &mut Vec::new(), &object, keys);
        Ok((document, object))
    }

    pub(super) fn position(&self, path: &[Step]) -> Option<Position> {
        json_position::key_position(self.text, path)
    }

    /// Records a finding about the setting at `path`. An absent setting is reported without a place.
    pub(super) fn find(&mut self, path: &[Step], problem: Problem) {
        let position = if path.is_empty() { None } else { self.position(path) };
        self.push(position, path, problem);
    }

    /// Records a finding about a setting of the root object.
    pub(super) fn find_at(&mut self, key: &Key, problem: Problem) {
        self.find(&[Step::from(key.name)], problem);
    }

    fn push(&mut self, position: Option<Position>, path: &[Step], problem: Problem) {
        self.findings.push(Finding { file: self.file.to_owned(), position, field: path.to_vec(), problem });
    }

    /// Takes over what was found about another file that this one refers to.
    pub(super) fn adopt(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Takes settings that resemble known ones for mistakes that must not pass.
    pub(super) fn refuse_misspelt(&mut self) {
        for finding in &mut self.findings {
            if let Problem::UnknownKey { near: Some(near) } = finding.problem {
                finding.problem = Problem::Misspelt { near };
            }
        }
    }

    fn into_error(self) -> ConfigError {
        ConfigError { findings: self.findings }
    }

    /// The value with its warnings, or the errors. Without a value there is at least one error.
    pub(super) fn finish<T>(
        mut self,
        value: Option<T>,
        strictness: Strictness,
    ) -> Result<Loaded<T>, ConfigError> {
        self.findings.sort_by_key(|finding| (finding.file != self.file, finding.position));
        let limit = match strictness {
            Strictness::Run => Severity::Error,
            Strictness::Check => Severity::Strict,
        };
        match value {
            Some(value) if self.findings.iter().all(|finding| finding.problem.severity() < limit) => {
                Ok(Loaded { value, warnings: self.findings })
            }
            _ => Err(self.into_error()),
        }
    }
}

impl<'v> Members<'v> {
    pub(super) fn new(object: &'v Map<String, Value>) -> Self {
        Self(object)
    }

    pub(super) fn value(&self, key: &Key) -> Option<&'v Value> {
        schema::value_of(self.0, key.name)
    }

    /// A text that is not empty; the reference does not tell empty from absent.
    pub(super) fn text(&self, key: &Key) -> Option<&'v str> {
        self.value(key)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, key: &Key) -> bool {
        self.value(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether a flag is there and has this value.
    pub(super) fn flag_set_to(&self, key: &Key, value: bool) -> bool {
        self.value(key).and_then(Value::as_bool) == Some(value)
    }

    pub(super) fn integer(&self, key: &Key) -> Option<i64> {
        self.value(key)?.as_i64()
    }

    pub(super) fn list(&self, key: &Key) -> impl Iterator<Item = &'v Value> {
        self.value(key).and_then(Value::as_array).into_iter().flatten()
    }

    pub(super) fn object(&self, key: &Key) -> impl Iterator<Item = (&'v String, &'v Value)> {
        self.value(key).and_then(Value::as_object).into_iter().flatten()
    }

    pub(super) fn members(&self, key: &Key) -> Option<Members<'v>> {
        self.value(key)?.as_object().map(Members)
    }
}
