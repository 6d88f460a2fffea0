//! Numbers in text as the reference reads and prints them.

/// Parses a whole number: digits with an optional sign, within 64 bits.
#[must_use]
pub fn parse_int(text: &str) -> Option<i64> {
    // Rust's own parser takes exactly this form.
    text.parse().ok()
}

/// Parses a float: decimal or hexadecimal with a binary exponent, digits parted by single underscores, or the names of
/// infinity and not-a-number in any case. Finite text beyond the range of a 64-bit float is refused.
#[must_use]
pub fn parse_float(text: &str) -> Option<f64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'+' => (false, text.get(1..)?),
        b'-' => (true, text.get(1..)?),
        _ => (false, text),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Some(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let hexadecimal = unsigned.get(..2).is_some_and(|p| p.eq_ignore_ascii_case("0x"));
    if !underscores_part_digits(unsigned, hexadecimal) {
        return None;
    }
    let plain = unsigned.replace('_', "");
    let value = if hexadecimal { parse_hexadecimal(plain.get(2..)?)? } else { parse_decimal(&plain)? };
    value.is_finite().then_some(sign * value)
}

/// Prints a float with six decimals.
#[must_use]
pub fn fixed6(x: f64) -> String {
    if x.is_nan() {
        "NaN".to_owned()
    } else if x.is_infinite() {
        if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{x:.6}")
    }
}

/// Each underscore stands between digits, or between the prefix of a hexadecimal number and its first digit.
fn underscores_part_digits(text: &str, hexadecimal: bool) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (hexadecimal && b.is_ascii_hexdigit());
    let mut before_is_digit = false;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, b)) = bytes.next() {
        if b == b'_' && !(before_is_digit && bytes.peek().is_some_and(|(_, next)| is_digit(*next))) {
            return false;
        }
        before_is_digit = is_digit(b) || (hexadecimal && at == 1);
    }
    true
}

fn parse_decimal(text: &str) -> Option<f64> {
    // Rust's parser also takes a second sign and the names, which are dealt with above.
    let starts_well = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if starts_well { text.parse().ok() } else { None }
}

/// Parses what follows `0x`: hex digits with at most one point, `p`, a decimal exponent. Digits beyond 60 bits only
/// decide rounding of values that no peer sends; they are dropped.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut exponent =
        exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { -100_000 } else { 100_000 });
    let mut value = 0u64;
    for (place, digit) in whole.chars().map(|c| (0, c)).chain(fraction.chars().map(|c| (4, c))) {
        let digit = digit.to_digit(16)?;
        if value >> 60 == 0 {
            value = value << 4 | u64::from(digit);
            exponent = exponent.saturating_sub(place);
        } else {
            exponent = exponent.saturating_add(4 - place);
        }
    }
    if value == 0 {
        return Some(0.0);
    }
    // Two steps, since 2^exponent alone may leave the range where the product does not.
    let exponent = i32::try_from(exponent.clamp(-2200, 2200)).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "rounding to a float is what is asked for")]
    let mantissa = value as f64;
    Some(mantissa * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        assert_eq!(parse_int("+1"), Some(1));
        assert_eq!(parse_int("-9223372036854775808"), Some(i64::MIN));
        for bad in ["", "+", "1.0", " 1", "1_0", "9223372036854775808", "0x1"] {
            assert_eq!(parse_int(bad), None, "{bad}");
        }
    }

    #[test]
    fn floats() {
        for (text, value) in [
            ("1.5", 1.5),
            ("1e3", 1000.0),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("0x1p-2", 0.25),
            ("0X1.8P1", 3.0),
            ("-0x_1_0p0", -16.0),
            ("1_23.50_0", 123.5),
            ("0x.8p1", 1.0),
            ("0x1p-1074", 5e-324),
            ("+iNf", f64::INFINITY),
        ] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        assert!(parse_float("nan").unwrap().is_nan());
        for bad in [
            "", "x", "1e", "0x1", "0xp1", "1__0", "_1", "1_", "1e400", "+nan", " 1", "0x1p", "--1",
            "0x1p1024",
        ] {
            assert_eq!(parse_float(bad), None, "{bad}");
        }
    }

    #[test]
    fn six_decimals() {
        assert_eq!(fixed6(1.25), "1.250000");
        assert_eq!(fixed6(f64::NEG_INFINITY), "-Inf");
    }
}
