//! Cases of handshakes with proxies: what a client says, reply by reply.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use culvert_transport::Endpoint;
use culvert_transport::upstream::wire::ntlm::{Account, ServerChallenge, authenticate};
use culvert_transport::upstream::wire::{Fresh, Handshake, Step};
use culvert_transport::upstream::{CustomHeaders, ProxyUrl, UpstreamError};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;

use crate::obfuscation::fields::{Checked, boolean, list, same, same_bytes, text};

/// Introduces a message in the requests and the replies of a case with NTLM.
const NTLM: &str = "NTLM ";
/// Where the third message has its fields of LM and NT, and where its text begins.
const FIELDS: [usize; 4] = [12, 20, 28, 36];
/// Where NT's proof has the time, behind 16 bytes of proof.
const TIME_AT: usize = 16 + 8;

pub(super) fn handshakes(file: &Value) -> Checked {
    for (at, case) in list(file, "cases")?.iter().enumerate() {
        let name = case.get("case").and_then(Value::as_str).unwrap_or_default();
        one(case).map_err(|error| format!("cases {at} ({name}): {error}"))?;
    }
    Ok(())
}

fn one(case: &Value) -> Checked {
    let proxy = ProxyUrl::parse(text(case, "proxy_uri")?).map_err(|error| error.to_string())?;
    let headers = CustomHeaders::new(custom_headers(case)).map_err(|error| error.to_string())?;
    // The reference's source of random bytes counted.
    let random = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
    let fresh = Fresh { random, now: SystemTime::UNIX_EPOCH };
    let target = target(text(case, "destination")?)?;
    let replies: Vec<&str> = list(case, "proxy_replies")?.iter().filter_map(Value::as_str).collect();
    let started = Handshake::new(&proxy, &target, &headers, fresh);
    let (said, connected) = match started {
        Ok(handshake) => converse(handshake, &replies),
        Err(_) => (vec![Vec::new()], false),
    };
    same("success", boolean(case, "success")?, connected)?;
    let expected: Vec<Vec<u8>> = list(case, "client_writes_per_connection")?
        .iter()
        .filter_map(Value::as_str)
        .map(|text| HEXLOWER.decode(text.as_bytes()).unwrap_or_else(|_| text.as_bytes().to_vec()))
        .collect();
    same("connections", expected.len(), said.len())?;
    for (expected, said) in expected.iter().zip(&said) {
        writes(expected, said, &replies)?;
    }
    Ok(())
}

/// All that is said on each connection, and whether it ended well.
fn converse(mut handshake: Handshake, replies: &[&str]) -> (Vec<Vec<u8>>, bool) {
    let (mut said, mut received, mut replies) = (vec![Vec::new()], BytesMut::new(), replies.iter());
    loop {
        match handshake.step(&mut received) {
            Ok(Step::Write(bytes)) => said.last_mut().into_iter().for_each(|last| last.extend(&bytes)),
            Ok(Step::Reconnect) => said.push(Vec::new()),
            Ok(Step::Connected) => return (said, true),
            Ok(Step::Read) => match replies.next() {
                Some(reply) => {
                    let binary = HEXLOWER.decode(reply.as_bytes()).ok();
                    received.extend_from_slice(binary.as_deref().unwrap_or(reply.as_bytes()));
                }
                None => return (said, false),
            },
            Err(error) => {
                let named: &UpstreamError = &error;
                debug_assert!(!named.to_string().is_empty());
                return (said, false);
            }
        }
    }
}

/// Compares what was said; of the third message of NTLM, which has the time, what it is made of.
fn writes(expected: &[u8], said: &[u8], replies: &[&str]) -> Checked {
    let third = |bytes: &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
        let text = std::str::from_utf8(bytes).ok()?;
        let at = text.rfind(NTLM)? + NTLM.len();
        let message = BASE64.decode(text.get(at..)?.trim_end().as_bytes()).ok()?;
        (message.get(8) == Some(&3)).then(|| (bytes.get(..at).unwrap_or_default().to_vec(), message))
    };
    let (Some((expected, message)), Some((said, own))) = (third(expected), third(said)) else {
        return same_bytes("said", expected, said);
    };
    same_bytes("before the third message", &expected, &said)?;
    let challenge = replies.iter().find_map(|reply| {
        let at = reply.find("NTLM TlRM")? + NTLM.len();
        BASE64.decode(reply.get(at..)?.lines().next()?.trim().as_bytes()).ok()
    });
    let challenge = challenge.ok_or("no challenge among the replies")?;
    let challenge = ServerChallenge::parse(&challenge).map_err(|error| error.to_string())?;
    let nt = field(&message, 20)?;
    let time = nt.get(TIME_AT..).and_then(<[u8]>::first_chunk).ok_or("no time")?;
    let client = nt.get(TIME_AT + 8..).and_then(<[u8]>::first_chunk).ok_or("no client challenge")?;
    let since_1601 = Duration::from_nanos(u64::from_le_bytes(*time).saturating_sub(EPOCH) * 100);
    let account = Account { domain: "DOM", user: "user", password: "pass" };
    let responses = challenge.respond(account, *client, SystemTime::UNIX_EPOCH + since_1601);
    let again = authenticate(&challenge, account, &responses);
    for place in FIELDS {
        same_bytes(&format!("field at {place}"), &field(&message, place)?, &field(&again, place)?)?;
    }
    same("length of ours", again.len(), own.len())
}

/// 1970, in tenths of microseconds since 1601.
const EPOCH: u64 = 116_444_736_000_000_000;

fn field(message: &[u8], place: usize) -> Checked<Vec<u8>> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = message.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let (length, start) = number(place, 2).zip(number(place + 4, 4)).ok_or("the message is too short")?;
    message
        .get(start..start + length)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| "the message is too short".to_owned())
}

fn custom_headers(case: &Value) -> Vec<(String, String)> {
    let table = case.get("custom_headers").and_then(Value::as_object).into_iter().flatten();
    let values = |(name, values): (&String, &Value)| {
        let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
        values.map(|value| (name.clone(), value.to_owned())).collect::<Vec<_>>()
    };
    table.flat_map(values).collect()
}

fn target(text: &str) -> Checked<Endpoint> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Endpoint::Address(address));
    }
    let (name, port) = text.rsplit_once(':').ok_or("no port")?;
    Ok(Endpoint::Name(name.to_owned(), port.parse().map_err(|_| "no port")?))
}
