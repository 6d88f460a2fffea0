//! What kinds of login a proxy offers: the values of `Proxy-Authenticate`. Source: RFC 9110 section 11.

/// Most bytes of challenges that are looked at, and most challenges and parameters.
const MOST_BYTES: usize = 16 * 1024;
const MOST_CHALLENGES: usize = 16;
const MOST_PARAMETERS: usize = 32;

/// A kind of login, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthScheme {
    /// Of Windows, version 2.
    Ntlm,
    /// RFC 7616.
    Digest,
    /// RFC 7617.
    Basic,
}

impl AuthScheme {
    /// All of them, in words.
    pub const NAMES: &'static str = "NTLM, Digest and Basic";

    fn of(name: &str) -> Option<Self> {
        let known = [("NTLM", Self::Ntlm), ("Digest", Self::Digest), ("Basic", Self::Basic)];
        known.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, scheme)| scheme)
    }
}

/// One kind of login, as a proxy offers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Its name as it was written.
    pub name: String,
    /// What follows the name, where that is no list of parameters.
    pub token: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The kind, if it is known here.
    #[must_use]
    pub fn scheme(&self) -> Option<AuthScheme> {
        AuthScheme::of(&self.name)
    }

    /// A parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// All challenges in a header's value. What is malformed is passed over: another challenge may do.
#[must_use]
pub fn challenges(value: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let value = value.get(..value.len().min(MOST_BYTES)).unwrap_or_default();
    for item in items(value) {
        let (first, rest) = item.split_once([' ', '\t']).unwrap_or((item, ""));
        let rest = rest.trim();
        // A parameter of the challenge before, unless a name stands alone in front.
        if first.contains('=') || rest.starts_with('=') {
            if let (Some(last), Some(parameter)) = (found.last_mut(), parameter(item))
                && last.parameters.len() < MOST_PARAMETERS
            {
                last.parameters.push(parameter);
            }
            continue;
        }
        if found.len() == MOST_CHALLENGES {
            break;
        }
        let mut challenge = Challenge { name: first.to_owned(), ..Challenge::default() };
        match parameter(rest).filter(|_| !is_token68(rest)) {
            Some(parameter) => challenge.parameters.push(parameter),
            None if !rest.is_empty() => challenge.token = Some(rest.to_owned()),
            None => {}
        }
        found.push(challenge);
    }
    found
}

/// The items of a list: commas between quotes do not count.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let split = value.split(move |c| {
        let is_end = c == ',' && !quoted;
        let toggles = c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        quoted ^= toggles;
        is_end
    });
    split.map(str::trim).filter(|item| !item.is_empty())
}

/// RFC 9110 section 11.2: base64 with `=` only at its end.
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(allowed)
}

fn parameter(item: &str) -> Option<(String, String)> {
    let (name, value) = item.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.contains(['"', ' ', '\t']) {
        return None;
    }
    let value = match value.strip_prefix('"') {
        Some(inner) => unquoted(inner),
        None => value.to_owned(),
    };
    Some((name.to_owned(), value))
}

/// The inside of a quoted text, up to its closing quote or, where that is missing, the end.
fn unquoted(text: &str) -> String {
    let (mut plain, mut escaped) = (String::new(), false);
    for c in text.chars() {
        match c {
            '"' if !escaped => break,
            '\\' if !escaped => escaped = true,
            other => {
                plain.push(other);
                escaped = false;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_challenges_may_share_a_header() {
        let all = challenges(
            r#"NTLM, Digest realm="a, \"b\"", qop="auth,auth-int", nonce=abc , Basic realm="x", NTLM TlRMTVNT=="#,
        );
        let names: Vec<&str> = all.iter().map(|challenge| challenge.name.as_str()).collect();
        assert_eq!(names, ["NTLM", "Digest", "Basic", "NTLM"]);
        assert_eq!(all[1].parameter("Realm"), Some("a, \"b\""));
        assert_eq!(all[1].parameter("qop"), Some("auth,auth-int"));
        assert_eq!(all[1].parameter("nonce"), Some("abc"));
        assert_eq!(all[3].token.as_deref(), Some("TlRMTVNT=="));
        assert_eq!(all[0].token, None);
    }

    #[test]
    fn what_is_malformed_does_not_hide_the_rest() {
        let all = challenges(r#",, =x, Basic, Digest realm, realm="open"#);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].token.as_deref(), Some("realm"));
        assert_eq!(all[1].parameter("realm"), Some("open"));
        assert!(challenges(&"a,".repeat(1000)).len() <= MOST_CHALLENGES);
    }
}
