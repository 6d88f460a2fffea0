//! What a client said of itself and its dial, in little memory: a report needs it, seldom, while clients are many and their tunnels long.

use culvert_protocol::api::{self, LogAs, RequestKind};
use culvert_protocol::packed::{self, Params, Value};
use serde_json::{Map, Value as Json};

/// Longer texts are not kept: what clients say must not take what memory they like.
const LONGEST: usize = 1024;
/// All together.
const MOST: usize = 8 * 1024;
/// Logged by its length, and large.
const PADDING: &str = "padding";

/// The parameters of a handshake that are logged.
pub(crate) struct Words {
    encoded: Box<[u8]>,
    padding: Option<usize>,
}

impl Words {
    /// Nothing else of the request is kept, such as authorizations.
    pub(super) fn new(params: &Params) -> Self {
        let mut kept = Params::default();
        let mut left = MOST;
        for spec in RequestKind::BaseAndDial.specs().filter(|spec| spec.log != LogAs::Never) {
            let Some(value) = params.get(spec.name).filter(|_| spec.name != PADDING) else { continue };
            let length = length(value);
            if length <= LONGEST.min(left) {
                left -= length;
                kept.set(spec.name, value.clone());
            }
        }
        Self { encoded: encoded(&kept).into(), padding: params.text(PADDING).map(str::len) }
    }

    /// As they are logged with an event about a request of this kind.
    pub(crate) fn log_fields(&self, kind: RequestKind) -> Map<String, Json> {
        // It was encoded here.
        let params = packed::decode(&self.encoded).unwrap_or_default();
        let mut fields = api::log_fields(kind, &params, "");
        if let (RequestKind::BaseAndDial, Some(padding)) = (kind, self.padding) {
            fields.insert(PADDING.to_owned(), padding.into());
        }
        fields
    }
}

/// Packed, unless that would change how it is logged: not every hexadecimal text survives it.
fn encoded(params: &Params) -> Vec<u8> {
    let fields = |params: &Params| api::log_fields(RequestKind::BaseAndDial, params, "");
    let packed = packed::encode(params).ok();
    let same = |packed: &Vec<u8>| packed::decode(packed).is_ok_and(|again| fields(&again) == fields(params));
    packed.filter(same).unwrap_or_else(|| params.to_json().into_bytes())
}

fn length(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::RawJson(text) => text.len(),
        Value::TextList(list) => list.iter().map(|text| text.len() + 16).sum(),
        Value::Bytes(bytes) => bytes.len(),
        // Nothing that is logged.
        Value::Json(_) => usize::MAX,
    }
}

/// Parameters hold addresses.
impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words([redacted], {} bytes)", self.encoded.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(sponsor: &str, user_agent: &str) -> Params {
        let text = format!(
            r#"{{"propagation_channel_id":"ABC","sponsor_id":"{sponsor}","client_version":"42","client_platform":"Windows",
            "relay_protocol":"OSSH","network_latency_multiplier":"1.25","client_features":["a","b"],"padding":"    ",
            "user_agent":"{user_agent}","authorizations":["secret"],"server_secret":"secret","is_replay":"1"}}"#
        );
        Params::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_logged_survives_and_secrets_do_not() {
        for sponsor in ["0011223344556677", "00112233445566aB"] {
            let params = params(sponsor, "Browser/1.0");
            let words = Words::new(&params);
            let expected = api::log_fields(RequestKind::BaseAndDial, &params, "");
            assert_eq!(words.log_fields(RequestKind::BaseAndDial), expected);
            assert_eq!(expected["padding"], 4);
            assert_eq!(
                words.log_fields(RequestKind::Status),
                api::log_fields(RequestKind::Status, &params, "")
            );
            assert!(!String::from_utf8_lossy(&words.encoded).contains("secret"));
        }
    }

    #[test]
    fn long_values_are_dropped() {
        let words = Words::new(&params("0011223344556677", &"x".repeat(LONGEST + 1)));
        let fields = words.log_fields(RequestKind::BaseAndDial);
        assert!(!fields.contains_key("user_agent") && fields.contains_key("client_version"));
        assert!(words.encoded.len() < 512, "{}", words.encoded.len());
    }
}
