//! Countries as figures know them: two letters, or none. Small enough to be kept with every connection.

use std::fmt;

use crate::geoip::UNKNOWN;

/// A country of ISO 3166, as far as its form goes, or an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Country([u8; 2]);

impl Country {
    pub(crate) const UNKNOWN: Self = Self([0; 2]);

    /// Of a name of a database; what is no code is unknown.
    pub(crate) fn of(name: &str) -> Self {
        match name.as_bytes() {
            [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()])
            }
            _ => Self::UNKNOWN,
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(letters) if *self != Self::UNKNOWN => f.write_str(letters),
            _ => f.write_str(UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_is_unknown() {
        assert_eq!(Country::of("ir").to_string(), "IR");
        for name in ["None", "", "I", "I1", "IRN", "\u{e9}"] {
            assert_eq!(Country::of(name), Country::UNKNOWN);
        }
        assert_eq!(Country::UNKNOWN.to_string(), "None");
    }
}
