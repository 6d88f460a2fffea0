//! What the client puts into the SSH password field. PROTOCOL.md 3.5.

use std::fmt;

use aws_lc_rs::constant_time;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{go_json, text_form};

/// The client capability that lets a server send requests of its own.
pub const SERVER_REQUESTS: &str = "server-requests";

/// Length of a session ID in hex digits.
const SESSION_ID: usize = 32;
/// Length of the password in the legacy form.
const LEGACY_PASSWORD: usize = 64;
/// Length of a sponsor ID in hex digits.
const SPONSOR_ID: usize = 16;

/// A client's session: 16 random bytes as 32 hex digits, kept in the case in which they came. Names one run of one
/// client, so it is not printed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(String);

/// The password of a server, a secret of all its clients.
#[derive(Clone)]
pub struct SshPassword(Zeroizing<String>);

/// What the password field says.
#[derive(Clone, Debug)]
pub struct PasswordPayload {
    /// The client's session.
    pub session_id: SessionId,
    /// The server's password.
    pub ssh_password: SshPassword,
    /// What the client can do; unknown names are kept.
    pub client_capabilities: Vec<String>,
    /// Who distributes the client; empty if not said.
    pub sponsor_id: String,
}

/// Why a password field is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Neither JSON nor the legacy form.
    #[error("the client's password field is neither JSON nor {} characters", SESSION_ID + LEGACY_PASSWORD)]
    Malformed,
    /// Not 32 hex digits.
    #[error("the session ID is not 32 hex digits")]
    SessionId,
    /// Neither empty nor 16 hex digits.
    #[error("the sponsor ID is not 16 hex digits")]
    SponsorId,
}

/// The JSON form, in the reference's member order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    session_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    ssh_password: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    client_capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    sponsor_id: String,
}

impl PasswordPayload {
    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let mut wire = Wire {
            session_id: self.session_id.0.clone(),
            ssh_password: self.ssh_password.0.as_str().to_owned(),
            client_capabilities: self.client_capabilities.clone(),
            sponsor_id: self.sponsor_id.clone(),
        };
        let json = go_json::to_string(&wire).unwrap_or_default();
        wire.ssh_password.zeroize();
        Zeroizing::new(json)
    }

    /// Writes the legacy form: session ID, then password.
    #[must_use]
    pub fn to_legacy(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}", self.session_id.0, self.ssh_password.0.as_str()))
    }

    /// Reads either form; the legacy one only where JSON fails.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub fn parse(field: &[u8]) -> Result<Self, PasswordError> {
        let wire = match go_json::read::<Wire>(field) {
            Ok(wire) => wire,
            Err(_) => legacy(field)?,
        };
        if !wire.sponsor_id.is_empty() && !is_hex(&wire.sponsor_id, SPONSOR_ID) {
            return Err(PasswordError::SponsorId);
        }
        Ok(Self {
            session_id: SessionId::parse(&wire.session_id)?,
            ssh_password: SshPassword(Zeroizing::new(wire.ssh_password)),
            client_capabilities: wire.client_capabilities,
            sponsor_id: wire.sponsor_id,
        })
    }

    /// True if the server may send requests to this client.
    #[must_use]
    pub fn takes_server_requests(&self) -> bool {
        self.client_capabilities.iter().any(|name| name == SERVER_REQUESTS)
    }
}

impl SessionId {
    /// The session of 16 bytes that the caller drew at random.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SESSION_ID / 2]) -> Self {
        Self(text_form::to_hex(&bytes))
    }

    /// Reads 32 hex digits of either case.
    ///
    /// # Errors
    /// It is not that.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        if is_hex(text, SESSION_ID) { Ok(Self(text.to_owned())) } else { Err(PasswordError::SessionId) }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SshPassword {
    /// Wraps a password.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }

    /// The password itself, for the bytes that go on the wire.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId([redacted])")
    }
}

impl fmt::Debug for SshPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SshPassword([redacted])")
    }
}

fn legacy(field: &[u8]) -> Result<Wire, PasswordError> {
    if field.len() != SESSION_ID + LEGACY_PASSWORD {
        return Err(PasswordError::Malformed);
    }
    let (session_id, ssh_password) = field.split_at(SESSION_ID);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| PasswordError::Malformed);
    Ok(Wire {
        session_id: text(session_id)?,
        ssh_password: text(ssh_password)?,
        client_capabilities: Vec::new(),
        sponsor_id: String::new(),
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The reference takes null for a member that is absent.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"SessionId":"000102030405060708090a0b0c0d0e0f","SshPassword":"p<1","ClientCapabilities":["server-requests"],"SponsorId":"1122334455667788"}"#;

    #[test]
    fn reads_both_forms() {
        let parsed = PasswordPayload::parse(JSON.as_bytes()).unwrap();
        assert!(parsed.takes_server_requests());
        assert!(parsed.ssh_password.matches(&SshPassword::new("p<1")));
        assert!(!parsed.ssh_password.matches(&SshPassword::new("p<2")));
        assert_eq!(parsed.to_json().as_str(), JSON.replace('<', "\\u003c"));
        let legacy = format!("{:032x}{:064x}", 0xab, 0xcd);
        let parsed = PasswordPayload::parse(legacy.as_bytes()).unwrap();
        assert_eq!(parsed.to_legacy().as_str(), legacy);
        assert!(!parsed.takes_server_requests());
    }

    #[test]
    fn refuses_other_forms_and_shows_nothing() {
        for (field, error) in [
            ("", PasswordError::Malformed),
            ("{}", PasswordError::SessionId),
            (r#"{"SessionId":"00","SshPassword":"x"}"#, PasswordError::SessionId),
            (r#"{"SessionId":"000102030405060708090a0b0c0d0e0f","SponsorId":"1"}"#, PasswordError::SponsorId),
            (&"é".repeat(48), PasswordError::SessionId),
            (&"é".repeat(47), PasswordError::Malformed),
        ] {
            assert_eq!(PasswordPayload::parse(field.as_bytes()).map(|_| ()), Err(error), "{field}");
        }
        let shown = format!("{:?}", PasswordPayload::parse(JSON.as_bytes()));
        assert!(!shown.contains("p<1") && !shown.contains("0001"), "{shown}");
    }
}
