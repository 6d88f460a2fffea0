//! Identification lines: the text that opens an SSH connection.
//!
//! Reading is incremental, one byte at a time, because in an obfuscated connection each byte is
//! decrypted only once it is known to belong to this phase.
//!
//! Source: RFC 4253 section 4.2; PROTOCOL.md 2.7 and 3.2 for lines before the identification.

use thiserror::Error;

/// Longest line accepted, line end included. PROTOCOL.md 2.7: the reference pads with lines of 512.
const MAX_LINE: usize = 1024;
/// Most lines skipped before the identification. The longest padding is 8192 bytes in lines of 2 or more;
/// plain SSH servers send few. Ours, to bound what a peer can make us read.
const MAX_SKIPPED_BYTES: usize = 64 * 1024;

/// Why an identification line was not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IdentError {
    /// A line went on past the limit.
    #[error("the peer sent a line of more than {MAX_LINE} bytes before its SSH identification")]
    LineTooLong,
    /// Too much text came before an identification.
    #[error("the peer sent {MAX_SKIPPED_BYTES} bytes without an SSH identification")]
    Missing,
    /// The line starts with `SSH-`, but not with a version this side speaks.
    #[error("the peer speaks another SSH version than 2.0")]
    Version,
    /// Our own identification is not `SSH-2.0-` followed by printable text without spaces.
    #[error("the identification to send must start with SSH-2.0- and hold printable text only")]
    Local,
}

/// An identification without its line end, as it enters the exchange hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident(Vec<u8>);

impl Ident {
    /// Checks an identification to send: `SSH-2.0-` and printable text, at most 253 bytes.
    pub fn local(text: &str) -> Result<Self, IdentError> {
        let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if text.starts_with("SSH-2.0-") && printable && text.len() <= 253 {
            Ok(Self(text.as_bytes().to_vec()))
        } else {
            Err(IdentError::Local)
        }
    }

    /// The bytes that are hashed: no CR, no LF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes to send.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = self.0.clone();
        line.extend_from_slice(b"\r\n");
        line
    }
}

/// Collects lines until one is an identification.
#[derive(Debug, Default)]
pub(crate) struct IdentReader {
    line: Vec<u8>,
    skipped: usize,
}

impl IdentReader {
    /// Takes one byte; returns the identification when its line has ended.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<Ident>, IdentError> {
        if byte != b'\n' {
            if self.line.len() >= MAX_LINE {
                return Err(IdentError::LineTooLong);
            }
            self.line.push(byte);
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        // RFC 4253 section 4.2 lets servers send other lines first; the reference drops them in both roles.
        if !line.starts_with(b"SSH-") {
            self.skipped += line.len() + 2;
            if self.skipped > MAX_SKIPPED_BYTES {
                return Err(IdentError::Missing);
            }
            return Ok(None);
        }
        if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
            Ok(Some(Ident(line)))
        } else {
            Err(IdentError::Version)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Ident>, IdentError> {
        let mut reader = IdentReader::default();
        for byte in bytes {
            if let Some(ident) = reader.push(*byte)? {
                return Ok(Some(ident));
            }
        }
        Ok(None)
    }

    #[test]
    fn padding_lines_of_zeros_are_skipped() {
        let mut bytes = vec![0; 510];
        bytes.extend_from_slice(b"\r\n\r\nSSH-2.0-OpenSSH_7.5\r\n");
        assert_eq!(read(&bytes).unwrap().unwrap().as_bytes(), b"SSH-2.0-OpenSSH_7.5");
    }

    #[test]
    fn endless_text_is_refused() {
        assert_eq!(read(&[b'x'; 2000]), Err(IdentError::LineTooLong));
        assert_eq!(read(&b"a\n".repeat(40_000)), Err(IdentError::Missing));
        assert_eq!(read(b"SSH-1.5-old\r\n"), Err(IdentError::Version));
    }

    #[test]
    fn own_identification_is_checked() {
        assert!(Ident::local("SSH-2.0-OpenSSH_8.1").is_ok());
        for bad in ["", "SSH-1.0-x", "SSH-2.0-a\r\nb", "SSH-2.0-\u{e9}"] {
            assert_eq!(Ident::local(bad), Err(IdentError::Local), "{bad:?}");
        }
    }
}
