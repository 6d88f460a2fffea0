//! Finds the ClientHello at the beginning of a connection, whole or in pieces, in one record or several, and reads what judging it needs.
//! Strict: what a TLS server would refuse must be refused here, or that server would answer it. Source: RFC 8446 sections 4.1.2, 5.1; RFC 5246.

/// The most bytes that a ClientHello and its records may have.
const MAX_HELLO: usize = 64 * 1024;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// RFC 8446 section 5.1.
const MAX_RECORD: usize = 1 << 14;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;
const RANDOM_LEN: usize = 32;
const MAX_SESSION_ID: usize = 32;
const SUPPORTED_VERSIONS: u16 = 43;

/// What a ClientHello says of what matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Where a client puts its proof.
    pub random: [u8; RANDOM_LEN],
    /// Whether TLS 1.3 is offered.
    pub offers_tls13: bool,
}

/// The peer did not begin with a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not TLS, or another kind of record.
    #[error("the peer did not begin with a TLS handshake record")]
    NotTls,
    /// Not a ClientHello, or one that is not well-formed.
    #[error("the peer sent a malformed ClientHello")]
    Malformed,
    /// Longer than any client's.
    #[error("the peer sent a ClientHello of more than {MAX_HELLO} bytes")]
    TooLong,
}

/// Reads a ClientHello as its bytes arrive, and keeps them all: whoever takes the connection over must see them.
#[derive(Debug, Default)]
pub struct HelloReader {
    received: Vec<u8>,
    /// How much of it has been taken apart.
    parsed: usize,
    message: Vec<u8>,
}

impl HelloReader {
    /// Takes the next bytes. `None`: there is more to come.
    ///
    /// # Errors
    /// There will be no ClientHello.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        self.received.extend_from_slice(bytes);
        while let Some(fragment) = self.next_record()? {
            self.message.extend_from_slice(self.received.get(fragment).unwrap_or_default());
            if let Some(message) = whole_message(&self.message)? {
                return parse(message).map(Some);
            }
        }
        Ok(None)
    }

    /// The ClientHello with its header, as far as it has come.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Everything received.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// The same, for good.
    #[must_use]
    pub fn into_received(self) -> Vec<u8> {
        self.received
    }

    /// Where the next record's content is, once it is complete. What is wrong is said as soon as it shows.
    fn next_record(&mut self) -> Result<Option<std::ops::Range<usize>>, HelloError> {
        let rest = self.received.get(self.parsed..).unwrap_or_default();
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE_RECORD)
            || rest.get(1).is_some_and(|major| *major != 3)
        {
            return Err(HelloError::NotTls);
        }
        let Some([_, _, _, high, low]) = rest.first_chunk::<RECORD_HEADER>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > MAX_RECORD {
            return Err(HelloError::NotTls);
        }
        if rest.len() < RECORD_HEADER + length {
            return Ok(None);
        }
        let start = self.parsed + RECORD_HEADER;
        self.parsed = start + length;
        if self.parsed > MAX_HELLO {
            return Err(HelloError::TooLong);
        }
        Ok(Some(start..self.parsed))
    }
}

/// The ClientHello's body, if it is complete; nothing may follow it in its record.
fn whole_message(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(HelloError::Malformed);
    }
    let Some(([_, a, b, c], body)) = message.split_first_chunk::<MESSAGE_HEADER>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
    match body.len() {
        _ if length > MAX_HELLO => Err(HelloError::TooLong),
        have if have < length => Ok(None),
        have if have == length => Ok(Some(body)),
        _ => Err(HelloError::Malformed),
    }
}

fn parse(body: &[u8]) -> Result<ClientHello, HelloError> {
    parse_fields(body).ok_or(HelloError::Malformed)
}

fn parse_fields(body: &[u8]) -> Option<ClientHello> {
    let mut fields = Fields(body);
    let legacy_version = fields.number()?;
    let random = *fields.take(RANDOM_LEN)?.first_chunk()?;
    let session_id = fields.vector8()?;
    let suites = fields.vector16()?;
    let compression = fields.vector8()?;
    let well_formed = legacy_version >= 0x0300
        && session_id.len() <= MAX_SESSION_ID
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && compression.contains(&0);
    if !well_formed {
        return None;
    }
    let mut offers_tls13 = false;
    if !fields.0.is_empty() {
        let mut extensions = Fields(fields.vector16()?);
        let mut seen = Vec::new();
        while !extensions.0.is_empty() {
            let (kind, content) = (extensions.number()?, extensions.vector16()?);
            // RFC 8446 section 4.2: none may come twice.
            if seen.contains(&kind) {
                return None;
            }
            seen.push(kind);
            if kind == SUPPORTED_VERSIONS {
                let versions = Fields(content).vector8()?;
                offers_tls13 = versions.chunks_exact(2).any(|version| version == TLS_1_3.to_be_bytes());
            }
        }
    }
    // Nothing may follow the extensions. A hello of TLS 1.3 calls itself 1.2.
    let consistent = fields.0.is_empty() && (!offers_tls13 || legacy_version == TLS_1_2);
    consistent.then_some(ClientHello { random, offers_tls13 })
}

/// A cursor. RFC 8446 section 3.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn vector8(&mut self) -> Option<&'b [u8]> {
        let len = *self.take(1)?.first()?;
        self.take(len.into())
    }

    fn vector16(&mut self) -> Option<&'b [u8]> {
        let len = self.number()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([9; RANDOM_LEN]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        body
    }

    fn message(body: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[CLIENT_HELLO, a, b, c], body].concat()
    }

    /// In records of `size` bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| {
            [&[HANDSHAKE_RECORD, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat()
        };
        message.chunks(size).flat_map(record).collect()
    }

    fn read(wire: &[u8], piece: usize) -> Result<Option<ClientHello>, HelloError> {
        let mut reader = HelloReader::default();
        for piece in wire.chunks(piece) {
            if let Some(hello) = reader.receive(piece)? {
                return Ok(Some(hello));
            }
        }
        Ok(None)
    }

    const VERSIONS: [u8; 9] = [0, 43, 0, 5, 4, 3, 4, 3, 3];

    #[test]
    fn a_hello_is_read_whatever_its_pieces() {
        let message = message(&body(&VERSIONS));
        let hello = ClientHello { random: [9; RANDOM_LEN], offers_tls13: true };
        for size in [1, 7, message.len()] {
            let wire = records(&message, size);
            for piece in [1, 3, wire.len()] {
                assert_eq!(read(&wire, piece), Ok(Some(hello.clone())));
            }
            assert_eq!(read(&wire[..wire.len() - 1], 5), Ok(None));
        }
    }

    #[test]
    fn other_beginnings_are_refused_at_once() {
        assert_eq!(read(b"G", 1), Err(HelloError::NotTls));
        assert_eq!(read(&[22, 2], 1), Err(HelloError::NotTls));
        assert_eq!(read(&[22, 3, 1, 0, 0], 1), Err(HelloError::NotTls));
        assert_eq!(read(&[22, 3, 1, 0xFF, 0xFF], 1), Err(HelloError::NotTls));
        assert_eq!(read(&records(&[2, 0, 0, 0], 4), 1), Err(HelloError::Malformed));
        assert_eq!(read(&records(&[1, 0xFF, 0, 0], 4), 1), Err(HelloError::TooLong));
    }

    #[test]
    fn malformed_hellos_are_refused() {
        let twice = [VERSIONS, VERSIONS].concat();
        let mut no_compression = body(&VERSIONS);
        no_compression[40] = 1;
        let mut trailing = body(&VERSIONS);
        trailing.push(0);
        for body in
            [body(&twice), body(&VERSIONS[..8]), no_compression, trailing, body(&VERSIONS)[..40].to_vec()]
        {
            assert_eq!(read(&records(&message(&body), 4096), 4096), Err(HelloError::Malformed), "{body:?}");
        }
    }
}
