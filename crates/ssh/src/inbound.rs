//! The receiving half below messages: where packets begin and end, and taking their protection off.
//!
//! Works in the caller's buffer. What a packet means is decided elsewhere.
//!
//! Source: RFC 4253 section 6; PROTOCOL.md 2.7 for the obfuscated phase, 3.4 for limits.

use culvert_obfuscation::Keystream;

use crate::cipher::{HEADER_LEN, Opener};
use crate::error::{Error, Misbehaviour};

/// Largest packet length accepted. PROTOCOL.md 3.4.
pub(crate) const MAX_PACKET: u32 = 256 * 1024;

/// The same before keys are in use, where a stranger may speak. RFC 4253 section 6.1 asks for 35,000; the reference
/// sends no more than a few thousand (PROTOCOL.md 3.4).
const MAX_CLEAR_PACKET: u32 = 64 * 1024;

/// What protects a direction now.
enum Protection {
    Clear,
    Obfuscated(Box<Keystream>),
    Keyed(Box<Opener>),
}

/// The receiving half.
pub(crate) struct Inbound {
    protection: Protection,
    sequence: u32,
    bytes_since_keys: u64,
    packets_since_keys: u64,
    /// Length of the packet whose head has been decrypted in place already.
    length: Option<u32>,
}

impl Inbound {
    pub(crate) fn new() -> Self {
        Self {
            protection: Protection::Clear,
            sequence: 0,
            bytes_since_keys: 0,
            packets_since_keys: 0,
            length: None,
        }
    }

    /// Sequence number of the packet that was opened last. RFC 4253 section 11.4.
    pub(crate) fn last_sequence(&self) -> u32 {
        self.sequence.wrapping_sub(1)
    }

    /// Bytes and packets opened since the last change of keys.
    pub(crate) fn since_keys(&self) -> (u64, u64) {
        (self.bytes_since_keys, self.packets_since_keys)
    }

    /// Expects obfuscation from here until NEWKEYS.
    pub(crate) fn deobfuscate(&mut self, keystream: Keystream) {
        self.protection = Protection::Obfuscated(Box::new(keystream));
    }

    /// Takes new keys into use. With strict key exchange the sequence starts anew (PROTOCOL.md 3.1).
    pub(crate) fn rekey(&mut self, opener: Opener, strict: bool) {
        self.protection = Protection::Keyed(Box::new(opener));
        self.bytes_since_keys = 0;
        self.packets_since_keys = 0;
        if strict {
            self.sequence = 0;
        }
    }

    /// Decrypts one byte of the text before packets.
    pub(crate) fn text(&mut self, byte: &mut u8) {
        if let Protection::Obfuscated(keystream) = &mut self.protection {
            keystream.apply(std::slice::from_mut(byte));
        }
    }

    /// Opens the packet at the start of `input`. `None`: more bytes are needed; what was decrypted of the
    /// head stays so, and the same bytes must be presented again.
    pub(crate) fn open<'b>(&mut self, input: &'b mut [u8]) -> Result<Option<Opened<'b>>, Error> {
        let Some(total) = self.frame(input)? else { return Ok(None) };
        let Some(packet) = input.get_mut(..total) else { return Ok(None) };
        self.length = None;
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes_since_keys += total as u64;
        self.packets_since_keys += 1;
        let payload = match &mut self.protection {
            Protection::Keyed(opener) => opener.open(sequence, packet).map_err(Error::Packet)?,
            Protection::Clear => clear_payload(packet)?,
            Protection::Obfuscated(keystream) => {
                if let Some(body) = packet.get_mut(4..) {
                    keystream.apply(body);
                }
                clear_payload(packet)?
            }
        };
        Ok(Some(Opened { consumed: total, payload_at: HEADER_LEN, payload }))
    }

    /// Whole size of the packet at the start of `input`, once its head is there.
    fn frame(&mut self, input: &mut [u8]) -> Result<Option<usize>, Error> {
        let (head_len, trailer) = match &self.protection {
            Protection::Clear | Protection::Obfuscated(_) => (4, 0),
            Protection::Keyed(opener) => (opener.header_len(), opener.tag_len()),
        };
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(head) = input.get_mut(..head_len) else { return Ok(None) };
                let length = self.read_length(head)?;
                *self.length.insert(length)
            }
        };
        Ok(Some(4 + length as usize + trailer))
    }

    fn read_length(&mut self, head: &mut [u8]) -> Result<u32, Error> {
        let (length, most) = match &mut self.protection {
            Protection::Keyed(opener) => {
                (opener.packet_length(self.sequence, head).map_err(Error::Packet)?, MAX_PACKET)
            }
            Protection::Clear => (be32(head), MAX_CLEAR_PACKET),
            Protection::Obfuscated(keystream) => {
                keystream.apply(head);
                (be32(head), MAX_CLEAR_PACKET)
            }
        };
        if !(2..=most).contains(&length) {
            return Err(Error::Peer(Misbehaviour::PacketLength));
        }
        Ok(length)
    }
}

/// One packet, opened.
pub(crate) struct Opened<'b> {
    /// Bytes of input it took.
    pub(crate) consumed: usize,
    /// Where in the input the payload begins.
    pub(crate) payload_at: usize,
    pub(crate) payload: &'b [u8],
}

fn be32(head: &[u8]) -> u32 {
    head.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The payload of a plaintext packet. Alignment is not checked: the obfuscated phase breaks RFC 4253
/// section 6 on purpose (PROTOCOL.md 2.7).
fn clear_payload(packet: &[u8]) -> Result<&[u8], Error> {
    let padding = packet.get(4).copied().map_or(0, usize::from);
    let end = packet.len().checked_sub(padding);
    match end.and_then(|end| packet.get(5..end)) {
        Some(payload) if !payload.is_empty() => Ok(payload),
        Some(_) | None => Err(Error::Peer(Misbehaviour::PacketLength)),
    }
}
