//! What a meek client says in its cookie. PROTOCOL.md 4; how the cookie is sealed belongs to the transport.

use serde::{Deserialize, Serialize};

use super::password::null_is_default;
use crate::go_json;

/// What a meek client says in its cookie. Empty and zero members are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeekCookie {
    /// Version of the meek protocol.
    #[serde(rename = "v", skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub version: i64,
    /// The client pads its payloads, and so may the server.
    #[serde(rename = "p", skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_is_default")]
    pub payload_padding: bool,
    /// The tunnel protocol that the client uses.
    #[serde(rename = "t", skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub tunnel_protocol: String,
    /// What the client asks for, if not a tunnel.
    #[serde(rename = "e", skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub end_point: String,
}

impl MeekCookie {
    /// Writes the JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        go_json::to_string(self).unwrap_or_default()
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// It is not a JSON object with members of these types.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::read(text)
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}
