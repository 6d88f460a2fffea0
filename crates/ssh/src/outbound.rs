//! The sending half below messages: framing, protection, obfuscation, in order.
//!
//! Packets are sealed where they will be written from. Nothing here decides what to send.
//!
//! Source: RFC 4253 section 6; PROTOCOL.md 2.7 for the obfuscated phase.

use culvert_obfuscation::{Keystream, PaddingStyle, Prng, Seed, pad_kex_packet};

use crate::channel::MAX_DATA;
use crate::cipher::{HEADER_LEN, Sealer};
use crate::messages::number;
use crate::output_buffer::OutputBuffer;
use crate::shape::{MAX_PADDING, Shape};

/// Block size of plaintext packets. RFC 4253 section 6 asks for 8; the reference sends 16 (PROTOCOL.md 3.4).
const CLEAR_BLOCK: u8 = 16;

/// Bytes before the payload.
const HEAD: usize = HEADER_LEN;
/// Bytes of CHANNEL_DATA before its data.
const DATA_HEAD: usize = 9;

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
    shape: Shape,
    /// A packet could not be sealed: the connection must end.
    pub(crate) failed: bool,
    /// Sealed and not yet handed to the driver.
    pub(crate) ready: OutputBuffer,
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
            shape: Shape::new(seed),
            failed: false,
            ready: OutputBuffer::default(),
        }
    }

    /// Bytes and packets sealed since the last change of keys.
    pub(crate) fn since_keys(&self) -> (u64, u64) {
        (self.bytes_since_keys, self.packets_since_keys)
    }

    /// Obfuscates from here until NEWKEYS.
    pub(crate) fn obfuscate(&mut self, obfuscation: Obfuscation) {
        self.protection = Protection::Obfuscated(Box::new(obfuscation));
        self.shape.begin();
    }

    /// Chooses the padding form, once the peer's identification is known.
    pub(crate) fn set_padding_style(&mut self, style: PaddingStyle) {
        if let Protection::Obfuscated(obfuscation) = &mut self.protection {
            obfuscation.style = style;
        }
    }

    /// Bytes that come before packets: padding lines and the identification.
    pub(crate) fn text(&mut self, bytes: &[u8]) {
        let text = self.ready.extend(bytes.len());
        text.copy_from_slice(bytes);
        if let Protection::Obfuscated(obfuscation) = &mut self.protection {
            obfuscation.keystream.apply(text);
        }
    }

    /// Seals a message into [`Self::ready`].
    pub(crate) fn message(&mut self, payload: &[u8]) {
        match self.protection {
            Protection::Keyed(_) => {
                self.seal([payload, &[], &[]]);
                self.cover(payload.first().copied().unwrap_or_default());
            }
            Protection::Clear | Protection::Obfuscated(_) => self.clear(payload),
        }
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

    /// Seals one packet of channel data, given in two parts. RFC 4254 section 5.2.
    pub(crate) fn channel_data(&mut self, recipient: u32, parts: [&[u8]; 2]) {
        let len = parts.iter().map(|part| part.len()).sum();
        self.seal([&data_head(recipient, len), parts[0], parts[1]]);
        self.cover(number::CHANNEL_DATA);
    }

    /// Hides the length of the message just sealed, while that is still to be done.
    fn cover(&mut self, message: u8) {
        if let Some(ignore) = self.shape.after(message) {
            self.seal([&ignore.head, ignore.data, &[]]);
        }
    }

    /// Lets `read` fill up to `most` bytes of channel data straight into packets, which are then sealed where
    /// they lie. Returns what `read` returned.
    pub(crate) fn channel_data_from(
        &mut self,
        recipient: u32,
        most: usize,
        read: impl FnOnce(&mut [&mut [u8]]) -> usize,
    ) -> usize {
        const FULL: usize = MAX_DATA as usize;
        let Protection::Keyed(sealer) = &self.protection else { return 0 };
        let stride = sealer.packet_len(DATA_HEAD + FULL);
        let slots = most.div_ceil(FULL);
        // The last packet may be padded further.
        let spare = if self.shape.is_active() { usize::from(MAX_PADDING) } else { 0 };
        let region = self.ready.extend(slots * stride + spare);
        let mut room: Vec<&mut [u8]> = Vec::with_capacity(slots);
        let mut left = most;
        for slot in region.chunks_exact_mut(stride) {
            let len = left.min(FULL);
            left -= len;
            room.extend(slot.get_mut(HEAD + DATA_HEAD..HEAD + DATA_HEAD + len));
        }
        let filled = read(&mut room).min(most);
        // Full packets lie one behind the other without gaps; the last one may be shorter.
        self.ready.retract(slots * stride + spare);
        let mut left = filled;
        while left > 0 {
            let len = left.min(FULL);
            left -= len;
            self.seal_filled(recipient, len);
        }
        if filled > 0 {
            self.cover(number::CHANNEL_DATA);
        }
        filled
    }

    /// Seals channel data that lies in the storage already, where its packet will be.
    fn seal_filled(&mut self, recipient: u32, len: usize) {
        let Protection::Keyed(sealer) = &mut self.protection else { return };
        let payload_len = DATA_HEAD + len;
        let least = sealer.padding_len(payload_len);
        // Behind a full packet lies the next one.
        let padding =
            if len < MAX_DATA as usize { self.shape.padding(least, sealer.block_len()) } else { least };
        let total = sealer.packet_len(payload_len) + usize::from(padding - least);
        let packet = self.ready.extend(total);
        put(packet, 0, &Sealer::header(payload_len, padding));
        put(packet, HEAD, &data_head(recipient, len));
        put(packet, HEAD + payload_len, self.filler.get(..usize::from(padding)).unwrap_or_default());
        if sealer.seal(self.sequence, packet).is_err() {
            self.ready.retract(total);
            self.failed = true;
        }
        self.count(total);
    }

    /// Lays a packet out at the end of the storage and seals it in place. RFC 4253 section 6.
    fn seal(&mut self, parts: [&[u8]; 3]) {
        let Protection::Keyed(sealer) = &mut self.protection else { return };
        let payload_len = parts.iter().map(|part| part.len()).sum();
        let least = sealer.padding_len(payload_len);
        let padding = self.shape.padding(least, sealer.block_len());
        let total = sealer.packet_len(payload_len) + usize::from(padding - least);
        let packet = self.ready.extend(total);
        put(packet, 0, &Sealer::header(payload_len, padding));
        let mut at = HEAD;
        for part in parts {
            put(packet, at, part);
            at += part.len();
        }
        put(packet, at, self.filler.get(..usize::from(padding)).unwrap_or_default());
        if sealer.seal(self.sequence, packet).is_err() {
            // Whatever went wrong, what is not sealed must not leave.
            self.ready.retract(total);
            self.failed = true;
        }
        self.count(total);
    }

    /// A packet before keys are in use, padded further and hidden in the obfuscated phase.
    fn clear(&mut self, payload: &[u8]) {
        let padding = clear_padding_len(payload.len());
        let mut packet = Vec::with_capacity(payload.len() + HEAD + 255);
        packet.extend_from_slice(&Sealer::header(payload.len(), padding));
        packet.extend_from_slice(payload);
        packet.extend_from_slice(&self.clear_padding.bytes(usize::from(padding)));
        if let Protection::Obfuscated(obfuscation) = &mut self.protection {
            // Fails only for bytes that are not one packet, which these are.
            let padded = pad_kex_packet(&mut obfuscation.padding, obfuscation.style, &mut packet);
            debug_assert!(padded.is_ok());
            obfuscation.keystream.apply(&mut packet);
        }
        self.ready.push(&packet);
        self.count(packet.len());
    }

    fn count(&mut self, bytes: usize) {
        self.bytes_since_keys += bytes as u64;
        self.packets_since_keys += 1;
        // RFC 4253 section 6.4: the sequence number wraps.
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// Copies `bytes` into `packet`; the caller has sized it.
fn put(packet: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = packet.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// CHANNEL_DATA up to its data.
fn data_head(recipient: u32, len: usize) -> [u8; DATA_HEAD] {
    let [a, b, c, d] = recipient.to_be_bytes();
    let [e, f, g, h] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [number::CHANNEL_DATA, a, b, c, d, e, f, g, h]
}

/// At least 4 bytes, and the whole packet a multiple of the block. RFC 4253 section 6.
fn clear_padding_len(payload_len: usize) -> u8 {
    let over = u8::try_from((5 + payload_len) % usize::from(CLEAR_BLOCK)).unwrap_or(0);
    let padding = CLEAR_BLOCK - over;
    if padding < 4 { padding + CLEAR_BLOCK } else { padding }
}
