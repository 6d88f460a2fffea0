//! Where our defaults are not the reference's, and why. Nowhere else: the known answers of all defaults hold us to it.

use std::time::Duration;

use serde_json::Value as Json;

use super::{Parameters, Row};

/// A default that is not the reference's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangedDefault {
    /// The parameter.
    pub name: &'static str,
    /// The reference's default.
    pub reference: ReferenceDefault,
    /// Why ours is another.
    pub why: &'static str,
}

/// A default of the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReferenceDefault {
    /// A number or probability.
    Number(f64),
    /// A time.
    Time(Duration),
}

impl ReferenceDefault {
    /// As JSON.
    #[must_use]
    pub fn to_json(self) -> Json {
        match self {
            Self::Number(number) => number.into(),
            Self::Time(time) => crate::duration::SignedDuration::from(time).to_string().into(),
        }
    }
}

/// All of them.
pub const CHANGED_DEFAULTS: [ChangedDefault; 3] = [
    ChangedDefault {
        name: "OSSHPrefixProbability",
        reference: ReferenceDefault::Number(0.0),
        why: "a connection that is noise from its first byte is what censors block first",
    },
    ChangedDefault {
        name: "PickUserAgentProbability",
        reference: ReferenceDefault::Number(0.5),
        why: "a request of a browser's TLS that names no browser is nobody's",
    },
    ChangedDefault {
        name: "ShadowsocksPrefixProbability",
        reference: ReferenceDefault::Number(0.0),
        why: "a connection that is noise from its first byte is what censors block first",
    },
];

/// The rows of these, each with what the reference has and why.
#[must_use]
pub fn changed_rows() -> Vec<(Row, ChangedDefault)> {
    let row = |changed: ChangedDefault| {
        let row = Parameters::table().into_iter().find(|row| row.name == changed.name)?;
        Some((row, changed))
    };
    CHANGED_DEFAULTS.into_iter().filter_map(row).collect()
}
