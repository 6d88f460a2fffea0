//! The strict check of one file, of whichever kind of the server's files it is.

use std::path::Path;

use serde_json::{Map, Value};

use super::finding::{ConfigError, Finding};
use super::schema::{self, Key};
use super::{Strictness, data_files, psinet, server_keys, tactics, traffic_rules};

/// The kinds of file that a server is configured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Main,
    TrafficRules,
    Osl,
    Tactics,
    Psinet,
}

impl FileKind {
    pub(super) const ALL: [Self; 5] =
        [Self::Main, Self::TrafficRules, Self::Osl, Self::Tactics, Self::Psinet];

    /// The kind that has the most of the object's members, if any has one. Of equals, the first.
    pub fn guess(object: &Map<String, Value>) -> Option<Self> {
        let known =
            |kind: Self| object.keys().filter(|name| schema::key_for(kind.keys(), name).is_some()).count();
        let best = Self::ALL.into_iter().rev().max_by_key(|kind| known(*kind))?;
        (known(best) > 0).then_some(best)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "server configuration",
            Self::TrafficRules => "traffic rules",
            Self::Osl => "server list configuration",
            Self::Tactics => "tactics configuration",
            Self::Psinet => "psinet database",
        }
    }

    pub(super) fn keys(self) -> &'static [Key] {
        match self {
            Self::Main => server_keys::ALL,
            Self::TrafficRules => traffic_rules::FILE,
            Self::Osl => data_files::OSL,
            Self::Tactics => data_files::TACTICS,
            Self::Psinet => psinet::FILE,
        }
    }
}

/// Checks a file strictly: misspelt and repeated settings are errors. The main file brings
/// those that it names along. What is returned are mere remarks.
pub fn check(file: &Path, kind: FileKind) -> Result<Vec<Finding>, ConfigError> {
    let strict = Strictness::Check;
    match kind {
        FileKind::Main => super::load(file, strict).map(|loaded| loaded.warnings),
        FileKind::TrafficRules => traffic_rules::load(file, strict).map(|loaded| loaded.warnings),
        FileKind::Tactics => tactics::load(file, strict).map(|loaded| loaded.warnings),
        FileKind::Psinet => psinet::load(file, strict).map(|loaded| loaded.warnings),
        FileKind::Osl => data_files::load(file, kind.keys(), strict).map(|loaded| loaded.warnings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_guessed_by_their_members() {
        for (text, kind) in [
            (r#"{"ServerIPAddress": "", "HostID": ""}"#, Some(FileKind::Main)),
            (r#"{"DefaultRules": {}, "FilteredRules": null}"#, Some(FileKind::TrafficRules)),
            (r#"{"Schemes": null}"#, Some(FileKind::Osl)),
            (r#"{"RequestPublicKey": "", "DefaultTactics": {}}"#, Some(FileKind::Tactics)),
            (r#"{"sponsors": {}, "client_versions": {}}"#, Some(FileKind::Psinet)),
            (r#"{"PropagationChannelId": ""}"#, None),
            ("{}", None),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(FileKind::guess(value.as_object().unwrap()), kind, "{text}");
        }
    }
}
