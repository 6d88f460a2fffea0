//! Durations in text, such as `1h30m` and `100ms`, as parameters and configurations write them. PROTOCOL.md 6.5.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration of either sign, in nanoseconds, that parses from and prints as text like `1m30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedDuration(i64);

/// Why text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one must be.
    #[error("not a duration: use numbers with units, such as 1h30m, 90s or 100ms")]
    Number,
    /// A number without unit.
    #[error("a duration needs units, such as 10s or 5m")]
    NoUnit,
    /// A unit that does not exist.
    #[error("a duration's units are ns, us, ms, s, m and h")]
    UnknownUnit,
    /// Beyond 292 years.
    #[error("a duration of more than 292 years")]
    Overflow,
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

impl SignedDuration {
    /// A duration of nanoseconds.
    #[must_use]
    pub const fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self(nanoseconds)
    }

    /// Its nanoseconds.
    #[must_use]
    pub const fn nanoseconds(self) -> i64 {
        self.0
    }

    /// The duration if it is not negative.
    #[must_use]
    pub fn to_duration(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl From<Duration> for SignedDuration {
    /// Durations beyond 292 years become 292 years.
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for SignedDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(DurationError::Number);
        }
        let mut total = 0u64;
        while !rest.is_empty() {
            let (part, after) = parse_part(rest)?;
            total = total.checked_add(part).filter(|t| *t <= 1 << 63).ok_or(DurationError::Overflow)?;
            rest = after;
        }
        let signed =
            if negative { 0i64.checked_sub_unsigned(total) } else { 0i64.checked_add_unsigned(total) };
        signed.map(Self).ok_or(DurationError::Overflow)
    }
}

impl fmt::Display for SignedDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match total {
            0 => f.write_str("0s"),
            1..MICROSECOND => write!(f, "{total}ns"),
            MICROSECOND..MILLISECOND => write!(f, "{}µs", Decimal(total, MICROSECOND)),
            MILLISECOND..SECOND => write!(f, "{}ms", Decimal(total, MILLISECOND)),
            _ => {
                if total >= HOUR {
                    write!(f, "{}h", total / HOUR)?;
                }
                if total >= MINUTE {
                    write!(f, "{}m", total % HOUR / MINUTE)?;
                }
                write!(f, "{}s", Decimal(total % MINUTE, SECOND))
            }
        }
    }
}

impl<'de> serde::Deserialize<'de> for SignedDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for SignedDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number of units, written in decimals without trailing zeros.
struct Decimal(u64, u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(total, unit) = *self;
        write!(f, "{}", total / unit)?;
        let mut fraction = total % unit;
        if fraction > 0 {
            f.write_str(".")?;
        }
        while fraction > 0 {
            fraction *= 10;
            write!(f, "{}", fraction / unit)?;
            fraction %= unit;
        }
        Ok(())
    }
}

/// Reads one number with its unit, and gives its nanoseconds and what follows.
fn parse_part(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Number);
    }
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(unit_end);
    let unit = match name {
        "" => return Err(DurationError::NoUnit),
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return Err(DurationError::UnknownUnit),
    };
    let whole = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| DurationError::Overflow)? };
    let nanoseconds = unit.checked_mul(whole).ok_or(DurationError::Overflow)?;
    let nanoseconds = nanoseconds.checked_add(fraction_of(unit, fraction)).ok_or(DurationError::Overflow)?;
    if nanoseconds > 1 << 63 { Err(DurationError::Overflow) } else { Ok((nanoseconds, rest)) }
}

/// The part of a unit that a fraction is. Computed in floats, and from no more digits than fit 63 bits, so that the last
/// nanosecond is the reference's.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rounding is the reference's, and the result is less than the unit"
)]
fn fraction_of(unit: u64, digits: &str) -> u64 {
    let (mut value, mut scale) = (0u64, 1f64);
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit.wrapping_sub(b'0'))));
        let Some(next) = next.filter(|v| *v <= 1 << 63) else { break };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_beyond_the_known_cases() {
        for (text, nanoseconds, printed) in [
            ("1h1m1.000000001s", 3_661_000_000_001, "1h1m1.000000001s"),
            ("-0", 0, "0s"),
            ("1.s", 1_000_000_000, "1s"),
            ("1.5us", 1_500, "1.5µs"),
            ("1μs", 1_000, "1µs"),
            ("999ns", 999, "999ns"),
            ("1h1h", 7_200_000_000_000, "2h0m0s"),
            ("0.3333333333333333333h", 1_200_000_000_000, "20m0s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
            ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
        ] {
            let duration: SignedDuration = text.parse().unwrap();
            assert_eq!(duration.nanoseconds(), nanoseconds, "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for (text, error) in [
            ("", DurationError::Number),
            ("-", DurationError::Number),
            (".s", DurationError::Number),
            ("s", DurationError::Number),
            ("1", DurationError::NoUnit),
            ("1s1", DurationError::NoUnit),
            ("1 s", DurationError::UnknownUnit),
            ("1s ", DurationError::UnknownUnit),
            ("1d", DurationError::UnknownUnit),
            ("--1s", DurationError::Number),
            ("9223372036854775808ns", DurationError::Overflow),
            ("99999999999999999999s", DurationError::Overflow),
            ("2562048h", DurationError::Overflow),
        ] {
            assert_eq!(text.parse::<SignedDuration>(), Err(error), "{text}");
        }
    }
}
