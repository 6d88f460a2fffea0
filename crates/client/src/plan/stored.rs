//! A plan as it is stored and exported: JSON, with a version. What cannot be read is no plan, and never stops a dial.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use culvert_protocol::json_position::near_name;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::choices::{Choice, Choices};

/// What this version writes, and all that it reads.
const FORMAT: u32 = 1;
/// Plans are one or two kilobytes; custom headers of transforms may add some.
const LONGEST: usize = 64 * 1024;

/// A plan that led to a tunnel, for the server and the network under which it is stored. Neither is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredPlan {
    format: u32,
    /// What was spoken.
    pub protocol: TunnelProtocol,
    /// When it was last dialed, in seconds since 1970.
    pub last_used: u64,
    /// What it was made under.
    pub settings: Fingerprint,
    /// Which edition of the server's entry it was made from.
    pub entry: Fingerprint,
    pub(crate) choices: Choices,
}

/// Tells whether something is what it was, and nothing else about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 8]);

/// Why bytes are no plan.
#[derive(Debug, thiserror::Error)]
pub enum BadPlan {
    /// Too long.
    #[error("{0} bytes are too many for a plan: they have {LONGEST} at most")]
    TooLong(usize),
    /// Not JSON, or not of this form. The message says where.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// Of another version.
    #[error("member format: this version reads plans of format {FORMAT}, this one is of format {0}")]
    Format(u32),
    /// A choice that there is not.
    #[error("member choices: there is no choice {name:?}{}", near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default())]
    UnknownChoice {
        /// Its name.
        name: String,
        /// One that it may have been meant to be.
        near: Option<&'static str>,
    },
}

impl StoredPlan {
    pub(crate) fn new(
        protocol: TunnelProtocol,
        choices: Choices,
        last_used: u64,
        [settings, entry]: [Fingerprint; 2],
    ) -> Self {
        Self { format: FORMAT, protocol, last_used, settings, entry, choices }
    }

    /// Reads a plan. Choices of later versions are passed over.
    ///
    /// # Errors
    /// [`BadPlan`]: the caller goes on without a plan.
    pub fn read(bytes: &[u8]) -> Result<Self, BadPlan> {
        if bytes.len() > LONGEST {
            return Err(BadPlan::TooLong(bytes.len()));
        }
        let plan: Self = serde_json::from_slice(bytes)?;
        if plan.format == FORMAT { Ok(plan) } else { Err(BadPlan::Format(plan.format)) }
    }

    /// The same for plans that people have edited: a choice that this version does not know is a mistake.
    ///
    /// # Errors
    /// [`BadPlan`].
    pub fn read_strictly(bytes: &[u8]) -> Result<Self, BadPlan> {
        let plan = Self::read(bytes)?;
        let unknown = plan.choices.names().find(|name| !Choice::NAMES.contains(name));
        match unknown {
            Some(name) => Err(BadPlan::UnknownChoice {
                name: name.to_owned(),
                near: near_name(name, Choice::NAMES.iter().copied()),
            }),
            None => Ok(plan),
        }
    }

    /// The plan's bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        // A map with text for keys can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Fingerprint {
    /// Of anything.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = digest::digest(&SHA256, bytes);
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// Of parameters, and of what else of a config shapes dials.
    #[must_use]
    pub fn of_settings(parameters: &Parameters, beside: &str) -> Self {
        Self::of(&[&parameters.digest().0, beside.as_bytes()].concat())
    }

    /// Of an entry: its version, and when it came, which both change with what it says.
    #[must_use]
    pub fn of_entry(entry: &ServerEntry) -> Self {
        let timestamp = entry.text("localTimestamp").unwrap_or_default();
        Self::of(format!("{} {timestamp}", entry.configuration_version()).as_bytes())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a fingerprint is 16 hex digits"))
    }
}
