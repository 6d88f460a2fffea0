//! The sending half below messages: framing, protection, obfuscation, in order.
//!
//! Packets are sealed where they will be written from. Nothing here decides what to send.
//!
//! Source: RFC 4253 section 6; PROTOCOL.md 2.7 for the obfuscated phase.

use culvert_obfuscation::{Keystream, PaddingStyle, Prng, Seed, pad_kex_packet};

use crate::cipher::Sealer;
use crate::messages::number;
use crate::wire::WriteWire;

/// Block size of plaintext packets. RFC 4253 section 6 asks for 8; the reference sends 16 (PROTOCOL.md 3.4).
const CLEAR_BLOCK: u8 = 16;

/// What is applied to everything before NEWKEYS in an obfuscated direction. PROTOCOL.md 2.7.
pub(crate) struct Obfuscation {
    pub(crate) keystream: Keystream,
    pub(crate) padding: Prng,
    pub(crate) style: PaddingStyle,
}

/// What protects a direction now.
enum Protection {
    Clear,
    Obfuscated(Box<Obfuscation>),
    Keyed(Box<Sealer>),
}

/// The sending half.
pub(crate) struct Outbound {
    protection: Protection,
    sequence: u32,
    bytes_since_keys: u64,
    packets_since_keys: u64,
    /// Padding of packets that anyone can read.
    clear_padding: Prng,
    /// Padding inside encryption, where only its length matters.
    filler: [u8; 256],
    /// A packet could not be sealed: the connection must end.
    pub(crate) failed: bool,
    /// Sealed and not yet handed to the driver.
    pub(crate) ready: Vec<u8>,
}

impl Outbound {
    pub(crate) fn new(seed: &Seed) -> Self {
        let mut filler = [0; 256];
        Prng::derived(seed, "culvert-encrypted-padding").fill(&mut filler);
        Self {
            protection: Protection::Clear,
            sequence: 0,
            bytes_since_keys: 0,
            packets_since_keys: 0,
            clear_padding: Prng::derived(seed, "culvert-clear-padding"),
            filler,
            failed: false,
            ready: Vec::new(),
        }
    }

    /// Bytes and packets sealed since the last change of keys.
    pub(crate) fn since_keys(&self) -> (u64, u64) {
        (self.bytes_since_keys, self.packets_since_keys)
    }

    /// Obfuscates from here until NEWKEYS.
    pub(crate) fn obfuscate(&mut self, obfuscation: Obfuscation) {
        self.protection = Protection::Obfuscated(Box::new(obfuscation));
    }

    /// Chooses the padding form, once the peer's identification is known.
    pub(crate) fn set_padding_style(&mut self, style: PaddingStyle) {
        if let Protection::Obfuscated(obfuscation) = &mut self.protection {
            obfuscation.style = style;
        }
    }

    /// Bytes that come before packets: padding lines and the identification.
    pub(crate) fn text(&mut self, bytes: &[u8]) {
        let start = self.ready.len();
        self.ready.extend_from_slice(bytes);
        if let Protection::Obfuscated(obfuscation) = &mut self.protection
            && let Some(text) = self.ready.get_mut(start..)
        {
            obfuscation.keystream.apply(text);
        }
    }

    /// Seals a message into [`Self::ready`].
    pub(crate) fn message(&mut self, payload: &[u8]) {
        let mut ready = std::mem::take(&mut self.ready);
        match self.protection {
            Protection::Keyed(_) => {
                self.seal(&mut ready, payload.len(), |out| out.extend_from_slice(payload));
            }
            Protection::Clear | Protection::Obfuscated(_) => self.clear(&mut ready, payload),
        }
        self.ready = ready;
        if payload.first() == Some(&number::NEWKEYS)
            && let Protection::Obfuscated(_) = self.protection
        {
            // PROTOCOL.md 2.7: obfuscation of a direction ends with its NEWKEYS, for ever.
            self.protection = Protection::Clear;
        }
    }

    /// Takes new keys into use. RFC 4253 section 7.3; with strict key exchange the sequence starts anew
    /// (PROTOCOL.md 3.1), also when re-keying.
    pub(crate) fn rekey(&mut self, sealer: Sealer, strict: bool) {
        self.protection = Protection::Keyed(Box::new(sealer));
        self.bytes_since_keys = 0;
        self.packets_since_keys = 0;
        if strict {
            self.sequence = 0;
        }
    }

    /// Seals channel data straight into `out`. RFC 4254 section 5.2.
    pub(crate) fn channel_data(&mut self, out: &mut Vec<u8>, recipient: u32, parts: [&[u8]; 2]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.seal(out, 9 + len, |out| {
            out.push(number::CHANNEL_DATA);
            out.put_u32(recipient);
            out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
            for part in parts {
                out.extend_from_slice(part);
            }
        });
    }

    /// Lays a packet out at the end of `out` and seals it in place. RFC 4253 section 6.
    fn seal(&mut self, out: &mut Vec<u8>, payload_len: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        let Protection::Keyed(sealer) = &mut self.protection else { return };
        let start = out.len();
        let padding = sealer.padding_len(payload_len);
        let total = 5 + payload_len + usize::from(padding) + sealer.tag_len();
        out.reserve(total);
        put_head(out, payload_len, padding);
        fill(out);
        out.extend_from_slice(self.filler.get(..usize::from(padding)).unwrap_or_default());
        out.resize(start + total, 0);
        let sealed = out.get_mut(start..).map(|packet| sealer.seal(self.sequence, packet));
        if !matches!(sealed, Some(Ok(()))) {
            // Whatever went wrong, what is not sealed must not leave.
            out.truncate(start);
            self.failed = true;
        }
        self.count(total);
    }

    /// A packet before keys are in use, padded further and hidden in the obfuscated phase.
    fn clear(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        let padding = clear_padding_len(payload.len());
        let mut packet = Vec::with_capacity(payload.len() + 5 + 255);
        put_head(&mut packet, payload.len(), padding);
        packet.extend_from_slice(payload);
        packet.extend_from_slice(&self.clear_padding.bytes(usize::from(padding)));
        if let Protection::Obfuscated(obfuscation) = &mut self.protection {
            // Fails only for bytes that are not one packet, which these are.
            let padded = pad_kex_packet(&mut obfuscation.padding, obfuscation.style, &mut packet);
            debug_assert!(padded.is_ok());
            obfuscation.keystream.apply(&mut packet);
        }
        out.extend_from_slice(&packet);
        self.count(packet.len());
    }

    fn count(&mut self, bytes: usize) {
        self.bytes_since_keys += bytes as u64;
        self.packets_since_keys += 1;
        // RFC 4253 section 6.4: the sequence number wraps.
        self.sequence = self.sequence.wrapping_add(1);
    }
}

fn put_head(out: &mut Vec<u8>, payload_len: usize, padding: u8) {
    let length = 1 + payload_len + usize::from(padding);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.push(padding);
}

/// At least 4 bytes, and the whole packet a multiple of the block. RFC 4253 section 6.
fn clear_padding_len(payload_len: usize) -> u8 {
    let over = u8::try_from((5 + payload_len) % usize::from(CLEAR_BLOCK)).unwrap_or(0);
    let padding = CLEAR_BLOCK - over;
    if padding < 4 { padding + CLEAR_BLOCK } else { padding }
}
