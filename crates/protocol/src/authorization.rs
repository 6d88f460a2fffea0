//! Authorizations: what lets a user have more than others, signed by whoever sold it. PROTOCOL.md 6.3.
//!
//! Checked here one by one. Not who uses one, how many count, or what they allow.

use std::fmt;

use aws_lc_rs::constant_time;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use time::{OffsetDateTime, UtcOffset};
use zeroize::Zeroizing;

use crate::{go_json, text_form, timestamp};

/// Length of the ID of a key, and of the key that makes IDs.
const KEY_ID: usize = 32;
/// Length of the ID that an issuer gives.
const ID: usize = 32;
/// Length of an Ed25519 public key, RFC 8032.
const PUBLIC_KEY: usize = 32;
/// Length of a private key: seed and public key.
const PRIVATE_KEY: usize = 64;
/// Length of an Ed25519 signature, RFC 8032.
const SIGNATURE: usize = 64;
/// Longer text is none: what the reference issues has some 400 bytes.
const MAX_TEXT: usize = 16_384;

/// A genuine authorization that holds now.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Names it; not a secret, but says who the user is to whoever issued it.
    pub id: Vec<u8>,
    /// What it allows, as rules name it.
    pub access_type: String,
    /// When it stops to.
    pub expires: OffsetDateTime,
}

/// The keys that a server verifies authorizations with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerificationKeyRing(Vec<VerificationKey>);

/// The public half of one issuer's key, for one type of access.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VerificationKey {
    id: [u8; KEY_ID],
    access_type: String,
    public: [u8; PUBLIC_KEY],
}

/// What an issuer signs with.
pub struct SigningKey {
    id: [u8; KEY_ID],
    access_type: String,
    id_key: Zeroizing<[u8; KEY_ID]>,
    pair: Ed25519KeyPair,
}

/// Why a text grants nothing, or a key is none. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// The configuration's key ring is wrong.
    #[error(
        "key {number} must have an ID of 32 bytes, an AccessType, and a PublicKey of 32 bytes, both in base64"
    )]
    VerificationKey {
        /// Counted from 1.
        number: usize,
    },
    /// The configuration's key ring is wrong.
    #[error("must be an object with Keys, a list of objects with ID, AccessType and PublicKey")]
    KeyRing,
    /// The issuer's key is wrong.
    #[error(
        "not a signing key: needs ID, AccessType, AuthorizationIDKey and PrivateKey that belong together"
    )]
    SigningKey,
    /// The peer's text is no authorization.
    #[error("malformed authorization")]
    Malformed,
    /// Signed with a key that is not in the ring.
    #[error("authorization of another key")]
    OtherKey,
    /// Not what was signed.
    #[error("the authorization's signature does not match")]
    Mismatch,
    /// Signed with the key of another access type.
    #[error("the authorization is for another access type than its key")]
    OtherAccessType,
    /// Held until a while ago.
    #[error("expired authorization")]
    Expired,
}

/// The object in base64 that an authorization is.
#[derive(Serialize, Deserialize)]
struct Signed {
    #[serde(rename = "Authorization")]
    authorization: Box<RawValue>,
    #[serde(rename = "SigningKeyID")]
    key_id: String,
    #[serde(rename = "Signature")]
    signature: String,
}

/// What is signed. The order is that in which the reference writes it, which packing relies on.
#[derive(Serialize, Deserialize)]
struct Grant {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "AccessType")]
    access_type: String,
    #[serde(rename = "Expires")]
    expires: String,
}

#[derive(Deserialize)]
struct RingText {
    #[serde(rename = "Keys", default)]
    keys: Option<Vec<KeyText>>,
}

/// A key of either kind as configurations have it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyText {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "AccessType")]
    access_type: String,
    #[serde(rename = "PublicKey")]
    public: String,
    #[serde(rename = "AuthorizationIDKey", deserialize_with = "secret")]
    id_key: Zeroizing<String>,
    #[serde(rename = "PrivateKey", deserialize_with = "secret")]
    private: Zeroizing<String>,
}

impl VerificationKeyRing {
    /// Reads a ring: an object with `Keys`.
    ///
    /// # Errors
    /// It has another form, or a key is not one.
    pub fn from_json(text: &str) -> Result<Self, AuthorizationError> {
        let ring: RingText = go_json::read(text.as_bytes()).map_err(|_| AuthorizationError::KeyRing)?;
        let key = |(index, key): (usize, KeyText)| {
            VerificationKey::read(&key).ok_or(AuthorizationError::VerificationKey { number: index + 1 })
        };
        ring.keys.unwrap_or_default().into_iter().enumerate().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The keys of both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// True if nothing can be verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decides about what a client sent.
    ///
    /// # Errors
    /// It does not hold at `now`.
    pub fn verify(&self, text: &str, now: OffsetDateTime) -> Result<Authorization, AuthorizationError> {
        if text.len() > MAX_TEXT {
            return Err(AuthorizationError::Malformed);
        }
        let json = text_form::base64(text).ok_or(AuthorizationError::Malformed)?;
        let signed: Signed = go_json::read(&json).map_err(|_| AuthorizationError::Malformed)?;
        let key_id: [u8; KEY_ID] = fixed(&signed.key_id).ok_or(AuthorizationError::Malformed)?;
        let signature: [u8; SIGNATURE] = fixed(&signed.signature).ok_or(AuthorizationError::Malformed)?;
        // Of two keys with one ID the later counts, as in the reference.
        let is_it = |key: &&VerificationKey| constant_time::verify_slices_are_equal(&key.id, &key_id).is_ok();
        let key = self.0.iter().rev().find(is_it).ok_or(AuthorizationError::OtherKey)?;
        let message = signed.authorization.get();
        UnparsedPublicKey::new(&ED25519, key.public)
            .verify(message.as_bytes(), &signature)
            .map_err(|_| AuthorizationError::Mismatch)?;
        let grant: Grant = go_json::read(message.as_bytes()).map_err(|_| AuthorizationError::Malformed)?;
        let id = text_form::base64(&grant.id).filter(|id| !id.is_empty());
        let id = id.ok_or(AuthorizationError::Malformed)?;
        if grant.access_type != key.access_type {
            return Err(AuthorizationError::OtherAccessType);
        }
        let expires = timestamp::parse(&grant.expires).ok_or(AuthorizationError::Malformed)?;
        if expires < now {
            return Err(AuthorizationError::Expired);
        }
        Ok(Authorization { id, access_type: grant.access_type, expires })
    }
}

impl VerificationKey {
    fn read(key: &KeyText) -> Option<Self> {
        let (id, public) = (fixed(&key.id)?, fixed(&key.public)?);
        (!key.access_type.is_empty()).then(|| Self { id, access_type: key.access_type.clone(), public })
    }
}

impl SigningKey {
    /// Reads a key: an object with `ID`, `AccessType`, `AuthorizationIDKey` and `PrivateKey`.
    ///
    /// # Errors
    /// It has another form.
    pub fn from_json(text: &str) -> Result<Self, AuthorizationError> {
        let key: KeyText = go_json::read(text.as_bytes()).map_err(|_| AuthorizationError::SigningKey)?;
        Self::read(&key).ok_or(AuthorizationError::SigningKey)
    }

    fn read(key: &KeyText) -> Option<Self> {
        let private = Zeroizing::new(fixed::<PRIVATE_KEY>(&key.private)?);
        let (seed, public) = private.split_at_checked(PRIVATE_KEY - PUBLIC_KEY)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()?;
        let (id, id_key) = (fixed(&key.id)?, Zeroizing::new(fixed(&key.id_key)?));
        (!key.access_type.is_empty()).then(|| Self { id, access_type: key.access_type.clone(), id_key, pair })
    }

    /// The ring that holds the public half of this key alone.
    #[must_use]
    pub fn ring(&self) -> VerificationKeyRing {
        let public = self.pair.public_key().as_ref().try_into().unwrap_or([0; PUBLIC_KEY]);
        VerificationKeyRing(vec![VerificationKey {
            id: self.id,
            access_type: self.access_type.clone(),
            public,
        }])
    }

    /// Issues an authorization. `seed` is what it is for, such as the number of a purchase; the ID tells nothing of it.
    ///
    /// # Errors
    /// The time is beyond what text can hold.
    pub fn issue(&self, seed: &[u8], expires: OffsetDateTime) -> Result<String, AuthorizationError> {
        let expires = expires.to_offset(UtcOffset::UTC);
        let expires = expires.format(&time::format_description::well_known::Rfc3339);
        let grant = Grant {
            id: text_form::to_base64(&self.id_for(seed)),
            access_type: self.access_type.clone(),
            expires: expires.map_err(|_| AuthorizationError::Malformed)?,
        };
        let grant = go_json::to_string(&grant).map_err(|_| AuthorizationError::Malformed)?;
        let signature = self.pair.sign(grant.as_bytes());
        let signed = Signed {
            authorization: RawValue::from_string(grant).map_err(|_| AuthorizationError::Malformed)?,
            key_id: text_form::to_base64(&self.id),
            signature: text_form::to_base64(signature.as_ref()),
        };
        let json = go_json::to_string(&signed).map_err(|_| AuthorizationError::Malformed)?;
        Ok(text_form::to_base64(json.as_bytes()))
    }

    fn id_for(&self, seed: &[u8]) -> [u8; ID] {
        let mut id = [0; ID];
        let key = Salt::new(HKDF_SHA256, &[]).extract(self.id_key.as_slice());
        if let Ok(derived) = key.expand(&[seed], IdLength) {
            // Only fails for another length than was asked for.
            let _ = derived.fill(&mut id);
        }
        id
    }
}

struct IdLength;

impl KeyType for IdLength {
    fn len(&self) -> usize {
        ID
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorization([redacted], {}, {})", self.access_type, self.expires)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, [redacted])", self.access_type)
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

fn fixed<const N: usize>(base64: &str) -> Option<[u8; N]> {
    Zeroizing::new(text_form::base64(base64)?).as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNING: &str = r#"{"ID":"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=","AccessType":"speed-boost",
        "AuthorizationIDKey":"AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE=",
        "PrivateKey":"AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISJIHt53LaFXhcnlmghiAbjD+cMHEp4/xtfzSqTf7VgU5Q=="}"#;

    fn at(text: &str) -> OffsetDateTime {
        timestamp::parse(text).unwrap()
    }

    #[test]
    fn what_is_issued_holds_until_it_expires() {
        let key = SigningKey::from_json(SIGNING).unwrap();
        let (expires, ring) = (at("2026-01-02T03:04:05Z"), key.ring());
        let text = key.issue(b"purchase-1", expires).unwrap();
        let found = ring.verify(&text, expires).unwrap();
        assert_eq!((found.access_type.as_str(), found.expires, found.id.len()), ("speed-boost", expires, ID));
        let late = expires + time::Duration::nanoseconds(1);
        assert_eq!(ring.verify(&text, late), Err(AuthorizationError::Expired));
        assert_eq!(VerificationKeyRing::default().verify(&text, expires), Err(AuthorizationError::OtherKey));
        let again = key.issue(b"purchase-1", late).unwrap();
        assert_eq!(ring.verify(&again, expires).unwrap().id, found.id);
    }

    #[test]
    fn changes_anywhere_are_noticed() {
        let key = SigningKey::from_json(SIGNING).unwrap();
        let (expires, ring) = (at("2026-01-02T03:04:05Z"), key.ring());
        let json = text_form::base64(&key.issue(b"purchase-1", expires).unwrap()).unwrap();
        for index in 0..json.len() {
            let mut changed = json.clone();
            changed[index] ^= 1;
            let verdict = ring.verify(&text_form::to_base64(&changed), expires);
            // Of a last digit before padding some bits say nothing.
            let same = changed[index..].starts_with(b"=") || json[index..].get(1) == Some(&b'=');
            assert!(verdict.is_err() || same, "{index}: {verdict:?}");
        }
    }

    #[test]
    fn a_key_is_for_its_access_type_alone() {
        let key = SigningKey::from_json(&SIGNING.replace("speed-boost", "other")).unwrap();
        let ring = SigningKey::from_json(SIGNING).unwrap().ring();
        let text = key.issue(b"s", at("2026-01-02T03:04:05Z")).unwrap();
        let verdict = ring.verify(&text, at("2026-01-02T03:04:04Z"));
        assert_eq!(verdict, Err(AuthorizationError::OtherAccessType));
    }

    #[test]
    fn rings_that_are_wrong_are_refused() {
        assert!(VerificationKeyRing::from_json(r#"{"Keys":null}"#).unwrap().is_empty());
        assert_eq!(VerificationKeyRing::from_json("[]"), Err(AuthorizationError::KeyRing));
        let one = r#"{"Keys":[{"ID":"AQ==","AccessType":"a","PublicKey":"AQ=="}]}"#;
        let error = AuthorizationError::VerificationKey { number: 1 };
        assert_eq!(VerificationKeyRing::from_json(one), Err(error));
    }
}
