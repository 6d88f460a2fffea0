//! Timestamps in text: RFC 3339 as the API uses it, and the two laxer forms that the server accepts.

use time::format_description::well_known::Rfc3339;
use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

/// Seconds from year 1 to 1970.
pub const SECONDS_FROM_YEAR_1_TO_1970: i64 = 62_135_596_800;

/// Writes a time in UTC to the second: `2025-01-02T03:04:05Z`.
#[must_use]
pub fn to_second(t: OffsetDateTime) -> String {
    write(truncated(t, 1))
}

/// Writes a time in UTC, cut to the hour: what clients may tell about when something happened (PROTOCOL.md 4.4).
#[must_use]
pub fn to_hour(t: OffsetDateTime) -> String {
    write(truncated(t, 3600))
}

/// Cuts a time to the hour, in UTC.
#[must_use]
pub fn hour_of(t: OffsetDateTime) -> OffsetDateTime {
    truncated(t, 3600)
}

/// Parses RFC 3339, with a capital `T` and `Z`.
#[must_use]
pub fn parse(text: &str) -> Option<OffsetDateTime> {
    // The library takes any character between date and time.
    if text.as_bytes().get(10) != Some(&b'T') || text.ends_with('z') {
        return None;
    }
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Reads RFC 3339 and writes it as the reference prints times in JSON: nanoseconds without trailing zeros, the offset
/// kept.
#[must_use]
pub fn renormalised(text: &str) -> Option<String> {
    parse(text).map(write)
}

/// True for `2006-01-02T15:04:05` with an optional fraction, then `Z` or an offset without colon (PROTOCOL.md 4.4).
#[must_use]
pub fn is_iso8601(text: &str) -> bool {
    parse_iso8601(text.as_bytes()).is_some()
}

/// Parses the form that [`is_iso8601`] accepts.
#[must_use]
pub fn parse_iso8601(text: &[u8]) -> Option<OffsetDateTime> {
    let (year, text) = number(text, 4..=4)?;
    let (month, text) = number(text.strip_prefix(b"-")?, 2..=2)?;
    let (day, text) = number(text.strip_prefix(b"-")?, 2..=2)?;
    // The reference takes an hour of one digit too.
    let (hour, text) = number(text.strip_prefix(b"T")?, 1..=2)?;
    let (minute, text) = number(text.strip_prefix(b":")?, 2..=2)?;
    let (second, text) = number(text.strip_prefix(b":")?, 2..=2)?;
    let (nanosecond, text) = fraction(text);
    let offset = offset(text)?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    let small = |x: u32| u8::try_from(x).ok();
    let time = Time::from_hms_nano(small(hour)?, small(minute)?, small(second)?, nanosecond).ok()?;
    Some(OffsetDateTime::new_in_offset(date, time, offset))
}

fn truncated(t: OffsetDateTime, seconds: i64) -> OffsetDateTime {
    let t = t.to_offset(UtcOffset::UTC);
    let beyond = Duration::seconds(t.unix_timestamp().rem_euclid(seconds))
        + Duration::nanoseconds(t.nanosecond().into());
    t.checked_sub(beyond).unwrap_or(t)
}

fn write(t: OffsetDateTime) -> String {
    // Only years beyond 9999 cannot be written, and nothing that parses has them.
    t.format(&Rfc3339).unwrap_or_default()
}

fn number(text: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<(u32, &[u8])> {
    let count = text.iter().take(*digits.end()).take_while(|b| b.is_ascii_digit()).count();
    if count < *digits.start() {
        return None;
    }
    let (found, rest) = text.split_at_checked(count)?;
    let value = found.iter().fold(0, |value, b| value * 10 + u32::from(b - b'0'));
    Some((value, rest))
}

/// Reads a fraction of any length; digits beyond the ninth are dropped.
fn fraction(text: &[u8]) -> (u32, &[u8]) {
    let ([b'.' | b',', digits @ ..], true) = (text, text.get(1).is_some_and(u8::is_ascii_digit)) else {
        return (0, text);
    };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (found, rest) = digits.split_at(count);
    let nanoseconds = found.iter().chain(std::iter::repeat(&b'0')).take(9);
    (nanoseconds.fold(0, |value, b| value * 10 + u32::from(b - b'0')), rest)
}

fn offset(text: &[u8]) -> Option<UtcOffset> {
    let (sign, digits) = match text {
        b"Z" => return Some(UtcOffset::UTC),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, digits) = number(digits, 2..=2)?;
    let (minutes, rest) = number(digits, 2..=2)?;
    // The reference allows 24 hours and 60 minutes here.
    if !rest.is_empty() || hours > 24 || minutes > 60 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    UtcOffset::from_whole_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_the_server_accepts() {
        for good in [
            "2025-01-02T03:04:05Z",
            "2025-01-02T3:04:05Z",
            "2025-01-02T03:04:05.123456789012Z",
            "2025-01-02T03:04:05,5Z",
            "2025-01-02T03:04:05-0700",
            "2024-02-29T23:59:59+2400",
        ] {
            assert!(is_iso8601(good), "{good}");
        }
        for bad in [
            "",
            "None",
            "2025-01-02",
            "2025-02-29T00:00:00Z",
            "2025-01-02T24:00:00Z",
            "2025-01-02T03:04:60Z",
            "2025-01-02T03:04:05",
            "2025-01-02T03:04:05.Z",
            "2025-01-02T03:04:05z",
            "2025-01-02T03:04:05-07:00",
            "2025-01-02T03:04:05Z ",
            "25-01-02T03:04:05Z",
        ] {
            assert!(!is_iso8601(bad), "{bad}");
        }
    }

    #[test]
    fn writes_as_the_reference_does() {
        let t = parse("2025-01-02T03:04:05.120300000+01:00").unwrap();
        assert_eq!(to_second(t), "2025-01-02T02:04:05Z");
        assert_eq!(to_hour(t), "2025-01-02T02:00:00Z");
        assert_eq!(
            renormalised("2025-01-02T03:04:05.120300000+01:00").unwrap(),
            "2025-01-02T03:04:05.1203+01:00"
        );
        assert!(parse("2025-01-02 03:04:05Z").is_none() && parse("2025-01-02T03:04:05z").is_none());
        assert_eq!(renormalised("2025-01-02T03:04:05.000Z").unwrap(), "2025-01-02T03:04:05Z");
    }
}
