//! Payload padding: each body begins with a hidden header that says how many of its bytes mean nothing. Only headers use the key stream, which
//! goes on from body to body, so both ends must agree on which bodies there were. Source: TRANSPORTS.md 2.8.

use std::fmt;

use aws_lc_rs::cipher::{
    AES_256, AES_256_KEY_LEN, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

/// The most bytes of padding: a body of 65,536 bytes without its header.
pub const MAX_PADDING: usize = super::MAX_BODY - PADDED_HEADER;
const PADDED_HEADER: usize = 3;
const BLOCK: usize = 16;

const PAYLOAD: u8 = 0;
const PADDED: u8 = 1;

/// Which bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Those of the client.
    Requests,
    /// Those of the server.
    Responses,
}

/// The key of one direction of a session.
pub struct PayloadPaddingKey(Zeroizing<[u8; AES_256_KEY_LEN]>);

impl PayloadPaddingKey {
    /// From `MeekObfuscatedKey` as text, and the value of the cookie that opened the session, as text too.
    #[must_use]
    pub fn derive(obfuscated_key: &str, cookie: &str, flow: Flow) -> Self {
        struct Length;
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                AES_256_KEY_LEN
            }
        }
        let info: &[u8] = match flow {
            Flow::Requests => b"meek-payload-padding-requests",
            Flow::Responses => b"meek-payload-padding-responses",
        };
        let mut key = Zeroizing::new([0; AES_256_KEY_LEN]);
        let pseudorandom =
            hkdf::Salt::new(hkdf::HKDF_SHA256, cookie.as_bytes()).extract(obfuscated_key.as_bytes());
        let filled = pseudorandom.expand(&[info], Length).and_then(|okm| okm.fill(&mut *key));
        filled.expect("a key is shorter than 255 digests");
        Self(key)
    }

    /// Its bytes, for known-answer tests.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; AES_256_KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for PayloadPaddingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted padding key]")
    }
}

/// The key stream of a direction.
struct Headers(StreamingEncryptingKey);

impl Headers {
    fn new(key: &PayloadPaddingKey) -> Self {
        let context = EncryptionContext::Iv128([0; BLOCK].into());
        let stream = UnboundCipherKey::new(&AES_256, &*key.0)
            .and_then(|key| StreamingEncryptingKey::less_safe_ctr(key, context));
        Self(stream.expect("the key and the counter have the lengths of AES-256-CTR"))
    }

    fn apply<const LEN: usize>(&mut self, bytes: [u8; LEN]) -> [u8; LEN] {
        let mut room = [0; PADDED_HEADER + BLOCK];
        let update = self.0.update(&bytes, &mut room);
        let applied = update.expect("there is room for a block more than what goes in");
        applied.written().first_chunk().copied().expect("a stream cipher keeps nothing back")
    }
}

/// Makes the headers of a direction's bodies.
pub struct PaddingSender(Headers);

impl PaddingSender {
    /// At the beginning of a session.
    #[must_use]
    pub fn new(key: &PayloadPaddingKey) -> Self {
        Self(Headers::new(key))
    }

    /// What stands before a payload.
    pub fn before_payload(&mut self) -> [u8; 1] {
        self.0.apply([PAYLOAD])
    }

    /// A body without payload. Of `padding`, which is sent as it is, no more than [`MAX_PADDING`] bytes are used.
    pub fn padding_body(&mut self, padding: &[u8]) -> Vec<u8> {
        let padding = padding.get(..MAX_PADDING).unwrap_or(padding);
        let [high, low] = u16::try_from(padding.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut body = self.0.apply([PADDED, high, low]).to_vec();
        body.extend_from_slice(padding);
        body
    }
}

impl fmt::Debug for PaddingSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaddingSender([redacted])")
    }
}

/// A body's header is of no kind that is known: the peer's mistake, or bodies were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a meek body whose padding header is of no known kind")]
pub struct PaddingError;

/// Takes the headers and the padding out of a direction's bodies.
pub struct PaddingReceiver {
    headers: Headers,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    SizeHigh,
    SizeLow(u8),
    Padding(u16),
    Payload,
}

impl PaddingReceiver {
    /// At the beginning of a session.
    #[must_use]
    pub fn new(key: &PayloadPaddingKey) -> Self {
        Self { headers: Headers::new(key), state: State::Header }
    }

    /// A new body begins. Not to be called for the rest of one that was cut short.
    pub fn begin_body(&mut self) {
        self.state = State::Header;
    }

    /// The next bytes of a body; gives those that are payload.
    ///
    /// # Errors
    /// See [`PaddingError`].
    pub fn receive<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], PaddingError> {
        while let Some((first, rest)) = bytes.split_first() {
            self.state = match self.state {
                State::Payload => break,
                State::Padding(left) => {
                    let taken = bytes.len().min(left.into());
                    bytes = bytes.get(taken..).unwrap_or_default();
                    match left.saturating_sub(u16::try_from(taken).unwrap_or(u16::MAX)) {
                        // Whatever follows is payload.
                        0 => State::Payload,
                        left => State::Padding(left),
                    }
                }
                hidden => {
                    bytes = rest;
                    let [byte] = self.headers.apply([*first]);
                    match (hidden, byte) {
                        (State::SizeHigh, high) => State::SizeLow(high),
                        (State::SizeLow(high), low) => match u16::from_be_bytes([high, low]) {
                            0 => State::Payload,
                            left => State::Padding(left),
                        },
                        (_, PAYLOAD) => State::Payload,
                        (_, PADDED) => State::SizeHigh,
                        _ => return Err(PaddingError),
                    }
                }
            };
        }
        Ok(bytes)
    }
}

impl fmt::Debug for PaddingReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaddingReceiver([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_padded_is_received_whatever_its_pieces() {
        let key = PayloadPaddingKey::derive("key", "cookie", Flow::Requests);
        for piece in [1, 2, 3, 7, 70_000] {
            let (mut sender, mut receiver) = (PaddingSender::new(&key), PaddingReceiver::new(&key));
            for payload in [&b"some"[..], b"", b"more", b"", b"", &[9; 5000]] {
                let body = match payload {
                    [] => sender.padding_body(&[8; 300]),
                    payload => [&sender.before_payload()[..], payload].concat(),
                };
                receiver.begin_body();
                let mut received = Vec::new();
                for piece in body.chunks(piece) {
                    received.extend_from_slice(receiver.receive(piece).unwrap());
                }
                assert_eq!(received, payload);
            }
        }
    }

    #[test]
    fn padding_is_bounded_and_other_headers_are_refused() {
        let key = PayloadPaddingKey::derive("key", "cookie", Flow::Responses);
        assert_eq!(PaddingSender::new(&key).padding_body(&[0; 70_000]).len(), super::super::MAX_BODY);
        let [good] = PaddingSender::new(&key).before_payload();
        assert_eq!(PaddingReceiver::new(&key).receive(&[good ^ 2, 1]), Err(PaddingError));
    }
}
