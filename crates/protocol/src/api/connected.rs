//! The connected request, by which users are counted once a day. PROTOCOL.md 4.6.

use serde::{Deserialize, Serialize};

use super::password::null_is_default;
use super::{BaseParams, DialParams, Padding, ParamError, validate_connected};
use crate::go_json;
use crate::packed::Params;

/// What a client says that was never connected before.
pub const NEVER_CONNECTED: &str = "None";

/// The request that a client makes once per tunnel, and again each day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectedRequest {
    /// Who the client is.
    pub base: BaseParams,
    /// Padding of request and reply.
    pub padding: Padding,
    /// The timestamp of the last reply, or [`NEVER_CONNECTED`].
    pub last_connected: String,
    /// How long it took to establish the tunnel, in milliseconds.
    pub establishment_milliseconds: Option<i64>,
    /// How the first bytes upstream were fragmented: the `upstream_*` parameters alone.
    pub upstream_fragmentor: DialParams,
}

/// What the server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectedReply {
    /// The server's time, cut to the hour.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub connected_timestamp: String,
    /// Spaces.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub padding: String,
}

/// The dial parameters that this request repeats.
const FRAGMENTOR: [&str; 5] = [
    "upstream_bytes_fragmented",
    "upstream_min_bytes_written",
    "upstream_max_bytes_written",
    "upstream_min_delayed",
    "upstream_max_delayed",
];

impl ConnectedRequest {
    /// The parameters to send.
    #[must_use]
    pub fn to_params(&self) -> Params {
        let mut params = Params::default();
        self.base.write(&mut params);
        self.padding.write(&mut params);
        for name in FRAGMENTOR {
            if let Some(value) = self.upstream_fragmentor.params().get(name) {
                params.set(name, value.clone());
            }
        }
        params.set("last_connected", self.last_connected.as_str());
        if let Some(duration) = self.establishment_milliseconds {
            params.set("establishment_duration", duration.to_string());
        }
        params
    }

    /// Validates and reads the parameters of a request.
    ///
    /// # Errors
    /// The first parameter that is missing or wrong.
    pub fn parse(params: &Params) -> Result<Self, ParamError> {
        validate_connected(params)?;
        let number = |name| params.text(name).and_then(|text| text.parse().ok());
        let mut fragmentor = Params::default();
        for name in FRAGMENTOR {
            if let Some(value) = params.get(name) {
                fragmentor.set(name, value.clone());
            }
        }
        Ok(Self {
            base: BaseParams::read(params),
            padding: Padding {
                request: params.text("padding").map(str::len),
                response: params.text("pad_response").and_then(|text| text.parse().ok()),
            },
            last_connected: params.text("last_connected").unwrap_or_default().to_owned(),
            establishment_milliseconds: number("establishment_duration"),
            upstream_fragmentor: DialParams::read(&fragmentor),
        })
    }
}

impl ConnectedReply {
    /// Writes the reply: always JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        go_json::to_string(self).unwrap_or_default()
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// It is not a JSON object with text members.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::read(text)
    }
}
