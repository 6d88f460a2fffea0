//! Reading the fields of a case, and comparing: a field that is not there, or not of its kind, is an error.

use std::fmt::Debug;

use culvert_obfuscation::{Keyword, ObfuscatorSeed, Seed};
use data_encoding::HEXLOWER;
use serde_json::Value;

pub(crate) type Checked<T = ()> = Result<T, String>;

/// A field, with its kind read by `read`.
fn field<'a, T>(case: &'a Value, name: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Checked<T> {
    let value = case.get(name).ok_or_else(|| format!("the case has no field {name:?}"))?;
    read(value).ok_or_else(|| format!("field {name:?} is not what is expected: {value}"))
}

pub(crate) fn text<'a>(case: &'a Value, name: &str) -> Checked<&'a str> {
    field(case, name, Value::as_str)
}

pub(crate) fn boolean(case: &Value, name: &str) -> Checked<bool> {
    field(case, name, Value::as_bool)
}

pub(crate) fn float(case: &Value, name: &str) -> Checked<f64> {
    field(case, name, Value::as_f64)
}

/// An integer, written as a number or as a string.
pub(crate) fn integer<T: TryFrom<i128>>(case: &Value, name: &str) -> Checked<T> {
    field(case, name, |value| {
        let wide = match value {
            Value::String(text) => text.parse().ok()?,
            other => other.as_i64().map(i128::from).or_else(|| other.as_u64().map(i128::from))?,
        };
        T::try_from(wide).ok()
    })
}

pub(crate) fn list<'a>(case: &'a Value, name: &str) -> Checked<&'a [Value]> {
    field(case, name, |value| value.as_array().map(Vec::as_slice))
}

pub(crate) fn bytes(case: &Value, name: &str) -> Checked<Vec<u8>> {
    hex(text(case, name)?).map_err(|error| format!("field {name:?}: {error}"))
}

pub(crate) fn hex(text: &str) -> Checked<Vec<u8>> {
    HEXLOWER.decode(text.as_bytes()).map_err(|error| error.to_string())
}

pub(crate) fn seed(case: &Value, name: &str) -> Checked<Seed> {
    Ok(Seed::from_bytes(array(case, name)?))
}

pub(crate) fn obfuscator_seed(case: &Value, name: &str) -> Checked<ObfuscatorSeed> {
    Ok(ObfuscatorSeed::from_bytes(array(case, name)?))
}

pub(crate) fn keyword(case: &Value) -> Checked<Keyword> {
    Ok(Keyword::new(bytes(case, "keyword_hex")?))
}

pub(crate) fn array<const N: usize>(case: &Value, name: &str) -> Checked<[u8; N]> {
    bytes(case, name)?.try_into().map_err(|_| format!("field {name:?} does not have {N} bytes"))
}

/// Pairs of strings: a spec.
pub(crate) fn pairs(case: &Value, name: &str) -> Checked<Vec<(String, String)>> {
    let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([Value::String(matcher), Value::String(generator)]) => Ok((matcher.clone(), generator.clone())),
        _ => Err(format!("field {name:?} holds something else than pairs of strings: {value}")),
    };
    list(case, name)?.iter().map(pair).collect()
}

/// Fails with both values when they differ.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, expected: T, got: T) -> Checked {
    if expected == got { Ok(()) } else { Err(format!("{what}: expected {expected:?}, got {got:?}")) }
}

/// [`same`] for bytes, shown in hexadecimal.
pub(crate) fn same_bytes(what: &str, expected: &[u8], got: &[u8]) -> Checked {
    if expected == got {
        return Ok(());
    }
    let place = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    let (expected, got) = (HEXLOWER.encode(expected), HEXLOWER.encode(got));
    Err(format!("{what} differs from byte {place} on\nexpected {expected}\ngot      {got}"))
}

/// A case's field that holds bytes, against what came out.
pub(crate) fn expect_bytes(case: &Value, name: &str, got: &[u8]) -> Checked {
    same_bytes(name, &bytes(case, name)?, got)
}

/// A case's field that holds a number, against what came out.
pub(crate) fn expect_len(case: &Value, name: &str, got: usize) -> Checked {
    same(name, integer::<usize>(case, name)?, got)
}
