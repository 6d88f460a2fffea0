//! What a file is: told on the command line, or guessed from what is in it.

use culvert_client::config::keys;
use culvert_protocol::json_position::near_name;
use culvert_server::config::FileKind;
use serde_json::{Map, Value};

use crate::exit::Failure;

/// The kinds of file that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::culvert) enum Kind {
    Client,
    Server(FileKind),
    Entries,
}

/// Their names on the command line, and words in the usual names of such files. The more special come first.
const KINDS: &[(&str, Kind, &str)] = &[
    ("client", Kind::Client, "client"),
    ("traffic-rules", Kind::Server(FileKind::TrafficRules), "traffic"),
    ("osl", Kind::Server(FileKind::Osl), "osl"),
    ("tactics", Kind::Server(FileKind::Tactics), "tactics"),
    ("psinet", Kind::Server(FileKind::Psinet), "psinet"),
    ("server", Kind::Server(FileKind::Main), "psiphond"),
    ("entries", Kind::Entries, "entr"),
];

impl Kind {
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, ..)| *name)
    }

    pub(in crate::culvert) fn named(name: &str) -> Result<Self, Failure> {
        let found = KINDS.iter().find(|(known, ..)| *known == name);
        found.map(|(_, kind, _)| *kind).ok_or_else(|| {
            let near = near_name(name, Self::names()).map(|near| format!(" (did you mean {near}?)"));
            let names = Self::names().collect::<Vec<_>>().join(", ");
            let near = near.unwrap_or_default();
            Failure::usage(format!("{name:?} is not a kind of file{near}: use one of {names}"))
        })
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Client => "client configuration",
            Self::Server(kind) => kind.name(),
            Self::Entries => "server entries",
        }
    }

    /// The kind that the text looks like. A text that cannot be parsed goes by the file's name.
    pub(super) fn guess(file: &str, text: &str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}').trim_ascii();
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Self::of_object(&object).or_else(|| Self::of_name(file)),
            Err(_) if text.starts_with(|first: char| first.is_ascii_hexdigit()) => Some(Self::Entries),
            // Every parser of a configuration says the same about a text that is not JSON.
            Err(_) if text.starts_with('{') => Some(Self::of_name(file).unwrap_or(Self::Client)),
            _ => Self::of_name(file),
        }
    }

    fn of_object(object: &Map<String, Value>) -> Option<Self> {
        let of_client = object.keys().filter(|name| keys::any_case(name).is_some()).count();
        match FileKind::guess(object) {
            Some(kind) if of_client * 2 <= object.len() => Some(Self::Server(kind)),
            _ => (of_client > 0).then_some(Self::Client),
        }
    }

    fn of_name(file: &str) -> Option<Self> {
        let name = std::path::Path::new(file).file_name()?.to_str()?.to_ascii_lowercase();
        KINDS.iter().find(|(_, _, word)| name.contains(word)).map(|(_, kind, _)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_guessed_by_content_and_then_by_name() {
        let server = Kind::Server;
        for (file, text, kind) in [
            ("x", r#"{"SponsorId": "1", "RateLimits": {}}"#, Some(Kind::Client)),
            ("x", r#"{"ServerIPAddress": "1", "HostID": "", "Typo": 1}"#, Some(server(FileKind::Main))),
            ("x", r#"{"DefaultRules": {"RateLimits": {}}}"#, Some(server(FileKind::TrafficRules))),
            ("x", r#"{"Schemes": null}"#, Some(server(FileKind::Osl))),
            ("x", "30203020302030207b", Some(Kind::Entries)),
            ("x", "{\"SponsorId\": ", Some(Kind::Client)),
            ("/a/psiphond.config", "{", Some(server(FileKind::Main))),
            ("psiphond-traffic-rules.config", "{", Some(server(FileKind::TrafficRules))),
            ("psiphond-osl.config", "{}", Some(server(FileKind::Osl))),
            ("client.config", "[]", Some(Kind::Client)),
            ("server-entry.dat", "", Some(Kind::Entries)),
            ("x", "hello", None),
            ("x", "{\"Other\": 1}", None),
        ] {
            assert_eq!(Kind::guess(file, text), kind, "{file} {text}");
        }
    }

    #[test]
    fn every_kind_has_a_name() {
        for name in Kind::names() {
            Kind::named(name).unwrap();
        }
        assert!(Kind::named("trafic-rules").unwrap_err().message.contains("did you mean traffic-rules?"));
    }
}
