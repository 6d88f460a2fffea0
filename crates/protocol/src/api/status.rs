//! The status request, which carries what the client counted and stored. PROTOCOL.md 4.7.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::password::null_is_default;
use super::{BaseParams, Padding, ParamError, validate_status};
use crate::go_json;
use crate::packed::{Params, Value};

/// Bytes by name of site, up and down together.
pub type HostBytes = BTreeMap<String, i64>;

/// A status request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusRequest {
    /// Who the client is.
    pub base: BaseParams,
    /// Padding of request and reply.
    pub padding: Padding,
    /// What it reports.
    pub data: StatusData,
}

/// What a status request reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusData {
    /// Bytes by name of site.
    pub host_bytes: HostBytes,
    /// Records of downloads of server lists, each a JSON object.
    pub remote_server_list_stats: Vec<Params>,
    /// Records of tunnels that failed, each a JSON object.
    pub failed_tunnel_stats: Vec<Params>,
    /// Tags of entries of which the client wants to know if they still serve.
    pub check_server_entry_tags: Vec<String>,
}

/// What the server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReply {
    /// Tags of entries that no longer serve.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub invalid_server_entry_tags: Vec<String>,
    /// Spaces.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub padding: String,
}

const STATUS_DATA: &str = "statusData";

impl StatusRequest {
    /// The parameters to send.
    #[must_use]
    pub fn to_params(&self) -> Params {
        let mut params = Params::default();
        self.base.write(&mut params);
        self.padding.write(&mut params);
        params.set(STATUS_DATA, Value::RawJson(self.data.to_json()));
        params
    }

    /// Validates and reads the parameters of a request. The records inside are not validated: a wrong one is dropped by
    /// whoever logs them, and costs only itself.
    ///
    /// # Errors
    /// The first parameter that is missing or wrong; `statusData` if one of its lists is of another type.
    pub fn parse(params: &Params) -> Result<Self, ParamError> {
        validate_status(params)?;
        let name = STATUS_DATA;
        let data = match params.get(name) {
            None => return Err(ParamError::Missing { name }),
            Some(Value::Json(Json::Object(map))) => StatusData::read(map).ok_or(ParamError::Type { name })?,
            Some(_) => return Err(ParamError::Type { name }),
        };
        let padding = Padding {
            request: params.text("padding").map(str::len),
            response: params.text("pad_response").and_then(|text| text.parse().ok()),
        };
        Ok(Self { base: BaseParams::read(params), padding, data })
    }
}

impl StatusData {
    /// True if there is nothing to report, so that no request is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.host_bytes.is_empty()
            && self.remote_server_list_stats.is_empty()
            && self.failed_tunnel_stats.is_empty()
            && self.check_server_entry_tags.is_empty()
    }

    /// Writes the JSON object. Three members are constant, for old servers.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut map = Map::new();
        let tags = &self.check_server_entry_tags;
        let host_bytes = self.host_bytes.iter().map(|(name, bytes)| (name.clone(), (*bytes).into()));
        map.insert("host_bytes".into(), Json::Object(host_bytes.collect()));
        map.insert("bytes_transferred".into(), 0.into());
        map.insert("page_views".into(), Json::Array(Vec::new()));
        map.insert("https_requests".into(), Json::Array(Vec::new()));
        let none = tags.is_empty();
        map.insert("check_server_entry_tags".into(), if none { Json::Null } else { tags.clone().into() });
        for (name, records) in [
            ("remote_server_list_stats", &self.remote_server_list_stats),
            ("failed_tunnel_stats", &self.failed_tunnel_stats),
        ] {
            if !records.is_empty() {
                map.insert(name.into(), records.iter().map(record_to_json).collect());
            }
        }
        go_json::canonical_object(&map)
    }

    fn read(map: &Map<String, Json>) -> Option<Self> {
        let present = |name: &str| map.get(name).filter(|value| !value.is_null());
        let records = |name: &str| match present(name) {
            None => Some(Vec::new()),
            Some(Json::Array(items)) => items.iter().map(record_from_json).collect(),
            Some(_) => None,
        };
        let host_bytes = match present("host_bytes") {
            None => HostBytes::new(),
            Some(Json::Object(map)) => {
                map.iter().map(|(name, bytes)| Some((name.clone(), whole(bytes)?))).collect::<Option<_>>()?
            }
            Some(_) => return None,
        };
        let check_server_entry_tags = match present("check_server_entry_tags") {
            None => Vec::new(),
            Some(Json::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>()?
            }
            Some(_) => return None,
        };
        Some(Self {
            host_bytes,
            remote_server_list_stats: records("remote_server_list_stats")?,
            failed_tunnel_stats: records("failed_tunnel_stats")?,
            check_server_entry_tags,
        })
    }
}

impl StatusReply {
    /// Writes the reply: always JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        go_json::to_string(self).unwrap_or_default()
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// It is not a JSON object with members of these types.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::read(text)
    }
}

fn record_to_json(record: &Params) -> Json {
    Json::Object(record.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

fn record_from_json(item: &Json) -> Option<Params> {
    let map = item.as_object()?;
    let mut record = Params::default();
    for (name, value) in map {
        record.set(name, value.clone());
    }
    Some(record)
}

#[expect(clippy::cast_possible_truncation, reason = "counts are cut to whole numbers, as in the reference")]
fn whole(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|x| x as i64))
}
