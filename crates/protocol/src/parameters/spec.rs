//! Objects that parameters consist of: fronts, URLs of transfers, brokers, limits of rates, sizes of tests. What is done with
//! them belongs to their users. PROTOCOL.md 6.5.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::fault::{Fault, Flaw};
use super::list::{self, Item, Record};
use super::value::{Unknown, Value, text, wrong_kind};
use super::{FrontingTransport, Probability};

/// A front behind which a server or web site can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FrontingSpec {
    /// Whose front it is.
    #[serde(rename = "FrontingProviderID")]
    pub provider: String,
    /// How it may be reached; TLS when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<FrontingTransport>,
    /// Patterns of names or addresses to dial, of which one is chosen.
    pub addresses: Vec<String>,
    /// Whether no name is sent in TLS.
    #[serde(rename = "DisableSNI", skip_serializing_if = "is_off")]
    pub no_sni: bool,
    /// Whether any certificate will do.
    #[serde(skip_serializing_if = "is_off")]
    pub skip_verify: bool,
    /// The name that the certificate is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verify_server_name: String,
    /// Hashes of keys of which the certificate's chain has one; none are asked for when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verify_pins: Vec<String>,
    /// The name of what is behind it.
    pub host: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_off(switch: &bool) -> bool {
    !*switch
}

impl FrontingSpec {
    fn flaw_but(&self, may_skip_verify: bool) -> Option<&'static str> {
        let verified = !self.verify_server_name.is_empty();
        if self.provider.is_empty() {
            Some("no FrontingProviderID")
        } else if self.addresses.is_empty() || self.addresses.iter().any(String::is_empty) {
            Some("no Addresses, or an empty one")
        } else if self.host.is_empty() {
            Some("no Host")
        } else if self.skip_verify && !may_skip_verify {
            Some("SkipVerify is not allowed here")
        } else if self.skip_verify && (verified || !self.verify_pins.is_empty()) {
            Some("SkipVerify excludes VerifyServerName and VerifyPins")
        } else if !self.skip_verify && !verified {
            Some("no VerifyServerName")
        } else if self.verify_pins.iter().any(String::is_empty) {
            Some("an empty pin in VerifyPins")
        } else {
            None
        }
    }
}

impl Record for FrontingSpec {
    const RECORD: &'static str = "a front with FrontingProviderID, Addresses, VerifyServerName and Host";
    const RECORDS: &'static str = "a list of fronts, each an object";

    fn flaw(&self) -> Option<&'static str> {
        self.flaw_but(false)
    }
}

/// A place to load from, or to upload to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TransferUrl {
    /// The URL. In JSON it is in base64.
    #[serde(rename = "URL", with = "base64_text")]
    pub url: String,
    /// Whether any certificate will do.
    #[serde(skip_serializing_if = "is_off")]
    pub skip_verify: bool,
    /// Only used when so many rounds have failed.
    pub only_after_attempts: u32,
    /// RSA key that an upload is encrypted for, or that signs what is loaded, in base64.
    #[serde(rename = "B64EncodedPublicKey", skip_serializing_if = "String::is_empty")]
    pub public_key: String,
    /// Headers of requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_headers: BTreeMap<String, String>,
    /// Fronts to go through; straight there when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fronting_specs: Vec<FrontingSpec>,
}

mod base64_text {
    //! Text in base64.

    use data_encoding::BASE64;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let encoded = String::deserialize(deserializer)?;
        let decoded = BASE64.decode(encoded.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.ok_or_else(|| D::Error::custom("URL is not in base64"))
    }

    pub(super) fn serialize<S: Serializer>(text: &String, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(text.as_bytes()))
    }
}

impl Record for TransferUrl {
    const RECORD: &'static str = "an object with a URL in base64";
    const RECORDS: &'static str = "a list of objects, each with a URL in base64";

    fn flaw(&self) -> Option<&'static str> {
        // What is transferred has signatures of its own.
        self.fronting_specs.iter().find_map(|spec| spec.flaw_but(true))
    }
}

/// Who pairs clients with in-proxies, and how to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BrokerSpec {
    /// Its key, in base64 without padding.
    #[serde(rename = "BrokerPublicKey")]
    pub public_key: String,
    /// What its messages are obfuscated with, in base64 without padding.
    #[serde(rename = "BrokerRootObfuscationSecret")]
    pub root_obfuscation_secret: String,
    /// Fronts that it is behind.
    #[serde(rename = "BrokerFrontingSpecs")]
    pub fronting_specs: Vec<FrontingSpec>,
}

impl Record for BrokerSpec {
    const RECORD: &'static str =
        "a broker with BrokerPublicKey, BrokerRootObfuscationSecret and BrokerFrontingSpecs";
    const RECORDS: &'static str = "a list of brokers, each an object";

    fn flaw(&self) -> Option<&'static str> {
        if !is_key(&self.public_key) {
            Some("BrokerPublicKey is not 32 bytes in base64 without padding")
        } else if !is_key(&self.root_obfuscation_secret) {
            Some("BrokerRootObfuscationSecret is not 32 bytes in base64 without padding")
        } else if self.fronting_specs.is_empty() {
            Some("no BrokerFrontingSpecs")
        } else {
            self.fronting_specs.iter().find_map(|spec| spec.flaw_but(true))
        }
    }
}

/// A name that marks which in-proxies a client may be paired with: 32 bytes in base64 without padding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompartmentId(String);

impl CompartmentId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Item for CompartmentId {
    const LIST: &'static str = "a list of marks, each 32 bytes in base64 without padding";
    const LABELLED: &'static str = "lists of marks, each with a label";

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        let text = text(json)?;
        if is_key(text) {
            return Ok(Self(text.to_owned()));
        }
        let detail = format!("{text:?} is not");
        Err(Fault::Malformed { expected: "32 bytes in base64 without padding", detail }.into())
    }

    fn item_json(&self) -> Json {
        json!(self.0)
    }

    fn item_schema() -> Json {
        json!({"type": "string"})
    }
}

/// Whether it is 32 bytes in base64 without padding.
fn is_key(text: &str) -> bool {
    data_encoding::BASE64_NOPAD.decode(text.as_bytes()).is_ok_and(|bytes| bytes.len() == 32)
}

/// A program or rule with a name, which only who carries it out understands.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSpec {
    /// Its name, for reports.
    pub name: String,
    /// The whole object.
    pub definition: Json,
}

impl Item for NamedSpec {
    const LIST: &'static str = "a list of objects, each with a \"Name\"";
    const LABELLED: &'static str = Self::LIST;

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        let name = json.get("Name").and_then(Json::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| wrong_kind("an object with a \"Name\"", json))?;
        Ok(Self { name: name.to_owned(), definition: json.clone() })
    }

    fn item_json(&self) -> Json {
        self.definition.clone()
    }

    fn item_schema() -> Json {
        json!({"type": "object", "required": ["Name"], "properties": {"Name": {"type": "string"}}})
    }
}

impl Value for Option<NamedSpec> {
    const KIND: &'static str = "an object with a \"Name\", or null";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        if json.is_null() { Ok(None) } else { NamedSpec::read_item(json).map(Some) }
    }

    fn to_json(&self) -> Json {
        self.as_ref().map_or(Json::Null, Item::item_json)
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "null"}, NamedSpec::item_schema()]})
    }
}

/// How fast a tunnel may be. All are bytes; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RateLimits {
    /// Received before the limit is held.
    pub read_unthrottled_bytes: u64,
    /// Received in a second.
    pub read_bytes_per_second: u64,
    /// Sent before the limit is held.
    pub write_unthrottled_bytes: u64,
    /// Sent in a second.
    pub write_bytes_per_second: u64,
    /// Whether the tunnel is closed when it has had what goes before the limit.
    pub close_after_exhausted: bool,
}

impl Record for RateLimits {
    const RECORD: &'static str = "an object with limits in bytes";
    const RECORDS: &'static str = Self::RECORD;

    fn flaw(&self) -> Option<&'static str> {
        None
    }
}

/// How an in-proxy's messages are padded, and what is sent between them.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TrafficShaping {
    /// Fewest messages that are padded.
    pub min_padded_messages: u32,
    /// Most messages that are padded.
    pub max_padded_messages: u32,
    /// Least padding, in bytes.
    pub min_padding_size: u32,
    /// Most padding.
    pub max_padding_size: u32,
    /// Fewest messages that mean nothing.
    pub min_decoy_messages: u32,
    /// Most messages that mean nothing.
    pub max_decoy_messages: u32,
    /// Their least size, in bytes.
    pub min_decoy_size: u32,
    /// Their most size.
    pub max_decoy_size: u32,
    /// How likely one is sent.
    #[serde(deserialize_with = "probability", serialize_with = "probability_out")]
    pub decoy_message_probability: Probability,
}

fn probability<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Probability, D::Error> {
    let number = f64::deserialize(deserializer)?;
    Probability::new(number).ok_or_else(|| serde::de::Error::custom("a probability is from 0.0 to 1.0"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn probability_out<S: serde::Serializer>(
    probability: &Probability,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(probability.get())
}

impl TrafficShaping {
    /// What is usual, for messages of at most so many bytes with padding and without.
    pub(super) const fn usual(max_padding_size: u32, max_decoy_size: u32) -> Self {
        Self {
            min_padded_messages: 0,
            max_padded_messages: 10,
            min_padding_size: 0,
            max_padding_size,
            min_decoy_messages: 0,
            max_decoy_messages: 10,
            min_decoy_size: 1,
            max_decoy_size,
            decoy_message_probability: Probability::HALF,
        }
    }
}

impl Default for TrafficShaping {
    /// Nothing: what a written object leaves out is 0.
    fn default() -> Self {
        Self {
            max_padded_messages: 0,
            max_decoy_messages: 0,
            min_decoy_size: 0,
            decoy_message_probability: Probability::NEVER,
            ..Self::usual(0, 0)
        }
    }
}

impl Record for TrafficShaping {
    const RECORD: &'static str = "an object with counts and sizes of padding and decoys";
    const RECORDS: &'static str = Self::RECORD;

    fn flaw(&self) -> Option<&'static str> {
        None
    }
}

/// How much is sent through a new tunnel to see whether it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LivenessTest {
    /// Least that is sent, in bytes.
    pub min_upstream_bytes: u32,
    /// Most that is sent.
    pub max_upstream_bytes: u32,
    /// Least that is received.
    pub min_downstream_bytes: u32,
    /// Most that is received.
    pub max_downstream_bytes: u32,
}

impl Record for LivenessTest {
    const RECORD: &'static str =
        "a test with MinUpstreamBytes, MaxUpstreamBytes, MinDownstreamBytes and MaxDownstreamBytes";
    const RECORDS: &'static str = Self::RECORD;

    fn flaw(&self) -> Option<&'static str> {
        let in_order = self.min_upstream_bytes <= self.max_upstream_bytes
            && self.min_downstream_bytes <= self.max_downstream_bytes;
        (!in_order).then_some("a minimum above its maximum")
    }
}

/// Tests by tunnel protocol. Labels are names in which `*` stands for anything; the empty one is for all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LivenessTests(pub BTreeMap<String, LivenessTest>);

impl Value for LivenessTests {
    const KIND: &'static str = "an object of tests by tunnel protocol, with one named \"\"";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        let Some(table) = list::table(json, Self::KIND)? else { return Ok(Self::default()) };
        let mut tests = BTreeMap::new();
        for (label, test) in table {
            let test = list::record(test).map_err(|flaw: Flaw| flaw.inside(label.as_str().into()))?;
            tests.insert(label.clone(), test);
        }
        if !tests.is_empty() && !tests.contains_key("") {
            let detail = "no test named \"\" for all other protocols".to_owned();
            return Err(Fault::Malformed { expected: Self::KIND, detail }.into());
        }
        Ok(Self(tests))
    }

    fn to_json(&self) -> Json {
        Json::Object(self.0.iter().map(|(label, test)| (label.clone(), list::record_json(test))).collect())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": {"type": "object"}})
    }
}

/// Kinds that are one object.
macro_rules! record_values {
    ($($Record:ty)*) => {
        $(
            impl Value for $Record {
                const KIND: &'static str = <Self as Record>::RECORD;
                type Bounds = ();

                fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
                    list::record(json)
                }

                fn to_json(&self) -> Json {
                    list::record_json(self)
                }

                fn schema() -> Json {
                    json!({"type": "object"})
                }
            }
        )*
    };
}

record_values! { RateLimits TrafficShaping }
