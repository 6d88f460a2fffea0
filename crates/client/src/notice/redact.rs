//! Keeps network addresses out of what the client says: a type for values that are addresses, and a scanner for free
//! text, such as the operating system's error messages, that may contain them. File paths are left alone: they help
//! the person at the terminal.

use std::fmt;

use serde::{Serialize, Serializer};

const PLACEHOLDER: &str = "[redacted]";

/// A value that is shown as a placeholder wherever it is printed or serialized.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for use, not for output.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl<T> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl<T> Serialize for Sensitive<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(PLACEHOLDER)
    }
}

/// Text for people from which network addresses were removed when it was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FreeText(String);

impl FreeText {
    /// Removes addresses from anything printable.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(without_addresses(&text.to_string()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FreeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text with every IP address, and a port after it, replaced. It errs on the side of replacing: what merely looks
/// like an address goes too, a time of day or a Rust path does not.
pub fn without_addresses(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut output = String::with_capacity(text.len());
    let mut kept = 0;
    let mut at = 0;
    while at < bytes.len() {
        match address_at(bytes, at) {
            Some(end) => {
                output.push_str(text.get(kept..at).unwrap_or_default());
                output.push_str(PLACEHOLDER);
                kept = end;
                at = end;
            }
            None => at += 1,
        }
    }
    output.push_str(text.get(kept..).unwrap_or_default());
    output
}

/// The end of the address that starts at `at`, its brackets and port included.
fn address_at(bytes: &[u8], at: usize) -> Option<usize> {
    let byte = |index: usize| bytes.get(index).copied();
    let open = usize::from(byte(at) == Some(b'['));
    // An address starts a word: "x1.2.3.4" is none of ours, but digits right after digits were tried already.
    let end = ipv6_end(bytes, at + open).or_else(|| ipv4_end(bytes, at + open))?;
    let end = if byte(end) == Some(b'%') { word_end(bytes, end + 1) } else { end };
    let closed = open == 1 && byte(end) == Some(b']');
    if open == 1 && !closed {
        return None;
    }
    let end = end + usize::from(closed);
    let port_end = run_end(bytes, end + 1, |b| b.is_ascii_digit());
    Some(if byte(end) == Some(b':') && port_end > end + 1 { port_end } else { end })
}

/// Four groups of one to three digits with dots between.
fn ipv4_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    for group in 0..4 {
        if group > 0 {
            at = (bytes.get(at) == Some(&b'.')).then_some(at + 1)?;
        }
        let end = run_end(bytes, at, |b| b.is_ascii_digit()).min(at + 3);
        at = (end > at).then_some(end)?;
    }
    Some(at)
}

/// A run of hex digits, colons and dots that starts a word and is an IPv6 address: with "::" in it, or eight groups.
fn ipv6_end(bytes: &[u8], start: usize) -> Option<usize> {
    let before = start.checked_sub(1).and_then(|index| bytes.get(index)).copied();
    if before.is_some_and(|b| b.is_ascii_hexdigit() || b == b':') {
        return None;
    }
    let end = run_end(bytes, start, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
    let run = bytes.get(start..end)?;
    // A full stop or a colon may belong to the sentence.
    let trailing = run.iter().rev().take_while(|b| **b == b'.').count();
    let run = run.get(..run.len() - trailing)?;
    let end = start + run.len();
    let word_before = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let word_after = bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let has_digit = run.iter().any(u8::is_ascii_digit);
    let compressed = run.windows(2).any(|pair| pair == b"::") && (has_digit || !(word_before || word_after));
    let colons = run.iter().filter(|b| **b == b':').count();
    (compressed || colons >= 7).then_some(end)
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    run_end(bytes, start, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn run_end(bytes: &[u8], start: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|b| belongs(**b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go() {
        for (text, expected) in [
            ("dial tcp 192.0.2.1:443: refused", "dial tcp [redacted]: refused"),
            ("192.0.2.1", "[redacted]"),
            ("from 10.0.0.1:1 to 10.0.0.2:2.", "from [redacted] to [redacted]."),
            ("v1.2.3.4", "v[redacted]"),
            ("host 999.999.999.999:99999!", "host [redacted]!"),
            ("[2001:db8::1]:443 failed", "[redacted] failed"),
            ("2001:db8:0:0:0:0:0:1 failed", "[redacted] failed"),
            ("at ::1.", "at [redacted]."),
            ("fe80::1%eth0: unreachable", "[redacted]: unreachable"),
            ("[::ffff:192.0.2.1]:80", "[redacted]"),
            ("64:ff9b::192.0.2.33", "[redacted]"),
            ("x=2001:db8::", "x=[redacted]"),
        ] {
            assert_eq!(without_addresses(text), expected, "{text}");
        }
    }

    #[test]
    fn other_text_stays() {
        for text in [
            "",
            "std::io::Error in crate::a::b",
            "at 12:30:45.123",
            "2026-01-02T03:04:05.678Z",
            "version 1.2.3",
            "conf/client.config:3:25",
            "[abc] [1] é 日本",
            "00:11:22:33:44:55",
        ] {
            assert_eq!(without_addresses(text), text);
        }
    }

    #[test]
    fn sensitive_values_never_print() {
        let address = Sensitive::new("192.0.2.1");
        assert_eq!(format!("{address} {address:?}"), "[redacted] [redacted]");
        assert_eq!(serde_json::to_string(&address).unwrap(), "\"[redacted]\"");
        assert_eq!(*address.expose(), "192.0.2.1");
    }
}
