//! Things that parameters name: TLS profiles, QUIC versions and the like. What they are made of belongs to their transports.
//! TRANSPORTS.md 1.4, 3.1.

use std::fmt;
use std::str::FromStr;

use serde_json::Value as Json;

/// The name of a TLS profile: one of [`TlsProfileName::KNOWN`], or of a custom profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsProfileName(String);

impl TlsProfileName {
    /// The profiles that the reference has, and those of newer browsers behind them. TRANSPORTS.md 1.4.
    pub const KNOWN: [&'static str; 28] = [
        "iOS-11.1",
        "iOS-12.1",
        "iOS-13",
        "iOS-14",
        "Safari-16",
        "Chrome-58",
        "Chrome-62",
        "Chrome-70",
        "Chrome-72",
        "Chrome-83",
        "Chrome-96",
        "Chrome-102",
        "Chrome-106",
        "Chrome-112_PSK",
        "Chrome-120",
        "Chrome-120_PQ",
        "Chrome-131",
        "Chrome-133",
        "Firefox-55",
        "Firefox-56",
        "Firefox-65",
        "Firefox-99",
        "Firefox-105",
        "Randomized-v2",
        "Safari-18",
        "Safari-26",
        "Chrome-156",
        "Firefox-153",
    ];

    /// A name, known or not.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a profile that needs no definition.
    #[must_use]
    pub fn is_known(&self) -> bool {
        Self::KNOWN.contains(&self.as_str())
    }
}

/// A profile that parameters define.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomTlsProfile {
    /// Its name, to be used in lists of profiles.
    pub name: TlsProfileName,
    /// The whole object, which the TLS transport reads.
    pub definition: Json,
}

/// A QUIC version and its obfuscation. TRANSPORTS.md 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuicVersion {
    /// Google's QUIC 39: known by name only.
    Google39,
    /// Google's QUIC 43: known by name only.
    Google43,
    /// Google's QUIC 44: known by name only.
    Google44,
    /// Google's QUIC, obfuscated: known by name only.
    GoogleObfuscated,
    /// QUIC version 1.
    V1,
    /// QUIC version 1 with a ClientHello of random shape.
    RandomizedV1,
    /// QUIC version 1 with every packet obfuscated.
    ObfuscatedV1,
    /// That, after packets that look like plain QUIC.
    DecoyV1,
}

/// A name that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not known")]
pub struct UnknownName(pub String);

impl QuicVersion {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Google39,
        Self::Google43,
        Self::Google44,
        Self::GoogleObfuscated,
        Self::V1,
        Self::RandomizedV1,
        Self::ObfuscatedV1,
        Self::DecoyV1,
    ];

    /// The name in parameters, entries and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Google39 => "gQUICv39",
            Self::Google43 => "gQUICv43",
            Self::Google44 => "gQUICv44",
            Self::GoogleObfuscated => "OBFUSCATED",
            Self::V1 => "QUICv1",
            Self::RandomizedV1 => "RANDOMIZED-QUICv1",
            Self::ObfuscatedV1 => "OBFUSCATED-QUICv1",
            Self::DecoyV1 => "DECOY-QUICv1",
        }
    }
}

impl fmt::Display for QuicVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for QuicVersion {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|version| version.name() == name)
            .ok_or_else(|| UnknownName(name.to_owned()))
    }
}

/// Declares a closed set of things with names.
macro_rules! names {
    ($(#[$about:meta])* pub enum $Name:ident { $($(#[$item_about:meta])* $Item:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Name {
            $($(#[$item_about])* $Item,)*
        }

        impl $Name {
            /// All of them.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$Item),*];

            /// The name in parameters and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Item => $text,)*
                }
            }
        }

        impl FromStr for $Name {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                Self::ALL
                    .into_iter()
                    .find(|item| item.name() == name)
                    .ok_or_else(|| UnknownName(name.to_owned()))
            }
        }
    };
}

names! {
    /// What Conjure's registered addresses are dialed with.
    pub enum ConjureTransport {
        /// Nothing of its own.
        Min = "Min-OSSH",
        /// Behind a prefix of other protocols.
        Prefix = "Prefix-OSSH",
        /// In DTLS.
        Dtls = "DTLS-OSSH",
    }
}

names! {
    /// Whose DTLS an in-proxy's WebRTC looks like.
    pub enum DtlsFingerprint {
        /// Chrome 138.
        Chrome138 = "DTLS-Chrome-138",
        /// Firefox 148.
        Firefox148 = "DTLS-Firefox-148",
        /// Random each time.
        Randomized = "DTLS-Randomized",
    }
}

names! {
    /// How a front is reached.
    #[derive(serde::Deserialize, serde::Serialize)]
    pub enum FrontingTransport {
        /// Over TLS.
        #[serde(rename = "FRONTED-HTTPS")]
        Https = "FRONTED-HTTPS",
        /// In clear.
        #[serde(rename = "FRONTED-HTTP")]
        Http = "FRONTED-HTTP",
        /// Over QUIC.
        #[serde(rename = "FRONTED-QUIC")]
        Quic = "FRONTED-QUIC",
    }
}
