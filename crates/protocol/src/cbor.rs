//! A CBOR value, read from a peer within bounds and written in CTAP2 canonical form. RFC 8949.
//!
//! Reading is as lenient as the reference: unsorted maps, indefinite lengths, repeated keys (the last counts), any float
//! width. Bytes after the value are an error. PROTOCOL.md 4.1.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// Nesting beyond which input is refused.
const MAX_DEPTH: u32 = 32;
/// Values beyond which input is refused, counting every key and element.
const MAX_VALUES: u32 = 65_536;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cbor {
    /// A whole number from -2^64 to 2^64 - 1.
    Int(i128),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    Array(Vec<Cbor>),
    /// A map as its pairs, in the order read.
    Map(Vec<(Cbor, Cbor)>),
    /// True or false.
    Bool(bool),
    /// Null, or undefined.
    Null,
    /// A float of any width.
    Float(f64),
    /// A tagged or simple value that nothing of ours uses.
    Other,
}

/// Why bytes are not a usable value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not CBOR, cut short, or text that is not UTF-8.
    #[error("the peer's CBOR is malformed near byte {offset}")]
    Malformed {
        /// Where, counted from the start.
        offset: usize,
    },
    /// More follows the value.
    #[error("{count} bytes follow the peer's CBOR value")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Nested too deep or too many values.
    #[error("the peer's CBOR holds more than is allowed (32 levels, 65536 values)")]
    TooLarge,
}

impl Cbor {
    /// Reads exactly one value.
    ///
    /// # Errors
    /// See [`CborError`].
    pub fn read(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader { decoder: Decoder::new(bytes), left: MAX_VALUES };
        let value = reader.value(0)?;
        match bytes.len() - reader.decoder.position() {
            0 => Ok(value),
            count => Err(CborError::Trailing { count }),
        }
    }

    /// Writes the value: shortest integers, definite lengths, map keys sorted by encoded length, then bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        // Writing to a vector cannot fail.
        let _ = self.write_to(&mut encoder);
        encoder.into_writer()
    }

    /// The number if the value is a whole number within 64 bits.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(x) => i64::try_from(*x).ok(),
            _ => None,
        }
    }

    /// The text if the value is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn write_to(
        &self,
        e: &mut Encoder<Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        match self {
            Self::Int(x) => match minicbor::data::Int::try_from(*x) {
                Ok(x) => e.int(x)?.ok(),
                Err(_) => e.null()?.ok(),
            },
            Self::Bytes(bytes) => e.bytes(bytes)?.ok(),
            Self::Text(text) => e.str(text)?.ok(),
            Self::Array(items) => {
                e.array(items.len() as u64)?;
                items.iter().try_for_each(|item| item.write_to(e))
            }
            Self::Map(pairs) => {
                let mut encoded: Vec<_> = pairs.iter().map(|(key, value)| (key.write(), value)).collect();
                encoded.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
                e.map(encoded.len() as u64)?;
                for (key, value) in encoded {
                    e.writer_mut().extend_from_slice(&key);
                    value.write_to(e)?;
                }
                Ok(())
            }
            Self::Bool(flag) => e.bool(*flag)?.ok(),
            Self::Null | Self::Other => e.null()?.ok(),
            Self::Float(x) => e.f64(*x)?.ok(),
        }
    }
}

struct Reader<'b> {
    decoder: Decoder<'b>,
    left: u32,
}

impl Reader<'_> {
    fn value(&mut self, depth: u32) -> Result<Cbor, CborError> {
        if depth > MAX_DEPTH {
            return Err(CborError::TooLarge);
        }
        self.left = self.left.checked_sub(1).ok_or(CborError::TooLarge)?;
        let kind = self.decoder.datatype().map_err(|_| self.malformed())?;
        let value = match kind {
            Type::Bytes | Type::BytesIndef => self.bytes(),
            Type::String | Type::StringIndef => self.text(),
            Type::Array | Type::ArrayIndef => return self.array(depth),
            Type::Map | Type::MapIndef => return self.map(depth),
            Type::Tag => {
                self.decoder.tag().map_err(|_| self.malformed())?;
                self.value(depth + 1)?;
                return Ok(Cbor::Other);
            }
            Type::Bool => self.decoder.bool().map(Cbor::Bool),
            Type::Null => self.decoder.null().map(|()| Cbor::Null),
            Type::Undefined => self.decoder.undefined().map(|()| Cbor::Null),
            Type::Simple => self.decoder.simple().map(|_| Cbor::Other),
            Type::F16 => return self.half(),
            Type::F32 => self.decoder.f32().map(|x| Cbor::Float(x.into())),
            Type::F64 => self.decoder.f64().map(Cbor::Float),
            Type::Break | Type::Unknown(_) => return Err(self.malformed()),
            _ => self.decoder.int().map(|x| Cbor::Int(x.into())),
        };
        value.map_err(|_| self.malformed())
    }

    fn bytes(&mut self) -> Result<Cbor, minicbor::decode::Error> {
        let mut out = Vec::new();
        for chunk in self.decoder.bytes_iter()? {
            out.extend_from_slice(chunk?);
        }
        Ok(Cbor::Bytes(out))
    }

    fn text(&mut self) -> Result<Cbor, minicbor::decode::Error> {
        let mut out = String::new();
        for chunk in self.decoder.str_iter()? {
            out.push_str(chunk?);
        }
        Ok(Cbor::Text(out))
    }

    /// A 16-bit float, RFC 8949 appendix D.
    fn half(&mut self) -> Result<Cbor, CborError> {
        let start = self.decoder.position();
        let Some(&[_, high, low]) = self.decoder.input().get(start..).and_then(|b| b.first_chunk::<3>())
        else {
            return Err(self.malformed());
        };
        self.decoder.set_position(start + 3);
        let fraction = f64::from(u16::from(high & 3) << 8 | u16::from(low));
        let magnitude = match (high >> 2) & 31 {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            exponent => (fraction + 1024.0) * 2f64.powi(i32::from(exponent) - 25),
        };
        Ok(Cbor::Float(if high & 0x80 == 0 { magnitude } else { -magnitude }))
    }

    fn array(&mut self, depth: u32) -> Result<Cbor, CborError> {
        let length = self.decoder.array().map_err(|_| self.malformed())?;
        let mut items = Vec::new();
        while self.more(length, items.len())? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Cbor::Array(items))
    }

    fn map(&mut self, depth: u32) -> Result<Cbor, CborError> {
        let length = self.decoder.map().map_err(|_| self.malformed())?;
        let mut pairs = Vec::new();
        while self.more(length, pairs.len())? {
            let key = self.value(depth + 1)?;
            pairs.push((key, self.value(depth + 1)?));
        }
        Ok(Cbor::Map(pairs))
    }

    /// True if another element follows. The vectors grow by what was read, never by the length that the peer states.
    fn more(&mut self, length: Option<u64>, read: usize) -> Result<bool, CborError> {
        if let Some(length) = length {
            return Ok((read as u64) < length);
        }
        match self.decoder.datatype().map_err(|_| self.malformed())? {
            Type::Break => {
                self.decoder.skip().map_err(|_| self.malformed())?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    fn malformed(&self) -> CborError {
        CborError::Malformed { offset: self.decoder.position() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hex: &str) -> Result<Cbor, CborError> {
        Cbor::read(&crate::text_form::hex(hex).unwrap())
    }

    #[test]
    fn reads_what_the_reference_reads() {
        let expected = Cbor::Map(vec![(Cbor::Int(1), Cbor::Text("ab".into()))]);
        for form in [
            "a101626162",
            "bf01626162ff",
            "a1017f61616162ff",
            "a11801626162",
            "bf1b00000000000000017f61616162ffff",
        ] {
            assert_eq!(read(form), Ok(expected.clone()), "{form}");
        }
        assert_eq!(read("f93c00"), Ok(Cbor::Float(1.0)));
        assert_eq!(read("f9c400"), Ok(Cbor::Float(-4.0)));
        assert_eq!(read("f90001"), Ok(Cbor::Float(5.960_464_477_539_063e-8)));
        assert_eq!(read("f97c00"), Ok(Cbor::Float(f64::INFINITY)));
        assert_eq!(read("3bffffffffffffffff"), Ok(Cbor::Int(-18_446_744_073_709_551_616)));
        assert_eq!(read("c074323032352d30312d30325430333a30303a30305a"), Ok(Cbor::Other));
        assert_eq!(read("9f0102ff"), Ok(Cbor::Array(vec![Cbor::Int(1), Cbor::Int(2)])));
    }

    #[test]
    fn refuses_what_is_broken_or_large() {
        assert_eq!(read("0102"), Err(CborError::Trailing { count: 1 }));
        for form in [
            "",
            "f93c",
            "62",
            "61ff",
            "ff",
            "a101",
            "9f01",
            "5f61",
            "1c",
            "5b7fffffffffffffff00",
            "9b7fffffffffffffff00",
        ] {
            assert!(matches!(read(form), Err(CborError::Malformed { .. })), "{form}");
        }
        assert_eq!(Cbor::read(&[0x81; 100]), Err(CborError::TooLarge));
        let mut many = vec![0x9a, 0, 2, 0, 0];
        many.extend(std::iter::repeat_n(0, 0x2_0000));
        assert_eq!(Cbor::read(&many), Err(CborError::TooLarge));
    }

    #[test]
    fn writes_canonically() {
        let map = Cbor::Map(vec![
            (Cbor::Text("b".into()), Cbor::Int(-1)),
            (Cbor::Int(300), Cbor::Null),
            (Cbor::Int(24), Cbor::Float(1.5)),
            (Cbor::Int(2), Cbor::Bytes(vec![1])),
        ]);
        assert_eq!(
            crate::text_form::to_hex(&map.write()),
            "a4024101".to_owned() + "1818fb3ff8000000000000" + "616220" + "19012cf6"
        );
    }
}
