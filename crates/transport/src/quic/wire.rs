//! How packets are hidden: the key, the form of a datagram, how long its padding may be, and how a server tells hidden packets from
//! plain ones. Takes and gives bytes only. Source: TRANSPORTS.md 3.4, 3.5.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

/// Bytes before what is hidden.
pub const NONCE_LEN: usize = 12;
/// What hiding adds to a packet at least: the nonce and the length of the padding.
pub const OVERHEAD: usize = NONCE_LEN + 1;
/// The longest datagram.
pub const MAX_DATAGRAM: usize = 1452;
/// The shortest Initial that a server takes, without what hides it. RFC 9000 section 14.1.
pub const MIN_INITIAL: usize = 1200;

const KEY_LEN: usize = 32;
const MAX_PADDING: usize = 255;
/// Packets and their padding together have at most so many bytes.
const PADDED: usize = 1280;
/// Draws of a nonce until the result does not look like QUIC: one in 2^36 does.
const MOST_DRAWS: usize = 8;
/// RFC 9000 section 17: set in every packet of version 1.
const FIXED_BIT: u8 = 0x40;
const LONG_HEADER: u8 = 0x80;

/// Hides and reveals packets; both directions use the same.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_LEN]>);

impl Key {
    /// From the text that the server's clients know, not what it encodes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        struct Length;
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                KEY_LEN
            }
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"quic-obfuscation-key");
        let filled = salt.extract(text.as_bytes()).expand(&[], Length).and_then(|okm| okm.fill(&mut *key));
        filled.expect("a key is shorter than 255 digests");
        Self(key)
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn apply(&self, nonce: &[u8; NONCE_LEN], bytes: &mut [u8]) {
        ChaCha20::new((&*self.0).into(), nonce.into()).apply_keystream(bytes);
    }

    /// Appends the datagram of a packet. Draws again if the result looks like plain QUIC, which a server would take it for.
    /// `padding` is at most 255.
    pub fn seal(&self, packet: &[u8], padding: u8, draw: &mut dyn Draw, out: &mut Vec<u8>) {
        let start = out.len();
        for _ in 0..MOST_DRAWS {
            let nonce = draw.nonce();
            out.extend_from_slice(&nonce);
            let hidden = out.len();
            out.push(padding);
            out.resize(hidden + 1 + usize::from(padding), 0);
            draw.fill(out.get_mut(hidden + 1..).unwrap_or_default());
            out.extend_from_slice(packet);
            self.apply(&nonce, out.get_mut(hidden..).unwrap_or_default());
            if !looks_like_quic(out.get(start..).unwrap_or_default()) {
                return;
            }
            out.truncate(start);
        }
    }

    /// Reveals a datagram in place; where the packet now is.
    #[must_use]
    pub fn open(&self, datagram: &mut [u8]) -> Option<Range<usize>> {
        let len = datagram.len();
        let (nonce, hidden) = datagram.split_first_chunk_mut::<NONCE_LEN>()?;
        self.apply(nonce, hidden);
        let start = OVERHEAD + usize::from(*hidden.first()?);
        (start <= len).then_some(start..len)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted QUIC obfuscation key]")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&*self.0, &*other.0).is_ok()
    }
}

impl Eq for Key {}

/// Where nonces and padding come from.
pub trait Draw {
    /// Never the same twice.
    fn nonce(&mut self) -> [u8; NONCE_LEN];
    /// Fills with arbitrary bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// The longest padding of a packet. Full-size packets have none, so they stay equal.
#[must_use]
pub fn max_padding(packet_len: usize) -> u8 {
    u8::try_from(PADDED.saturating_sub(packet_len).min(MAX_PADDING)).unwrap_or(u8::MAX)
}

/// Whether a server takes the datagram for the beginning of plain QUIC: version 1, or a kind that is no longer spoken.
#[must_use]
pub fn looks_like_quic(datagram: &[u8]) -> bool {
    const OLD: &[u8] = b"CHLO";
    is_initial(datagram)
        || [29, 31, 34].into_iter().any(|at| datagram.get(at..at + OLD.len()).is_some_and(|it| it == OLD))
}

/// Whether it begins like an Initial of version 1.
#[must_use]
pub fn is_initial(packet: &[u8]) -> bool {
    matches!(packet, [first, 0, 0, 0, 1, ..] if first >> 4 == 0xC)
}

/// Whether it has a long header. RFC 9000 section 17.2.
#[must_use]
pub fn has_long_header(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & LONG_HEADER != 0)
}

/// What is known of the packets of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// Nothing yet.
    #[default]
    New,
    /// They are not hidden.
    Plain,
    /// They are.
    Hidden,
}

impl Flow {
    /// Where in a received datagram its packet is, which is revealed in place; `None` where there is none. What begins like plain QUIC
    /// makes the flow plain, whatever it was.
    pub fn receive(&mut self, key: &Key, datagram: &mut [u8]) -> Option<Range<usize>> {
        if is_initial(datagram) {
            *self = Self::Plain;
        }
        if *self == Self::Plain {
            return Some(0..datagram.len());
        }
        let packet = key.open(datagram)?;
        let bytes = datagram.get(packet.clone()).unwrap_or_default();
        // Decoys end here.
        if bytes.first()? & FIXED_BIT == 0 {
            return None;
        }
        if *self == Self::New && has_long_header(bytes) && bytes.len() < MIN_INITIAL {
            return None;
        }
        *self = Self::Hidden;
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nonces that count.
    struct Count(u8);

    impl Draw for Count {
        fn nonce(&mut self) -> [u8; NONCE_LEN] {
            self.0 += 1;
            [self.0; NONCE_LEN]
        }

        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0xAA);
        }
    }

    fn sealed(packet: &[u8], padding: u8) -> Vec<u8> {
        let mut out = vec![9];
        Key::new("key").seal(packet, padding, &mut Count(0), &mut out);
        out.split_off(1)
    }

    #[test]
    fn what_is_sealed_opens() {
        for (len, padding) in [(0, 0), (1, 255), (40, 17), (1280, 0), (1439, 0)] {
            let packet = vec![0x41; len];
            let mut datagram = sealed(&packet, padding);
            assert_eq!(datagram.len(), OVERHEAD + usize::from(padding) + len);
            let opened = Key::new("key").open(&mut datagram).unwrap();
            assert_eq!(datagram[opened], packet);
        }
    }

    #[test]
    fn what_is_cut_or_has_too_much_padding_is_refused() {
        let key = Key::new("key");
        let datagram = sealed(&[0x41; 3], 20);
        for len in 0..OVERHEAD + 20 {
            assert_eq!(key.open(&mut datagram[..len].to_vec()), None, "{len}");
        }
        assert_eq!(key.open(&mut datagram[..OVERHEAD + 20].to_vec()), Some(33..33));
    }

    #[test]
    fn what_would_look_like_quic_is_drawn_again() {
        /// First the nonce that an Initial begins with.
        struct Unlucky(Vec<[u8; NONCE_LEN]>);
        impl Draw for Unlucky {
            fn nonce(&mut self) -> [u8; NONCE_LEN] {
                self.0.pop().unwrap()
            }
            fn fill(&mut self, _: &mut [u8]) {}
        }
        let unlucky = [0xC0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        let mut out = Vec::new();
        let key = Key::new("key");
        key.seal(&[0x41, 1, 2], 0, &mut Unlucky(vec![[7; NONCE_LEN], unlucky]), &mut out);
        assert_eq!(out.get(..NONCE_LEN), Some(&[7; NONCE_LEN][..]));
        let opened = key.open(&mut out).unwrap();
        assert_eq!(out[opened], [0x41, 1, 2]);
    }

    #[test]
    fn flows_keep_what_they_are() {
        let key = Key::new("key");
        let mut initial = vec![0xC3, 0, 0, 0, 1];
        initial.resize(MIN_INITIAL, 5);
        let mut flow = Flow::default();
        assert_eq!(flow.receive(&key, &mut sealed(&initial, 5)), Some(18..1218));
        assert_eq!(flow, Flow::Hidden);
        assert_eq!(flow.receive(&key, &mut sealed(&[0; 40], 0)), None, "a decoy");
        assert_eq!(flow.receive(&key, &mut [0x41; 12].to_vec()), None);
        assert_eq!(flow.receive(&key, &mut initial.clone()), Some(0..MIN_INITIAL));
        assert_eq!(flow.receive(&key, &mut [0x41; 12].to_vec()), Some(0..12));
        assert_eq!(flow, Flow::Plain);
        initial.pop();
        assert_eq!(Flow::default().receive(&key, &mut sealed(&initial, 5)), None);
    }
}
