//! Changes of inputs that tend to break parsers. No substitute for libFuzzer, which sees what its changes reach; this needs no
//! special compiler and repeats itself from a seed.

use culvert_obfuscation::{Prng, Seed};

/// The longest input made.
const MAX_LEN: usize = 64 * 1024;
/// At most so many changes to one input.
const MAX_CHANGES: i64 = 6;
/// Numbers at which lengths and counts go wrong.
const EDGES: &[u64] =
    &[0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX];

/// Makes inputs from examples, the same ones for the same seed.
pub struct Mutator {
    prng: Prng,
    examples: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, examples: Vec<Vec<u8>>) -> Self {
        let mut bytes = [0; 32];
        for (byte, of_seed) in bytes.iter_mut().zip(seed.to_be_bytes()) {
            *byte = of_seed;
        }
        Self { prng: Prng::new(&Seed::from_bytes(bytes)), examples }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.example();
        for _ in 0..=self.prng.intn(MAX_CHANGES) {
            self.change(&mut input);
        }
        input.truncate(MAX_LEN);
        input
    }

    fn example(&mut self) -> Vec<u8> {
        self.prng.pick(&self.examples).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(8) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                let random = self.prng.bytes(1);
                input.splice(at..(at + 1).min(input.len()).max(at), random);
            }
            2 => input.truncate(at),
            3 => {
                let until = at + self.below(input.len() - at + 1);
                input.drain(at..until);
            }
            4 => {
                let len = self.below(16);
                let random = self.prng.bytes(len);
                input.splice(at..at, random);
            }
            5 => self.put_edge(input, at),
            6 => self.repeat(input, at),
            _ => {
                let other = self.example();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend(other.into_iter().skip(from));
            }
        }
    }

    /// Writes a number with an awkward value over what is there, in either byte order.
    fn put_edge(&mut self, input: &mut [u8], at: usize) {
        let value =
            self.prng.pick(EDGES).copied().unwrap_or(0).wrapping_add_signed(self.prng.range(0, 2) - 1);
        let width = 1 << self.below(4);
        let mut bytes: Vec<u8> = value.to_be_bytes().into_iter().skip(8 - width).collect();
        if self.prng.flip_coin() {
            bytes.reverse();
        }
        for (byte, new) in input.iter_mut().skip(at).zip(bytes) {
            *byte = new;
        }
    }

    fn repeat(&mut self, input: &mut Vec<u8>, at: usize) {
        let part: Vec<u8> = input.iter().skip(at).take(1 + self.below(64)).copied().collect();
        for _ in 0..=self.below(20) {
            input.splice(at..at, part.iter().copied());
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.prng.intn(i64::try_from(bound).unwrap_or(i64::MAX))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, vec![vec![1; 100], vec![2; 9]]);
            (0..1000).map(|_| mutator.input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(5), inputs(5));
        assert_ne!(inputs(5), inputs(6));
    }

    #[test]
    fn no_example_is_needed_and_no_input_is_too_long() {
        let mut mutator = Mutator::new(1, Vec::new());
        assert!((0..1000).any(|_| !mutator.input().is_empty()));
        let mut mutator = Mutator::new(1, vec![vec![0; MAX_LEN]]);
        assert!((0..1000).all(|_| mutator.input().len() <= MAX_LEN));
    }
}
