//! PEM texts of private keys.
//!
//! Source: RFC 7468 sections 2, 3 and 10; the `RSA PRIVATE KEY` label is that of RFC 1421 era tools for RFC 8017 keys.
//! Encrypted keys are not supported.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// Characters per line, RFC 7468 section 2.
const LINE: usize = 64;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// An `RSAPrivateKey`.
    Pkcs1,
    /// A `PrivateKeyInfo`.
    Pkcs8,
}

impl Label {
    const ALL: [Self; 2] = [Self::Pkcs1, Self::Pkcs8];

    const fn text(self) -> &'static str {
        match self {
            Self::Pkcs1 => "RSA PRIVATE KEY",
            Self::Pkcs8 => "PRIVATE KEY",
        }
    }
}

/// The first private key block; text around it is skipped.
pub(super) fn decode(text: &str) -> Option<(Label, Zeroizing<Vec<u8>>)> {
    let mut lines = text.lines().map(str::trim);
    let label = lines.find_map(|line| {
        let name = line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
        Label::ALL.into_iter().find(|label| label.text() == name)
    })?;
    let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
    for line in lines {
        if let Some(end) = line.strip_prefix("-----END ") {
            if end.strip_suffix("-----") != Some(label.text()) {
                return None;
            }
            let der = BASE64.decode(base64.as_bytes()).ok()?;
            return Some((label, Zeroizing::new(der)));
        }
        base64.push_str(line);
    }
    None
}

/// A text of one block.
pub(super) fn encode(label: Label, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(BASE64.encode(der));
    // Room for everything: growing would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(base64.len().saturating_mul(2).saturating_add(128)));
    text.push_str("-----BEGIN ");
    text.push_str(label.text());
    text.push_str("-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label.text());
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_of_every_length() {
        for length in 0..200_u8 {
            let der: Vec<u8> = (0..length).collect();
            for label in Label::ALL {
                let text = encode(label, &der);
                assert!(text.lines().all(|line| line.len() <= LINE), "{length}");
                assert_eq!(
                    decode(&text).map(|(label, der)| (label, der.to_vec())),
                    Some((label, der.clone()))
                );
            }
        }
    }

    #[test]
    fn surroundings_are_skipped_and_broken_blocks_refused() {
        let block = encode(Label::Pkcs8, b"key");
        assert!(decode(&format!("note\r\n{}tail", block.replace('\n', "\r\n"))).is_some());
        for broken in [
            block.replace("END", "BEGIN"),
            block.replace("END PRIVATE", "END RSA PRIVATE"),
            block.replace("a2V5", "a2V"),
            block.replace("PRIVATE", "PUBLIC"),
            block.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"),
        ] {
            assert!(decode(&broken).is_none(), "{broken}");
        }
    }
}
