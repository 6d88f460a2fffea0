//! The name of a session, which its client sends as the cookie once it has it. Source: TRANSPORTS.md 2.5.

use std::fmt;

use data_encoding::BASE64_NOPAD;

/// The fewest random bytes of a name.
pub const MIN_SESSION_BYTES: usize = 8;
/// The most random bytes of a name.
pub const MAX_SESSION_BYTES: usize = 19;

/// A session's name: who has it can take the session over, so it does not show itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// A new name, of as many random bytes as `len` says within the bounds.
    #[must_use]
    pub fn new(random: &[u8; MAX_SESSION_BYTES], len: usize) -> Self {
        let len = len.clamp(MIN_SESSION_BYTES, MAX_SESSION_BYTES);
        Self(BASE64_NOPAD.encode(random.get(..len).unwrap_or(random)))
    }

    /// A name as a client sends it; `None` if none is like that.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        // Base64 of 8 to 19 bytes.
        let plausible = (11..=26).contains(&value.len())
            && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
        let text = std::str::from_utf8(value).ok().filter(|_| plausible)?;
        Some(Self(text.to_owned()))
    }

    /// As it stands in a cookie.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for len in 0..40 {
            let id = SessionId::new(&[0xFB; MAX_SESSION_BYTES], len);
            assert_eq!(SessionId::parse(id.as_str().as_bytes()), Some(id));
        }
        assert_eq!(SessionId::parse(b"AAAAAAAAAA"), None);
        assert_eq!(SessionId::parse(b"AAAAAAAAAAA="), None);
        assert_eq!(SessionId::parse(&[b'A'; 27]), None);
    }
}
