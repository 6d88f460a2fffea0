//! Where a client got an entry from. PROTOCOL.md 5.7.

use std::fmt;
use std::str::FromStr;

/// Where a client got an entry from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntrySource {
    /// Given with the program.
    Embedded,
    /// A remote server list.
    Remote,
    /// The handshake reply of a server.
    Discovery,
    /// The one server that the user chose.
    Target,
    /// An obfuscated server list.
    Obfuscated,
    /// Another client.
    Exchanged,
    /// A server of the DSL backend, which names the rest.
    Dsl(String),
    /// A pushed payload, whose origin names the rest.
    Push(String),
}

/// A name that no source has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a source of server entries")]
pub struct UnknownSource {
    /// What was given.
    pub name: String,
}

const PLAIN: [(&str, EntrySource); 6] = [
    ("EMBEDDED", EntrySource::Embedded),
    ("REMOTE", EntrySource::Remote),
    ("DISCOVERY", EntrySource::Discovery),
    ("TARGET", EntrySource::Target),
    ("OBFUSCATED", EntrySource::Obfuscated),
    ("EXCHANGED", EntrySource::Exchanged),
];

impl EntrySource {
    /// True if entries of this source may be dialled through the user's proxy without saying so themselves.
    #[must_use]
    pub fn allows_upstream_proxy(&self) -> bool {
        matches!(self, Self::Embedded | Self::Remote)
    }
}

impl fmt::Display for EntrySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dsl(rest) => write!(f, "DSL-{rest}"),
            Self::Push(rest) => write!(f, "PUSH-{rest}"),
            plain => match PLAIN.iter().find(|(_, source)| source == plain) {
                Some((name, _)) => f.write_str(name),
                None => Ok(()),
            },
        }
    }
}

impl FromStr for EntrySource {
    type Err = UnknownSource;

    fn from_str(name: &str) -> Result<Self, UnknownSource> {
        if let Some((_, source)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
            return Ok(source.clone());
        }
        if let Some(rest) = name.strip_prefix("DSL-") {
            return Ok(Self::Dsl(rest.to_owned()));
        }
        if let Some(rest) = name.strip_prefix("PUSH-") {
            return Ok(Self::Push(rest.to_owned()));
        }
        Err(UnknownSource { name: name.to_owned() })
    }
}
