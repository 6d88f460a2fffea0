//! How clients choose the cookie's name and the content type of their requests: fixed by the padding seed, so that a dial can be repeated.
//! Servers look at neither. Source: TRANSPORTS.md 2.3.

use culvert_obfuscation::{Pattern, PatternKind, Prng, Seed};

/// How likely each is another than the usual one.
pub const ALTERNATE_PROBABILITY: f64 = 0.5;

const COOKIE_NAME: &str = "[a-z_]{2,10}";
const CONTENT_TYPE: &str = "application/octet-stream|audio/mpeg|image/jpeg|video/mpeg";
const USUAL_CONTENT_TYPE: &str = "application/octet-stream";

/// The cookie's name for a session.
#[must_use]
pub fn cookie_name(padding_seed: &Seed, alternate_probability: f64) -> String {
    let mut prng = Prng::derived(padding_seed, "meek-cookie-name");
    if prng.flip_weighted_coin(alternate_probability) {
        return generated_cookie_name(&mut prng);
    }
    let letter = u8::try_from(prng.intn(26)).unwrap_or_default();
    char::from(b'A'.saturating_add(letter)).to_string()
}

/// The requests' content type for a session.
#[must_use]
pub fn content_type(padding_seed: &Seed, alternate_probability: f64) -> String {
    let mut prng = Prng::derived(padding_seed, "meek-content-type");
    if prng.flip_weighted_coin(alternate_probability) {
        return generated_content_type(&mut prng);
    }
    USUAL_CONTENT_TYPE.to_owned()
}

/// A cookie name that is none of the usual ones.
#[must_use]
pub fn generated_cookie_name(prng: &mut Prng) -> String {
    generated(COOKIE_NAME, prng)
}

/// A content type, any of those in use.
#[must_use]
pub fn generated_content_type(prng: &mut Prng) -> String {
    generated(CONTENT_TYPE, prng)
}

fn generated(pattern: &str, prng: &mut Prng) -> String {
    let pattern =
        Pattern::parse(pattern, PatternKind::Text).expect("the patterns are valid, as a test shows");
    String::from_utf8(pattern.generate(prng).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_forms() {
        for seed in 0..=255 {
            let seed = Seed::from_bytes([seed; 32]);
            let name = cookie_name(&seed, ALTERNATE_PROBABILITY);
            let alternate = name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
            assert!(alternate && (2..=10).contains(&name.len()) || name.len() == 1, "{name}");
            assert!(CONTENT_TYPE.split('|').any(|known| known == content_type(&seed, ALTERNATE_PROBABILITY)));
        }
    }
}
