//! Reads HTTP/1.1 responses to POST requests from bytes: the head, then the body in pieces that are cut from what was received
//! without copying. No I/O. Source: RFC 9112; what a session needs of a head is in TRANSPORTS.md 2.5 and 2.6.

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

/// Longest head, and longest trailers, in bytes. Fronts add headers of their own.
const MAX_HEAD: usize = 32 * 1024;
/// Most headers.
const MAX_HEADERS: usize = 128;
/// Longest line with the size of a chunk.
const MAX_SIZE_LINE: usize = 256;
/// Longest cookie value taken from a response. A session's is 26 bytes.
const MAX_COOKIE: usize = 1024;

/// A response that is none. The peer, or what stands between, is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadResponse {
    /// Its head.
    #[error("the response begins with something else than an HTTP/1 head")]
    Head,
    /// Too large a head.
    #[error("the response's head is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// How long its body is.
    #[error("the response does not say clearly how long it is")]
    Framing,
    /// A chunk's size or end.
    #[error("the response's chunks are malformed")]
    Chunk,
    /// It ended in the middle.
    #[error("the response ended early")]
    Truncated,
}

/// What matters of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// The new value of the cookie that was asked for, where the response sets it.
    pub cookie: Option<String>,
    /// Whether the connection takes another request.
    pub keep_alive: bool,
    /// The body.
    pub body: Body,
}

/// How far a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are to come.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// Until the connection ends.
    UntilEnd,
}

/// Where in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Before a size.
    Size,
    /// In a chunk, with so many bytes to come.
    Data(u64),
    /// Before the line end behind a chunk.
    End,
    /// Behind the last chunk, with so many bytes of trailers read.
    Trailers(usize),
    /// Behind it all.
    Done,
}

/// The next piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of it.
    Data(Bytes),
    /// More must be received.
    Wanting,
    /// Nothing follows.
    End,
}

impl ResponseHead {
    /// Takes a head from the beginning of what was received; `None` while it is incomplete. Interim responses are passed over.
    /// `cookie` is the name of the cookie whose new value is wanted.
    ///
    /// # Errors
    /// The bytes are no response.
    pub fn take(input: &mut BytesMut, cookie: &str) -> Result<Option<Self>, BadResponse> {
        loop {
            let Some((head, len)) = Self::parse(input, cookie)? else {
                let too_long = input.len() > MAX_HEAD;
                return if too_long { Err(BadResponse::HeadTooLong) } else { Ok(None) };
            };
            if len > MAX_HEAD {
                return Err(BadResponse::HeadTooLong);
            }
            input.advance(len);
            // RFC 9110 section 15.2: any number of them may come first. 101 would be the end of HTTP.
            match head.status {
                101 => return Err(BadResponse::Head),
                100..200 => {}
                _ => return Ok(Some(head)),
            }
        }
    }

    fn parse(input: &[u8], cookie: &str) -> Result<Option<(Self, usize)>, BadResponse> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let len = match response.parse(input) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(BadResponse::Head),
        };
        let status = response.code.ok_or(BadResponse::Head)?;
        let fields = Fields(response.headers);
        let body = match status {
            // RFC 9112 section 6.3.
            100..200 | 204 | 304 => Body::Length(0),
            _ => fields.body()?,
        };
        let closes = fields.lists("connection", "close");
        let persists = response.version == Some(1) || fields.lists("connection", "keep-alive");
        let keep_alive = persists && !closes && body != Body::UntilEnd;
        Ok(Some((Self { status, cookie: fields.cookie(cookie), keep_alive, body }, len)))
    }
}

struct Fields<'h>(&'h [httparse::Header<'h>]);

impl Fields<'_> {
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.filter_map(|header| std::str::from_utf8(header.value).ok())
    }

    /// Whether a comma-separated list has an item.
    fn lists(&self, name: &str, item: &str) -> bool {
        self.values(name).flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(item))
    }

    /// RFC 9112 section 6.3.
    fn body(&self) -> Result<Body, BadResponse> {
        let mut codings = self.values("transfer-encoding").flat_map(|list| list.split(',')).map(str::trim);
        if let Some(coding) = codings.next() {
            let only_chunked = coding.eq_ignore_ascii_case("chunked") && codings.next().is_none();
            return if only_chunked { Ok(Body::Chunked(Chunk::Size)) } else { Err(BadResponse::Framing) };
        }
        let mut lengths = self.values("content-length").flat_map(|list| list.split(',')).map(str::trim);
        let Some(length) = lengths.next() else { return Ok(Body::UntilEnd) };
        if length.is_empty()
            || !length.bytes().all(|digit| digit.is_ascii_digit())
            || lengths.any(|other| other != length)
        {
            return Err(BadResponse::Framing);
        }
        length.parse().map(Body::Length).map_err(|_| BadResponse::Framing)
    }

    fn cookie(&self, name: &str) -> Option<String> {
        self.values("set-cookie").find_map(|text| cookie_value(text, name))
    }
}

/// The value that a `Set-Cookie` text gives a cookie, if it is that cookie and fit to be sent back. TRANSPORTS.md 2.5: the exact
/// text counts.
pub(super) fn cookie_value(text: &str, name: &str) -> Option<String> {
    let pair = text.split(';').next()?;
    let (own, value) = pair.split_once('=')?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
    // RFC 6265 section 4.1.1.
    let fit = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    let is_fit = (1..=MAX_COOKIE).contains(&value.len()) && value.bytes().all(fit);
    (own.trim() == name && is_fit).then(|| value.to_owned())
}

impl Body {
    /// Takes the next piece from the beginning of what was received.
    ///
    /// # Errors
    /// The chunks are malformed.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Piece, BadResponse> {
        match self {
            Self::Length(0) | Self::Chunked(Chunk::Done) => Ok(Piece::End),
            Self::Length(left) => Ok(cut(input, left)),
            Self::UntilEnd if input.is_empty() => Ok(Piece::Wanting),
            Self::UntilEnd => Ok(Piece::Data(input.split().freeze())),
            Self::Chunked(chunk) => chunk.take(input),
        }
    }

    /// What it means that the connection ended here, everything received having been taken.
    ///
    /// # Errors
    /// The body is incomplete.
    pub const fn at_end(&self) -> Result<(), BadResponse> {
        match self {
            Self::UntilEnd | Self::Length(0) | Self::Chunked(Chunk::Done) => Ok(()),
            Self::Length(_) | Self::Chunked(_) => Err(BadResponse::Truncated),
        }
    }
}

impl Chunk {
    fn take(&mut self, input: &mut BytesMut) -> Result<Piece, BadResponse> {
        loop {
            match self {
                Self::Size => match line(input, MAX_SIZE_LINE)? {
                    None => return Ok(Piece::Wanting),
                    Some(line) => {
                        let size = chunk_size(&line)?;
                        *self = if size == 0 { Self::Trailers(0) } else { Self::Data(size) };
                    }
                },
                Self::Data(0) => *self = Self::End,
                Self::Data(left) => return Ok(cut(input, left)),
                Self::End => match line(input, 2)? {
                    None => return Ok(Piece::Wanting),
                    Some(line) if line.is_empty() => *self = Self::Size,
                    Some(_) => return Err(BadResponse::Chunk),
                },
                Self::Trailers(read) => match line(input, MAX_HEAD - *read)? {
                    None => return Ok(Piece::Wanting),
                    Some(line) if line.is_empty() => *self = Self::Done,
                    Some(line) => {
                        *read += line.len() + 2;
                        if *read >= MAX_HEAD {
                            return Err(BadResponse::Chunk);
                        }
                    }
                },
                Self::Done => return Ok(Piece::End),
            }
        }
    }
}

fn cut(input: &mut BytesMut, left: &mut u64) -> Piece {
    let len = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    if len == 0 {
        return Piece::Wanting;
    }
    *left -= len as u64;
    Piece::Data(input.split_to(len).freeze())
}

/// Takes a line of at most so many bytes with its end; gives it without the end.
fn line(input: &mut BytesMut, most: usize) -> Result<Option<BytesMut>, BadResponse> {
    let within = input.get(..most).unwrap_or(input);
    match within.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let mut line = input.split_to(end + 1);
            // RFC 9112 section 2.2: a bare LF may be taken for a line end. Nothing but a line end is guessed here.
            if !line.ends_with(b"\r\n") {
                return Err(BadResponse::Chunk);
            }
            line.truncate(end - 1);
            Ok(Some(line))
        }
        None if input.len() >= most => Err(BadResponse::Chunk),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, BadResponse> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| BadResponse::Chunk)?;
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(BadResponse::Chunk);
    }
    u64::from_str_radix(text, 16).map_err(|_| BadResponse::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head, the body, and what is left, however the bytes are cut.
    fn read(text: &str) -> Result<(ResponseHead, Vec<u8>, Vec<u8>), BadResponse> {
        let whole = read_in_parts(text.as_bytes(), usize::MAX);
        for size in [1, 2, 3, 7, 50] {
            assert_eq!(read_in_parts(text.as_bytes(), size), whole, "in parts of {size}");
        }
        whole
    }

    fn read_in_parts(text: &[u8], size: usize) -> Result<(ResponseHead, Vec<u8>, Vec<u8>), BadResponse> {
        let mut parts = text.chunks(size.min(text.len().max(1)));
        let mut input = BytesMut::new();
        let head = loop {
            if let Some(head) = ResponseHead::take(&mut input, "id")? {
                break head;
            }
            input.extend_from_slice(parts.next().ok_or(BadResponse::Truncated)?);
        };
        let (mut body, mut data) = (head.body.clone(), Vec::new());
        loop {
            match body.take(&mut input)? {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::End => break,
                Piece::Wanting => match parts.next() {
                    Some(part) => input.extend_from_slice(part),
                    None => {
                        body.at_end()?;
                        break;
                    }
                },
            }
        }
        let left = parts.fold(input.to_vec(), |left, part| [&left, part].concat());
        Ok((head, data, left))
    }

    #[test]
    fn bodies_end_where_they_say() {
        let (head, body, left) =
            read("HTTP/1.1 200 OK\r\nSet-Cookie: id=a+/b; path=/\r\nContent-Length: 3\r\n\r\nabcNEXT")
                .unwrap();
        assert_eq!((head.status, head.cookie.as_deref(), head.keep_alive), (200, Some("a+/b"), true));
        assert_eq!((body.as_slice(), left.as_slice()), (&b"abc"[..], &b"NEXT"[..]));
        let chunked = "HTTP/1.1 206 P\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: 1\r\n\r\nNEXT";
        let (head, body, left) = read(chunked).unwrap();
        assert_eq!(
            (head.status, body.as_slice(), left.as_slice()),
            (206, &b"abc0123456789"[..], &b"NEXT"[..])
        );
        let (head, body, _) = read("HTTP/1.1 200 OK\r\n\r\nabc").unwrap();
        assert_eq!((head.keep_alive, body.as_slice()), (false, &b"abc"[..]));
        let (head, body, left) = read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204 N\r\n\r\nX").unwrap();
        assert_eq!((head.status, head.keep_alive, body.len(), left.len()), (204, false, 0, 1));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for (text, expected) in [
            ("SSH-2.0-x\r\n\r\n", BadResponse::Head),
            ("HTTP/1.1 101 S\r\n\r\n", BadResponse::Head),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", BadResponse::Framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", BadResponse::Framing),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BadResponse::Framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", BadResponse::Truncated),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", BadResponse::Truncated),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", BadResponse::Chunk),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", BadResponse::Chunk),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n", BadResponse::Chunk),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", BadResponse::Chunk),
        ] {
            assert_eq!(read(text), Err(expected), "{text:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(MAX_HEAD));
        assert_eq!(read_in_parts(long.as_bytes(), 4096), Err(BadResponse::HeadTooLong));
        let line =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}", "a".repeat(MAX_SIZE_LINE));
        assert_eq!(read_in_parts(line.as_bytes(), 4096), Err(BadResponse::Chunk));
    }

    #[test]
    fn only_fit_values_of_the_own_cookie_are_taken() {
        assert_eq!(cookie_value("id=\"abc\"; Secure", "id").as_deref(), Some("abc"));
        for other in ["ID=abc", "id=", "id", "id=a b", "id=a\\b", "idx=1"] {
            assert_eq!(cookie_value(other, "id"), None, "{other}");
        }
    }
}
