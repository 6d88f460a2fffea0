//! The head of a request, read byte by byte: clients may change the request line and the case and order of headers so that no two look alike, so
//! whether a request is one is told by the cookie alone. Pure. Source: TRANSPORTS.md 2.3, 2.10.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::meek::wire::range_position;

/// The longest head that is looked at, in bytes.
pub const MAX_HEAD: usize = 8192;
const END: &[u8] = b"\r\n\r\n";

/// Headers that a request must and must not have.
#[derive(Clone, Debug, Default)]
pub struct HeadRules {
    /// Names of which none may be there.
    pub prohibited: Vec<String>,
    /// Names and values which all must be there.
    pub required: Vec<(String, String)>,
}

/// What a request's head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of it, with the empty line.
    pub len: usize,
    /// The body's length, if it has a proper one.
    pub body: Option<usize>,
    /// Name and value of the first cookie.
    pub cookie: Option<(Vec<u8>, Vec<u8>)>,
    /// What the body is said to be; empty if nothing is said.
    pub content_type: Vec<u8>,
    /// The version of HTTP at the end of the request line; empty if there is none.
    pub version: Vec<u8>,
    /// From where the response is asked for.
    pub position: Option<u64>,
    /// Whether it has no prohibited header.
    pub is_allowed: bool,
    /// Whether it has all required ones.
    pub is_complete: bool,
}

/// There is no end of a head in as many bytes as any head has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a request head of more than {MAX_HEAD} bytes")]
pub struct HeadError;

/// The head at the beginning of `received`; `None` if it is not complete. `searched` is how many bytes were there when it was not complete
/// before.
///
/// # Errors
/// See [`HeadError`].
pub fn head_of(received: &[u8], searched: usize, rules: &HeadRules) -> Result<Option<Head>, HeadError> {
    let from = searched.saturating_sub(END.len() - 1);
    let window = received.get(from..received.len().min(MAX_HEAD)).unwrap_or_default();
    let Some(at) = window.windows(END.len()).position(|bytes| bytes == END) else {
        return if received.len() >= MAX_HEAD { Err(HeadError) } else { Ok(None) };
    };
    let len = from + at + END.len();
    let head = received.get(..len - END.len()).unwrap_or_default();
    Ok(Some(parse(head, len, rules)))
}

/// Names and values of the lines that have both, behind the request line.
fn headers(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        Some((name.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii()))
    })
}

fn parse(head: &[u8], len: usize, rules: &HeadRules) -> Head {
    let mut parsed = Head {
        len,
        body: None,
        cookie: None,
        content_type: Vec::new(),
        version: version(head).to_vec(),
        position: None,
        is_allowed: true,
        is_complete: true,
    };
    let mut satisfied = vec![false; rules.required.len()];
    for (name, value) in headers(head) {
        if name.eq_ignore_ascii_case(b"content-length") {
            parsed.body = number(value);
        } else if name.eq_ignore_ascii_case(b"cookie") {
            let first = value.split(|byte| *byte == b';').next().unwrap_or_default();
            parsed.cookie = parsed.cookie.or_else(|| pair(first));
        } else if name.eq_ignore_ascii_case(b"content-type") {
            parsed.content_type = value.to_vec();
        } else if name.eq_ignore_ascii_case(b"range") {
            parsed.position = range_position(value);
        }
        if rules.prohibited.iter().any(|prohibited| name.eq_ignore_ascii_case(prohibited.as_bytes())) {
            parsed.is_allowed = false;
        }
        for ((required, expected), satisfied) in rules.required.iter().zip(&mut satisfied) {
            if name.eq_ignore_ascii_case(required.as_bytes()) {
                *satisfied |= verify_slices_are_equal(expected.as_bytes(), value).is_ok();
            }
        }
    }
    parsed.is_complete = satisfied.into_iter().all(|satisfied| satisfied);
    parsed
}

/// What begins like a version at the end of the request line.
fn version(head: &[u8]) -> &[u8] {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if last.starts_with(b"HTTP/") { last } else { &[] }
}

fn number(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn pair(cookie: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let cookie = cookie.trim_ascii();
    let equals = cookie.iter().position(|byte| *byte == b'=')?;
    let (name, value) = cookie.split_at_checked(equals)?;
    Some((name.to_vec(), value.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, rules: &HeadRules) -> Head {
        let head = head_of(text.as_bytes(), 0, rules).unwrap().unwrap();
        for searched in 1..text.len() {
            let partial = &text.as_bytes()[..searched];
            if searched < head.len {
                assert_eq!(head_of(partial, searched - 1, rules), Ok(None));
            }
            let full = head_of(text.as_bytes(), searched.min(head.len - 1), rules);
            assert_eq!(full.as_ref(), Ok(&Some(head.clone())), "{searched}");
        }
        head
    }

    #[test]
    fn what_matters_is_found_however_it_is_written() {
        let rules = HeadRules::default();
        let plain = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nCookie: n=va=l; other=1\r\nRange: bytes=7-\r\n\r\nabcde";
        let mangled = "nonsense: x\r\ncoOkie:n=va=l\r\nno colon\r\nRANGE:   bytes=7-  \r\ncontent-length:5\r\n\r\nabcde";
        for text in [plain, mangled] {
            let head = parsed(text, &rules);
            assert_eq!(head.cookie, Some((b"n".to_vec(), b"va=l".to_vec())));
            assert_eq!((head.body, head.position), (Some(5), Some(7)));
            assert_eq!(head.len, text.len() - 5);
        }
        let typed = "POST / HTTP/1.0\r\nContent-type: audio/mpeg\r\n\r\n";
        for (text, of_body, version) in
            [(plain, "", "HTTP/1.1"), (mangled, "", ""), (typed, "audio/mpeg", "HTTP/1.0")]
        {
            let head = parsed(text, &rules);
            assert_eq!((&head.content_type[..], &head.version[..]), (of_body.as_bytes(), version.as_bytes()));
        }
        let first =
            parsed("POST / HTTP/1.1\r\nCookie: a=1\r\nCookie: b=2\r\nContent-Length: -1\r\n\r\n", &rules);
        assert_eq!((first.cookie, first.body), (Some((b"a".to_vec(), b"1".to_vec())), None));
    }

    #[test]
    fn rules_are_kept() {
        let rules =
            HeadRules { prohibited: vec!["X-Bad".into()], required: vec![("X-Key".into(), "secret".into())] };
        let head = |headers: &str| {
            let head = parsed(&format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n"), &rules);
            (head.is_allowed, head.is_complete)
        };
        assert_eq!(head("x-key: secret"), (true, true));
        assert_eq!(head("x-key: secret\r\nx-BAD: 1"), (false, true));
        assert_eq!(head("x-key: other"), (true, false));
        assert_eq!(head("Host: a"), (true, false));
    }

    #[test]
    fn heads_are_bounded() {
        let rules = HeadRules::default();
        assert_eq!(head_of(&[b'a'; MAX_HEAD - 1], 0, &rules), Ok(None));
        assert_eq!(head_of(&[b'a'; MAX_HEAD], 0, &rules), Err(HeadError));
        let mut late = vec![b'a'; MAX_HEAD];
        late.extend_from_slice(END);
        assert_eq!(head_of(&late, 0, &rules), Err(HeadError));
    }
}
