//! What a `direct-tcpip` CHANNEL_OPEN says: where a flow goes and, between two of ours, the bytes it begins with.
//! Not whether these may be there: that both ends have agreed on.
//!
//! Source: RFC 4254 section 7.2; PROTOCOL.md 3.7 and 12.2.

use thiserror::Error;

use crate::wire::{Reader, WireError, WriteWire};

/// The most bytes of a flow that its open carries. PROTOCOL.md 12.2.
pub const MAX_FIRST_BYTES: usize = 16 * 1024;
/// The text of a refusal that only says: not with first bytes now, ask again without. PROTOCOL.md 12.2.
pub const NO_ROOM_TEXT: &str = "culvert:no-room";
/// An originator is an address as text.
const MAX_ORIGINATOR: usize = 255;

/// The type-specific part of a `direct-tcpip` CHANNEL_OPEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectTcpip<'a> {
    /// A name or an address, as bytes that should be text.
    pub host: &'a [u8],
    /// As it came: only below 65536 is it a port.
    pub port: u32,
    /// What the flow begins with; at most [`MAX_FIRST_BYTES`], usually none.
    pub first_bytes: &'a [u8],
}

/// Why bytes are no such open. The peer's fault: the channel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DirectTcpipError {
    /// A field is cut off, or bytes follow the last one.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Longer than any address.
    #[error("peer sent an originator of more than {MAX_ORIGINATOR} bytes")]
    Originator,
    /// More than was agreed.
    #[error("peer sent a channel open with more than {MAX_FIRST_BYTES} bytes of its flow")]
    FirstBytes,
}

impl<'a> DirectTcpip<'a> {
    /// Reads the payload of an open.
    ///
    /// # Errors
    /// See [`DirectTcpipError`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, DirectTcpipError> {
        let mut reader = Reader::new(payload);
        let host = reader.string()?;
        let port = reader.u32()?;
        let (originator, _originator_port) = (reader.string()?, reader.u32()?);
        if originator.len() > MAX_ORIGINATOR {
            return Err(DirectTcpipError::Originator);
        }
        let first_bytes = if reader.is_empty() { &[] } else { reader.string()? };
        if first_bytes.len() > MAX_FIRST_BYTES {
            return Err(DirectTcpipError::FirstBytes);
        }
        reader.finish()?;
        Ok(Self { host, port, first_bytes })
    }

    /// Writes the payload of an open. Without first bytes it is that of the RFC, which any server takes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.host.len() + self.first_bytes.len() + 32);
        payload.put_string(self.host);
        payload.put_u32(self.port);
        // PROTOCOL.md 3.7: the originator is never told.
        payload.put_string(b"0.0.0.0");
        payload.put_u32(0);
        if !self.first_bytes.is_empty() {
            payload.put_string(self.first_bytes);
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_THE_REFERENCE: &[u8] = b"\0\0\0\x09127.0.0.1\0\0\x5f\xa0\0\0\0\x070.0.0.0\0\0\0\0";

    fn open(first_bytes: &[u8]) -> DirectTcpip<'_> {
        DirectTcpip { host: b"127.0.0.1", port: 24480, first_bytes }
    }

    #[test]
    fn opens_of_the_reference_are_read_and_written() {
        assert_eq!(open(b"").encode(), OF_THE_REFERENCE);
        assert_eq!(DirectTcpip::decode(OF_THE_REFERENCE), Ok(open(b"")));
        for end in 0..OF_THE_REFERENCE.len() {
            assert!(DirectTcpip::decode(&OF_THE_REFERENCE[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn first_bytes_follow_as_one_string() {
        let payload = open(b"GET /").encode();
        assert_eq!(payload, [OF_THE_REFERENCE, b"\0\0\0\x05GET /"].concat());
        assert_eq!(DirectTcpip::decode(&payload), Ok(open(b"GET /")));
        // Cut anywhere behind the RFC's fields it is malformed: no part is taken for the whole.
        for end in OF_THE_REFERENCE.len() + 1..payload.len() {
            assert!(DirectTcpip::decode(&payload[..end]).is_err(), "{end}");
        }
        let empty = [OF_THE_REFERENCE, b"\0\0\0\0"].concat();
        assert_eq!(DirectTcpip::decode(&empty), Ok(open(b"")));
        let more = [&payload[..], b"\0"].concat();
        assert_eq!(DirectTcpip::decode(&more), Err(DirectTcpipError::Wire(WireError::TrailingBytes)));
    }

    #[test]
    fn lengths_are_bounded_and_lies_about_them_found() {
        let most = vec![7; MAX_FIRST_BYTES];
        assert_eq!(DirectTcpip::decode(&open(&most).encode()), Ok(open(&most)));
        let more = vec![7; MAX_FIRST_BYTES + 1];
        assert_eq!(DirectTcpip::decode(&open(&more).encode()), Err(DirectTcpipError::FirstBytes));
        let lie = [OF_THE_REFERENCE, b"\xff\xff\xff\xffx"].concat();
        assert_eq!(DirectTcpip::decode(&lie), Err(DirectTcpipError::Wire(WireError::Truncated)));
        let originator = [&b"\0\0\0\x01a\0\0\0\x50\0\0\x01\0"[..], &[b'1'; 256], &[0; 4]].concat();
        assert_eq!(DirectTcpip::decode(&originator), Err(DirectTcpipError::Originator));
    }
}
