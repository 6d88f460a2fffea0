//! Nonces and padding from the system's random source, a good many at a time.

use culvert_obfuscation::{Prng, Seed, Transform};

use super::wire::{Draw, NONCE_LEN};

const STOCK: usize = 4096;

/// How nonces are rewritten. TRANSPORTS.md 3.4.
#[derive(Clone, Debug)]
pub struct NonceTransform {
    /// What reports call it.
    pub name: String,
    /// What rewrites their hexadecimal.
    pub transform: Transform,
    /// Of this dial.
    pub seed: Seed,
}

impl PartialEq for NonceTransform {
    /// Specs of one name are the same.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.seed == other.seed
    }
}

impl Eq for NonceTransform {}

/// Draws.
pub(super) struct Draws {
    stock: Box<[u8; STOCK]>,
    used: usize,
    transform: Option<NonceTransform>,
    lengths: Option<Prng>,
}

impl Draws {
    /// What a plan leaves to chance; lengths too, without `lengths`.
    pub(super) fn new(transform: Option<NonceTransform>, lengths: Option<Prng>) -> Self {
        Self { stock: Box::new([0; STOCK]), used: STOCK, transform, lengths }
    }

    /// A number from 0 to `most`.
    pub(super) fn up_to(&mut self, most: u8) -> u8 {
        if let Some(lengths) = &mut self.lengths {
            return u8::try_from(lengths.range_u32(0, most.into())).unwrap_or(most);
        }
        let mut bytes = [0; 2];
        self.fill(&mut bytes);
        // The remainder is as good as even: 65536 is much more than 256.
        u8::try_from(u16::from_be_bytes(bytes) % (u16::from(most) + 1)).unwrap_or(most)
    }
}

impl Draw for Draws {
    fn nonce(&mut self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        self.fill(&mut nonce);
        let rewritten = self.transform.as_ref().and_then(|it| it.transform.apply_hex(&it.seed, &nonce).ok());
        // What cannot be rewritten is sent as it is: the nonce is for the look only where a transform is.
        rewritten.and_then(|bytes| bytes.try_into().ok()).unwrap_or(nonce)
    }

    fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.used == STOCK {
                let filled = aws_lc_rs::rand::fill(&mut *self.stock);
                filled.expect("the system's random source does not fail once it has worked");
                self.used = 0;
            }
            let fresh = self.stock.get_mut(self.used..).unwrap_or_default();
            let len = out.len().min(fresh.len());
            let (now, later) = out.split_at_mut(len);
            now.copy_from_slice(fresh.get(..len).unwrap_or_default());
            self.used += len;
            out = later;
        }
    }
}
