//! The handshake reply, and its two codecs. PROTOCOL.md 4.2, 4.5.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::password::null_is_default;
use crate::cbor::{Cbor, CborError};
use crate::go_json;
use crate::packed::Params;

/// The parameter, and its value, that asks for a reply in CBOR.
pub(super) const RESPONSE_VERSION: (&str, &str) = ("psiphon_api_response_version", "1");

/// The member that the reference does not know. In CBOR it has its name for a key, so that it can never be taken for a
/// member that a later version of the reference numbers.
const EXTENSIONS: &str = "culvert_extensions";

/// How a handshake reply is encoded. This does not depend on how the request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyEncoding {
    /// JSON text.
    Json,
    /// CBOR with integer keys.
    Cbor,
}

/// The encoding that a request asks for.
#[must_use]
pub fn reply_encoding(params: &Params) -> ReplyEncoding {
    let (name, version) = RESPONSE_VERSION;
    if params.text(name) == Some(version) { ReplyEncoding::Cbor } else { ReplyEncoding::Json }
}

/// What a server says to a new tunnel. Empty and zero members are not sent.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandshakeReply {
    /// Pages to open.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub homepages: Vec<String>,
    /// The newest version of the host application.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub upgrade_client_version: String,
    /// How names of sites are counted.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub https_request_regexes: Vec<HostRegex>,
    /// More servers, encoded.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub encoded_server_list: Vec<String>,
    /// The region that the client appears to be in.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub client_region: String,
    /// The address that the client appears to come from.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub client_address: String,
    /// The server's time, RFC 3339 to the second.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub server_timestamp: String,
    /// IDs of the authorizations that were accepted, base64.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub active_authorization_ids: Vec<String>,
    /// Tactics, if the server has any for this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tactics_payload: Option<TacticsPayload>,
    /// The limit of the client's upstream rate; 0 is none.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub upstream_bytes_per_second: i64,
    /// The limit of the client's downstream rate; 0 is none.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub downstream_bytes_per_second: i64,
    /// An address at which the front is better dialled.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub steering_ip: String,
    /// Spaces.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub padding: String,
    /// Extensions of ours that the client offered and the server takes, PROTOCOL.md 12.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub culvert_extensions: Vec<String>,
}

/// A rule by which names of sites are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostRegex {
    /// What a name must match.
    pub regex: String,
    /// Under which name it is counted.
    pub replace: String,
}

/// A tactics payload as it came, in the encoding of the reply (PROTOCOL.md 6.4.4).
#[derive(Clone, Debug)]
pub enum TacticsPayload {
    /// JSON text, its member order kept.
    Json(Box<RawValue>),
    /// CBOR.
    Cbor(Vec<u8>),
}

/// Why bytes are not a handshake reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// Malformed JSON.
    #[error("the server's handshake reply is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// Malformed CBOR.
    #[error("the server's handshake reply: {0}")]
    Cbor(#[from] CborError),
    /// A member of another type.
    #[error("the server's handshake reply has member {key} of another type than text, list or number")]
    Type {
        /// The member's CBOR key; 0 is the whole, or the one that has a name.
        key: i64,
    },
}

impl ReplyEncoding {
    pub(super) fn is_cbor(self) -> bool {
        self == Self::Cbor
    }
}

impl HandshakeReply {
    /// Writes the reply.
    ///
    /// # Errors
    /// Tactics in the other encoding cannot be sent in JSON.
    pub fn encode(&self, encoding: ReplyEncoding) -> Result<Vec<u8>, serde_json::Error> {
        match encoding {
            ReplyEncoding::Json => go_json::to_string(self).map(String::into_bytes),
            ReplyEncoding::Cbor => Ok(self.to_cbor().write()),
        }
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// See [`ReplyError`].
    pub fn decode(bytes: &[u8], encoding: ReplyEncoding) -> Result<Self, ReplyError> {
        match encoding {
            ReplyEncoding::Json => Ok(go_json::read(bytes)?),
            ReplyEncoding::Cbor => Self::from_cbor(Cbor::read(bytes)?),
        }
    }

    fn to_cbor(&self) -> Cbor {
        let texts = |list: &[String]| list.iter().cloned().map(Cbor::Text).collect();
        let text = |text: &str| Cbor::Text(text.to_owned());
        let regexes = self.https_request_regexes.iter().map(|rule| {
            Cbor::Map(vec![(text("regex"), text(&rule.regex)), (text("replace"), text(&rule.replace))])
        });
        let tactics = match &self.tactics_payload {
            None => Vec::new(),
            Some(TacticsPayload::Cbor(bytes)) => bytes.clone(),
            Some(TacticsPayload::Json(json)) => json.get().as_bytes().to_vec(),
        };
        let members = [
            (Cbor::Int(1), Cbor::Array(texts(&self.homepages))),
            (Cbor::Int(2), text(&self.upgrade_client_version)),
            (Cbor::Int(4), Cbor::Array(regexes.collect())),
            (Cbor::Int(5), Cbor::Array(texts(&self.encoded_server_list))),
            (Cbor::Int(6), text(&self.client_region)),
            (Cbor::Int(7), text(&self.client_address)),
            (Cbor::Int(8), text(&self.server_timestamp)),
            (Cbor::Int(9), Cbor::Array(texts(&self.active_authorization_ids))),
            (Cbor::Int(10), Cbor::Bytes(tactics)),
            (Cbor::Int(12), Cbor::Int(self.upstream_bytes_per_second.into())),
            (Cbor::Int(13), Cbor::Int(self.downstream_bytes_per_second.into())),
            (Cbor::Int(14), text(&self.steering_ip)),
            (Cbor::Int(15), text(&self.padding)),
            (text(EXTENSIONS), Cbor::Array(texts(&self.culvert_extensions))),
        ];
        let is_sent = |value: &Cbor| match value {
            Cbor::Array(items) => !items.is_empty(),
            Cbor::Text(text) => !text.is_empty(),
            Cbor::Bytes(bytes) => !bytes.is_empty(),
            other => *other != Cbor::Int(0),
        };
        let sent = members.into_iter().filter(|(_, value)| is_sent(value));
        Cbor::Map(sent.collect())
    }

    fn from_cbor(value: Cbor) -> Result<Self, ReplyError> {
        let Cbor::Map(pairs) = value else { return Err(ReplyError::Type { key: 0 }) };
        let mut reply = Self::default();
        for (key, value) in pairs {
            if value == Cbor::Null {
                continue;
            }
            // Members that we do not know are for clients newer than we are.
            let (number, known) = match (key.as_int(), key.as_text()) {
                (Some(number), _) => (number, reply.set_member(number, value)),
                (None, Some(EXTENSIONS)) => (0, reply.set_extensions(value)),
                (None, _) => continue,
            };
            known.ok_or(ReplyError::Type { key: number })?;
        }
        Ok(reply)
    }

    fn set_extensions(&mut self, value: Cbor) -> Option<()> {
        self.culvert_extensions = texts(value)?;
        Some(())
    }

    fn set_member(&mut self, key: i64, value: Cbor) -> Option<()> {
        match key {
            1 => self.homepages = texts(value)?,
            2 => self.upgrade_client_version = text(value)?,
            4 => self.https_request_regexes = regexes(value)?,
            5 => self.encoded_server_list = texts(value)?,
            6 => self.client_region = text(value)?,
            7 => self.client_address = text(value)?,
            8 => self.server_timestamp = text(value)?,
            9 => self.active_authorization_ids = texts(value)?,
            10 => {
                let Cbor::Bytes(bytes) = value else { return None };
                self.tactics_payload = (!bytes.is_empty()).then_some(TacticsPayload::Cbor(bytes));
            }
            12 => self.upstream_bytes_per_second = value.as_int()?,
            13 => self.downstream_bytes_per_second = value.as_int()?,
            14 => self.steering_ip = text(value)?,
            15 => self.padding = text(value)?,
            _ => {}
        }
        Some(())
    }
}

impl Serialize for TacticsPayload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(json) => json.serialize(serializer),
            Self::Cbor(_) => {
                Err(serde::ser::Error::custom("bug: tactics in CBOR cannot be sent in a JSON reply"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for TacticsPayload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::Json)
    }
}

/// Shows how much there is: the reply holds the client's address and servers.
impl fmt::Debug for HandshakeReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeReply")
            .field("homepages", &self.homepages.len())
            .field("https_request_regexes", &self.https_request_regexes.len())
            .field("encoded_server_list", &self.encoded_server_list.len())
            .field("client_region", &self.client_region)
            .field("server_timestamp", &self.server_timestamp)
            .field("active_authorization_ids", &self.active_authorization_ids.len())
            .field("tactics_payload", &self.tactics_payload.is_some())
            .field("padding", &self.padding.len())
            .field("culvert_extensions", &self.culvert_extensions.len())
            .finish_non_exhaustive()
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn text(value: Cbor) -> Option<String> {
    match value {
        Cbor::Text(text) => Some(text),
        _ => None,
    }
}

fn texts(value: Cbor) -> Option<Vec<String>> {
    match value {
        Cbor::Array(items) => items.into_iter().map(text).collect(),
        _ => None,
    }
}

fn regexes(value: Cbor) -> Option<Vec<HostRegex>> {
    let Cbor::Array(items) = value else { return None };
    let rule = |item| {
        let Cbor::Map(pairs) = item else { return None };
        let mut rule = HostRegex::default();
        for (name, value) in pairs {
            match name.as_text()? {
                "regex" => rule.regex = text(value)?,
                "replace" => rule.replace = text(value)?,
                _ => {}
            }
        }
        Some(rule)
    };
    items.into_iter().map(rule).collect()
}
