//! SSH identifications that look like OpenSSH's, from a seed. Source: `PROTOCOL.md` 3.2.

use crate::{Prng, Seed, ServerSeedLabel};

/// An identification without its CR LF, of the form `SSH-2.0-OpenSSH_` then 7 or 8, a dot and a digit: what a
/// client announces when none is configured.
#[must_use]
pub fn identification(prng: &mut Prng) -> String {
    const PATTERN: &str = r"SSH-2\.0-OpenSSH_[7-8]\.[0-9]";
    let generated = crate::Pattern::parse(PATTERN, crate::PatternKind::Text)
        .map(|pattern| pattern.generate(prng))
        .expect("the pattern is valid, as a test shows");
    String::from_utf8(generated.unwrap_or_default()).unwrap_or_default()
}

/// The identification that a server's generated configuration announces: the same whenever it is generated from
/// the same obfuscated key.
#[must_use]
pub fn server_identification(obfuscated_key: &[u8]) -> String {
    identification(&mut Prng::new(&Seed::for_server(obfuscated_key, ServerSeedLabel::Identification)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifications_have_the_form() {
        for seed in 0..100 {
            let text = identification(&mut Prng::new(&Seed::from_bytes([seed; 32])));
            let version = text.strip_prefix("SSH-2.0-OpenSSH_").expect("the form").as_bytes();
            assert!(matches!(version, [b'7' | b'8', b'.', b'0'..=b'9']), "{text}");
        }
    }
}
