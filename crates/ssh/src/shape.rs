//! How much longer than needed the first encrypted packets of an obfuscated connection are, so that what every tunnel
//! says at its start has no size by which it is known. Not the padding before NEWKEYS: that is the obfuscation's.
//!
//! Any SSH peer takes this: padding of up to 255 bytes (RFC 4253 section 6), and IGNORE (section 11.2). PROTOCOL.md 12.3.

use culvert_obfuscation::{Prng, Seed};

use crate::messages::{Layer, layer, number};

/// Packets with more padding than they need.
const PADDED: u32 = 64;
/// Messages that an IGNORE follows.
const FOLLOWED: u32 = 24;
/// Most data of such an IGNORE. A length that is hidden in whole blocks needs many blocks to hide in.
const MAX_IGNORED: usize = 1024;
/// Bytes before the data of an IGNORE.
const IGNORE_HEAD: usize = 5;
/// What an IGNORE holds: nothing, as nobody sees it.
static NOTHING: [u8; MAX_IGNORED] = [0; MAX_IGNORED];
/// Most padding of a packet. RFC 4253 section 6.
pub(crate) const MAX_PADDING: u8 = 255;

/// Chooses the lengths.
pub(crate) struct Shape {
    prng: Prng,
    padded: u32,
    followed: u32,
}

/// An IGNORE in two parts.
pub(crate) struct Ignore {
    pub(crate) head: [u8; IGNORE_HEAD],
    pub(crate) data: &'static [u8],
}

impl Shape {
    /// Changes nothing until [`Self::begin`].
    pub(crate) fn new(seed: &Seed) -> Self {
        Self { prng: Prng::derived(seed, "culvert-shape"), padded: 0, followed: 0 }
    }

    /// From the next encrypted packet on.
    pub(crate) fn begin(&mut self) {
        self.padded = PADDED;
        self.followed = FOLLOWED;
    }

    /// True while packets are still padded, so that there must be room for it.
    pub(crate) fn is_active(&self) -> bool {
        self.padded > 0
    }

    /// The padding of the next packet, which needs `least` and has whole blocks of `block`.
    pub(crate) fn padding(&mut self, least: u8, block: usize) -> u8 {
        if self.padded == 0 {
            return least;
        }
        self.padded -= 1;
        let block = u8::try_from(block).unwrap_or(MAX_PADDING);
        let blocks = MAX_PADDING.saturating_sub(least).checked_div(block).unwrap_or(0);
        let more = self.prng.range(0, i64::from(blocks));
        u8::try_from(more).unwrap_or(0).saturating_mul(block).saturating_add(least)
    }

    /// What follows a message with this number, if anything. Key exchange is left alone, and so is EXT_INFO.
    pub(crate) fn after(&mut self, message: u8) -> Option<Ignore> {
        if self.followed == 0 || !matches!(layer(message), Layer::Authentication | Layer::Connection) {
            return None;
        }
        self.followed -= 1;
        let most = i64::try_from(MAX_IGNORED).unwrap_or(i64::MAX);
        let len = usize::try_from(self.prng.range(0, most)).unwrap_or(0);
        let [a, b, c, d] = u32::try_from(len).unwrap_or(0).to_be_bytes();
        Some(Ignore { head: [number::IGNORE, a, b, c, d], data: NOTHING.get(..len).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_vary_within_their_bounds_and_end() {
        for seed in 0..20 {
            let mut shape = Shape::new(&Seed::from_bytes([seed; 32]));
            assert_eq!(shape.padding(4, 16), 4, "seed {seed}");
            assert!(shape.after(number::CHANNEL_OPEN).is_none(), "seed {seed}");
            shape.begin();
            let paddings: Vec<_> = (0..PADDED).map(|_| shape.padding(7, 16)).collect();
            assert!(paddings.iter().all(|padding| (padding - 7) % 16 == 0), "seed {seed}: {paddings:?}");
            let different: std::collections::BTreeSet<_> = paddings.iter().collect();
            assert!(different.len() > 10, "seed {seed}: {paddings:?}");
            assert_eq!(shape.padding(7, 16), 7, "seed {seed}");
            assert!(!shape.is_active());
            assert!(shape.after(number::KEXINIT).is_none() && shape.after(number::EXT_INFO).is_none());
            for _ in 0..FOLLOWED {
                let ignore = shape.after(number::CHANNEL_DATA).unwrap();
                assert_eq!(ignore.head[1..], u32::try_from(ignore.data.len()).unwrap().to_be_bytes());
            }
            assert!(shape.after(number::CHANNEL_DATA).is_none(), "seed {seed}");
        }
    }
}
