//! Takes ClientHello and ServerHello messages apart. What a library of ours wrote is read, and what a peer sent: nothing is taken for granted.
//! Source: RFC 8446 sections 4.1.2, 4.1.3, 4.2; RFC 6066 section 3; TRANSPORTS.md 1.6.

use super::number;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// Type and length of a handshake message.
const HEADER: usize = 4;
const RANDOM: usize = 32;
/// The random of a ServerHello that is a HelloRetryRequest. RFC 8446 section 4.1.3.
const RETRY: [u8; RANDOM] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91, 0xC2,
    0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// The bytes are not a message of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed ClientHello")]
pub struct Malformed;

/// A ClientHello, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloMessage<'b> {
    /// 32 bytes.
    pub random: &'b [u8; RANDOM],
    /// At most 32 bytes.
    pub session_id: &'b [u8],
    /// Numbers of cipher suites, two bytes each.
    pub suites: &'b [u8],
    /// Numbers and contents, in their order.
    pub extensions: Vec<(u16, &'b [u8])>,
    /// Bytes that are declared but not there: PSK binders are hashed over a hello that lacks them. RFC 8446 section 4.2.11.2.
    pub missing: usize,
}

impl<'b> HelloMessage<'b> {
    /// Reads a handshake message, with its header, whole or without its PSK binders.
    ///
    /// # Errors
    /// It is no ClientHello.
    pub fn read(message: &'b [u8]) -> Result<Self, Malformed> {
        Self::fields(message).ok_or(Malformed)
    }

    /// The content of an extension.
    #[must_use]
    pub fn extension(&self, number: u16) -> Option<&'b [u8]> {
        self.extensions.iter().find(|(found, _)| *found == number).map(|(_, content)| *content)
    }

    fn fields(message: &'b [u8]) -> Option<Self> {
        let mut fields = Fields(message);
        if fields.byte()? != CLIENT_HELLO {
            return None;
        }
        let declared = fields.number24()?;
        let missing = declared.checked_sub(fields.0.len())?;
        fields.take(2)?;
        let random = fields.take(RANDOM)?.first_chunk()?;
        let session_id = fields.vector8()?;
        let suites = fields.vector16()?;
        fields.vector8()?;
        let mut extensions = Vec::new();
        if !fields.0.is_empty() {
            let length = usize::from(fields.number()?);
            if fields.0.len().checked_add(missing)? != length {
                return None;
            }
            while !fields.0.is_empty() {
                let number = fields.number()?;
                let length = usize::from(fields.number()?);
                // Only the last one, which holds the binders, may be cut.
                let there = if length <= fields.0.len() { length } else { fields.0.len() };
                if there < length && (length - there != missing || number != number::PRE_SHARED_KEY) {
                    return None;
                }
                extensions.push((number, fields.take(there)?));
            }
        }
        Some(Self { random, session_id, suites, extensions, missing })
    }
}

/// Where the name in the server name extension begins, within the message with its header: there a hello is cut. `None` without a name.
#[must_use]
pub fn server_name_offset(message: &[u8]) -> Option<usize> {
    let hello = HelloMessage::read(message).ok().filter(|hello| hello.missing == 0)?;
    let content = hello.extension(number::SERVER_NAME)?;
    let mut fields = Fields(content);
    let mut list = Fields(fields.vector16()?);
    // RFC 6066 section 3: type 0 is a host name.
    while list.byte()? != 0 {
        list.vector16()?;
    }
    let name = list.vector16().filter(|name| !name.is_empty())?;
    // Both are parts of `message`.
    (name.as_ptr() as usize).checked_sub(message.as_ptr() as usize)
}

/// The group of the key share in a ServerHello that is no HelloRetryRequest.
pub(crate) fn key_share_group(message: &[u8]) -> Option<u16> {
    let mut fields = Fields(message);
    if fields.byte()? != SERVER_HELLO {
        return None;
    }
    fields.take(HEADER - 1 + 2)?;
    if fields.take(RANDOM)? == RETRY {
        return None;
    }
    fields.vector8()?;
    fields.take(3)?;
    let mut extensions = Fields(fields.vector16()?);
    loop {
        let (number, content) = (extensions.number()?, extensions.vector16()?);
        if number == number::KEY_SHARES {
            return Fields(content).number();
        }
    }
}

/// With its length before it. What is longer than a length can say is cut: no list of ours is.
pub(crate) fn with_length16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let kept = content.get(..usize::from(length)).unwrap_or(content);
    [&length.to_be_bytes(), kept].concat()
}

/// A cursor. RFC 8446 section 3.
#[derive(Clone)]
pub(crate) struct Fields<'b>(pub(crate) &'b [u8]);

impl<'b> Fields<'b> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn number(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn number24(&mut self) -> Option<usize> {
        let [a, b, c] = *self.take(3)?.first_chunk()?;
        usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()
    }

    pub(crate) fn number64(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    pub(crate) fn vector8(&mut self) -> Option<&'b [u8]> {
        let len = self.byte()?;
        self.take(len.into())
    }

    pub(crate) fn vector16(&mut self) -> Option<&'b [u8]> {
        let len = self.number()?;
        self.take(len.into())
    }
}
