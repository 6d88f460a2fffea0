//! One key exchange: public values, the shared secret, the exchange hash and the keys that come out of it.
//!
//! Source: RFC 4253 sections 7.2 and 8, RFC 5656, RFC 8268, RFC 8731, draft-ietf-sshm-mlkem-hybrid-kex. Signing and
//! verifying the hash is in [`crate::host_key`]; agreeing on a method is in [`crate::kexinit`].

mod derive;
mod ecdh;
mod ephemeral;
mod hybrid;
mod messages;
mod modp;
#[cfg(test)]
mod tests;

use aws_lc_rs::error::{KeyRejected, Unspecified};
use thiserror::Error;

pub use derive::{
    DirectionKeys, ExchangeHash, ExchangeInputs, KeySource, SharedSecret, derive_keys, exchange_hash,
};
pub use ephemeral::{Encapsulated, EphemeralKeys, FreshKeys, MlKemKey};
pub use messages::{INIT_MESSAGE, REPLY_MESSAGE, Reply, encode_init, parse_init};

use crate::names::KexName;
use crate::wire::WireError;
use ecdh::{Curve, CurveKey};
use hybrid::HybridKey;
use modp::{Exponent, Group};

/// Why an exchange fails. Except for [`KexError::Local`] the peer is at fault: disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KexError {
    /// The payload is another message.
    #[error("peer sent message {got} where key exchange message {expected} was due")]
    WrongMessage {
        /// The number that was due.
        expected: u8,
        /// The number that came.
        got: u8,
    },
    /// A field is malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The peer's public value has the wrong length, is not in the group, or leads to a secret anyone knows.
    #[error("peer sent an unacceptable key exchange value")]
    BadPublicValue,
    /// Key generation failed here: no randomness, or a broken library.
    #[error("key generation failed on this machine")]
    Local,
}

impl From<Unspecified> for KexError {
    fn from(_: Unspecified) -> Self {
        Self::Local
    }
}

impl From<KeyRejected> for KexError {
    fn from(_: KeyRejected) -> Self {
        Self::Local
    }
}

/// The private half of either end.
enum Private {
    Curve(CurveKey),
    Modp(Group, Exponent),
    Hybrid(Box<HybridKey>),
}

/// How a method computes.
enum Method {
    Curve(Curve),
    Modp(Group),
    Hybrid,
}

impl Method {
    const fn of(kex: KexName) -> Self {
        match kex {
            KexName::MlKem768X25519Sha256 => Self::Hybrid,
            KexName::Curve25519Sha256 => Self::Curve(Curve::X25519),
            KexName::EcdhNistp256 => Self::Curve(Curve::P256),
            KexName::EcdhNistp384 => Self::Curve(Curve::P384),
            KexName::EcdhNistp521 => Self::Curve(Curve::P521),
            KexName::DhGroup14Sha256 => Self::Modp(Group::G14),
            KexName::DhGroup16Sha512 => Self::Modp(Group::G16),
        }
    }
}

/// The client's half of an exchange, waiting for the server's public value.
pub struct ClientExchange {
    kex: KexName,
    public: Vec<u8>,
    private: Private,
}

impl std::fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientExchange").field("kex", &self.kex).finish_non_exhaustive()
    }
}

impl ClientExchange {
    /// Makes a key pair.
    pub fn start(kex: KexName, keys: &mut dyn EphemeralKeys) -> Result<Self, KexError> {
        let (public, private) = match Method::of(kex) {
            Method::Curve(curve) => {
                let key = CurveKey::generate(curve, keys)?;
                (key.public()?, Private::Curve(key))
            }
            Method::Modp(group) => {
                let exponent = Exponent::generate(keys)?;
                (group.public(&exponent), Private::Modp(group, exponent))
            }
            Method::Hybrid => {
                let key = HybridKey::generate(keys)?;
                (key.public()?, Private::Hybrid(Box::new(key)))
            }
        };
        Ok(Self { kex, public, private })
    }

    /// The method.
    #[must_use]
    pub const fn kex(&self) -> KexName {
        self.kex
    }

    /// The public value as it enters the exchange hash: a number without leading zeros, or the raw string.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The whole payload to send.
    #[must_use]
    pub fn init_message(&self) -> Vec<u8> {
        encode_init(self.kex, &self.public)
    }

    /// Computes the shared secret from the server's public value.
    pub fn finish(self, server_public: &[u8]) -> Result<SharedSecret, KexError> {
        match self.private {
            Private::Curve(key) => key.agree(server_public).map(|secret| SharedSecret::mpint(&secret)),
            Private::Modp(group, exponent) => {
                group.agree(&exponent, server_public).map(|secret| SharedSecret::mpint(&secret))
            }
            Private::Hybrid(key) => key.finish(server_public),
        }
    }
}

/// The server's half: its public value and the shared secret.
pub fn respond(
    kex: KexName,
    client_public: &[u8],
    keys: &mut dyn EphemeralKeys,
) -> Result<(Vec<u8>, SharedSecret), KexError> {
    match Method::of(kex) {
        Method::Curve(curve) => {
            let key = CurveKey::generate(curve, keys)?;
            let secret = key.agree(client_public)?;
            Ok((key.public()?, SharedSecret::mpint(&secret)))
        }
        Method::Modp(group) => {
            let exponent = Exponent::generate(keys)?;
            let secret = group.agree(&exponent, client_public)?;
            Ok((group.public(&exponent), SharedSecret::mpint(&secret)))
        }
        Method::Hybrid => hybrid::respond(client_public, keys),
    }
}
