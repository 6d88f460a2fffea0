//! Cases of the `transport` crate.

mod dns;
mod meek;
mod meek_heads;
mod quic;
mod tls;
mod upstream;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use culvert_obfuscation::{PrefixSpec, Prng};
use culvert_protocol::parameters::Probability;
use culvert_transport::fragmentor::{Fragmentation, Settings};
use culvert_transport::shadowsocks::wire::{Opener, Sealer};
use culvert_transport::shadowsocks::{DRAWN_LEN, Key, Salt, SaltPrefix};
use culvert_transport::tls::PassthroughKey;
use serde_json::Value;

use crate::Runner;
use crate::obfuscation::fields::{
    Checked, array, boolean, bytes, expect_bytes, expect_len, float, integer, list, same, same_bytes, seed,
    text,
};

/// The files this area reads, by name without `.json`.
pub const FILES: &[(&str, Runner)] = &[
    ("transport-meek-cookie", Runner::WholeFile(meek::cookie)),
    ("transport-meek-http", Runner::WholeFile(meek::http)),
    ("transport-meek-payload-padding", Runner::WholeFile(meek::payload_padding)),
    ("transport-quic-obfuscation", Runner::WholeFile(quic::obfuscation)),
    ("transport-dns", Runner::WholeFile(dns::questions)),
    ("transport-dns-0x20", Runner::WholeFile(dns::casing)),
    ("transport-fragmentor", Runner::WholeFile(fragmentor)),
    ("transport-shadowsocks", Runner::WholeFile(shadowsocks)),
    ("transport-tls-clienthello", Runner::WholeFile(tls::client_hello)),
    ("transport-tls-fragment-offset", Runner::WholeFile(tls::fragment_offset)),
    ("transport-tls-passthrough", Runner::WholeFile(tls_passthrough)),
    ("transport-tls-session-ticket", Runner::WholeFile(tls::session_ticket)),
    ("transport-upstreamproxy", Runner::WholeFile(upstream::handshakes)),
    ("transport-values", Runner::WholeFile(meek::values)),
    ("tls_passthrough", Runner::PerCase(tls_passthrough_case)),
];

fn shadowsocks(file: &Value) -> Checked {
    for (at, case) in list(file, "client_salt_prefix")?.iter().enumerate() {
        salt_prefix(case).map_err(|error| format!("client_salt_prefix {at}: {error}"))?;
    }
    for (at, case) in list(file, "streams")?.iter().enumerate() {
        stream(case).map_err(|error| format!("streams {at}: {error}"))?;
    }
    Ok(())
}

fn fragmentor(file: &Value) -> Checked {
    for (at, case) in list(file, "cases")?.iter().enumerate() {
        fragmented(case).map_err(|error| format!("cases {at}: {error}"))?;
    }
    Ok(())
}

fn fragmented(case: &Value) -> Checked {
    let nanoseconds = |name| integer(case, name).map(Duration::from_nanos);
    let settings = Settings {
        probability: Probability::new(float(case, "probability")?).ok_or("no probability")?,
        total_bytes: [integer(case, "min_total")?, integer(case, "max_total")?],
        write_bytes: [integer(case, "min_write")?, integer(case, "max_write")?],
        delay: [nanoseconds("min_delay_ns")?, nanoseconds("max_delay_ns")?],
    };
    let mut drawn = Fragmentation::draw(&settings, Prng::new(&seed(case, "seed_hex")?));
    same("fragment", boolean(case, "fragment")?, drawn.is_some())?;
    let total = drawn.as_ref().map_or(0, Fragmentation::left);
    same("bytes_to_fragment", integer(case, "bytes_to_fragment")?, total)?;
    let (mut left, mut sizes, mut delays) = (integer(case, "message_len")?, Vec::new(), Vec::new());
    while let Some(piece) = drawn.as_mut().and_then(|plan| plan.piece(left)) {
        delays.push(piece.delay.as_nanos());
        sizes.push(piece.bytes);
        left -= piece.bytes;
    }
    if left > 0 {
        sizes.push(left);
    }
    let numbers = |name: &str| case.get(name).cloned().unwrap_or_default();
    let expected: Option<Vec<u128>> =
        serde_json::from_value(numbers("delays_ns")).map_err(|e| e.to_string())?;
    same("delays_ns", expected.unwrap_or_default(), delays)?;
    let expected: Vec<usize> = serde_json::from_value(numbers("write_sizes")).map_err(|e| e.to_string())?;
    same("write_sizes", expected, sizes)
}

fn salt_prefix(case: &Value) -> Checked {
    let spec = PrefixSpec::from_pattern(text(case, "generator")?).map_err(|error| error.to_string())?;
    let (generated, _) = spec.generate(&seed(case, "seed_hex")?, 0).map_err(|error| error.to_string())?;
    expect_bytes(case, "prefix_hex", &generated)?;
    expect_len(case, "prefix_len", generated.len())?;
    let prefix = SaltPrefix::new(generated.clone()).map_err(|error| error.to_string())?;
    let salt = Salt::of_client([0xEE; 32], &prefix);
    let rest = vec![0xEE; 32 - generated.len()];
    same_bytes("salt", &[generated, rest].concat(), salt.as_bytes())
}

fn stream(case: &Value) -> Checked {
    let key = Key::from_password(text(case, "key_text")?);
    let salt = Salt::from_bytes(array(case, "salt_hex")?);
    expect_bytes(case, "master_key_hex", key.as_bytes())?;
    expect_bytes(case, "session_subkey_hex", &*key.session(&salt))?;
    for mark in list(case, "server_salt_marks")? {
        let marked: [u8; 32] = array(mark, "salt_hex")?;
        let is_ours = boolean(mark, "is_server_salt")?;
        same("is_server_salt", is_ours, Salt::from_bytes(marked).is_of_server(&key))?;
        let drawn: [u8; DRAWN_LEN] = *marked.first_chunk().ok_or("a salt is longer")?;
        same("made again", is_ours, Salt::of_server(drawn, &key).as_bytes() == &marked)?;
    }
    let (mut sealer, mut opener) = (Sealer::new(&key, &salt), Opener::new(&key, &salt));
    for (at, write) in list(case, "writes")?.iter().enumerate() {
        // The salt leaves with the first write.
        let mut wire = if at == 0 { salt.as_bytes().to_vec() } else { Vec::new() };
        let head = wire.len();
        let plain = plaintext(write)?;
        sealer.seal(&plain, &mut wire);
        expect_len(write, "wire_len", wire.len())?;
        if write.get("wire_hex").is_some() {
            expect_bytes(write, "wire_hex", &wire)?;
        } else {
            expect_bytes(write, "wire_sha256", digest(&SHA256, &wire).as_ref())?;
        }
        same_bytes("opened", &plain, &open_all(&mut opener, wire.get_mut(head..).unwrap_or_default())?)?;
    }
    Ok(())
}

fn plaintext(write: &Value) -> Checked<Vec<u8>> {
    match write.get("plaintext_repeat_byte") {
        None => bytes(write, "plaintext_hex"),
        Some(_) => {
            let [byte] = array(write, "plaintext_repeat_byte")?;
            Ok(vec![byte; integer(write, "plaintext_len")?])
        }
    }
}

fn open_all(opener: &mut Opener, mut wire: &mut [u8]) -> Checked<Vec<u8>> {
    let mut plain = Vec::new();
    while let Some(opened) = opener.open(wire).map_err(|error| error.to_string())? {
        plain.extend_from_slice(wire.get(opened.payload).unwrap_or_default());
        wire = wire.get_mut(opened.consumed..).unwrap_or_default();
    }
    if wire.is_empty() { Ok(plain) } else { Err(format!("{} bytes were not opened", wire.len())) }
}

fn passthrough_key(case: &Value) -> Checked<PassthroughKey> {
    Ok(PassthroughKey::new(text(case, "obfuscated_key")?, boolean(case, "use_time_factor")?))
}

fn tls_passthrough(file: &Value) -> Checked {
    for (at, case) in list(file, "generate")?.iter().enumerate() {
        generated_message(case).map_err(|error| format!("generate {at}: {error}"))?;
    }
    let key = PassthroughKey::new(text(file, "verify_key")?, true);
    let message = array(file, "verify_message_hex")?;
    for (at, case) in list(file, "verify")?.iter().enumerate() {
        let accepted = key.verifies(&message, integer(case, "checked_at")?);
        same("accepted", boolean(case, "accepted")?, accepted)
            .map_err(|error| format!("verify {at}: {error}"))?;
    }
    Ok(())
}

fn generated_message(case: &Value) -> Checked {
    let (key, time) = (passthrough_key(case)?, integer(case, "unix_time")?);
    expect_bytes(case, "derived_key_hex", &*key.derived(time, 0))?;
    let message = key.message(array(case, "nonce_hex")?, time);
    expect_bytes(case, "message_hex", &message)?;
    same("verifies", true, key.verifies(&message, time))
}

/// A derived key, or a message of the form that does not depend on the time.
fn tls_passthrough_case(case: &Value, _file: &Value) -> Checked {
    let key = passthrough_key(case)?;
    if case.get("message").is_some() {
        return same("valid", boolean(case, "valid")?, key.verifies(&array(case, "message")?, 0));
    }
    let derived = match case.get("unix_time") {
        Some(_) => key.derived(integer(case, "unix_time")?, integer(case, "period_shift")?),
        None => key.derived(0, 0),
    };
    expect_bytes(case, "key", &*derived)
}
