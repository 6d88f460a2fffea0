//! The message in a ClientHello's random by which a server knows its clients. Source: TRANSPORTS.md 1.2.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

/// Bytes of a message, which are those of a ClientHello's random.
pub const MESSAGE_LEN: usize = 32;
/// Bytes of it that are drawn.
pub const NONCE_LEN: usize = 16;

const SALT: &[u8] = b"passthrough-obfuscation-key";
/// Seconds for which a key is used.
const PERIOD: i64 = 1200;
const KEY_LEN: usize = 32;

/// The key that clients prove to have.
#[derive(Clone, PartialEq, Eq)]
pub struct PassthroughKey {
    text: Zeroizing<Vec<u8>>,
    /// Messages of one time are of no use at another.
    timed: bool,
}

impl std::fmt::Debug for PassthroughKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted passthrough key]")
    }
}

impl PassthroughKey {
    /// The key as it stands in configs and entries: its text, not what the text encodes. The legacy form is not `timed`.
    #[must_use]
    pub fn new(text: &str, timed: bool) -> Self {
        Self { text: Zeroizing::new(text.as_bytes().to_vec()), timed }
    }

    /// The key that is used at a time, in seconds since 1970, some periods later or earlier.
    #[must_use]
    pub fn derived(&self, unix_time: i64, shift: i64) -> Zeroizing<[u8; KEY_LEN]> {
        struct Length;
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                KEY_LEN
            }
        }
        let mut salt = SALT.to_vec();
        if self.timed {
            // Half a period is added, so that the time is rounded and not cut.
            let moment = unix_time.saturating_add(PERIOD / 2).saturating_add(PERIOD.saturating_mul(shift));
            salt.extend_from_slice(&(moment / PERIOD).to_le_bytes());
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt);
        let filled = salt.extract(&self.text).expand(&[], Length).and_then(|okm| okm.fill(&mut *key));
        filled.expect("a key is shorter than 255 digests");
        key
    }

    /// A client's message. The nonce must never be used again.
    #[must_use]
    pub fn message(&self, nonce: [u8; NONCE_LEN], unix_time: i64) -> [u8; MESSAGE_LEN] {
        let tag = tag(&*self.derived(unix_time, 0), &nonce);
        let mut message = [0; MESSAGE_LEN];
        for (to, from) in message.iter_mut().zip(nonce.iter().chain(tag.as_ref())) {
            *to = *from;
        }
        message
    }

    /// Whether a client with the key made it, and not long before or after. Takes the same time whatever is wrong.
    #[must_use]
    pub fn verifies(&self, message: &[u8; MESSAGE_LEN], unix_time: i64) -> bool {
        let (nonce, given) = message.split_at(NONCE_LEN);
        [-1, 0, 1].into_iter().fold(false, |found, shift| {
            let expected = tag(&*self.derived(unix_time, shift), nonce);
            let expected = expected.as_ref().get(..given.len()).unwrap_or_default();
            found | verify_slices_are_equal(expected, given).is_ok()
        })
    }
}

fn tag(key: &[u8], nonce: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_good_for_a_while_and_one_key() {
        let key = PassthroughKey::new("key", true);
        let message = key.message([1; NONCE_LEN], 1_700_000_000);
        assert!(key.verifies(&message, 1_700_000_000 - 1200) && key.verifies(&message, 1_700_000_000 + 1200));
        assert!(!key.verifies(&message, 1_700_000_000 + 3600));
        assert!(!PassthroughKey::new("other", true).verifies(&message, 1_700_000_000));
        assert!(!PassthroughKey::new("key", false).verifies(&message, 1_700_000_000));
        for byte in 0..MESSAGE_LEN {
            let mut changed = message;
            changed[byte] ^= 1;
            assert!(!key.verifies(&changed, 1_700_000_000), "byte {byte}");
        }
    }
}
