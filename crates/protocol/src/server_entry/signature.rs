//! Signatures of server entries: Ed25519 over the canonical JSON of what the network signed. PROTOCOL.md 5.4.

use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::{EntryFields, FieldError, ServerEntry};
use crate::text_form;
use zeroize::Zeroizing;

/// Length of the key ID before the signature.
const KEY_ID: usize = 8;
/// Length of an Ed25519 signature, RFC 8032.
const SIGNATURE: usize = 64;

/// The network's key that verifies entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

/// The network's key that signs entries.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

/// A signing key and its public half as the text that configurations hold.
pub struct KeyPair {
    /// Base64 of the public key.
    pub public: String,
    /// Base64 of seed and public key, 64 bytes.
    pub private: Zeroizing<String>,
}

/// Why a signature does not hold, or a key is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Our configuration's public key is wrong.
    #[error("the signature public key is not 32 bytes of base64")]
    PublicKey,
    /// Our configuration's private key is wrong.
    #[error("the signature private key is not 64 bytes of base64 that belong to the public key")]
    PrivateKey,
    /// The entry is not signed.
    #[error("the server entry is not signed")]
    Missing,
    /// The field is not what a signature looks like.
    #[error("the server entry's signature field is malformed")]
    Malformed,
    /// The entry is signed with another key.
    #[error("the server entry is signed with another key")]
    OtherKey,
    /// The entry is not what was signed.
    #[error("the server entry's signature does not match: the entry was changed")]
    Mismatch,
    /// The entry is genuine but not usable.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// A decoded entry that must be verified before use.
#[derive(Clone, Debug)]
pub struct Unverified(EntryFields);

impl Unverified {
    /// Wraps what came from someone who is not trusted.
    #[must_use]
    pub fn new(fields: EntryFields) -> Self {
        Self(fields)
    }

    /// Verifies the signature and gives the entry.
    ///
    /// # Errors
    /// The signature does not hold, or a member of the genuine entry is wrong.
    pub fn verify(self, key: &VerifyingKey) -> Result<ServerEntry, SignatureError> {
        self.0.verify_signature(key)?;
        Ok(ServerEntry::try_from(self.0)?)
    }

    /// Gives the entry on the word of whoever delivered it: a signed package, or the user.
    ///
    /// # Errors
    /// A member is wrong.
    pub fn trust_source(self) -> Result<ServerEntry, FieldError> {
        ServerEntry::try_from(self.0)
    }
}

impl VerifyingKey {
    /// Reads base64 of 32 bytes.
    ///
    /// # Errors
    /// It is not that.
    pub fn from_base64(text: &str) -> Result<Self, SignatureError> {
        let bytes = text_form::base64(text).ok_or(SignatureError::PublicKey)?;
        bytes.try_into().map(Self).map_err(|_| SignatureError::PublicKey)
    }

    fn id(&self) -> [u8; KEY_ID] {
        let hash = digest(&SHA256, &self.0);
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl SigningKey {
    /// Reads base64 of the 32-byte seed and the public key.
    ///
    /// # Errors
    /// It is not that, or the halves do not belong together.
    pub fn from_base64(text: &str) -> Result<Self, SignatureError> {
        let bytes = Zeroizing::new(text_form::base64(text).ok_or(SignatureError::PrivateKey)?);
        let (seed, public) = bytes.split_at_checked(32).ok_or(SignatureError::PrivateKey)?;
        let pair =
            Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| SignatureError::PrivateKey)?;
        let public = VerifyingKey(public.try_into().map_err(|_| SignatureError::PrivateKey)?);
        Ok(Self { pair, public })
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }
}

impl KeyPair {
    /// Makes a key pair of a 32-byte seed that the caller drew from a cryptographic source.
    ///
    /// # Errors
    /// The crypto library refuses the seed, which it does for none.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, SignatureError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SignatureError::PrivateKey)?;
        let public = pair.public_key().as_ref();
        let private = Zeroizing::new([seed.as_slice(), public].concat());
        Ok(Self {
            public: text_form::to_base64(public),
            private: Zeroizing::new(text_form::to_base64(&private)),
        })
    }
}

impl EntryFields {
    /// The bytes that a signature covers: all members but local ones and the signature, and not the tag if the client
    /// derived it itself.
    #[must_use]
    pub fn signed_message(&self) -> String {
        self.without_local().canonical_json_without("signature")
    }

    /// Removes what only the local client knows.
    pub fn remove_local(&mut self) {
        *self = self.without_local();
    }

    /// True if there is a signature, right or wrong.
    #[must_use]
    pub fn has_signature(&self) -> bool {
        self.text("signature").is_some()
    }

    /// Signs the entry, replacing any signature.
    pub fn sign(&mut self, key: &SigningKey) {
        let signature = key.pair.sign(self.signed_message().as_bytes());
        let field = [key.public.id().as_slice(), signature.as_ref()].concat();
        self.set("signature", text_form::to_base64(&field));
    }

    /// Verifies the signature.
    ///
    /// # Errors
    /// It is missing, malformed, of another key, or of another entry.
    pub fn verify_signature(&self, key: &VerifyingKey) -> Result<(), SignatureError> {
        let field = self.get("signature").ok_or(SignatureError::Missing)?;
        let field = field.as_str().and_then(text_form::base64).ok_or(SignatureError::Malformed)?;
        let (id, signature) = field.split_at_checked(KEY_ID).ok_or(SignatureError::Malformed)?;
        if signature.len() != SIGNATURE {
            return Err(SignatureError::Malformed);
        }
        constant_time::verify_slices_are_equal(id, &key.id()).map_err(|_| SignatureError::OtherKey)?;
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(self.signed_message().as_bytes(), signature)
            .map_err(|_| SignatureError::Mismatch)
    }

    fn without_local(&self) -> Self {
        let mut copy = self.clone();
        if copy.get("isLocalDerivedTag") == Some(&true.into()) {
            copy.remove("tag");
        }
        for local in ["localSource", "localTimestamp", "isLocalDerivedTag"] {
            copy.remove(local);
        }
        copy
    }

    fn canonical_json_without(mut self, name: &str) -> String {
        self.remove(name);
        self.canonical_json()
    }
}
