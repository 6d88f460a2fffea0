//! The few DER structures of RSA keys that the library hands out and this crate has to look into.
//!
//! Source: RFC 8017 appendix A.1, RFC 5208 section 5. Input comes from the library; output is `None` if it is not
//! what those say.

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Modulus and exponent of an `RSAPublicKey`, big-endian, possibly with a leading zero.
pub(super) fn rsa_public_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (numbers, []) = element(der, SEQUENCE)? else { return None };
    let (modulus, numbers) = element(numbers, INTEGER)?;
    let (exponent, []) = element(numbers, INTEGER)? else { return None };
    Some((modulus, exponent))
}

/// The `RSAPrivateKey` inside a `PrivateKeyInfo`.
pub(super) fn pkcs1_of_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let (info, []) = element(der, SEQUENCE)? else { return None };
    let (_version, info) = element(info, INTEGER)?;
    let (_algorithm, info) = element(info, SEQUENCE)?;
    let (key, _attributes) = element(info, OCTET_STRING)?;
    Some(key)
}

/// Content of the first element, which must have `tag`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().try_fold(0_usize, |length, digit| {
                length.checked_mul(256)?.checked_add(usize::from(*digit))
            })?;
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_small_key() {
        let der = [0x30, 0x08, 0x02, 0x02, 0x00, 0x8f, 0x02, 0x02, 0x01, 0x01];
        assert_eq!(rsa_public_numbers(&der), Some((&[0x00, 0x8f][..], &[0x01, 0x01][..])));
        for cut in 0..der.len() {
            assert_eq!(rsa_public_numbers(&der[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn long_form_lengths() {
        let mut der = vec![0x04, 0x82, 0x01, 0x00];
        der.extend([7; 256]);
        assert_eq!(element(&der, OCTET_STRING), Some((&[7; 256][..], &[][..])));
        assert_eq!(element(&[0x04, 0x80, 0x00, 0x00], OCTET_STRING), None);
        assert_eq!(element(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], OCTET_STRING), None);
    }
}
