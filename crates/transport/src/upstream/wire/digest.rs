//! The answer to a Digest challenge. Source: RFC 7616, RFC 2069 where a proxy names no `qop`, TRANSPORTS.md 6.4.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest as _, Md5};

use super::{BadReply, Challenge};
use crate::upstream::{Credentials, UpstreamError};

/// Longest text taken from a challenge.
const LONGEST: usize = 4096;

/// A hash function that challenges name.
#[derive(Clone, Copy)]
enum Hash {
    Md5,
    Sha256,
}

impl Hash {
    fn hex(self, text: &str) -> String {
        match self {
            Self::Md5 => HEXLOWER.encode(Md5::digest(text.as_bytes()).as_slice()),
            Self::Sha256 => HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref()),
        }
    }
}

/// The value of `Proxy-Authorization` for one CONNECT request to `uri`, `random` being the client's part.
pub(super) fn answer(
    challenge: &Challenge,
    credentials: &Credentials,
    uri: &str,
    random: &[u8],
) -> Result<String, UpstreamError> {
    let algorithm = challenge.parameter("algorithm").unwrap_or("MD5");
    let (base, is_session) = match algorithm.len().checked_sub("-sess".len()) {
        Some(at) if algorithm.get(at..).is_some_and(|end| end.eq_ignore_ascii_case("-sess")) => {
            (algorithm.get(..at).unwrap_or_default(), true)
        }
        _ => (algorithm, false),
    };
    let hash = match base {
        base if base.eq_ignore_ascii_case("MD5") => Hash::Md5,
        base if base.eq_ignore_ascii_case("SHA-256") => Hash::Sha256,
        _ => {
            return Err(UpstreamError::LoginUnsupported {
                wanted: format!("Digest with {}", shown(algorithm)),
            });
        }
    };
    let required = |name| fit(challenge.parameter(name)).ok_or(BadReply::Challenge("Digest"));
    let (realm, nonce) = (required("realm")?, required("nonce")?);
    let qop = match challenge.parameter("qop") {
        None => None,
        Some(list) if list.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")) => Some("auth"),
        Some(other) => {
            return Err(UpstreamError::LoginUnsupported { wanted: format!("Digest with {}", shown(other)) });
        }
    };
    let cnonce = BASE64.encode(random);
    let (user, password) = (credentials.user.as_str(), credentials.password.as_str());
    let mut ha1 = hash.hex(&format!("{user}:{realm}:{password}"));
    if is_session {
        ha1 = hash.hex(&format!("{ha1}:{nonce}:{cnonce}"));
    }
    let ha2 = hash.hex(&format!("CONNECT:{uri}"));
    let response = match qop {
        // A nonce is used once: each connection has its own challenge.
        Some(qop) => hash.hex(&format!("{ha1}:{nonce}:00000001:{cnonce}:{qop}:{ha2}")),
        None => hash.hex(&format!("{ha1}:{nonce}:{ha2}")),
    };
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let (user, realm, nonce) = (quoted(user), quoted(&realm), quoted(&nonce));
    let mut value = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\""
    );
    if let Some(qop) = qop {
        value.push_str(&format!(", qop={qop}, nc=00000001"));
    }
    if qop.is_some() || is_session {
        value.push_str(&format!(", cnonce=\"{cnonce}\""));
    }
    value.push_str(&format!(", algorithm={}", shown(algorithm)));
    if let Some(opaque) = fit(challenge.parameter("opaque")).filter(|opaque| !opaque.is_empty()) {
        value.push_str(&format!(", opaque=\"{}\"", quoted(&opaque)));
    }
    Ok(value)
}

/// Whether the refusal only says that the nonce was too old.
pub(super) fn is_stale(challenge: &Challenge) -> bool {
    challenge.parameter("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"))
}

/// Text that may be said back.
fn fit(text: Option<&str>) -> Option<String> {
    text.filter(|text| text.len() <= LONGEST && !text.chars().any(char::is_control)).map(str::to_owned)
}

/// The proxy's word, cut to what a message or a header may hold.
fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ',' | '_')).take(32).collect()
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::upstream::wire::challenges;

    fn login(user: &str, password: &str) -> Credentials {
        Credentials { user: Zeroizing::new(user.into()), password: Zeroizing::new(password.into()) }
    }

    /// Computed with Python's hashlib from RFC 7616 section 3.4.1 for CONNECT.
    #[test]
    fn responses_are_as_the_rfc_has_them() {
        let all = challenges(
            r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
        );
        let value = answer(&all[0], &login("Mufasa", "Circle of Life"), "host:443", b"client nonce").unwrap();
        assert!(value.contains("algorithm=SHA-256") && value.contains("qop=auth, nc=00000001"), "{value}");
        assert!(value.contains(SHA256_RESPONSE), "{value}");
        let old = challenges(r#"Digest realm="r", nonce="n""#);
        let value = answer(&old[0], &login("u", "p"), "host:443", b"x").unwrap();
        assert!(!value.contains("qop") && !value.contains("cnonce"), "{value}");
        assert!(value.contains(OLD_RESPONSE), "{value}");
        let session = challenges(r#"Digest realm="r", nonce="n", qop=auth, algorithm=MD5-sess"#);
        let value = answer(&session[0], &login("u", "p"), "host:443", b"client nonce").unwrap();
        assert!(value.contains(SESSION_RESPONSE), "{value}");
    }

    const SHA256_RESPONSE: &str = "f5206a2a774e82493afd8db86a659ce4a552de92ed93d299be5c5e02cdcaec14";
    const OLD_RESPONSE: &str = "cea74d08dbb70f1cfd428aa5adfcb1ec";
    const SESSION_RESPONSE: &str = "264bfc30aef7bc1aa49ef9bfea380b95";

    #[test]
    fn what_cannot_be_answered_is_said() {
        let unsupported = |text: &str| answer(&challenges(text)[0], &login("u", "p"), "h:1", b"x").is_err();
        assert!(unsupported(r#"Digest realm="r", nonce="n", algorithm=SHA-512-256"#));
        assert!(unsupported(r#"Digest realm="r", nonce="n", qop="auth-int""#));
        assert!(unsupported(r#"Digest realm="r""#));
    }
}
