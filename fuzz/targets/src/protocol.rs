//! Targets of the `protocol` crate.

use std::net::IpAddr;
use std::str::from_utf8;

use culvert_protocol::api::{
    Alert, ConnectedReply, ConnectedRequest, HandshakeReply, HandshakeRequest, InproxyRelay, OslRequest,
    PasswordPayload, RandomStream, ReplyEncoding, StatusReply, StatusRequest, parse_speed_test_reply,
    reply_encoding, response_padding,
};
use culvert_protocol::authorization::{SigningKey, VerificationKeyRing};
use culvert_protocol::cbor::Cbor;
use culvert_protocol::json_position::{duplicate_keys, position_of};
use culvert_protocol::packed::{self, NumberForm, Params};
use culvert_protocol::proxy_header::{Beginning, HeaderKey, beginning};
use culvert_protocol::server_entry::{ListDecoder, decode_line, decode_list};
use culvert_protocol::udpgw::{FrameReader, encode_upstream};
use culvert_protocol::{EntryFields, ServerEntry, TunnelProtocol, text_form};
use time::{Duration, OffsetDateTime};

/// Signs what is then verified; of no worth anywhere else.
const SIGNING_KEY: &str = r#"{"ID":"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
    "AccessType":"speed-boost","AuthorizationIDKey":"AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE=",
    "PrivateKey":"AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISJIHt53LaFXhcnlmghiAbjD+cMHEp4/xtfzSqTf7VgU5Q=="}"#;

/// Authorizations: rings and texts from anywhere; what was issued holds until it expires, packed too, and nothing else does.
pub(crate) fn authorizations(data: &[u8]) {
    let key = SigningKey::from_json(SIGNING_KEY).expect("a signing key");
    let ring = key.ring();
    let (seconds, _) = data.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
    let expires = OffsetDateTime::UNIX_EPOCH + Duration::seconds(u32::from_be_bytes(*seconds).into());
    let text = key.issue(data, expires).expect("a time that text can hold");
    assert!(ring.verify(&text, expires).is_ok_and(|found| found.expires == expires));
    assert!(ring.verify(&text, expires + Duration::NANOSECOND).is_err());
    let mut params = Params::default();
    params.set("authorizations", vec![text.clone()]);
    let packed = packed::encode(&params).expect("what was issued can be packed");
    assert!(packed::decode(&packed).is_ok_and(|again| again == params), "packing changes an authorization");
    let encoded = text_form::to_base64(data);
    // It may be one that this key signed.
    let _ = ring.verify(&encoded, OffsetDateTime::UNIX_EPOCH);
    let Ok(words) = from_utf8(data) else { return };
    let _ = ring.verify(words, OffsetDateTime::UNIX_EPOCH);
    let _ = SigningKey::from_json(words);
    if let Ok(ring) = VerificationKeyRing::from_json(words) {
        let _ = ring.verify(&text, expires);
    }
}

/// Frames of the UDP gateway: the same datagrams come out of the stream whole and byte by byte, and what was read can be
/// written again.
pub(crate) fn udpgw(data: &[u8]) {
    let all = |pieces: usize| {
        let (mut reader, mut found) = (FrameReader::new(), Vec::new());
        for mut bytes in data.chunks(pieces.max(1)) {
            while !bytes.is_empty() {
                match reader.read(bytes) {
                    Ok((taken, datagram)) => {
                        found.extend(datagram);
                        bytes = &bytes[taken..];
                    }
                    Err(error) => return (found, Some(error)),
                }
            }
        }
        (found, None)
    };
    let whole = all(data.len());
    assert!(whole == all(1), "pieces change what is read");
    for datagram in whole.0 {
        let frame = encode_upstream(&datagram).expect("a datagram that was read fits a frame");
        let (taken, again) = FrameReader::new().read(&frame).expect("a frame that was written can be read");
        assert!(taken == frame.len() && again.is_some_and(|again| again.packet == datagram.packet));
    }
    let mut reader = FrameReader::new();
    let mut bytes = data;
    while !bytes.is_empty() {
        let Ok((taken, _)) = reader.read_downstream(bytes, |id| (id % 3 != 0).then_some(id % 2 == 0)) else {
            return;
        };
        bytes = &bytes[taken..];
    }
}

/// A request's parameters, in either form. What can be written again reads the same.
pub(crate) fn api_parameters(data: &[u8]) {
    let Ok(params) = packed::decode(data) else { return };
    let json = params.to_json();
    packed::decode(json.as_bytes()).expect("what was written as JSON is JSON");
    let Ok(written) = packed::encode(&params) else { return };
    let again = packed::decode(&written).expect("what was packed unpacks");
    let twice = packed::encode(&again).expect("what was unpacked packs");
    assert_eq!(twice, packed::encode(&packed::decode(&twice).expect("as before")).expect("as before"));
}

/// Requests as the server reads them. What parses is written and parses again.
pub(crate) fn api_requests(data: &[u8]) {
    let Ok(params) = packed::decode(data) else { return };
    let _ = (reply_encoding(&params), response_padding(&params));
    if let Ok(request) = HandshakeRequest::parse(&params) {
        sent(&request.to_params(), |params| HandshakeRequest::parse(params).is_ok());
    }
    if let Ok(request) = ConnectedRequest::parse(&params) {
        sent(&request.to_params(), |params| ConnectedRequest::parse(params).is_ok());
    }
    if let Ok(request) = StatusRequest::parse(&params) {
        sent(&request.to_params(), |params| StatusRequest::parse(params).is_ok());
    }
}

/// Holds a request that was read to still parse after it was sent on, in both forms.
fn sent(params: &Params, parses: fn(&Params) -> bool) {
    let json = packed::decode(params.to_json().as_bytes()).expect("what was written as JSON is JSON");
    assert!(parses(&json), "a request changed as JSON");
    let Ok(packed) = packed::encode(params) else { return };
    assert!(
        parses(&packed::decode(&packed).expect("what was packed unpacks")),
        "a request changed in packing"
    );
}

/// Replies as the client reads them, and requests of the server.
pub(crate) fn api_replies(data: &[u8]) {
    for encoding in [ReplyEncoding::Json, ReplyEncoding::Cbor] {
        let Ok(reply) = HandshakeReply::decode(data, encoding) else { continue };
        let Ok(written) = reply.encode(encoding) else { continue };
        HandshakeReply::decode(&written, encoding).expect("a handshake reply that was written parses");
    }
    let _ = (ConnectedReply::from_json(data), StatusReply::from_json(data), parse_speed_test_reply(data));
    let _ = (Alert::from_json(data), OslRequest::from_json(data), RandomStream::from_json(data));
    if let Ok(relay) = InproxyRelay::from_cbor(data) {
        InproxyRelay::from_cbor(&relay.to_cbor()).expect("a relay message that was written parses");
    }
}

/// The CBOR below the packed forms.
pub(crate) fn cbor(data: &[u8]) {
    let Ok(value) = Cbor::read(data) else { return };
    let written = value.write();
    let again = Cbor::read(&written).expect("what was written is CBOR");
    assert_eq!(again.write(), written, "the canonical form is not stable");
}

/// Positions in a configuration's text.
pub(crate) fn json_positions(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let lines = text.lines().count() + 1;
    for duplicate in duplicate_keys(text) {
        assert!(format!("{duplicate:?}").len() < text.len() * 16 + 1024, "a report out of proportion");
    }
    for offset in [0, text.len() / 2, text.len(), text.len() + 1] {
        assert!(position_of(text, offset).line <= lines);
    }
}

/// One line of an entry list. The committed inputs are text.
pub(crate) fn server_entry(data: &[u8]) {
    let Ok(line) = from_utf8(data) else { return };
    if let Ok(fields) = decode_line(line) {
        same_after_encoding(&fields);
    }
    let Ok(entry) = ServerEntry::decode(line) else { return };
    let _ = (entry.tag(), entry.ssh_host_key(), entry.ssh_password(), entry.obfuscation_keyword());
    for protocol in [TunnelProtocol::SSH, TunnelProtocol::OSSH] {
        let _ = (entry.supports(protocol), entry.dial_port(protocol));
    }
}

/// The members of an entry, without the hexadecimal around them, so that changes reach the members.
pub(crate) fn server_entry_json(data: &[u8]) {
    let Ok(fields) = EntryFields::from_json(data) else { return };
    same_after_encoding(&fields);
    let canonical = fields.canonical_json();
    let again = EntryFields::from_json(canonical.as_bytes()).expect("canonical JSON is JSON");
    assert_eq!(again.canonical_json(), canonical, "the canonical form is not stable");
    if let Ok(packed) = fields.to_packed(NumberForm::Natural) {
        EntryFields::from_packed(&packed).expect("what was packed unpacks");
    }
    let _ = ServerEntry::try_from(fields);
}

/// A list, whole and in pieces.
pub(crate) fn server_entry_list(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let shown = |number: usize, entry: &Result<ServerEntry, _>| match entry {
        Ok(entry) => (number, Ok(entry.fields().canonical_json())),
        Err(error) => (number, Err(format!("{error}"))),
    };
    let whole: Vec<_> = decode_list(text).map(|line| shown(line.number, &line.entry)).collect();
    let mut decoder = ListDecoder::new();
    let mut pieces = Vec::new();
    for part in data.chunks(100) {
        decoder.push(part, &mut |line| pieces.push(shown(line.number, &line.entry)));
        assert!(decoder.buffered() <= culvert_protocol::server_entry::MAX_LINE);
    }
    decoder.finish(&mut |line| pieces.push(shown(line.number, &line.entry)));
    assert_eq!(whole, pieces, "pieces read otherwise than the whole");
}

/// An entry in packed form.
pub(crate) fn server_entry_packed(data: &[u8]) {
    let Ok(fields) = EntryFields::from_packed(data) else { return };
    let Ok(packed) = fields.to_packed(NumberForm::Natural) else { return };
    let again = EntryFields::from_packed(&packed).expect("what was packed unpacks");
    assert_eq!(again.canonical_json(), fields.canonical_json(), "an entry changed in packing");
}

/// What the client's password field holds.
pub(crate) fn ssh_password(data: &[u8]) {
    let Ok(payload) = PasswordPayload::parse(data) else { return };
    let again = PasswordPayload::parse(payload.to_json().as_bytes()).expect("what was written parses");
    assert_eq!(again.session_id.as_str(), payload.session_id.as_str());
    assert_eq!(again.sponsor_id, payload.sponsor_id);
}

fn same_after_encoding(fields: &EntryFields) {
    let again = decode_line(&fields.encode()).map(|again| again.canonical_json());
    // A prefix value with a space in it moves the JSON, which the encoded form cannot express.
    if ["ipAddress", "webServerPort", "webServerSecret", "webServerCertificate"]
        .iter()
        .all(|name| fields.text(name).is_none_or(|text| !text.contains(' ')))
    {
        assert_eq!(again.ok(), Some(fields.canonical_json()), "an entry changed in encoding");
    }
}

/// What a flow begins with, and headers: more bytes do not change what is known, and only what was written with the key is
/// proved.
pub(crate) fn proxy_header(data: &[u8]) {
    let begins = beginning(data);
    if let Beginning::Header(length) = begins {
        assert!(length <= data.len(), "a header longer than what is there");
    }
    for shorter in 0..data.len().min(128) {
        match beginning(&data[..shorter]) {
            Beginning::Open => {}
            known => assert_eq!(known, begins, "it is known after {shorter} bytes"),
        }
    }
    let key = HeaderKey::parse(&"A".repeat(48)).expect("a key");
    let Some((addresses, _)) = data.split_first_chunk::<32>() else { return };
    let address = |from: usize| -> [u8; 16] { std::array::from_fn(|at| addresses[from + at]) };
    let (source, destination) = (IpAddr::from(address(0)), IpAddr::from(address(16)));
    let mut header = key.header(source, (destination, 443).into(), 7);
    assert_eq!((key.verify(&header), beginning(&header)), (Some(7), Beginning::Header(header.len())));
    let at = usize::from(data[0]) % header.len();
    header[at] ^= 1;
    assert_eq!(key.verify(&header), None, "a change at {at} is not noticed");
}
