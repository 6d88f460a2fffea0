//! Targets of meek.

use bytes::BytesMut;
use culvert_transport::meek::server::{HeadRules, head_of};
use culvert_transport::meek::wire::{
    CookieOpener, CookieRequest, Flow, KEY_LEN, MAX_BODY, PaddingError, PaddingReceiver, PayloadPaddingKey,
    SealedCookie, SessionId,
};
use culvert_transport::meek::{BadResponse, Body, Chunk, Piece, ResponseHead};

/// Of the committed inputs, which are the known-answer cases.
const OBFUSCATED_KEY: &str = "c4f67ab0ffb7d16dcfd820215767e1a41064c0437530ce9c3467ec986744bd4a";
const PRIVATE_KEY: [u8; KEY_LEN] = [0x42; KEY_LEN];
const COOKIE: &str = "AAECAwQFBgcICQoLDA0ODw==";

/// A cookie's value.
pub(crate) fn meek_cookie(data: &[u8]) {
    if let Some(id) = SessionId::parse(data) {
        assert_eq!(id.as_str().as_bytes(), data);
    }
    let Some(sealed) = SealedCookie::parse(data) else { return };
    let opener = CookieOpener::new(OBFUSCATED_KEY, &PRIVATE_KEY).expect("the key is a key");
    if let Ok(opened) = opener.open(&sealed) {
        assert_eq!(opened.seed, sealed.claimed_seed());
        let CookieRequest { version, .. } = opened.request;
        assert_eq!(opened.request.wants_session_id(), version >= 2);
    }
}

/// Bodies of requests with padding, each behind its length.
pub(crate) fn meek_bodies(data: &[u8]) {
    let whole = payloads(data, MAX_BODY);
    assert_eq!(whole, payloads(data, 1), "pieces gave another payload than the whole");
    assert_eq!(whole, payloads(data, 7), "pieces gave another payload than the whole");
}

fn payloads(mut data: &[u8], piece: usize) -> Result<Vec<u8>, PaddingError> {
    let mut receiver =
        PaddingReceiver::new(&PayloadPaddingKey::derive(OBFUSCATED_KEY, COOKIE, Flow::Requests));
    let mut all = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (body, rest) = rest.split_at(length);
        receiver.begin_body();
        for piece in body.chunks(piece) {
            all.extend_from_slice(receiver.receive(piece)?);
        }
        data = rest;
    }
    Ok(all)
}

/// The head of a request to a port without TLS.
pub(crate) fn meek_head(data: &[u8]) {
    let rules = HeadRules {
        prohibited: vec!["X-Prohibited".to_owned()],
        required: vec![("X-Required".to_owned(), "value".to_owned())],
    };
    let whole = head_of(data, 0, &rules);
    let mut searched = 0;
    for end in 1..=data.len() {
        let found = head_of(data.get(..end).unwrap_or(data), searched, &rules);
        if found != Ok(None) {
            assert_eq!(found, whole, "pieces read otherwise than the whole");
            return;
        }
        searched = end;
    }
    assert!(data.is_empty() || whole == Ok(None), "found only at once");
}

/// What comes back to a client: a response's head and its body, in whatever pieces.
pub(crate) fn meek_response(data: &[u8]) {
    let whole = response(data, data.len().max(1));
    assert_eq!(whole, response(data, 1), "pieces read otherwise than the whole");
    assert_eq!(whole, response(data, 7), "pieces read otherwise than the whole");
}

/// Status, cookie, and the body as far as it came; whether it is complete. Where something is wrong, what came before depends on the
/// pieces.
type Response = (u16, Option<String>, Vec<u8>, bool);

fn response(data: &[u8], piece: usize) -> Result<Option<Response>, BadResponse> {
    let (mut input, mut pieces) = (BytesMut::new(), data.chunks(piece));
    let head = loop {
        if let Some(head) = ResponseHead::take(&mut input, "id")? {
            break head;
        }
        let Some(piece) = pieces.next() else { return Ok(None) };
        input.extend_from_slice(piece);
    };
    let (mut body, mut read) = (head.body, Vec::new());
    loop {
        match body.take(&mut input)? {
            Piece::Data(bytes) => {
                assert!(!bytes.is_empty(), "a piece without bytes");
                read.extend_from_slice(&bytes);
            }
            Piece::End => return Ok(Some((head.status, head.cookie, read, true))),
            Piece::Wanting => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => break,
            },
        }
    }
    let ended = matches!(body, Body::Length(0) | Body::UntilEnd | Body::Chunked(Chunk::Done));
    assert_eq!(ended, body.at_end().is_ok());
    Ok(Some((head.status, head.cookie, read, ended)))
}
