//! ClientHellos, tickets, and where a hello is cut.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::Seed;
use culvert_tls::{
    ClientHandshake, ClientSettings, Fresh, HelloEdits, HelloMessage, Profile, SessionId, Split,
    TicketSecret, TicketState, Verify, profiles, server_name_offset,
};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::obfuscation::fields::{
    Checked, array, boolean, bytes, expect_bytes, expect_len, integer, list, same, text,
};

const NAME: &str = "www.example.org";
const GREASE: &str = "GREASE";
/// Differs from one hello to the next, or is checked by itself, or belongs to the case.
const VARIES: &[&str] = &[
    "case",
    "client_random_hex",
    "ech_outer_length",
    "extension_order_shuffled_per_connection",
    "extensions",
    "handshake_message_length_varies",
    "profile",
    "record_lengths",
];

pub(super) fn client_hello(file: &Value) -> Checked {
    for case in list(file, "profiles")? {
        let name = text(case, "profile")?;
        let profile = profiles::named(name).ok_or_else(|| format!("there is no profile {name}"))?;
        let settings = settings(profile);
        hello(case, &settings, [7; 32]).map_err(|error| format!("{name}: {error}"))?;
    }
    for case in list(file, "special_cases")? {
        let name = text(case, "case")?;
        let settings = special(name).ok_or_else(|| format!("there is no profile for {name:?}"))?;
        hello(case, &settings, array(case, "client_random_hex")?)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    // What another generator draws is not to be drawn here; that a seed stands for one structure is.
    for case in list(file, "randomized")? {
        let seed = Seed::from_bytes(array(case, "seed_hex")?);
        same("the structure", profiles::drawn(&seed, false), profiles::drawn(&seed, false))?;
    }
    Ok(())
}

fn settings(profile: Arc<Profile>) -> ClientSettings {
    ClientSettings {
        profile,
        edits: HelloEdits { server_name: Some(NAME.to_owned()), ..HelloEdits::default() },
        split: Split::Whole,
        verify: Verify::Skip,
        ticket_secret: None,
    }
}

/// The settings that a case's words stand for.
fn special(case: &str) -> Option<ClientSettings> {
    let profile = profiles::named(case.split_ascii_whitespace().next()?)?;
    let mut settings = settings(profile);
    if case.contains("obfuscated") || case.contains("ticket key") {
        settings.ticket_secret = Some(TicketSecret::new(&[3; 32]));
    }
    if case.contains("SNI omitted") || case.contains("IP address as SNI") || case.contains("no SNI") {
        settings.edits.server_name = None;
    }
    if let Some((_, padding)) = case.split_once("TLS padding ") {
        settings.edits.padding = padding.split_ascii_whitespace().next()?.parse().ok();
    }
    if case.contains("no default session ID") && !case.contains("ignored") {
        settings.edits.session_id = SessionId::LeftOut;
    }
    if case.contains("fragment") {
        settings.split = Split::AtServerName;
    }
    Some(settings)
}

fn hello(case: &Value, settings: &ClientSettings, random: [u8; 32]) -> Checked {
    let fresh = Fresh { random, seed: Seed::from_bytes([5; 32]), now: Duration::from_secs(1_700_000_000) };
    let mut handshake = ClientHandshake::new(settings, &fresh).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    handshake.advance(&mut Vec::new(), |record| records.push(record)).map_err(|error| error.to_string())?;
    let message: Vec<u8> =
        records.iter().flat_map(|record| record.get(5..).unwrap_or_default()).copied().collect();
    let parsed = HelloMessage::read(&message).map_err(|error| error.to_string())?;
    same("random", &random, parsed.random)?;
    let with_ticket = settings.ticket_secret.is_some();
    let described = describe(&parsed, &message, &records);
    let expected = case.as_object().ok_or("a case is an object")?;
    for (name, value) in expected {
        // The length of a ticket is drawn, and what is padded is padded to the same.
        let drawn = with_ticket && (name.ends_with("ticket_length") || name.starts_with("p"));
        if VARIES.contains(&name.as_str()) || drawn {
            continue;
        }
        same(name, value, described.get(name).unwrap_or(&Value::Null))?;
    }
    order(case, settings, &parsed)?;
    if !with_ticket && expected.get("ech_outer_length").is_none() && expected.contains_key("record_lengths") {
        same("record_lengths", &case["record_lengths"], &lengths(&records))?;
    }
    let lengths = [186, 218, 250, 282];
    let ech = parsed.extension(0xfe0d).is_none_or(|content| lengths.contains(&content.len()));
    same("a length of ech_outer", true, ech)
}

fn lengths(records: &[Vec<u8>]) -> Value {
    records.iter().map(|record| record.len() - 5).collect()
}

/// The order of extensions, or which there are and that GREASE and a pre-shared key are in their places.
fn order(case: &Value, settings: &ClientSettings, hello: &HelloMessage<'_>) -> Checked {
    let expected: Vec<&str> = list(case, "extensions")?.iter().filter_map(Value::as_str).collect();
    let found: Vec<String> = hello.extensions.iter().map(|(number, _)| named(*number)).collect();
    if !settings.profile.is_shuffled() {
        return same("extensions", expected, found.iter().map(String::as_str).collect());
    }
    let sorted: BTreeSet<&str> = expected.iter().copied().collect();
    same("extensions", sorted, found.iter().map(String::as_str).collect())?;
    let kept = |names: &[&str]| {
        let fixed = names.iter().enumerate().filter(|(_, name)| [GREASE, "0015", "0029"].contains(name));
        fixed.map(|(at, name)| (at, (*name).to_owned())).collect::<Vec<_>>()
    };
    same("fixed places", kept(&expected), kept(&found.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn named(number: u16) -> String {
    if is_grease(number) { GREASE.to_owned() } else { format!("{number:04x}") }
}

fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// By the names of the cases.
fn describe(hello: &HelloMessage<'_>, message: &[u8], records: &[Vec<u8>]) -> Map<String, Value> {
    let mut found = Map::new();
    let mut set = |name: &str, value: Value| found.insert(name.to_owned(), value);
    let hex = |bytes: &[u8]| json!(HEXLOWER.encode(bytes));
    set("cipher_suites", numbers(hello.suites));
    set("compression_methods", json!("00"));
    set("legacy_version", hex(message.get(4..6).unwrap_or_default()));
    set("session_id_length", json!(hello.session_id.len()));
    set("handshake_message_length_with_sni_www.example.org", json!(message.len()));
    set(
        "record_header",
        records.first().map_or(Value::Null, |record| hex(record.get(..3).unwrap_or_default())),
    );
    set("record_headers", records.iter().map(|record| hex(record.get(..3).unwrap_or_default())).collect());
    let grease = hello.extensions.iter().filter(|(number, _)| is_grease(*number));
    let grease: Vec<usize> = grease.map(|(_, content)| content.len()).collect();
    if !grease.is_empty() {
        set("grease_ext_lengths", json!(grease));
    }
    for (number, content) in &hello.extensions {
        let rest = |from: usize| content.get(from..).unwrap_or_default();
        match number {
            0x0000 => set("sni", json!(String::from_utf8_lossy(rest(5)))),
            0x0005 => set("ext_0005_body", hex(content)),
            0x000a => set("supported_groups", numbers(rest(2))),
            0x000b => set("ec_point_formats", hex(rest(1))),
            0x000d => set("signature_algorithms", numbers(rest(2))),
            0x0010 => set("alpn", protocols(rest(2))),
            0x0015 => set("padding_length", json!(content.len())),
            0x001b => set("compress_certificate", hex(content)),
            0x001c => set("record_size_limit", hex(content)),
            0x0022 => set("delegated_credentials", numbers(rest(2))),
            0x0023 => set("session_ticket_length", json!(content.len())),
            0x002b => set("supported_versions", numbers(rest(1))),
            0x002d => set("psk_key_exchange_modes", hex(rest(1))),
            0x0033 => set("key_shares_group_and_length", shares(rest(2))),
            0x4469 | 0x44cd => {
                set("application_settings_hex", json!(format!("{number:04x}:{}", HEXLOWER.encode(content))))
            }
            0x7550 => set("ext_7550_length", json!(content.len())),
            _ => None,
        };
    }
    found
}

fn numbers(bytes: &[u8]) -> Value {
    bytes.as_chunks::<2>().0.iter().map(|number| named(u16::from_be_bytes(*number))).collect()
}

fn protocols(mut list: &[u8]) -> Value {
    let mut names = Vec::new();
    while let Some((length, rest)) = list.split_first() {
        let (name, rest) = rest.split_at_checked((*length).into()).unwrap_or((rest, &[]));
        names.push(String::from_utf8_lossy(name).into_owned());
        list = rest;
    }
    json!(names)
}

fn shares(mut list: &[u8]) -> Value {
    let mut shares = Vec::new();
    while let Some(([a, b, c, d], rest)) = list.split_first_chunk::<4>() {
        let length = u16::from_be_bytes([*c, *d]);
        shares.push(format!("{}:{length}", named(u16::from_be_bytes([*a, *b]))));
        list = rest.get(usize::from(length)..).unwrap_or_default();
    }
    json!(shares)
}

pub(super) fn session_ticket(file: &Value) -> Checked {
    let secret = TicketSecret::new(&array(file, "shared_secret_hex")?);
    for (at, case) in list(file, "encrypt")?.iter().enumerate() {
        sealed(&secret, case).map_err(|error| format!("encrypt {at}: {error}"))?;
    }
    for (at, case) in list(file, "decode_only")?.iter().enumerate() {
        opened(&secret, case).map_err(|error| format!("decode_only {at}: {error}"))?;
    }
    for case in list(file, "rejected_or_legacy")? {
        let accepted = case.get("accepted").and_then(Value::as_bool).unwrap_or(false);
        same(text(case, "why")?, accepted, secret.read(&bytes(case, "ticket_hex")?).is_some())?;
    }
    Ok(())
}

fn sealed(secret: &TicketSecret, case: &Value) -> Checked {
    let state = TicketState {
        is_tls13: integer::<u16>(case, "version")? == 0x0304,
        suite: integer(case, "cipher_suite")?,
        created: integer(case, "created_at")?,
        secret: bytes(case, "master_secret_hex")?.into(),
        extended_master_secret: boolean(case, "extended_master_secret")?,
    };
    let padding = integer(case, "zero_padding_len")?;
    let ticket = secret.seal(array(case, "iv_hex")?, &state, padding).ok_or("not sealed")?;
    expect_bytes(case, "ticket_hex", &ticket)?;
    expect_len(case, "ticket_len", ticket.len())?;
    same("the state", Some(state), secret.read(&ticket))
}

fn opened(secret: &TicketSecret, case: &Value) -> Checked {
    let created: u64 = integer(case, "created_at")?;
    let ticket = bytes(case, "ticket_hex")?;
    let state = secret.open(&ticket, created).ok_or("not opened")?;
    same("tls13", boolean(case, "tls13")?, state.is_tls13)?;
    same("cipher_suite", integer(case, "cipher_suite")?, state.suite)?;
    same("created_at", created, state.created)?;
    same("ems", boolean(case, "ems")?, state.extended_master_secret)?;
    expect_bytes(case, "master_secret_hex", &state.secret)?;
    let use_by: u64 = integer(case, "use_by")?;
    same("used by then", true, secret.open(&ticket, use_by).is_some())?;
    same("used later", false, secret.open(&ticket, use_by + 1).is_some())
}

pub(super) fn fragment_offset(file: &Value) -> Checked {
    for case in list(file, "cases")? {
        let offset = server_name_offset(&bytes(case, "client_hello_hex")?);
        let expected = if boolean(case, "error")? { None } else { Some(integer(case, "offset")?) };
        same(text(case, "case")?, expected.filter(|offset| *offset > 0), offset)?;
    }
    Ok(())
}
