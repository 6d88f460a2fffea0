//! What can be wrong with an override of a parameter.

use culvert_obfuscation::TransformError;

use super::ReadBy;
use crate::json_position::{Step, display_path};

/// An override that was refused. Whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {}: {fault}", display_path(&self.path()))]
pub struct OverrideError {
    /// The parameter, by the name that was given.
    pub name: String,
    /// Where in its value.
    pub inside: Vec<Step>,
    /// What is wrong.
    pub fault: Fault,
}

impl OverrideError {
    /// Whether setting this parameter may be the cause.
    pub(super) fn concerns(&self, name: &str) -> bool {
        self.name == name || matches!(self.fault, Fault::BelowMinimum { minimum } if minimum == name)
    }

    /// Whether it is a name that stands for nothing here.
    pub(super) const fn is_unknown_item(&self) -> bool {
        matches!(self.fault, Fault::UnknownItem { .. })
    }

    fn path(&self) -> Vec<Step> {
        let mut path = vec![Step::from(self.name.as_str())];
        path.extend(self.inside.iter().cloned());
        path
    }
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No parameter has this name.
    #[error("unknown parameter{}", near_words(.near))]
    UnknownName {
        /// A parameter of a similar name.
        near: Option<String>,
    },
    /// The JSON is of another kind.
    #[error("expected {expected}, found {found}")]
    WrongKind {
        /// The kind it must be.
        expected: &'static str,
        /// The kind it is.
        found: &'static str,
    },
    /// The value is too small or too large.
    #[error("expected {expected}, found {found}")]
    OutOfBounds {
        /// The bounds, in words.
        expected: String,
        /// The value.
        found: String,
    },
    /// A list names something that does not exist.
    #[error("{name:?} is not {what}{}", near_words(.near))]
    UnknownItem {
        /// What it should be.
        what: &'static str,
        /// The name.
        name: String,
        /// A similar name that exists.
        near: Option<String>,
    },
    /// A list is longer than anything sensible.
    #[error("a list of more than {most} items")]
    TooMany {
        /// The most.
        most: usize,
    },
    /// A maximum is below its minimum.
    #[error("expected a value not below {minimum}")]
    BelowMinimum {
        /// The parameter that is its minimum.
        minimum: &'static str,
    },
    /// The other end's parameter.
    #[error("{} read this parameter", match .of { ReadBy::Clients => "only servers", ReadBy::Servers => "clients" })]
    OtherSide {
        /// Who was to be given it.
        of: ReadBy,
    },
    /// An object is not what it should be.
    #[error("expected {expected}: {detail}")]
    Malformed {
        /// What it should be.
        expected: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A transform or a pattern does not compile.
    #[error("{0}")]
    Pattern(#[from] TransformError),
    /// A scope names a spec that is not among the specs.
    #[error("{0:?} is not among the specs")]
    UnknownSpec(String),
}

fn near_words(near: &Option<String>) -> String {
    near.as_ref().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

/// A fault and where in a value it is, before the parameter's name is known.
#[derive(Debug)]
pub(super) struct Flaw {
    inside: Vec<Step>,
    fault: Fault,
}

impl Flaw {
    pub(super) fn of(self, name: &str) -> OverrideError {
        OverrideError { name: name.to_owned(), inside: self.inside, fault: self.fault }
    }

    /// Whether it is a name that stands for nothing here.
    pub(super) const fn is_unknown_item(&self) -> bool {
        matches!(self.fault, Fault::UnknownItem { .. })
    }

    /// The flaw is inside an item or member.
    pub(super) fn inside(mut self, step: Step) -> Self {
        self.inside.insert(0, step);
        self
    }
}

impl From<Fault> for Flaw {
    fn from(fault: Fault) -> Self {
        Self { inside: Vec::new(), fault }
    }
}

/// Broken rules between values.
#[derive(Default)]
pub(super) struct Problems(Vec<OverrideError>);

impl Problems {
    /// Notes that a maximum is below its minimum.
    pub(super) fn in_order<T: PartialOrd>(
        &mut self,
        (least, minimum): (&T, &'static str),
        (most, name_of_most): (&T, &'static str),
    ) {
        if least > most {
            self.note(name_of_most, Vec::new(), Fault::BelowMinimum { minimum });
        }
    }

    pub(super) fn note(&mut self, name: impl Into<String>, inside: Vec<Step>, fault: Fault) {
        self.0.push(OverrideError { name: name.into(), inside, fault });
    }

    pub(super) fn into_errors(self) -> Vec<OverrideError> {
        self.0
    }
}
