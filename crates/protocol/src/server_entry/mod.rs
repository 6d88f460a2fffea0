//! Server entries: what a client must know of a server to dial it, and how such knowledge travels.
//!
//! [`EntryFields`] is the JSON object as received, unknown members included, since the signature covers them all.
//! [`ServerEntry`] is one whose known members have the right types. Not here: storing and choosing entries.
//! PROTOCOL.md 5.

mod capabilities;
mod codec;
pub mod fields;
mod list;
mod packed;
mod signature;
mod source;
mod tag;

pub use capabilities::{DialPortError, QUIC_V1, SSH_API_REQUESTS, UNTUNNELED_WEB_API};
pub use codec::{DecodeError, Prefix, decode_line, encode_line};
pub use list::{ListDecoder, ListLine, MAX_LINE, decode_list};
pub use packed::PackedEntryError;
pub use signature::{KeyPair, SignatureError, SigningKey, Unverified, VerifyingKey};
pub use source::EntrySource;
pub use tag::{Tag, diagnostic_id};

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::{go_json, text_form};
use fields::{FIELDS, FieldKind};

/// The members of a server entry as received, of any type, known or not.
#[derive(Clone, Default, PartialEq)]
pub struct EntryFields(Map<String, Value>);

/// A server entry whose known members have the right types.
#[derive(Clone, PartialEq)]
pub struct ServerEntry {
    fields: EntryFields,
    address: IpAddr,
}

/// A member that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server entry field {field}: {problem}")]
pub struct FieldError {
    /// The member's JSON name.
    pub field: String,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// Needed but not there.
    #[error("missing")]
    Missing,
    /// Another JSON type.
    #[error("must be a string")]
    NotText,
    /// Another JSON type.
    #[error("must be a list of strings")]
    NotTextList,
    /// Another JSON type, or a fraction.
    #[error("must be a whole number")]
    NotInt,
    /// Another JSON type.
    #[error("must be true or false")]
    NotFlag,
    /// Out of range.
    #[error("must be a port from 1 to 65535")]
    NotPort,
    /// No IP literal.
    #[error("must be an IP address, not a name")]
    NotAddress,
    /// Not base64 of a public key.
    #[error("must be an SSH public key in base64")]
    NotHostKey,
}

impl EntryFields {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::parse_object(text).map(Self)
    }

    /// The canonical JSON of all members (PROTOCOL.md 5.4).
    #[must_use]
    pub fn canonical_json(&self) -> String {
        go_json::canonical_object(&self.0)
    }

    /// The JSON that goes into an encoded entry: known members in the order of the table, then the others by name.
    #[must_use]
    pub fn to_json(&self) -> String {
        let known = FIELDS.iter().filter_map(|field| self.0.get_key_value(field.name));
        let unknown = self.0.iter().filter(|(name, _)| fields::by_name(name).is_none());
        let mut out = String::from("{");
        for (name, value) in known.chain(unknown) {
            if out.len() > 1 {
                out.push(',');
            }
            go_json::write_string(&mut out, name);
            out.push(':');
            out.push_str(&go_json::canonical(value));
        }
        out.push('}');
        out
    }

    /// A member; null counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A member if it is text and not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Sets a member.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn checked_port(&self, name: &str) -> Result<Option<u16>, FieldProblem> {
        let Some(number) = self.checked_int(name)? else { return Ok(None) };
        let port = u16::try_from(number).map_err(|_| FieldProblem::NotPort)?;
        Ok(Some(port).filter(|port| *port != 0))
    }

    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within range")]
    fn checked_int(&self, name: &str) -> Result<Option<i64>, FieldProblem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = value
            .as_i64()
            .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9.0e15).map(|x| x as i64));
        whole.map(Some).ok_or(FieldProblem::NotInt)
    }

    fn check(&self, name: &str, kind: FieldKind) -> Result<(), FieldProblem> {
        let Some(value) = self.get(name) else { return Ok(()) };
        match kind {
            FieldKind::Text | FieldKind::Secret => {
                value.is_string().then_some(()).ok_or(FieldProblem::NotText)
            }
            FieldKind::TextList => value
                .as_array()
                .filter(|items| items.iter().all(Value::is_string))
                .map(|_| ())
                .ok_or(FieldProblem::NotTextList),
            FieldKind::Port => self.checked_port(name).map(|_| ()),
            FieldKind::Int => self.checked_int(name).map(|_| ()),
            FieldKind::Flag => value.is_boolean().then_some(()).ok_or(FieldProblem::NotFlag),
        }
    }
}

impl TryFrom<EntryFields> for ServerEntry {
    type Error = FieldError;

    /// Checks that every known member has its type and that the address is an IP literal.
    fn try_from(fields: EntryFields) -> Result<Self, FieldError> {
        for field in &FIELDS {
            fields.check(field.name, field.kind).map_err(|problem| FieldError::of(field.name, problem))?;
        }
        let text =
            fields.text("ipAddress").ok_or_else(|| FieldError::of("ipAddress", FieldProblem::Missing))?;
        let address = text.parse().map_err(|_| FieldError::of("ipAddress", FieldProblem::NotAddress))?;
        Ok(Self { fields, address })
    }
}

impl ServerEntry {
    /// All members as received.
    #[must_use]
    pub fn fields(&self) -> &EntryFields {
        &self.fields
    }

    /// Gives up the checks, to change members.
    #[must_use]
    pub fn into_fields(self) -> EntryFields {
        self.fields
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The address as the entry writes it: what stores and tags use as key.
    #[must_use]
    pub fn address_text(&self) -> &str {
        self.fields.text("ipAddress").unwrap_or_default()
    }

    /// A text member; empty counts as absent.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.text(name)
    }

    /// A text member that the caller cannot do without.
    ///
    /// # Errors
    /// It is absent or empty.
    pub fn required_text(&self, name: &str) -> Result<&str, FieldError> {
        self.text(name).ok_or_else(|| FieldError::of(name, FieldProblem::Missing))
    }

    /// The items of a list member; none when absent.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// A port member; 0 counts as absent.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<u16> {
        self.fields.checked_port(name).ok().flatten()
    }

    /// A flag member; absent is false.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.fields.get(name) == Some(&Value::Bool(true))
    }

    /// The version by which a newer entry replaces an older (PROTOCOL.md 5.7); absent is 0.
    #[must_use]
    pub fn configuration_version(&self) -> i64 {
        self.fields.checked_int("configurationVersion").ok().flatten().unwrap_or(0)
    }

    /// The two-letter region, if the entry names one.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.text("region")
    }

    /// The server's SSH host key as its public key blob, RFC 4253 section 6.6.
    ///
    /// # Errors
    /// It is absent or not base64.
    pub fn ssh_host_key(&self) -> Result<Vec<u8>, FieldError> {
        let text = self.required_text("sshHostKey")?;
        text_form::base64(text)
            .filter(|blob| !blob.is_empty())
            .ok_or_else(|| FieldError::of("sshHostKey", FieldProblem::NotHostKey))
    }

    /// The name to log in with.
    ///
    /// # Errors
    /// It is absent.
    pub fn ssh_username(&self) -> Result<&str, FieldError> {
        self.required_text("sshUsername")
    }

    /// The password to log in with.
    ///
    /// # Errors
    /// It is absent.
    pub fn ssh_password(&self) -> Result<crate::api::SshPassword, FieldError> {
        self.required_text("sshPassword").map(crate::api::SshPassword::new)
    }

    /// The keyword of obfuscated SSH.
    ///
    /// # Errors
    /// It is absent.
    pub fn obfuscation_keyword(&self) -> Result<culvert_obfuscation::Keyword, FieldError> {
        self.required_text("sshObfuscatedKey").map(culvert_obfuscation::Keyword::new)
    }
}

impl FieldError {
    pub(crate) fn of(field: &str, problem: FieldProblem) -> Self {
        Self { field: field.to_owned(), problem }
    }
}

impl fmt::Debug for EntryFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryFields([{} members])", self.0.len())
    }
}

/// Shows what may be seen by anyone: neither address nor secrets.
impl fmt::Debug for ServerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerEntry")
            .field("diagnostic_id", &self.diagnostic_id())
            .field("region", &self.region().unwrap_or_default())
            .field("capabilities", &self.texts("capabilities").collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Drop for EntryFields {
    fn drop(&mut self) {
        for field in FIELDS.iter().filter(|field| field.kind == FieldKind::Secret) {
            if let Some(Value::String(secret)) = self.0.get_mut(field.name) {
                secret.zeroize();
            }
        }
    }
}

#[cfg(test)]
mod tests;
