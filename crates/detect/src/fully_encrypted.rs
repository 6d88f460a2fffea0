//! The rule by which the GFW blocked traffic that looks fully encrypted. Source: Wu et al., "How the Great Firewall of China Detects and Blocks
//! Fully Encrypted Traffic", USENIX Security 2023, section 4, with the bounds measured by its artifact.

/// Whether a TCP flow that begins with this segment would be blocked.
#[must_use]
pub fn looks_fully_encrypted(first: &[u8]) -> bool {
    if first.is_empty() {
        return false;
    }
    let ones: u64 = first.iter().map(|byte| u64::from(byte.count_ones())).sum();
    let length = first.len() as u64;
    // 3.4 and 4.6 ones in a byte, without fractions.
    let exempt_by_ones = ones * 10 <= length * 34 || ones * 10 >= length * 46;
    let printable = |byte: &u8| (0x20..=0x7E).contains(byte);
    let starts_printable = first.len() >= 6 && first.iter().take(6).all(printable);
    let mostly_printable = first.iter().filter(|byte| printable(byte)).count() * 2 > first.len();
    let long_run = first.split(|byte| !printable(byte)).any(|run| run.len() > 20);
    let tls = matches!(first, [0x16 | 0x17, 3, 0..=9, ..]);
    let http = ["GET ", "PUT ", "POST ", "HEAD "].iter().any(|method| first.starts_with(method.as_bytes()));
    !(exempt_by_ones || starts_printable || mostly_printable || long_run || tls || http)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many ones in 100 bytes, none of them printable.
    fn with_ones(ones: usize) -> Vec<u8> {
        let mut bytes = vec![0x81_u8; 100];
        let mut missing = ones - 200;
        for byte in &mut bytes {
            for bit in 1..7 {
                if missing > 0 && bit != 6 {
                    *byte |= 1 << bit;
                    missing -= 1;
                }
            }
            if missing == 0 {
                break;
            }
        }
        bytes
    }

    #[test]
    fn the_measured_bounds() {
        for (ones, blocked) in [(340, false), (342, true), (458, true), (460, false)] {
            let bytes = with_ones(ones);
            assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>() as usize, ones);
            assert_eq!(looks_fully_encrypted(&bytes), blocked, "{ones}");
        }
    }

    #[test]
    fn what_looks_like_something_passes() {
        let noise = with_ones(400);
        assert!(looks_fully_encrypted(&noise));
        for start in [&b"GET "[..], b"abcdef", &[0x16, 3, 9], &[b'a'; 21]] {
            assert!(!looks_fully_encrypted(&[start, &noise].concat()), "{start:?}");
        }
        for start in [&b"GOT "[..], b"abcde\x01", &[0x16, 3, 10], &[0x15, 3, 1]] {
            assert!(looks_fully_encrypted(&[start, &noise].concat()), "{start:?}");
        }
        assert!(!looks_fully_encrypted(&[]));
    }
}
