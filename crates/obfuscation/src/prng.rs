//! The seeded generator: one ChaCha20 stream, and the draws made from it. Both ends of a tunnel repeat each
//! other's draws, so how many bytes every method consumes is part of the wire. Not for keys.
//! Source: `PROTOCOL.md` 1.1 and 1.2.

use std::fmt;
use std::time::Duration;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use data_encoding::{BASE64, HEXLOWER};

use crate::Seed;

/// Where the stream changes its nonce, in bytes (`PROTOCOL.md` 1.1).
const REKEY_AT: u64 = (1 << 38) - 64;

/// A deterministic stream of bytes and draws from a [`Seed`].
pub struct Prng {
    seed: Seed,
    stream: ChaCha20,
    used: u64,
    rekeys: u64,
}

impl Prng {
    /// A generator at the start of the seed's stream.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self { stream: stream(seed, 0), seed: seed.clone(), used: 0, rekeys: 1 }
    }

    /// A generator on the seed derived from `seed` for `label`, see [`Seed::derive`].
    #[must_use]
    pub fn derived(seed: &Seed, label: &str) -> Self {
        Self::new(&seed.derive(label))
    }

    /// Overwrites `out` with the next bytes of the stream.
    pub fn fill(&mut self, out: &mut [u8]) {
        let len = out.len() as u64;
        if self.used.saturating_add(len) >= REKEY_AT {
            self.stream = stream(&self.seed, self.rekeys);
            self.rekeys = self.rekeys.wrapping_add(1);
            self.used = 0;
        }
        out.fill(0);
        self.stream.apply_keystream(out);
        self.used = self.used.saturating_add(len);
    }

    /// The next `len` bytes. The caller bounds `len`.
    #[must_use]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.fill(&mut out);
        out
    }

    /// The next 8 bytes, big endian.
    pub fn uint64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// A number in `0..2^63`.
    pub fn int63(&mut self) -> i64 {
        (self.uint64() & (u64::MAX >> 1)).cast_signed()
    }

    /// A number in `0..2^31`.
    pub fn int31(&mut self) -> i32 {
        Draw::int31(self)
    }

    /// Any 32 bit number.
    pub fn uint32(&mut self) -> u32 {
        (self.int63() >> 31) as u32
    }

    /// A number in `0..n`; 0 and no draw when `n <= 0`.
    pub fn int31n(&mut self, n: i32) -> i32 {
        Draw::int31n(self, n)
    }

    /// A number in `0..n`; 0 and no draw when `n <= 0`. Not [`Prng::intn`]: the two consume alike but reduce
    /// differently.
    pub fn int63n(&mut self, n: i64) -> i64 {
        Draw::int63n(self, n)
    }

    /// A number in `0..n`; 0 and no draw when `n <= 0`. `n == 1` still draws.
    pub fn intn(&mut self, n: i64) -> i64 {
        Draw::intn(self, n)
    }

    /// An even coin.
    pub fn flip_coin(&mut self) -> bool {
        self.int31n(2) == 1
    }

    /// True with probability `weight`, which is capped at 1. Always consumes 8 bytes.
    pub fn flip_weighted_coin(&mut self, weight: f64) -> bool {
        let fraction = self.int63() as f64 / i64::MAX as f64;
        fraction > 1.0 - if weight > 1.0 { 1.0 } else { weight }
    }

    /// A permutation of `0..n`.
    #[must_use]
    pub fn perm(&mut self, n: usize) -> Vec<usize> {
        let mut perm = Vec::with_capacity(n);
        for i in 0..n {
            // Inside-out shuffle: the new last element changes places with any, itself included.
            let j = self.below(i + 1);
            perm.push(i);
            perm.swap(i, j);
        }
        perm
    }

    /// Shuffles in place. Reduces its draws in another way than [`Prng::perm`] (`PROTOCOL.md` 1.2).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = match u32::try_from(i + 1) {
                Ok(n) => self.lemire(n) as usize,
                Err(_) => self.below(i + 1),
            };
            items.swap(i, j);
        }
    }

    /// One of `items`, by [`Prng::intn`]; `None` and no draw when there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len());
        items.get(index)
    }

    /// A number in `min..=max`. A negative `min` counts as 0; `max < min` gives `min` and no draw.
    pub fn range(&mut self, min: i64, max: i64) -> i64 {
        let min = min.max(0);
        if max < min {
            return min;
        }
        min + self.intn((max - min).wrapping_add(1))
    }

    /// A number in `min..=max`; `max < min` gives `min` and no draw.
    pub fn range_u32(&mut self, min: u32, max: u32) -> u32 {
        if max < min {
            return min;
        }
        let span = i64::from(max - min) + 1;
        min + self.int63n(span) as u32
    }

    /// Between `min` and `max` bytes, both included: first the length, then the bytes. The caller bounds them.
    #[must_use]
    pub fn padding(&mut self, min: usize, max: usize) -> Vec<u8> {
        let len = self.range_usize(min, max);
        self.bytes(len)
    }

    /// A duration in `min..max` (the maximum is excluded); `max <= min` gives `min` and no draw.
    pub fn period(&mut self, min: Duration, max: Duration) -> Duration {
        let span = max.saturating_sub(min).as_nanos();
        let drawn = self.int63n(i64::try_from(span).unwrap_or(i64::MAX));
        min.saturating_add(Duration::from_nanos(drawn.cast_unsigned()))
    }

    /// `n` give or take the given factor: for 100 and 0.1, a number in `90..=110`.
    pub fn jitter(&mut self, n: i64, factor: f64) -> i64 {
        let reach = (n as f64 * factor).ceil() as i64;
        let drawn = self.int63n(reach.wrapping_mul(2).wrapping_add(1));
        n.wrapping_add(drawn).wrapping_sub(reach)
    }

    /// Lower-case hex of the next `len` bytes. The caller bounds `len`.
    #[must_use]
    pub fn hex_string(&mut self, len: usize) -> String {
        HEXLOWER.encode(&self.bytes(len))
    }

    /// Standard padded base64 of the next `len` bytes. The caller bounds `len`.
    #[must_use]
    pub fn base64_string(&mut self, len: usize) -> String {
        BASE64.encode(&self.bytes(len))
    }

    /// [`Prng::range`] for lengths.
    pub(crate) fn range_usize(&mut self, min: usize, max: usize) -> usize {
        let drawn = self.range(as_i64(min), as_i64(max));
        usize::try_from(drawn).unwrap_or(min)
    }

    /// [`Prng::intn`] for indices: below `n`, or 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.intn(as_i64(n))).unwrap_or(0)
    }

    /// A number in `0..n` by multiplication, `n > 0`: what shuffling uses (`PROTOCOL.md` 1.2).
    fn lemire(&mut self, n: u32) -> u32 {
        let wide = u64::from(n);
        let mut product = u64::from(self.uint32()) * wide;
        if (product as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.uint32()) * wide;
            }
        }
        (product >> 32) as u32
    }
}

impl Draw for Prng {
    fn draw63(&mut self) -> i64 {
        self.int63()
    }
}

/// The bounded draws over any source of 63-bit numbers (`PROTOCOL.md` 1.2).
pub(crate) trait Draw {
    /// A number in `0..2^63`.
    fn draw63(&mut self) -> i64;

    /// A number in `0..2^31`.
    fn int31(&mut self) -> i32 {
        (self.draw63() >> 32) as i32
    }

    /// A number in `0..n`, from 31 bits.
    fn int31n(&mut self, n: i32) -> i32 {
        if n <= 0 {
            return 0;
        }
        if n & (n - 1) == 0 {
            return self.int31() & (n - 1);
        }
        let excess = ((1_u32 << 31) % n.cast_unsigned()).cast_signed();
        let max = i32::MAX - excess;
        loop {
            let drawn = self.int31();
            if drawn <= max {
                return drawn % n;
            }
        }
    }

    /// A number in `0..n`, from 63 bits.
    fn int63n(&mut self, n: i64) -> i64 {
        if n <= 0 {
            return 0;
        }
        if n & (n - 1) == 0 {
            return self.draw63() & (n - 1);
        }
        let excess = ((1_u64 << 63) % n.cast_unsigned()).cast_signed();
        let max = i64::MAX - excess;
        loop {
            let drawn = self.draw63();
            if drawn <= max {
                return drawn % n;
            }
        }
    }

    /// A number in `0..n`, from 31 bits where they are enough.
    fn intn(&mut self, n: i64) -> i64 {
        match i32::try_from(n) {
            Ok(small) => self.int31n(small).into(),
            Err(_) => self.int63n(n),
        }
    }
}

impl fmt::Debug for Prng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prng([redacted])")
    }
}

fn stream(seed: &Seed, rekeys: u64) -> ChaCha20 {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&rekeys.to_be_bytes());
    ChaCha20::new(seed.as_bytes().into(), &nonce.into())
}

fn as_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
