//! SHA-1 of several short messages at once, a message in each lane of a vector: for the chains of hashes that keys are made of
//! (`PROTOCOL.md` 2.2). Each round of a chain hashes what the round before gave, so that the message is always one block of 20 bytes and
//! the same padding. What the processor can do is asked at run time, and where hashing one after the other is as fast, lanes are not
//! used. Source: FIPS 180-4 sections 4.2.1, 5.1.1, 5.3.1 and 6.1.

#[cfg(target_arch = "x86_64")]
use fearless_simd::u32x8;
use fearless_simd::{Level, Simd, SimdBase, SimdInt, dispatch, u32x4};
use zeroize::Zeroize;

/// The most chains that go on at once.
pub(crate) const LANES: usize = 8;
const WORDS: usize = 5;

/// A hash, as words.
pub(crate) type Hash = [u32; WORDS];
/// The hashes of all lanes, of each word those of all.
type Words = [[u32; LANES]; WORDS];

const START: Hash = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
/// Each for twenty steps.
const CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];
/// What follows a message, and its length in bits, which is the last word of the block.
const END: u32 = 0x8000_0000;
const BITS: u32 = 160;

/// What a round of one chain costs without lanes in nanoseconds, measured on a Xeon of 2.5 GHz without instructions for SHA-1; with them
/// by what is published of them.
const ALONE: usize = 127;
const ALONE_WITH_INSTRUCTIONS: usize = 50;

/// A way to hash in lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Eight lanes, with instructions that rotate and mix.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Eight lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Four lanes: SSE2 or NEON.
    Four,
}

impl Engine {
    /// The fastest that this processor has.
    pub(crate) fn of_this_processor() -> Option<Self> {
        let level = Level::new();
        #[cfg(target_arch = "x86_64")]
        if level.as_avx2().is_some() {
            return Some(if level.as_avx512().is_some() { Self::Avx512 } else { Self::Avx2 });
        }
        (!level.is_fallback()).then_some(Self::Four)
    }

    /// How many chains go on at once.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => LANES,
            Self::Four => LANES / 2,
        }
    }

    /// Whether so many chains, no more than there are lanes, are done sooner in lanes than one after the other.
    pub(crate) fn pays_for(self, chains: usize) -> bool {
        let alone = if has_instructions() { ALONE_WITH_INSTRUCTIONS } else { ALONE };
        chains * alone > self.together()
    }

    /// What a round of all lanes costs, as [`ALONE`].
    const fn together(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 85,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 160,
            Self::Four => 180,
        }
    }

    /// Hashes each of these, no more than there are lanes, so many times. False, and nothing is done, if the processor cannot do it.
    pub(crate) fn hash(self, hashes: &mut [Hash], times: usize) -> bool {
        let mut words = Words::default();
        for (lane, hash) in hashes.iter().enumerate() {
            for (lanes, word) in words.iter_mut().zip(hash) {
                lanes.iter_mut().skip(lane).take(1).for_each(|to| *to = *word);
            }
        }
        let done = self.hash_words(&mut words, times);
        if done {
            for (lane, hash) in hashes.iter_mut().enumerate() {
                for (lanes, word) in words.iter().zip(hash) {
                    lanes.iter().skip(lane).take(1).for_each(|from| *word = *from);
                }
            }
        }
        words.zeroize();
        done
    }

    fn hash_words(self, words: &mut Words, times: usize) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Level::new().as_avx512().map(|simd| wide(simd, words, times)).is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Level::new().as_avx2().map(|simd| wide(simd, words, times)).is_some(),
            Self::Four => {
                dispatch!(Level::baseline(), simd => in_lanes::<_, u32x4<_>>(simd, words, times));
                true
            }
        }
    }
}

/// Whether the processor has instructions for SHA-1.
fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Eight lanes with all that the level has.
#[cfg(target_arch = "x86_64")]
fn wide<S: Simd>(simd: S, words: &mut Words, times: usize) {
    simd.vectorize(
        #[inline(always)]
        || in_lanes::<_, u32x8<_>>(simd, words, times),
    );
}

/// Hashes the first lanes, as many as a vector has. Always made part of its caller, and so of what that may use.
#[inline(always)]
fn in_lanes<S: Simd, V: SimdBase<S, Element = u32> + SimdInt<S>>(simd: S, words: &mut Words, times: usize) {
    let mut hash = START.map(
        #[inline(always)]
        |word| V::splat(simd, word),
    );
    for (vector, lanes) in hash.iter_mut().zip(words.iter()) {
        *vector = V::from_slice(simd, lanes.get(..V::LEN).unwrap_or_default());
    }
    rounds(simd, &mut hash, times);
    for (vector, lanes) in hash.iter().zip(words) {
        vector.store_slice(lanes.get_mut(..V::LEN).unwrap_or_default());
    }
}

/// Written out, so that the words of a block that are known vanish.
#[inline(always)]
fn rounds<S: Simd, V: SimdBase<S, Element = u32> + SimdInt<S>>(simd: S, hash: &mut [V; WORDS], times: usize) {
    let start = START.map(
        #[inline(always)]
        |word| V::splat(simd, word),
    );
    let constants = CONSTANTS.map(
        #[inline(always)]
        |word| V::splat(simd, word),
    );
    let (end, none, bits) = (V::splat(simd, END), V::splat(simd, 0), V::splat(simd, BITS));
    for _ in 0..times {
        let [h0, h1, h2, h3, h4] = *hash;
        let mut w = [h0, h1, h2, h3, h4, end, none, none, none, none, none, none, none, none, none, bits];
        let [mut a, mut b, mut c, mut d, mut e] = start;
        macro_rules! choose {
            () => {
                d ^ (b & (c ^ d))
            };
        }
        macro_rules! parity {
            () => {
                b ^ (c ^ d)
            };
        }
        macro_rules! majority {
            () => {
                c ^ ((b ^ c) & (c ^ d))
            };
        }
        macro_rules! step {
            ($mix:ident, $t:expr) => {
                if $t >= 16 {
                    let next = (w[($t + 13) & 15] ^ w[($t + 8) & 15]) ^ (w[($t + 2) & 15] ^ w[$t & 15]);
                    w[$t & 15] = (next + next) | (next >> 31);
                }
                // What has to wait for `a` comes last.
                let rest = (e + (w[$t & 15] + constants[$t / 20])) + $mix!();
                let next = ((a << 5) | (a >> 27)) + rest;
                (e, d, c, b, a) = (d, c, (b << 30) | (b >> 2), a, next);
            };
        }
        macro_rules! steps {
            ($mix:ident, $($t:expr),*) => {$(
                step!($mix, $t);
                step!($mix, $t + 1);
                step!($mix, $t + 2);
                step!($mix, $t + 3);
                step!($mix, $t + 4);
            )*};
        }
        steps!(choose, 0, 5, 10, 15);
        steps!(parity, 20, 25, 30, 35);
        steps!(majority, 40, 45, 50, 55);
        steps!(parity, 60, 65, 70, 75);
        let [s0, s1, s2, s3, s4] = start;
        *hash = [s0 + a, s1 + b, s2 + c, s3 + d, s4 + e];
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

    use super::*;
    use crate::{Prng, Seed};

    const ENGINES: &[Engine] = &[
        #[cfg(target_arch = "x86_64")]
        Engine::Avx512,
        #[cfg(target_arch = "x86_64")]
        Engine::Avx2,
        Engine::Four,
    ];

    #[test]
    fn each_lane_is_a_chain_of_sha1() {
        let mut random = Prng::new(&Seed::from_bytes([3; 32]));
        for engine in ENGINES {
            for chains in 1..=engine.lanes() {
                for times in [0, 1, 2, 17] {
                    let started: Vec<Vec<u8>> = (0..chains).map(|_| random.bytes(20)).collect();
                    let mut hashes: Vec<Hash> = started.iter().map(|bytes| words(bytes)).collect();
                    if !engine.hash(&mut hashes, times) {
                        assert_ne!(*engine, Engine::Four, "all have it");
                        continue;
                    }
                    for (started, hash) in started.iter().zip(&hashes) {
                        let mut expected = started.clone();
                        for _ in 0..times {
                            expected = digest(&SHA1_FOR_LEGACY_USE_ONLY, &expected).as_ref().to_vec();
                        }
                        assert_eq!(*hash, words(&expected), "{engine:?}, {chains} chains, {times} rounds");
                    }
                }
            }
        }
    }

    #[test]
    fn the_engine_of_this_processor_runs_on_it() {
        let Some(engine) = Engine::of_this_processor() else { return };
        assert!(engine.hash(&mut [Hash::default()], 1));
        assert!(engine.pays_for(engine.lanes()) || !engine.pays_for(1));
    }

    fn words(bytes: &[u8]) -> Hash {
        let (words, _) = bytes.as_chunks::<4>();
        std::array::from_fn(|word| u32::from_be_bytes(words[word]))
    }
}
