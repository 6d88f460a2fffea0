//! The packed CBOR form of server entries, used inside other CBOR messages. PROTOCOL.md 5.5.

use super::{EntryFields, fields};
use crate::cbor::{Cbor, CborError};
use crate::packed::{ConvertError, Converter, NumberForm, Value};

/// The key of members that have integer keys.
const KNOWN: i128 = 1;
/// The key of all other members.
const OTHERS: i128 = 2;

/// Why bytes are not a packed entry, or an entry cannot be packed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedEntryError {
    /// Malformed CBOR from the peer.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Not the two maps that a packed entry is.
    #[error("not a packed server entry: its maps or their keys are of other types")]
    Shape,
    /// An integer key without a name: the signed JSON cannot be rebuilt. A newer version may know it.
    #[error("packed server entry with the unknown key {key}")]
    UnknownKey {
        /// The key.
        key: i64,
    },
    /// A member in both maps.
    #[error("packed server entry has {name} twice")]
    Duplicate {
        /// The member.
        name: String,
    },
    /// A value that does not convert.
    #[error("packed server entry field {name}: {problem}")]
    Value {
        /// The member.
        name: String,
        /// What is wrong.
        problem: ConvertError,
    },
}

impl EntryFields {
    /// Writes the packed form. `numbers` tells how numbers without conversion are written: the reference writes floats
    /// for entries that it read from JSON.
    ///
    /// # Errors
    /// A member does not fit its conversion, such as a secret that is not hex.
    pub fn to_packed(&self, numbers: NumberForm) -> Result<Vec<u8>, PackedEntryError> {
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for (name, value) in &self.0 {
            let (key, converter) = match fields::by_name(name).and_then(|field| field.packed) {
                Some((key, converter)) => (Cbor::Int(key.into()), converter),
                None => (Cbor::Text(name.clone()), Converter::AsIs),
            };
            let packed = converter
                .pack(&Value::from(value.clone()), numbers)
                .map_err(|problem| PackedEntryError::Value { name: name.clone(), problem })?;
            let map = if matches!(key, Cbor::Int(_)) { &mut known } else { &mut others };
            map.push((key, packed));
        }
        let maps = [(KNOWN, known), (OTHERS, others)].into_iter().filter(|(_, map)| !map.is_empty());
        Ok(Cbor::Map(maps.map(|(key, map)| (Cbor::Int(key), Cbor::Map(map))).collect()).write())
    }

    /// Reads the packed form.
    ///
    /// # Errors
    /// See [`PackedEntryError`].
    pub fn from_packed(bytes: &[u8]) -> Result<Self, PackedEntryError> {
        let Cbor::Map(maps) = Cbor::read(bytes)? else { return Err(PackedEntryError::Shape) };
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for (key, map) in maps {
            match (key, map) {
                (Cbor::Int(KNOWN), Cbor::Map(pairs)) => known = pairs,
                (Cbor::Int(OTHERS), Cbor::Map(pairs)) => others = pairs,
                (Cbor::Int(KNOWN | OTHERS), value) if value != Cbor::Null => {
                    return Err(PackedEntryError::Shape);
                }
                _ => {}
            }
        }
        let mut fields = Self::default();
        // Of a key repeated within one map the last value counts, as anywhere in the reference.
        for (key, value) in known {
            let key = key.as_int().ok_or(PackedEntryError::Shape)?;
            let field = fields::by_key(key).ok_or(PackedEntryError::UnknownKey { key })?;
            let converter = field.packed.map_or(Converter::AsIs, |(_, converter)| converter);
            fields.insert_packed(field.name, converter, value)?;
        }
        let mut unknown = Self::default();
        for (key, value) in others {
            let Cbor::Text(name) = key else { return Err(PackedEntryError::Shape) };
            if fields.0.contains_key(&name) {
                return Err(PackedEntryError::Duplicate { name });
            }
            unknown.insert_packed(&name, Converter::AsIs, value)?;
        }
        fields.0.append(&mut unknown.0);
        Ok(fields)
    }

    fn insert_packed(
        &mut self,
        name: &str,
        converter: Converter,
        value: Cbor,
    ) -> Result<(), PackedEntryError> {
        let value = converter
            .unpack(value)
            .map_err(|problem| PackedEntryError::Value { name: name.to_owned(), problem })?;
        self.0.insert(name.to_owned(), (&value).into());
        Ok(())
    }
}
