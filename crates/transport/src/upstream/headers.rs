//! Headers that the user wants in requests to a proxy.

use std::fmt;

use thiserror::Error;

/// Most headers.
const MOST: usize = 64;
/// Longest name and value together.
const LONGEST: usize = 4096;

/// Headers by name, in the order of their names. Values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomHeaders(Vec<(String, String)>);

/// A header that cannot be sent. The settings are at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadHeader {
    /// The name.
    #[error("{0:?} is not the name of a header: letters, digits and - only")]
    Name(String),
    /// The value.
    #[error("the value of header {0} holds bytes that no header may have, such as a line end")]
    Value(String),
    /// Too much.
    #[error("header {0} is longer than {LONGEST} bytes, or one of more than {MOST} headers")]
    TooMuch(String),
}

impl CustomHeaders {
    /// Takes headers that can be sent.
    ///
    /// # Errors
    /// One cannot.
    pub fn new(headers: impl IntoIterator<Item = (String, String)>) -> Result<Self, BadHeader> {
        let mut taken = Vec::new();
        for (name, value) in headers {
            // RFC 9110 section 5.6.2.
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(BadHeader::Name(name.chars().take(64).collect()));
            }
            if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7F) {
                return Err(BadHeader::Value(name));
            }
            if name.len() + value.len() > LONGEST || taken.len() == MOST {
                return Err(BadHeader::TooMuch(name.chars().take(64).collect()));
            }
            taken.push((name, value));
        }
        taken.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self(taken))
    }

    /// The first value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} redacted headers]", self.0.len())
    }
}
