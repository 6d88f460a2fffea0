//! Packet protection: framing, padding, encryption and authentication of one packet at a time, in place.
//!
//! Source: RFC 4253 section 6, RFC 4344 (counter mode), RFC 5647 (GCM), OpenSSH PROTOCOL section 1.5
//! (encrypt-then-MAC) and PROTOCOL.chacha20poly1305. Sequence numbers, buffers and random padding are the caller's;
//! nothing here allocates per packet.

mod chacha;
mod counter;
mod gcm;
mod open;
mod seal;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use open::{OpenError, Opener};
pub use seal::{SealError, Sealer};

/// Bytes of the packet length field.
pub const LENGTH_LEN: usize = 4;

/// Bytes before the payload: packet length and padding length.
pub const HEADER_LEN: usize = 5;

/// The greatest packet length that is accepted (PROTOCOL.md 3.4): everything after the length field, without MAC.
pub const MAX_PACKET_LENGTH: u32 = 256 * 1024;

/// RFC 4253 section 6.
const MIN_PADDING: usize = 4;

/// The padding multiple without a cipher, RFC 4253 section 6.
const CLEAR_BLOCK: usize = 8;

/// Derived keys do not fit the agreed algorithms. A bug: they are derived from the same [`crate::kexinit::Suite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("derived keys do not fit the negotiated algorithms")]
pub struct KeyError;

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}
