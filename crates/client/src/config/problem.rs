//! What can be wrong with a config file, and where. Not the finding of it: see `read.rs` and `rules.rs`.

use std::fmt;

use culvert_protocol::json_position::Position;

/// One thing wrong with a config file: which file, where in it, which field, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// `None` when the problem is something that is not there, or the file as a whole.
    pub position: Option<Position>,
    /// Empty when the problem is the file as a whole.
    pub field: String,
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("cannot read the file: {}", io_words(*.0))]
    Unreadable(std::io::ErrorKind),
    #[error("the file is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("not valid UTF-8 text")]
    NotText,
    #[error("not valid JSON: {detail}")]
    Syntax { detail: String },
    #[error("the file must hold one JSON object: {{ \"PropagationChannelId\": ..., ... }}")]
    NotAnObject,
    #[error("expected {expected}, found {found}{hint}")]
    WrongKind { expected: &'static str, found: &'static str, hint: String },
    #[error("unknown key{}", near_words(.near))]
    UnknownKey { near: Option<&'static str> },
    #[error("the key is spelled {exact}; other letter case is accepted but may be mistaken")]
    OtherCase { exact: &'static str },
    #[error("the key stands twice (first at {first}); the last one counts")]
    Repeated { first: Position },
    #[error("missing: {need}")]
    Missing { need: &'static str },
    #[error("expected {expected}, found {found}")]
    OutOfRange { expected: &'static str, found: String },
    #[error("expected {expected}")]
    Invalid { expected: &'static str },
    #[error(transparent)]
    Parameter(culvert_protocol::parameters::Fault),
    #[error(transparent)]
    ProxyUrl(culvert_transport::upstream::ProxyUrlError),
    #[error(transparent)]
    Header(culvert_transport::upstream::BadHeader),
    #[error("also needs {other}")]
    Requires { other: &'static str },
    #[error("cannot be combined with {other}")]
    Excludes { other: &'static str },
    #[error("not supported yet, and ignoring it would do something else than you asked; remove the key")]
    NotSupported,
    #[error("set by an embedding program, not by a file; remove the key")]
    Callback,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.fault)
    }
}

/// A config file that cannot be used, with everything that is wrong with it; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn of_file(file: &str, position: Option<Position>, fault: Fault) -> Self {
        Self { problems: vec![Problem { file: file.to_owned(), position, field: String::new(), fault }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let between = if index == 0 { "" } else { "\n" };
            write!(f, "{between}{problem}")?;
        }
        Ok(())
    }
}

fn near_words(near: &Option<&'static str>) -> String {
    near.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

fn io_words(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::NotFound => "no such file",
        std::io::ErrorKind::PermissionDenied => "permission denied",
        std::io::ErrorKind::IsADirectory => "it is a directory",
        _ => "an input error",
    }
}
