//! Numbers without pattern for sizes and noise, the same for the same seed. Not secret.

/// A generator (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
pub(super) struct Chance(u64);

impl From<u64> for Chance {
    fn from(seed: u64) -> Self {
        // Never 0, and not alike for seeds that are.
        let mixed = (seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Self((mixed ^ mixed >> 31) | 1)
    }
}

impl Chance {
    /// Any number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from `least` to `most`.
    pub(super) fn between(&mut self, least: usize, most: usize) -> usize {
        let range = u64::try_from(most.saturating_sub(least)).unwrap_or(0).saturating_add(1);
        least + usize::try_from((self.next() >> 8) % range).unwrap_or(0)
    }

    /// A number a few in a hundred off.
    pub(super) fn near(&mut self, number: usize) -> usize {
        self.between(number - number / 20, number + number / 20)
    }

    /// One of several.
    pub(super) fn one_of<'a, T>(&mut self, several: &'a [T]) -> Option<&'a T> {
        several.get(self.between(0, several.len().checked_sub(1)?))
    }
}
