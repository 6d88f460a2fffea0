//! Decompresses certificates that a server sends compressed with zlib, as hellos of Safari let it. Source: RFC 8879, RFC 1950, RFC 1951.

use rustls::CertificateCompressionAlgorithm;
use rustls::compress::{CertDecompressor, DecompressionFailed};

/// For rustls.
#[derive(Debug)]
pub(crate) struct Zlib;

impl CertDecompressor for Zlib {
    fn decompress(&self, input: &[u8], output: &mut [u8]) -> Result<(), DecompressionFailed> {
        inflate(input, output).ok_or(DecompressionFailed)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}

const LONGEST_CODE: usize = 15;
/// The value that ends a block; greater ones are lengths.
const END: usize = 256;
/// RFC 1951 section 3.2.5: bases of lengths, and how many bits are added.
#[rustfmt::skip]
const LENGTHS: [(usize, u8); 29] = [
    (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2),
    (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5),
    (163, 5), (195, 5), (227, 5), (258, 0),
];
/// The same of distances.
#[rustfmt::skip]
const DISTANCES: [(usize, u8); 30] = [
    (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3), (33, 4), (49, 4), (65, 5),
    (97, 5), (129, 6), (193, 6), (257, 7), (385, 7), (513, 8), (769, 8), (1025, 9), (1537, 9), (2049, 10),
    (3073, 10), (4097, 11), (6145, 11), (8193, 12), (12289, 12), (16385, 13), (24577, 13),
];
/// RFC 1951 section 3.2.7.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Fills `output` exactly. `None`: malformed, or another length.
pub(crate) fn inflate(input: &[u8], output: &mut [u8]) -> Option<()> {
    let ([method, flags], rest) = input.split_first_chunk::<2>()?;
    // RFC 1950 section 2.2: deflate, no dictionary, and a check of both bytes.
    if method & 0x0F != 8 || flags & 0x20 != 0 || !u16::from_be_bytes([*method, *flags]).is_multiple_of(31) {
        return None;
    }
    let mut bits = Bits { rest, held: 0, count: 0 };
    let mut written = Written { bytes: output, len: 0 };
    loop {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(&mut bits, &mut written)?,
            1 => {
                let mut lengths = [8; 288];
                lengths.get_mut(144..256)?.fill(9);
                lengths.get_mut(256..280)?.fill(7);
                coded(&mut bits, &mut written, &Codes::new(&lengths)?, &Codes::new(&[5; 30])?)?;
            }
            2 => {
                let (literals, distances) = dynamic(&mut bits)?;
                coded(&mut bits, &mut written, &literals, &distances)?;
            }
            _ => return None,
        }
        if last {
            break;
        }
    }
    let sum: [u8; 4] = *bits.rest.first_chunk()?;
    let whole = written.len == written.bytes.len() && u32::from_be_bytes(sum) == adler32(written.bytes);
    whole.then_some(())
}

struct Bits<'b> {
    rest: &'b [u8],
    held: u32,
    count: u8,
}

impl Bits<'_> {
    /// At most 16, the first one lowest.
    fn take(&mut self, count: u8) -> Option<u32> {
        while self.count < count {
            let (byte, rest) = self.rest.split_first()?;
            self.held |= u32::from(*byte) << self.count;
            self.count += 8;
            self.rest = rest;
        }
        let taken = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        Some(taken)
    }

    fn number(&mut self, count: u8) -> Option<usize> {
        self.take(count).and_then(|number| usize::try_from(number).ok())
    }
}

struct Written<'o> {
    bytes: &'o mut [u8],
    len: usize,
}

impl Written<'_> {
    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    fn repeat(&mut self, length: usize, distance: usize) -> Option<()> {
        for _ in 0..length {
            let byte = *self.bytes.get(self.len.checked_sub(distance)?)?;
            self.push(byte)?;
        }
        Some(())
    }
}

/// A canonical code: how many codes there are of each length, and the values in their order.
struct Codes {
    counts: [usize; LONGEST_CODE + 1],
    values: Vec<usize>,
}

impl Codes {
    /// `None` for more codes than there can be.
    fn new(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0; LONGEST_CODE + 1];
        for length in lengths {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        let mut left = 1_i64;
        for count in counts.iter().skip(1) {
            left = 2 * left - i64::try_from(*count).ok()?;
            if left < 0 {
                return None;
            }
        }
        let mut values: Vec<usize> = (0..lengths.len()).collect();
        values.retain(|value| lengths.get(*value).is_some_and(|length| *length > 0));
        values.sort_by_key(|value| lengths.get(*value).copied());
        Some(Self { counts, values })
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in self.counts.iter().skip(1) {
            code |= bits.number(1)?;
            if code < first + count {
                return self.values.get((index + code).checked_sub(first)?).copied();
            }
            index += count;
            first = 2 * (first + count);
            code *= 2;
        }
        None
    }
}

fn stored(bits: &mut Bits<'_>, written: &mut Written<'_>) -> Option<()> {
    // From the next whole byte on; fewer than eight bits are held.
    bits.held = 0;
    bits.count = 0;
    let ([a, b, c, d], rest) = bits.rest.split_first_chunk::<4>()?;
    let length = u16::from_le_bytes([*a, *b]);
    if length != !u16::from_le_bytes([*c, *d]) {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(length.into())?;
    bits.rest = rest;
    bytes.iter().try_for_each(|byte| written.push(*byte))
}

fn coded(bits: &mut Bits<'_>, written: &mut Written<'_>, literals: &Codes, distances: &Codes) -> Option<()> {
    loop {
        let value = literals.read(bits)?;
        if let Ok(byte) = u8::try_from(value) {
            written.push(byte)?;
            continue;
        }
        if value == END {
            return Some(());
        }
        let (base, more) = *LENGTHS.get(value - END - 1)?;
        let length = base + bits.number(more)?;
        let (base, more) = *DISTANCES.get(distances.read(bits)?)?;
        let distance = base + bits.number(more)?;
        written.repeat(length, distance)?;
    }
}

/// RFC 1951 section 3.2.7.
fn dynamic(bits: &mut Bits<'_>) -> Option<(Codes, Codes)> {
    let literals = 257 + bits.number(5)?;
    let distances = 1 + bits.number(5)?;
    let count = 4 + bits.number(4)?;
    let mut lengths = [0; ORDER.len()];
    for place in ORDER.iter().take(count) {
        *lengths.get_mut(*place)? = u8::try_from(bits.take(3)?).ok()?;
    }
    let codes = Codes::new(&lengths)?;
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match codes.read(bits)? {
            16 => (*lengths.last()?, 3 + bits.number(2)?),
            17 => (0, 3 + bits.number(3)?),
            18 => (0, 11 + bits.number(7)?),
            length => (u8::try_from(length).ok()?, 1),
        };
        lengths.resize(lengths.len() + times, length);
    }
    let (of_literals, of_distances) = lengths.split_at_checked(literals)?;
    if of_distances.len() != distances {
        return None;
    }
    Some((Codes::new(of_literals)?, Codes::new(of_distances)?))
}

/// RFC 1950 section 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1, 0);
    for byte in bytes {
        a = (a + u32::from(*byte)) % MODULUS;
        b = (b + a) % MODULUS;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same sentence, by two ways of writing it.
    const STORED: &[u8] = &[
        120, 1, 1, 125, 0, 130, 255, 99, 101, 114, 116, 105, 102, 105, 99, 97, 116, 101, 44, 32, 99, 101,
        114, 116, 105, 102, 105, 99, 97, 116, 101, 46, 99, 101, 114, 116, 105, 102, 105, 99, 97, 116, 101,
        44, 32, 99, 101, 114, 116, 105, 102, 105, 99, 97, 116, 101, 46, 99, 101, 114, 116, 105, 102, 105, 99,
        97, 116, 101, 44, 32, 99, 101, 114, 116, 105, 102, 105, 99, 97, 116, 101, 46, 99, 101, 114, 116, 105,
        102, 105, 99, 97, 116, 101, 44, 32, 99, 101, 114, 116, 105, 102, 105, 99, 97, 116, 101, 46, 99, 101,
        114, 116, 105, 102, 105, 99, 97, 116, 101, 44, 32, 99, 101, 114, 116, 105, 102, 105, 99, 97, 116,
        101, 46, 190, 219, 47, 129,
    ];
    const FIXED: &[u8] = &[
        120, 1, 75, 78, 45, 42, 201, 76, 203, 76, 78, 44, 73, 213, 81, 72, 70, 112, 244, 146, 233, 32, 1, 0,
        190, 219, 47, 129,
    ];
    /// Squares, then their text.
    const DYNAMIC: &[u8] = &[
        120, 218, 21, 141, 63, 75, 2, 80, 20, 197, 13, 140, 104, 8, 19, 90, 164, 193, 37, 4, 7, 225, 157,
        251, 231, 221, 119, 55, 215, 220, 28, 132, 160, 104, 178, 45, 26, 218, 164, 62, 131, 8, 33, 8, 126,
        130, 150, 28, 156, 107, 136, 22, 183, 230, 192, 65, 154, 26, 26, 252, 6, 94, 225, 76, 231, 252, 206,
        57, 149, 131, 234, 241, 105, 227, 2, 221, 254, 112, 52, 121, 253, 218, 28, 182, 46, 31, 166, 31, 127,
        231, 189, 167, 183, 223, 230, 213, 203, 247, 217, 96, 182, 110, 63, 190, 215, 110, 23, 71, 55, 203,
        250, 253, 170, 51, 222, 94, 127, 166, 249, 201, 243, 255, 221, 79, 130, 56, 50, 41, 103, 241, 44, 5,
        72, 9, 4, 136, 32, 59, 60, 19, 169, 114, 49, 14, 127, 15, 122, 34, 102, 50, 19, 16, 195, 132, 40,
        146, 82, 32, 70, 169, 132, 20, 74, 68, 16, 196, 0, 138, 67, 93, 96, 106, 78, 48, 135, 97, 207, 64,
        20, 209, 19, 56, 224, 18, 135, 170, 96, 144, 16, 71, 30, 207, 101, 7, 65, 172, 54, 118,
    ];

    fn read(input: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut output = vec![0; len];
        inflate(input, &mut output).map(|()| output)
    }

    fn sentence() -> Vec<u8> {
        "certificate, certificate.".repeat(5).into_bytes()
    }

    fn squares() -> Vec<u8> {
        let numbers = (0_u32..60).map(|n| u8::try_from(n * n % 251).unwrap());
        let text: String = (0..60).map(|n| (n * n % 251).to_string()).collect();
        numbers.chain(text.into_bytes()).collect()
    }

    #[test]
    fn all_kinds_of_blocks_are_read() {
        assert_eq!(read(STORED, sentence().len()), Some(sentence()));
        assert_eq!(read(FIXED, sentence().len()), Some(sentence()));
        assert_eq!(read(DYNAMIC, squares().len()), Some(squares()));
    }

    #[test]
    fn whatever_is_wrong_is_refused() {
        let len = squares().len();
        assert_eq!(read(DYNAMIC, len - 1), None);
        assert_eq!(read(DYNAMIC, len + 1), None);
        for end in 0..DYNAMIC.len() {
            assert_eq!(read(&DYNAMIC[..end], len), None);
        }
        for at in 2..DYNAMIC.len() {
            let mut changed = DYNAMIC.to_vec();
            changed[at] ^= 0x10;
            // Bits between the end and the sum mean nothing.
            assert!(read(&changed, len).is_none_or(|read| read == squares()), "{at}");
        }
    }
}
