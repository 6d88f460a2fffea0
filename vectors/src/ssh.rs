//! Cases of the `ssh` crate.

use culvert_obfuscation::Seed;
use culvert_ssh::kexinit::{KexInit, Name, NameLists, Negotiated, OfferPolicy, Role, negotiate, offer};
use culvert_ssh::names::{KexName, MacName};
use serde_json::Value;

use crate::Runner;

/// The files this area reads, by name without `.json`.
pub const FILES: &[(&str, Runner)] = &[("ssh_kexinit", Runner::PerCase(kexinit))];

const CASE_MEMBERS: &[&str] = &[
    "name",
    "client_kex_prng_seed",
    "client_peer_kex_prng_seed",
    "server_kex_prng_seed",
    "no_encrypt_then_mac",
    "client_kexinit",
    "server_kexinit",
    "negotiated",
    "negotiated_compression_name",
    "compression_is_never_applied",
    "strict_kex_active",
];
/// `ident` names the software that made the case and is no part of a KEXINIT.
const LIST_MEMBERS: &[&str] = &[
    "kex",
    "host_key",
    "ciphers_both",
    "macs_both",
    "compression_both",
    "first_kex_packet_follows",
    "ident",
];
const NEGOTIATED_MEMBERS: &[&str] = &["kex", "host_key", "cipher_c2s", "cipher_s2c", "mac_c2s", "mac_s2c"];

/// Both sides' lists from their seeds, byte for byte, and what is agreed.
fn kexinit(case: &Value, _file: &Value) -> Result<(), String> {
    only_members(case, CASE_MEMBERS)?;
    let no_encrypt_then_mac = boolean(case, "no_encrypt_then_mac")?;
    let client_seed = seed(case, "client_kex_prng_seed")?.ok_or("no client seed")?;
    let server_seed = seed(case, "server_kex_prng_seed")?;
    let client_policy = OfferPolicy {
        role: Role::Client,
        no_encrypt_then_mac,
        seed: Some(client_seed),
        peer_seed: seed(case, "client_peer_kex_prng_seed")?,
        host_key_names: Vec::new(),
    };
    let server_policy = OfferPolicy {
        role: Role::Server,
        no_encrypt_then_mac,
        seed: server_seed,
        peer_seed: None,
        host_key_names: OfferPolicy::rsa_host_key_names(),
    };
    let client = sent(offer(&client_policy, true));
    let server = sent(offer(&server_policy, true));
    compare_lists(&client, member(case, "client_kexinit")?).map_err(|error| format!("client: {error}"))?;
    compare_lists(&server, member(case, "server_kexinit")?).map_err(|error| format!("server: {error}"))?;

    let common = |client: &[Name], server: &[Name]| client.iter().find(|name| server.contains(name)).cloned();
    let kex = common(&client.lists.kex, &server.lists.kex).ok_or("no common kex")?;
    // The two names of X25519 are one method, so the name itself is compared here.
    equal("kex", &&*kex, &text(member(case, "negotiated")?, "kex")?)?;
    for role in [Role::Client, Role::Server] {
        let agreed = negotiate(role, &client, &server).map_err(|error| error.to_string())?;
        compare_negotiated(&agreed, member(case, "negotiated")?)?;
        equal("strict_kex_active", &agreed.strict, &boolean(case, "strict_kex_active")?)?;
    }
    let compression = common(&client.lists.compression_c2s, &server.lists.compression_c2s)
        .ok_or("no common compression")?;
    equal("negotiated_compression_name", &&*compression, &text(case, "negotiated_compression_name")?)?;
    // Nothing to compare with: there is no compression that could be applied.
    equal("compression_is_never_applied", &true, &boolean(case, "compression_is_never_applied")?)
}

/// The lists as the peer sees them: through an encoded message.
fn sent(lists: NameLists) -> KexInit {
    let init = KexInit { cookie: [7; 16], lists, first_kex_packet_follows: false };
    let decoded = KexInit::decode(&init.encode());
    assert_eq!(decoded.as_ref(), Ok(&init), "an encoded KEXINIT decodes to itself");
    init
}

fn compare_lists(actual: &KexInit, expected: &Value) -> Result<(), String> {
    only_members(expected, LIST_MEMBERS)?;
    let lists = &actual.lists;
    for (name, both) in [
        ("kex", [&lists.kex, &lists.kex]),
        ("host_key", [&lists.host_key, &lists.host_key]),
        ("ciphers_both", [&lists.cipher_c2s, &lists.cipher_s2c]),
        ("macs_both", [&lists.mac_c2s, &lists.mac_s2c]),
        ("compression_both", [&lists.compression_c2s, &lists.compression_s2c]),
    ] {
        let expected = text(expected, name)?;
        for list in both {
            equal(name, &joined(list).as_str(), &expected)?;
        }
    }
    equal(
        "first_kex_packet_follows",
        &actual.first_kex_packet_follows,
        &boolean(expected, "first_kex_packet_follows")?,
    )
}

fn compare_negotiated(actual: &Negotiated, expected: &Value) -> Result<(), String> {
    only_members(expected, NEGOTIATED_MEMBERS)?;
    equal("kex", &Some(actual.kex), &KexName::parse(text(expected, "kex")?))?;
    equal("host_key", &actual.host_key.wire_name(), &text(expected, "host_key")?)?;
    equal("cipher_c2s", &actual.cipher_c2s.wire_name(), &text(expected, "cipher_c2s")?)?;
    equal("cipher_s2c", &actual.cipher_s2c.wire_name(), &text(expected, "cipher_s2c")?)?;
    equal("mac_c2s", &actual.mac_c2s.map_or("", MacName::wire_name), &text(expected, "mac_c2s")?)?;
    equal("mac_s2c", &actual.mac_s2c.map_or("", MacName::wire_name), &text(expected, "mac_s2c")?)
}

fn joined(list: &[Name]) -> String {
    list.join(",")
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, actual: &T, expected: &T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("{what} is {actual:?}, expected {expected:?}")) }
}

/// A member that nothing looks at is an error.
fn only_members(value: &Value, known: &[&str]) -> Result<(), String> {
    let members = value.as_object().ok_or("not an object")?;
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(format!("member {unknown} is not checked")),
        None => Ok(()),
    }
}

fn member<'a>(value: &'a Value, name: &str) -> Result<&'a Value, String> {
    value.get(name).ok_or_else(|| format!("no member {name}"))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    member(value, name)?.as_str().ok_or_else(|| format!("{name} is not text"))
}

fn boolean(value: &Value, name: &str) -> Result<bool, String> {
    member(value, name)?.as_bool().ok_or_else(|| format!("{name} is not a boolean"))
}

fn seed(value: &Value, name: &str) -> Result<Option<Seed>, String> {
    let Some(hex) = value.get(name).and_then(Value::as_str) else { return Ok(None) };
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).map_err(|error| error.to_string())?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| format!("{name} is not 32 bytes"))?;
    Ok(Some(Seed::from_bytes(bytes)))
}
