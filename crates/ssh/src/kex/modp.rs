//! Diffie-Hellman in the multiplicative groups of RFC 3526, in constant time.
//!
//! Source: RFC 4253 section 8, RFC 8268, RFC 3526 sections 3 and 5. Values are big-endian bytes without leading
//! zeros; encoding them as `mpint` is left to [`super`].

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, U2048, U4096, Uint};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{EphemeralKeys, KexError};
use crate::wire::trim_zeros;

/// RFC 3526 section 3.
const GROUP14: Odd<U2048> = Odd::<U2048>::from_be_hex(concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD",
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F",
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510",
    "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
));

/// RFC 3526 section 5.
const GROUP16: Odd<U4096> = Odd::<U4096>::from_be_hex(concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD",
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F",
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510",
    "15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C",
    "BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7",
    "88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6",
    "287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9",
    "93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
));

const GENERATOR: u8 = 2;

/// A group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// 2048 bits.
    G14,
    /// 4096 bits.
    G16,
}

/// A private exponent of 512 bits: more than RFC 3526 section 8 asks for either group (at most 320 and 480 bits),
/// thus at least twice the strength of any key it protects (RFC 4253 section 6.3 and 8 leave the size open).
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Exponent(U512);

impl Exponent {
    pub(super) fn generate(keys: &mut dyn EphemeralKeys) -> Result<Self, KexError> {
        let mut bytes = Zeroizing::new([0; U512::BYTES]);
        keys.fill(bytes.as_mut_slice())?;
        // A full-length exponent is never one of the trivial ones.
        bytes[0] |= 0x80;
        Ok(Self(U512::from_be_slice(bytes.as_slice())))
    }
}

impl Group {
    /// The public value of `exponent`.
    pub(super) fn public(self, exponent: &Exponent) -> Vec<u8> {
        match self {
            Self::G14 => trim_zeros(&power(&GROUP14, Uint::from_u8(GENERATOR), exponent)).to_vec(),
            Self::G16 => trim_zeros(&power(&GROUP16, Uint::from_u8(GENERATOR), exponent)).to_vec(),
        }
    }

    /// The shared value, with leading zeros, or an error if `peer` is not strictly between 1 and p - 1.
    pub(super) fn agree(self, exponent: &Exponent, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, KexError> {
        match self {
            Self::G14 => Ok(power(&GROUP14, checked(&GROUP14, peer)?, exponent)),
            Self::G16 => Ok(power(&GROUP16, checked(&GROUP16, peer)?, exponent)),
        }
    }
}

#[cfg(test)]
impl Group {
    pub(super) fn prime_bytes(self) -> Vec<u8> {
        match self {
            Self::G14 => GROUP14.as_ref().to_be_bytes().as_ref().to_vec(),
            Self::G16 => GROUP16.as_ref().to_be_bytes().as_ref().to_vec(),
        }
    }
}

/// RFC 4253 section 8: values outside [1, p-1] must not be accepted; 1 and p - 1 would make the result public.
fn checked<const LIMBS: usize>(modulus: &Odd<Uint<LIMBS>>, peer: &[u8]) -> Result<Uint<LIMBS>, KexError> {
    let peer = trim_zeros(peer);
    let mut padded = vec![0; Uint::<LIMBS>::BYTES];
    let start = padded.len().checked_sub(peer.len()).ok_or(KexError::BadPublicValue)?;
    padded.get_mut(start..).ok_or(KexError::BadPublicValue)?.copy_from_slice(peer);
    let value = Uint::from_be_slice(&padded);
    let last = modulus.as_ref().wrapping_sub(&Uint::ONE);
    if value > Uint::ONE && value < last { Ok(value) } else { Err(KexError::BadPublicValue) }
}

/// Constant time in the exponent; base and modulus are public.
fn power<const LIMBS: usize>(
    modulus: &Odd<Uint<LIMBS>>,
    base: Uint<LIMBS>,
    exponent: &Exponent,
) -> Zeroizing<Vec<u8>> {
    let params = FixedMontyParams::new_vartime(*modulus);
    let mut form = FixedMontyForm::new(&base, &params).pow(&exponent.0);
    let mut result = form.retrieve();
    let mut encoded = result.to_be_bytes();
    let out = Zeroizing::new(encoded.as_ref().to_vec());
    form.zeroize();
    result.zeroize();
    encoded.zeroize();
    out
}
