//! The encoded form of a server entry: one line of hex. PROTOCOL.md 5.1.

use super::{EntryFields, FieldError, ServerEntry};
use crate::text_form;

/// The four legacy values before the JSON. Written for old clients, never read.
#[derive(Clone, Copy)]
pub struct Prefix<'a> {
    /// The server's address.
    pub address: &'a str,
    /// The legacy web port.
    pub web_port: &'a str,
    /// The legacy web secret.
    pub web_secret: &'a str,
    /// The legacy web certificate; when empty, all four are written as `0`.
    pub web_certificate: &'a str,
}

/// Why a line is not a server entry.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not pairs of hex digits.
    #[error("not a server entry: column {column} is not a pair of hex digits")]
    Hex {
        /// The first character that is wrong, counted from 1.
        column: usize,
    },
    /// The four values before the JSON are not there.
    #[error("not a server entry: it has {found} of the 4 spaces that come before its JSON")]
    Prefix {
        /// How many spaces there are.
        found: usize,
    },
    /// The JSON is broken.
    #[error("server entry with malformed JSON: {0} (of the text that the hex holds)")]
    Json(#[source] serde_json::Error),
    /// A member is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The line is longer than any entry.
    #[error("not a server entry: the line is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

/// Reads one encoded entry. White space around it is ignored.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_line(line: &str) -> Result<EntryFields, DecodeError> {
    let line = line.trim_ascii();
    let text = text_form::hex(line).ok_or_else(|| DecodeError::Hex { column: first_bad_column(line) })?;
    let mut rest = text.as_slice();
    for found in 0..4 {
        let space = rest.iter().position(|b| *b == b' ').ok_or(DecodeError::Prefix { found })?;
        rest = rest.get(space + 1..).unwrap_or_default();
    }
    EntryFields::from_json(rest).map_err(DecodeError::Json)
}

/// Writes an encoded entry around JSON that is taken as it is.
#[must_use]
pub fn encode_line(prefix: Prefix<'_>, json: &str) -> String {
    let Prefix { address, web_port, web_secret, web_certificate } = prefix;
    let text = if web_certificate.is_empty() {
        format!("0 0 0 0 {json}")
    } else {
        format!("{address} {web_port} {web_secret} {web_certificate} {json}")
    };
    text_form::to_hex(text.as_bytes())
}

impl EntryFields {
    /// The legacy values that go before the JSON.
    #[must_use]
    pub fn prefix(&self) -> Prefix<'_> {
        let text = |name| self.text(name).unwrap_or_default();
        Prefix {
            address: text("ipAddress"),
            web_port: text("webServerPort"),
            web_secret: text("webServerSecret"),
            web_certificate: text("webServerCertificate"),
        }
    }

    /// Writes the encoded form.
    #[must_use]
    pub fn encode(&self) -> String {
        encode_line(self.prefix(), &self.to_json())
    }
}

impl ServerEntry {
    /// Reads one encoded entry and checks its members.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(line: &str) -> Result<Self, DecodeError> {
        Ok(Self::try_from(decode_line(line)?)?)
    }

    /// Writes the encoded form.
    #[must_use]
    pub fn encode(&self) -> String {
        self.fields.encode()
    }
}

/// Where the hex is wrong; past the end when a digit is missing there.
fn first_bad_column(line: &str) -> usize {
    line.chars().position(|c| !c.is_ascii_hexdigit()).unwrap_or(line.chars().count()) + 1
}
