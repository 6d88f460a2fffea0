//! Requests of the server to the client, and small bodies of other messages. PROTOCOL.md 3.7, 4.5, 4.9, 4.10.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::password::null_is_default;
use crate::cbor::{Cbor, CborError};
use crate::{go_json, text_form};

/// An alert's reason: traffic rules forbid what the client tried. Has no subject.
pub const DISALLOWED_TRAFFIC: &str = "disallowed-traffic";
/// An alert's reason: a blocklist holds what the client tried. The subject is the list's tag.
pub const UNSAFE_TRAFFIC: &str = "unsafe-traffic";

/// Keys for obfuscated server lists that the client earned. Absent members are no error here, although the reference's
/// client stops at them: a server always sends `seed_payload`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OslRequest {
    /// First delete all keys that are stored.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_is_default")]
    pub clear_local_sloks: bool,
    #[serde(deserialize_with = "null_is_default")]
    seed_payload: SeedPayload,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SeedPayload {
    #[serde(rename = "SLOKs", deserialize_with = "null_is_default")]
    sloks: Vec<Slok>,
}

/// One key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Slok {
    /// The key's name.
    #[serde(rename = "ID", with = "base64_text")]
    pub id: Zeroizing<Vec<u8>>,
    /// The key itself, a secret.
    #[serde(rename = "Key", with = "base64_text")]
    pub key: Zeroizing<Vec<u8>>,
}

/// Something that the user should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// What happened, [`DISALLOWED_TRAFFIC`] or [`UNSAFE_TRAFFIC`].
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub reason: String,
    /// About what.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub subject: String,
    /// Pages with more.
    #[serde(rename = "action", skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub action_urls: Vec<String>,
}

/// What a random stream channel is opened with: how many bytes each side sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomStream {
    /// From the client.
    #[serde(rename = "u", skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub upstream_bytes: i64,
    /// From the server.
    #[serde(rename = "d", skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub downstream_bytes: i64,
}

/// A packet of the session between broker and server, relayed by the client in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InproxyRelay {
    /// The packet.
    pub packet: Vec<u8>,
}

impl OslRequest {
    /// A request that gives keys.
    #[must_use]
    pub fn new(clear_local_sloks: bool, sloks: Vec<Slok>) -> Self {
        Self { clear_local_sloks, seed_payload: SeedPayload { sloks } }
    }

    /// The keys.
    #[must_use]
    pub fn sloks(&self) -> &[Slok] {
        &self.seed_payload.sloks
    }
}

macro_rules! json_message {
    ($($message:ty),*) => {$(
        impl $message {
            /// Writes the message.
            #[must_use]
            pub fn to_json(&self) -> String {
                go_json::to_string(self).unwrap_or_default()
            }

            /// Reads the message.
            ///
            /// # Errors
            /// It is not a JSON object with members of these types.
            pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
                go_json::read(text)
            }
        }
    )*};
}

json_message!(OslRequest, Alert, RandomStream);

impl InproxyRelay {
    /// Writes the message.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let packet = (!self.packet.is_empty()).then(|| (Cbor::Int(1), Cbor::Bytes(self.packet.clone())));
        Cbor::Map(packet.into_iter().collect()).write()
    }

    /// Reads the message.
    ///
    /// # Errors
    /// It is not CBOR; a message of another shape has an empty packet.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, CborError> {
        let mut packet = Vec::new();
        if let Cbor::Map(pairs) = Cbor::read(bytes)? {
            for pair in pairs {
                if let (Cbor::Int(1), Cbor::Bytes(bytes)) = pair {
                    packet = bytes;
                }
            }
        }
        Ok(Self { packet })
    }
}

impl fmt::Debug for Slok {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slok({}, [redacted])", text_form::to_base64(&self.id))
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

mod base64_text {
    //! Bytes as base64 text in JSON.

    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    use crate::text_form;

    pub(super) fn serialize<S: Serializer>(
        bytes: &Zeroizing<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text_form::to_base64(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let bytes = text_form::base64(&text).ok_or_else(|| serde::de::Error::custom("not base64"))?;
        Ok(Zeroizing::new(bytes))
    }
}
