//! SSH data type representations: a bounded reader over borrowed bytes and writers onto a byte vector.
//!
//! Source: RFC 4251 section 5. Knows no message: those live with the state machine that owns them.

use thiserror::Error;

/// Why bytes from the peer are not the encoding they should be. Always the peer's fault: disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// A field ends after the end of the message.
    #[error("peer sent a truncated message")]
    Truncated,
    /// Bytes remain after the last field.
    #[error("peer sent a message with trailing bytes")]
    TrailingBytes,
    /// A field that must be UTF-8 text is not.
    #[error("peer sent text that is not UTF-8")]
    NotUtf8,
    /// A name-list has a character outside printable ASCII or an empty name.
    #[error("peer sent a malformed name-list")]
    BadNameList,
    /// An integer that must not be negative is.
    #[error("peer sent a negative integer")]
    NegativeInteger,
}

/// Reads fields in order from one message; every length is checked against what is left.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A boolean: every value except zero is true (RFC 4251 section 5).
    pub fn bool(&mut self) -> Result<bool, WireError> {
        self.u8().map(|byte| byte != 0)
    }

    /// A 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A 64-bit integer.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length-prefixed string of arbitrary bytes.
    pub fn string(&mut self) -> Result<&'a [u8], WireError> {
        let mut ahead = *self;
        let length = usize::try_from(ahead.u32()?).map_err(|_| WireError::Truncated)?;
        let value = ahead.bytes(length)?;
        *self = ahead;
        Ok(value)
    }

    /// A string that must be UTF-8 text.
    pub fn utf8(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.string()?).map_err(|_| WireError::NotUtf8)
    }

    /// A comma-separated list of names, printable ASCII, possibly empty as a whole but without an empty name.
    pub fn name_list(&mut self) -> Result<&'a str, WireError> {
        let list = self.string()?;
        if !list.iter().all(u8::is_ascii_graphic) {
            return Err(WireError::BadNameList);
        }
        let list = std::str::from_utf8(list).map_err(|_| WireError::BadNameList)?;
        if !list.is_empty() && list.split(',').any(str::is_empty) {
            return Err(WireError::BadNameList);
        }
        Ok(list)
    }

    /// A non-negative integer as big-endian bytes without leading zeros (zero is the empty slice).
    ///
    /// Needless leading zeros are accepted and dropped, as deployed peers do.
    pub fn mpint(&mut self) -> Result<&'a [u8], WireError> {
        let value = self.string()?;
        if value.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(WireError::NegativeInteger);
        }
        Ok(trim_zeros(value))
    }

    /// Everything that is left; the reader is empty afterwards.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    /// True when every byte was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the message: it is an error if bytes are left.
    pub const fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::TrailingBytes) }
    }
}

/// `value` without its leading zero bytes.
#[must_use]
pub fn trim_zeros(value: &[u8]) -> &[u8] {
    let zeros = value.iter().take_while(|byte| **byte == 0).count();
    value.get(zeros..).unwrap_or_default()
}

/// Appends encoded fields to a message under construction.
///
/// Lengths above `u32::MAX` cannot be written: such a string is cut, which no caller can reach because
/// every message is limited to 256 KiB.
pub trait WriteWire {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// A boolean as 0 or 1.
    fn put_bool(&mut self, value: bool);
    /// A 32-bit integer.
    fn put_u32(&mut self, value: u32);
    /// A 64-bit integer.
    fn put_u64(&mut self, value: u64);
    /// A length-prefixed string.
    fn put_string(&mut self, value: &[u8]);
    /// A non-negative integer given as big-endian bytes, leading zeros allowed.
    fn put_mpint(&mut self, value: &[u8]);
    /// A comma-separated list of names.
    fn put_name_list<S: AsRef<str>>(&mut self, names: &[S]);
}

impl WriteWire for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_bool(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_string(&mut self, value: &[u8]) {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.put_u32(length);
        self.extend(value.iter().take(usize::try_from(length).unwrap_or(usize::MAX)));
    }

    fn put_mpint(&mut self, value: &[u8]) {
        let value = trim_zeros(value);
        // RFC 4251 section 5: a set top bit would mean a negative number.
        let sign = value.first().is_some_and(|byte| byte & 0x80 != 0);
        let length = value.len().saturating_add(usize::from(sign));
        self.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        if sign {
            self.push(0);
        }
        self.extend_from_slice(value);
    }

    fn put_name_list<S: AsRef<str>>(&mut self, names: &[S]) {
        let start = self.len();
        self.put_u32(0);
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                self.push(b',');
            }
            self.extend_from_slice(name.as_ref().as_bytes());
        }
        let written = self.len().saturating_sub(start).saturating_sub(4);
        let length = u32::try_from(written).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = self.get_mut(start..).and_then(|tail| tail.first_chunk_mut::<4>()) {
            *field = length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4251 section 5 that are not negative.
    #[test]
    fn mpint_examples() {
        let cases: [(&[u8], &[u8]); 3] = [
            (&[], &[0, 0, 0, 0]),
            (
                &[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
        ];
        for (value, encoded) in cases {
            let mut out = Vec::new();
            out.put_mpint(value);
            assert_eq!(out, encoded);
            assert_eq!(Reader::new(encoded).mpint(), Ok(value));
        }
        assert_eq!(Reader::new(&[0, 0, 0, 2, 0xed, 0xcc]).mpint(), Err(WireError::NegativeInteger));
    }

    #[test]
    fn mpint_drops_leading_zeros() {
        let mut out = Vec::new();
        out.put_mpint(&[0, 0, 0, 0x7f]);
        assert_eq!(out, [0, 0, 0, 1, 0x7f]);
        assert_eq!(Reader::new(&[0, 0, 0, 3, 0, 0, 5]).mpint(), Ok(&[5][..]));
    }

    /// The examples of RFC 4251 section 5.
    #[test]
    fn name_list_examples() {
        let cases: [(&[&str], &[u8]); 3] = [
            (&[], &[0, 0, 0, 0]),
            (&["zlib"], &[0, 0, 0, 4, 0x7a, 0x6c, 0x69, 0x62]),
            (&["zlib", "none"], &[0, 0, 0, 9, 0x7a, 0x6c, 0x69, 0x62, 0x2c, 0x6e, 0x6f, 0x6e, 0x65]),
        ];
        for (names, encoded) in cases {
            let mut out = Vec::new();
            out.put_name_list(names);
            assert_eq!(out, encoded);
            assert_eq!(Reader::new(encoded).name_list(), Ok(names.join(",").as_str()));
        }
    }

    #[test]
    fn malformed_name_lists_are_refused() {
        for bad in ["a,,b", ",", "a,", "a b", "a\u{7f}", "\u{e9}"] {
            let mut out = Vec::new();
            out.put_string(bad.as_bytes());
            assert_eq!(Reader::new(&out).name_list(), Err(WireError::BadNameList), "{bad:?}");
        }
    }

    #[test]
    fn every_cut_of_a_message_is_truncated() {
        let mut out = Vec::new();
        out.put_u8(7);
        out.put_bool(true);
        out.put_u32(1);
        out.put_u64(2);
        out.put_string(b"text");
        let read = |bytes: &[u8]| -> Result<(), WireError> {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.u8()?, 7);
            assert!(reader.bool()?);
            assert_eq!(reader.u32()?, 1);
            assert_eq!(reader.u64()?, 2);
            assert_eq!(reader.utf8()?, "text");
            reader.finish()
        };
        assert_eq!(read(&out), Ok(()));
        for cut in 0..out.len() {
            assert_eq!(read(&out[..cut]), Err(WireError::Truncated), "cut at {cut}");
        }
        out.push(0);
        assert_eq!(read(&out), Err(WireError::TrailingBytes));
    }

    #[test]
    fn huge_length_is_not_trusted() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 1]).string(), Err(WireError::Truncated));
    }
}
