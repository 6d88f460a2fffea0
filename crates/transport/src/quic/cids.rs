//! Connection identifiers that a server knows as its own, and resets that it does not send. An identifier is 4 random bytes and 4 that only the
//! server can make of them; to others both look random.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator};

/// Bytes of an identifier. TRANSPORTS.md 3.2.
pub(super) const LEN: usize = 8;
const DRAWN: usize = 4;
const TOKEN: usize = 16;
const MARK: usize = 8;

/// Makes and knows identifiers.
#[derive(Clone)]
pub(super) struct Cids(Arc<hmac::Key>);

impl Cids {
    /// With a fresh key; `None` if the random source failed.
    pub(super) fn new() -> Option<Self> {
        fresh_key().map(|key| Self(Arc::new(key)))
    }

    /// Whether the identifier was made here.
    pub(super) fn is_own(&self, cid: &[u8]) -> bool {
        cid.split_first_chunk::<DRAWN>().is_some_and(|(drawn, tag)| *tag == self.tag(drawn))
    }

    fn tag(&self, drawn: &[u8; DRAWN]) -> [u8; LEN - DRAWN] {
        let tag = hmac::sign(&self.0, drawn);
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

fn fresh_key() -> Option<hmac::Key> {
    let mut key = [0; 32];
    rand::fill(&mut key).ok()?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

impl ConnectionIdGenerator for Cids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut drawn = [0; DRAWN];
        rand::fill(&mut drawn).expect("the system's random source does not fail once it has worked");
        ConnectionId::new(&[drawn, self.tag(&drawn)].concat())
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes the tokens of stateless resets, all of which have the same end. The library cannot be told not to reset what it no longer knows;
/// by that end its resets are known before they leave.
pub(super) struct Resets {
    key: hmac::Key,
    pub(super) mark: ResetMark,
}

/// The end of all reset tokens. Only clients ever see one.
#[derive(Clone, Copy)]
pub(super) struct ResetMark([u8; MARK]);

impl ResetMark {
    /// Whether the packet is a reset.
    pub(super) fn ends(self, packet: &[u8]) -> bool {
        packet.ends_with(&self.0)
    }
}

impl Resets {
    /// With fresh keys; `None` if the random source failed.
    pub(super) fn new() -> Option<Self> {
        let mut mark = [0; MARK];
        rand::fill(&mut mark).ok()?;
        Some(Self { key: fresh_key()?, mark: ResetMark(mark) })
    }
}

impl HmacKey for Resets {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        let tag = hmac::sign(&self.key, data);
        for (to, from) in signature.iter_mut().zip(tag.as_ref().iter().take(TOKEN - MARK).chain(&self.mark.0))
        {
            *to = *from;
        }
    }

    fn signature_len(&self) -> usize {
        TOKEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut expected = [0; TOKEN];
        self.sign(data, &mut expected);
        if expected == signature { Ok(()) } else { Err(CryptoError) }
    }
}
