//! JSON as the reference reads and writes it, for bytes that are signed or compared.
//!
//! Numbers are 64-bit floats, keys are sorted, and `<`, `>`, `&` are escaped. Not a general JSON library: parsing rests on
//! `serde_json`. PROTOCOL.md 4.2, 5.4.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Parses any JSON value. Invalid UTF-8 and lone surrogate escapes become U+FFFD, as in the reference; of a repeated key
/// the last value counts.
///
/// # Errors
/// The text is not one JSON value, is nested more than 128 levels deep, or holds a number beyond a 64-bit float.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&clean(text))
}

/// Parses a JSON object, as [`parse`] does.
///
/// # Errors
/// As [`parse`]; also if the value is not an object.
pub fn parse_object(text: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_str(&clean(text))
}

/// Reads a structure from a JSON object. Arrays, which `serde` would take for structures, are refused.
///
/// # Errors
/// As [`parse_object`]; also if a member has another type than the structure's.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    let text = clean(text);
    if text.trim_ascii_start().starts_with('[') {
        return Err(serde::de::Error::custom("an object is needed, not a list"));
    }
    serde_json::from_str(&text)
}

/// Makes text of bytes that a peer calls JSON: each invalid byte and each unpaired surrogate escape becomes U+FFFD.
#[must_use]
pub fn clean(text: &[u8]) -> Cow<'_, str> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(replace_invalid_bytes(text)),
    };
    // `\ud8` to `\udf`: without one, nothing needs pairing.
    if text
        .as_bytes()
        .windows(4)
        .any(|w| w.starts_with(b"\\u") && w[2].eq_ignore_ascii_case(&b'd') && w[3] > b'7')
    {
        return Cow::Owned(pair_surrogates(&text));
    }
    text
}

/// Writes a value in the canonical form of PROTOCOL.md 5.4: sorted keys, no white space, shortest numbers.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// Writes an object in the canonical form.
#[must_use]
pub fn canonical_object(map: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_object(&mut out, map);
    out
}

/// Writes any structure without floats as the reference would: member order kept, HTML characters escaped.
///
/// # Errors
/// The structure has a map whose keys are not text; ours have none.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(|text| escape_html(&text))
}

/// Escapes the characters that the reference's encoder escapes beyond RFC 8259. They occur inside strings only, so
/// whole JSON texts can be treated.
#[must_use]
pub fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    json.chars().for_each(|c| push_escaped(&mut out, c));
    out
}

/// Writes a number as the reference does: positional within 1e-6 and 1e21, otherwise with a signed exponent.
pub(crate) fn write_number(out: &mut String, x: f64) {
    let magnitude = x.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        let _ = write!(out, "{x}");
    } else {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let sign = if exponent.starts_with('-') { "" } else { "+" };
        let _ = write!(out, "{digits}e{sign}{exponent}");
    }
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        // Every number went through a 64-bit float in the reference: integers beyond 2^53 are rounded.
        Value::Number(number) => match number.as_f64() {
            Some(x) => write_number(out, x),
            None => out.push('0'),
        },
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => write_object(out, map),
    }
}

fn write_object(out: &mut String, map: &Map<String, Value>) {
    // Sorted here too: the map's own order depends on a feature of serde_json that a dependency may turn on.
    let mut members: Vec<_> = map.iter().collect();
    members.sort_unstable_by_key(|(name, _)| name.as_bytes());
    out.push('{');
    for (i, (name, value)) in members.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(out, name);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

/// Writes one JSON string with quotes.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => push_escaped(out, c),
        }
    }
    out.push('"');
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.push(c),
    }
}

fn replace_invalid_bytes(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

fn pair_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (first, after) = match unicode_escape(escape) {
            Some(found) => found,
            None => {
                // Any other escape is a backslash and one character; both are kept, so that `\\ud800` stays text.
                let end = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&escape[..end]);
                rest = &escape[end..];
                continue;
            }
        };
        let low = unicode_escape(after).filter(|(low, _)| (0xDC00..0xE000).contains(low));
        rest = match (first, low) {
            (0xD800..0xDC00, Some((_, after_low))) => {
                out.push_str(&escape[..escape.len() - after_low.len()]);
                after_low
            }
            (0xD800..0xE000, _) => {
                out.push_str("\\ufffd");
                after
            }
            _ => {
                out.push_str(&escape[..escape.len() - after.len()]);
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// Reads `\uXXXX` at the start of `text` and gives the code unit and what follows.
fn unicode_escape(text: &str) -> Option<(u16, &str)> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some((u16::from_str_radix(hex, 16).ok()?, text.get(6..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> String {
        canonical(&parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn numbers_take_the_shortest_form() {
        for (given, expected) in [
            ("1.0", "1"),
            ("-0.0", "-0"),
            ("-0", "-0"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e300", "1.5e+300"),
            ("0.000001", "0.000001"),
            ("9.9e-7", "9.9e-7"),
            ("1e-10", "1e-10"),
            ("9007199254740993", "9007199254740992"),
            ("-123456789012345678", "-123456789012345680"),
        ] {
            assert_eq!(again(given), expected, "{given}");
        }
    }

    #[test]
    fn strings_are_escaped_as_in_the_reference() {
        assert_eq!(
            again(r#""<&>\u2028\u0000\u001f\u007f\/\u00e9""#),
            "\"\\u003c\\u0026\\u003e\\u2028\\u0000\\u001f\u{7f}/é\""
        );
    }

    #[test]
    fn broken_text_becomes_replacement_characters() {
        assert_eq!(again(r#""\ud800x\ud83d\ude00\udc00\\ud800""#), "\"\u{fffd}x😀\u{fffd}\\\\ud800\"");
        assert_eq!(again(r#""\ud800\ud83d\ude00""#), "\"\u{fffd}😀\"");
        assert_eq!(canonical(&parse(b"\"a\xe4\xb8z\xff\"").unwrap()), "\"a\u{fffd}\u{fffd}z\u{fffd}\"");
        assert!(parse(b"\"\\ud8\"").is_err());
        assert!(parse("\"\\ud8é\"".as_bytes()).is_err());
    }

    #[test]
    fn last_of_repeated_keys_counts_and_keys_are_sorted() {
        assert_eq!(again(r#"{"b":1,"a":2,"B":3,"b":4}"#), r#"{"B":3,"a":2,"b":4}"#);
    }
}
