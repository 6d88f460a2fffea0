//! What a plan chose, by name: all of it that is stored. A choice that is not here follows from the server entry, from the
//! parameters, or from another choice; addresses, names and keys that are in the entry are read from there again, but for the
//! one that was picked from a list of fronts.
//!
//! Nothing that must never repeat is a choice: preamble seeds, salts, nonces and key material are drawn when dialing.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_obfuscation::{GeneratedPrefix, PrefixName, PrefixPlan, SEED_LEN, Seed};
use data_encoding::{BASE64, HEXLOWER};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// What of a stored plan may be used again, or left to chance again, by itself. One switch of the parameters for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aspect {
    ApiPadding,
    Fragmentor,
    Fronting,
    HoldOff,
    HostName,
    HttpTransform,
    Latency,
    Liveness,
    MeekPadding,
    ObfuscatedQuic,
    OsshPrefix,
    OsshSeed,
    Padding,
    QuicNonce,
    QuicVersion,
    Resolving,
    ShadowsocksPrefix,
    Ssh,
    Steering,
    TlsFragments,
    TlsProfile,
    UserAgent,
}

/// One choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// What it is called in stored plans.
    pub(super) name: &'static str,
    /// What it is a part of.
    pub(super) aspect: Aspect,
}

macro_rules! choices {
    ($($(#[$about:meta])* $Name:ident = $name:literal, $aspect:ident;)*) => {
        impl Choice {
            $($(#[$about])* pub(super) const $Name: Self = Self { name: $name, aspect: Aspect::$aspect };)*
            /// All that there are.
            pub(crate) const NAMES: &[&str] = &[$($name),*];
        }
    };
}

choices! {
    /// Padding of API messages.
    API_PADDING = "api-padding", ApiPadding;
    /// How early writes are cut up.
    SPLITTING = "splitting", Fragmentor;
    /// The same where parameters ask for it.
    FRAGMENTOR = "fragmentor", Fragmentor;
    /// Address and host of a front.
    FRONT = "front", Fronting;
    /// How long a tunnel waits before it is used, in milliseconds.
    HOLD_OFF = "hold-off", HoldOff;
    /// The name in a handshake, or that there is none.
    SERVER_NAME = "server-name", HostName;
    /// The name in requests, or that it is the address.
    HOST_NAME = "host-name", HostName;
    /// What is done to the heads of requests.
    HTTP_TRANSFORM = "http-transform", HttpTransform;
    /// By how much timeouts are longer.
    LATENCY = "latency", Latency;
    /// What a liveness test moves.
    LIVENESS = "liveness", Liveness;
    /// Whether bodies of meek are padded.
    PAYLOAD_PADDING = "payload-padding", MeekPadding;
    /// Padding and looks of QUIC.
    QUIC = "quic", ObfuscatedQuic;
    /// The bytes before a preamble.
    OSSH_PREFIX = "ossh-prefix", OsshPrefix;
    /// How a preamble's seed is rewritten.
    OSSH_SEED = "ossh-seed", OsshSeed;
    /// Padding of preamble and key exchange.
    OSSH_PADDING = "ossh-padding", Padding;
    /// Padding of a meek cookie, and its name.
    MEEK_COOKIE = "meek-cookie", Padding;
    /// Times and sizes in a meek session.
    MEEK_PACE = "meek-pace", Padding;
    /// Bytes of a body, at most.
    MEEK_PAYLOAD = "meek-payload", Padding;
    /// Bytes of padding in a ClientHello.
    HELLO_PADDING = "hello-padding", Padding;
    /// How a QUIC nonce is rewritten.
    QUIC_NONCE = "quic-nonce", QuicNonce;
    /// Which look of QUIC.
    QUIC_VERSION = "quic-version", QuicVersion;
    /// How the name of a front is resolved.
    RESOLVING = "resolving", Resolving;
    /// What a salt begins with.
    SHADOWSOCKS_PREFIX = "shadowsocks-prefix", ShadowsocksPrefix;
    /// What SSH calls itself.
    SSH_IDENT = "ssh-ident", Ssh;
    /// Order of algorithms.
    SSH_KEX = "ssh-kex", Ssh;
    /// The address that a front had named.
    STEERING = "steering", Steering;
    /// Whether a ClientHello goes in two records.
    HELLO_SPLIT = "hello-split", TlsFragments;
    /// Whose ClientHello.
    TLS_PROFILE = "tls-profile", TlsProfile;
    /// Whether it offers a ticket.
    TLS_TICKET = "tls-ticket", TlsProfile;
    /// Whether it leaves out a session identifier that it may leave out.
    TLS_SESSION_ID = "tls-session-id", TlsProfile;
    /// What HTTP calls itself.
    USER_AGENT = "user-agent", UserAgent;
}

/// The choices of one plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Choices(BTreeMap<String, Json>);

impl Choices {
    /// A choice; `None` when there is none that can be read.
    pub(super) fn get<T: DeserializeOwned>(&self, choice: Choice) -> Option<T> {
        T::deserialize(self.0.get(choice.name)?).ok()
    }

    pub(super) fn set<T: Serialize>(&mut self, choice: Choice, value: &T) {
        // What cannot be written is chosen anew next time.
        if let Ok(value) = serde_json::to_value(value) {
            self.0.insert(choice.name.to_owned(), value);
        }
    }

    /// The names, also of choices that this version does not know.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A seed as stored.
#[derive(Clone, Debug)]
pub(super) struct StoredSeed(pub(super) Seed);

impl Serialize for StoredSeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(self.0.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for StoredSeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        let bytes: Option<[u8; SEED_LEN]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self(Seed::from_bytes(bytes))).ok_or_else(|| D::Error::custom("not a seed in hex"))
    }
}

/// A transform as stored: whole, because parameters may have lost it since.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredTransform {
    pub(super) name: String,
    pub(super) steps: Vec<[String; 2]>,
    pub(super) seed: StoredSeed,
}

/// What a stream begins with, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredPrefix {
    name: String,
    #[serde(with = "base64")]
    bytes: Vec<u8>,
    /// How many of them a spec made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unfilled: Option<usize>,
    /// The pause behind them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split_ns: Option<u64>,
}

impl StoredPrefix {
    pub(super) fn of_salt(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), bytes: bytes.to_vec(), unfilled: None, split_ns: None }
    }

    /// Prefixes whose names are no text are not stored; none of ours or of parameters has such a name.
    pub(super) fn of_preamble(plan: &PrefixPlan) -> Option<Self> {
        let split_ns = plan.split.map(|split| u64::try_from(split.as_nanos()).unwrap_or(u64::MAX));
        Some(Self {
            name: plan.name.as_str()?.to_owned(),
            bytes: plan.prefix.bytes().to_vec(),
            unfilled: Some(plan.prefix.unfilled()),
            split_ns,
        })
    }

    pub(super) fn into_salt(self) -> (String, Vec<u8>) {
        (self.name, self.bytes)
    }

    pub(super) fn into_preamble(self) -> Option<PrefixPlan> {
        let unfilled = self.unfilled.unwrap_or(self.bytes.len());
        Some(PrefixPlan {
            name: PrefixName::new(self.name).ok()?,
            prefix: GeneratedPrefix::new(self.bytes, unfilled).ok()?,
            split: self.split_ns.map(Duration::from_nanos),
        })
    }
}

mod base64 {
    use super::{BASE64, Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_choices_share_a_name() {
        let names: std::collections::BTreeSet<&&str> = Choice::NAMES.iter().collect();
        assert_eq!(names.len(), Choice::NAMES.len());
    }
}
