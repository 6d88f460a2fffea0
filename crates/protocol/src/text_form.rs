//! Hex and base64 as the reference's decoders accept them.
//!
//! Its base64 ignores line ends and does not mind bits left over after the last byte; its hex takes either case.

use std::sync::LazyLock;

use data_encoding::{Encoding, HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER, Specification};

static PADDED: LazyLock<Encoding> = LazyLock::new(|| lenient(true));
static UNPADDED: LazyLock<Encoding> = LazyLock::new(|| lenient(false));

/// Decodes padded base64 of the standard alphabet.
#[must_use]
pub fn base64(text: &str) -> Option<Vec<u8>> {
    // The decoder would take one padded text after another; the reference takes one.
    let padding = text.bytes().skip_while(|b| *b != b'=');
    if padding.into_iter().any(|b| !matches!(b, b'=' | b'\r' | b'\n')) {
        return None;
    }
    PADDED.decode(text.as_bytes()).ok()
}

/// Decodes unpadded base64 of the standard alphabet.
#[must_use]
pub fn base64_unpadded(text: &str) -> Option<Vec<u8>> {
    UNPADDED.decode(text.as_bytes()).ok()
}

/// Decodes hex of either case.
#[must_use]
pub fn hex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

/// Encodes padded base64.
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

/// Encodes unpadded base64.
#[must_use]
pub fn to_base64_unpadded(bytes: &[u8]) -> String {
    data_encoding::BASE64_NOPAD.encode(bytes)
}

/// Encodes lower-case hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Encodes upper-case hex.
#[must_use]
pub fn to_hex_upper(bytes: &[u8]) -> String {
    HEXUPPER.encode(bytes)
}

fn lenient(padded: bool) -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    specification.padding = padded.then_some('=');
    specification.check_trailing_bits = false;
    specification.ignore.push_str("\r\n");
    // The specification is a constant; a test builds both.
    specification.encoding().unwrap_or(data_encoding::BASE64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_lenient_as_the_reference() {
        assert_eq!(base64("AAE="), Some(vec![0, 1]));
        assert_eq!(base64("AAF="), Some(vec![0, 1]));
        assert_eq!(base64("AA\r\nE="), Some(vec![0, 1]));
        assert_eq!(base64("AAE"), None);
        assert_eq!(base64("AA E="), None);
        assert_eq!(base64("AA==AAE="), None);
        assert_eq!(base64_unpadded("AAE"), Some(vec![0, 1]));
        assert_eq!(base64_unpadded("AAF"), Some(vec![0, 1]));
        assert_eq!(base64_unpadded("AAE="), None);
        assert_eq!(base64_unpadded("A"), None);
    }

    #[test]
    fn hex_takes_either_case() {
        assert_eq!(hex("aAfF"), Some(vec![0xaa, 0xff]));
        assert_eq!(hex("a"), None);
        assert_eq!(hex("zz"), None);
    }
}
