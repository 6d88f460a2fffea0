//! Writes the heads of meek's requests: names, case and order as a usual client of the same kind writes them, then whatever a
//! transform makes of that. No I/O. Source: TRANSPORTS.md 2.3, 2.11.

use culvert_obfuscation::{Seed, Transform, TransformError};

/// Longest head that a transform may make: servers read no longer one. TRANSPORTS.md 2.10.
const MAX_HEAD: usize = 8192;

/// What is the same in every request of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLook {
    /// The `Host` header.
    pub host: String,
    /// The `User-Agent` header; none when empty.
    pub user_agent: String,
    /// The `Content-Type` header.
    pub content_type: String,
    /// The name of the cookie.
    pub cookie_name: String,
    /// Other headers.
    pub additional: Vec<(String, String)>,
    /// What is done to the head as a whole, where it can be seen on the wire.
    pub transform: Option<HeadTransform>,
}

/// A transform of heads: the same for all requests of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadTransform {
    /// Its name, for reports.
    pub name: String,
    /// What is matched, and what is generated instead.
    pub steps: Vec<[String; 2]>,
    /// What it generates from.
    pub seed: Seed,
}

/// What differs between requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPart<'r> {
    /// The value of the cookie.
    pub cookie: &'r str,
    /// Bytes of the body.
    pub length: usize,
    /// In a retry, how much of the response was received.
    pub range: Option<u64>,
}

/// Writes heads.
pub struct HeadWriter {
    look: RequestLook,
    transform: Option<(Transform, Seed)>,
}

/// A head that cannot be sent. The configuration is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// The transform.
    #[error("HTTP transform: {0}")]
    Transform(#[from] TransformError),
    /// What it made.
    #[error(
        "HTTP transform: it makes a head longer than {MAX_HEAD} bytes, or one that does not end in an empty line"
    )]
    Unfit,
    /// A header.
    #[error("the value of header {0} holds bytes that end a line")]
    Header(String),
}

impl RequestLook {
    /// All headers but `Host`, in the order of sending: what stands first in clients of the kind, the others by name, the
    /// encoding last. TRANSPORTS.md 2.3.
    pub fn headers(&self, part: RequestPart<'_>) -> Vec<(&str, String)> {
        let mut sorted = vec![
            ("Content-Type", self.content_type.clone()),
            ("Cookie", format!("{}={}", self.cookie_name, part.cookie)),
        ];
        sorted.extend(part.range.map(|from| ("Range", format!("bytes={from}-"))));
        sorted.extend(self.additional.iter().map(|(name, value)| (name.as_str(), value.clone())));
        sorted.sort_by_key(|(name, _)| *name);
        let agent = Some(("User-Agent", self.user_agent.clone())).filter(|(_, agent)| !agent.is_empty());
        let mut all: Vec<_> = agent.into_iter().collect();
        all.push(("Content-Length", part.length.to_string()));
        all.append(&mut sorted);
        all.push(("Accept-Encoding", "gzip".to_owned()));
        all
    }

    /// The name of a header with bytes that would end its line.
    fn unfit_header(&self) -> Option<&str> {
        let own = [
            ("Host", &self.host),
            ("User-Agent", &self.user_agent),
            ("Content-Type", &self.content_type),
            ("Cookie", &self.cookie_name),
        ];
        let additional = self.additional.iter().map(|(name, value)| (name.as_str(), value));
        let ends = |text: &str| text.bytes().any(|byte| byte < b' ' && byte != b'\t');
        own.into_iter()
            .chain(additional)
            .find(|(name, value)| ends(name) || ends(value))
            .map(|(name, _)| name)
    }
}

impl HeadWriter {
    /// For this look.
    ///
    /// # Errors
    /// The transform is none, or a header would break the head.
    pub fn new(look: RequestLook) -> Result<Self, BadHead> {
        if let Some(name) = look.unfit_header() {
            return Err(BadHead::Header(name.to_owned()));
        }
        let compile = |transform: &HeadTransform| {
            let pairs: Vec<_> = transform.steps.iter().map(|[from, to]| (from, to)).collect();
            Ok::<_, BadHead>((Transform::new(&pairs)?, transform.seed.clone()))
        };
        let transform = look.transform.as_ref().map(compile).transpose()?;
        Ok(Self { look, transform })
    }

    /// What does not change.
    pub fn look(&self) -> &RequestLook {
        &self.look
    }

    /// Writes the head of one request.
    ///
    /// # Errors
    /// The transform fails.
    pub fn write(&self, part: RequestPart<'_>, to: &mut Vec<u8>) -> Result<(), BadHead> {
        let mut head = format!("POST / HTTP/1.1\r\nHost: {}\r\n", self.look.host);
        for (name, value) in self.look.headers(part) {
            head.extend([name, ": ", &value, "\r\n"]);
        }
        head.push_str("\r\n");
        let Some((transform, seed)) = &self.transform else {
            to.extend_from_slice(head.as_bytes());
            return Ok(());
        };
        let head = transform.apply(seed, head.as_bytes())?;
        if head.len() > MAX_HEAD || !head.ends_with(b"\r\n\r\n") {
            return Err(BadHead::Unfit);
        }
        to.extend_from_slice(&head);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> RequestLook {
        RequestLook {
            host: "host.example:81".into(),
            user_agent: "agent".into(),
            content_type: "application/octet-stream".into(),
            cookie_name: "id".into(),
            additional: vec![("X-One".into(), "1".into()), ("Alpha".into(), "2".into())],
            transform: None,
        }
    }

    fn head(look: RequestLook) -> Result<String, BadHead> {
        let mut bytes = Vec::new();
        let part = RequestPart { cookie: "v+/=", length: 5, range: Some(70) };
        HeadWriter::new(look)?.write(part, &mut bytes)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn headers_stand_in_order() {
        let expected = concat!(
            "POST / HTTP/1.1\r\nHost: host.example:81\r\nUser-Agent: agent\r\nContent-Length: 5\r\nAlpha: 2\r\n",
            "Content-Type: application/octet-stream\r\nCookie: id=v+/=\r\nRange: bytes=70-\r\nX-One: 1\r\n",
            "Accept-Encoding: gzip\r\n\r\n",
        );
        assert_eq!(head(look()).unwrap(), expected);
    }

    #[test]
    fn transforms_change_the_head_as_long_as_it_ends() {
        let transformed = |from: &str, to: &str| {
            let steps = vec![[from.to_owned(), to.to_owned()]];
            let seed = Seed::from_bytes([7; 32]);
            head(RequestLook { transform: Some(HeadTransform { name: "t".into(), steps, seed }), ..look() })
        };
        assert!(transformed("^POST", "GET").unwrap().starts_with("GET / HTTP/1.1\r\n"));
        assert_eq!(transformed(r"\r\n\r\n$", ""), Err(BadHead::Unfit));
        assert_eq!(transformed("[a-z]", "a{900}"), Err(BadHead::Unfit));
        assert!(matches!(transformed("(", ""), Err(BadHead::Transform(_))));
    }

    #[test]
    fn headers_cannot_break_the_head() {
        let broken = RequestLook { user_agent: "a\r\nb".into(), ..look() };
        assert_eq!(head(broken), Err(BadHead::Header("User-Agent".into())));
    }
}
