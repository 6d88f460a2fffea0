//! Keys, preambles, prefixes, and the history of seeds.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use culvert_obfuscation::{
    AddressMatch, ClientPreamble, Direction, GeneratedPrefix, Keystream, Keyword, PaddingRange, PaddingUse,
    PreambleError, PreamblePlan, PreambleReader, PrefixName, PrefixPlan, PrefixSpec, Prng, ReplayMode, Seed,
    SeedHistory, SeedHistoryLimits, SeedIndexKey, SeedVerdict, ServerOpening, ServerPreamble, TERMINATOR_LEN,
    derive_key,
};
use serde_json::Value;

use super::fields::{
    Checked, boolean, bytes, expect_bytes, expect_len, integer, keyword, list, obfuscator_seed, same,
    same_bytes, seed, text,
};

/// The padding range of the prefix cases, which they do not name.
const PREFIX_CASE_PADDING: usize = 32;

pub(super) fn key_derivation(case: &Value, _file: &Value) -> Checked {
    let (keyword, seed) = (keyword(case)?, obfuscator_seed(case, "obfuscator_seed")?);
    let direction = direction(case)?;
    expect_bytes(case, "key", &*derive_key(&keyword, &seed, direction))?;
    let mut stream = vec![0; bytes(case, "keystream_first_40")?.len()];
    Keystream::derive(&keyword, &seed, direction).apply(&mut stream);
    expect_bytes(case, "keystream_first_40", &stream)
}

/// Either a preamble to be made and read, or bytes and whether they are accepted.
pub(super) fn client_preamble(case: &Value, _file: &Value) -> Checked {
    if case.get("accepted").is_some() {
        return acceptance(case);
    }
    let keyword = keyword(case)?;
    let padding_seed = seed(case, "client_padding_prng_seed")?;
    let padding = PaddingRange::new(Some(integer(case, "min_padding")?), Some(integer(case, "max_padding")?));
    let obfuscator_seed = obfuscator_seed(case, "obfuscator_seed")?;
    let plan = PreamblePlan { obfuscator_seed, padding_seed, padding, prefix: None };
    let mut client = ClientPreamble::new(&keyword, &plan);
    expect_bytes(case, "preamble", &client.bytes)?;
    expect_len(case, "preamble_length", client.bytes.len())?;
    expect_len(case, "padding_length", client.padding_len)?;
    let derived = PaddingUse::Handshake.seed(&plan.padding_seed);
    expect_bytes(case, "client_derived_obfuscated_ssh_padding_seed", derived.as_bytes())?;

    let mut server = read_whole(&keyword, &client.bytes)?;
    same("the seed that the server reads", plan.obfuscator_seed, server.seed)?;
    same("a prefix where none was sent", None, server.prefix.as_ref())?;
    let server_seed = server.padding_seed.as_ref().ok_or("the server found no padding seed")?;
    expect_bytes(case, "server_recovered_padding_prng_seed", server_seed.as_bytes())?;
    for (name, what) in [
        ("server_derived_obfuscated_ssh_padding_seed", PaddingUse::Handshake),
        ("server_derived_prefix_split_seed", PaddingUse::PrefixSplit),
        ("server_derived_fragmentor_seed", PaddingUse::ServerFragmentor),
    ] {
        expect_bytes(case, name, what.seed(server_seed).as_bytes())?;
    }
    let plain = text(case, "next_plaintext")?.as_bytes();
    round(case, "next_client_to_server", plain, &mut client.to_server, &mut server.from_client)?;
    let name = "first_server_to_client_of_same_plaintext";
    round(case, name, plain, &mut server.to_client, &mut client.from_server)
}

/// Hides with one stream, compares, and reveals with the other.
fn round(case: &Value, name: &str, plain: &[u8], hide: &mut Keystream, reveal: &mut Keystream) -> Checked {
    let mut wire = plain.to_vec();
    hide.apply(&mut wire);
    expect_bytes(case, name, &wire)?;
    reveal.apply(&mut wire);
    same_bytes(name, plain, &wire)
}

fn acceptance(case: &Value) -> Checked {
    let mut reader = PreambleReader::new(keyword(case)?);
    let result = reader.push(&bytes(case, "preamble")?);
    let accepted = matches!(result, Ok((_, Some(_))));
    same("accepted", boolean(case, "accepted")?, accepted)?;
    // What is refused is what gets logged as irregular, and only that.
    same("irregular_logged", boolean(case, "irregular_logged")?, !accepted)?;
    match result {
        Err(PreambleError::PaddingLength(_)) => {
            same("the seed is in the history", true, reader.authenticated_seed().is_some())
        }
        Ok((_, Some(server))) => same("the history's seed", Some(server.seed), reader.authenticated_seed()),
        _ => Ok(()),
    }
}

/// Reads bytes that are exactly one preamble.
pub(super) fn read_whole(keyword: &Keyword, wire: &[u8]) -> Checked<ServerPreamble> {
    let mut reader = PreambleReader::new(keyword.clone());
    let (used, preamble) = reader.push(wire).map_err(|error| error.to_string())?;
    same("how many bytes the server read", wire.len(), used)?;
    preamble.ok_or_else(|| "the server waits for more".to_owned())
}

pub(super) fn prefix(case: &Value, _file: &Value) -> Checked {
    let (keyword, direction) = (keyword(case)?, direction(case)?);
    let spec = PrefixSpec::from_pattern(text(case, "spec_regex")?).map_err(|error| error.to_string())?;
    let generated = spec.prefix(&seed(case, "prefix_prng_seed")?).map_err(|error| error.to_string())?;
    expect_len(case, "prefix_length_before_fill", generated.unfilled())?;
    let terminated = generated.terminated(&keyword, direction);
    expect_bytes(case, "prefix_filled_and_terminator", &terminated)?;
    expect_bytes(case, "first_24", terminated.get(..24).unwrap_or_default())?;
    let terminator_at = terminated.len().saturating_sub(TERMINATOR_LEN);
    expect_bytes(case, "terminator", terminated.get(terminator_at..).unwrap_or_default())?;
    let name = text(case, "name")?;
    let header = [&[0, 1][..], &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
    expect_bytes(case, "prefix_header_plaintext", &header)?;
    match direction {
        Direction::ClientToServer => prefixed_preamble(case, &keyword, generated),
        Direction::ServerToClient => Ok(()),
    }
}

fn prefixed_preamble(case: &Value, keyword: &Keyword, prefix: GeneratedPrefix) -> Checked {
    let name = PrefixName::new(text(case, "name")?).map_err(|error| error.to_string())?;
    let plan = PreamblePlan {
        obfuscator_seed: obfuscator_seed(case, "obfuscator_seed")?,
        padding_seed: seed(case, "client_padding_prng_seed")?,
        padding: PaddingRange::new(Some(PREFIX_CASE_PADDING), Some(PREFIX_CASE_PADDING)),
        prefix: Some(PrefixPlan { name: name.clone(), prefix, split: Some(Duration::ZERO) }),
    };
    let client = ClientPreamble::new(keyword, &plan);
    expect_bytes(case, "full_client_preamble", &client.bytes)?;
    expect_len(case, "first_write_length", client.first_write)?;
    expect_len(case, "padding_length", client.padding_len)?;

    let mut server = read_whole(keyword, &client.bytes)?;
    let parsed = server.padding_seed.as_ref().ok_or("the server found no padding seed")?;
    expect_bytes(case, "server_parsed_padding_prng_seed", parsed.as_bytes())?;
    let parsed_name = server.prefix.as_ref().and_then(PrefixName::as_str);
    same("server_parsed_spec_name", Some(text(case, "server_parsed_spec_name")?), parsed_name)?;
    same("the name that the server reads", Some(&name), server.prefix.as_ref())?;

    let reply = GeneratedPrefix::random(&mut Prng::new(&Seed::from_bytes([0; 32])));
    let mut padding = PaddingUse::Handshake.prng(parsed);
    let plain = ServerOpening::new(&mut padding, &mut server.to_client);
    let plain_len = plain.bytes.len();
    let opening = plain.with_prefix(keyword, &reply, Some(Duration::ZERO));
    expect_len(case, "server_reply_first_write_length_when_spec_unknown", opening.first_write)?;
    expect_len(case, "server_reply_prefix_length_when_spec_unknown", opening.bytes.len() - plain_len)
}

/// One history over the cases, in their order.
pub(super) fn seed_history(file: &Value) -> Checked {
    let mut history = SeedHistory::new(SeedHistoryLimits::default(), SeedIndexKey::new([0; 16]));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for (index, case) in list(file, "vectors")?.iter().enumerate() {
        history_case(&mut history, case, now).map_err(|error| format!("case {index}: {error}"))?;
    }
    Ok(())
}

fn history_case(history: &mut SeedHistory, case: &Value, now: SystemTime) -> Checked {
    let mode = if boolean(case, "strict")? { ReplayMode::Strict } else { ReplayMode::SameAddressMayRetry };
    let client: IpAddr = text(case, "client_ip")?.parse().map_err(|_| "client_ip is no address")?;
    let verdict = history.add(mode, &bytes(case, "seed")?, client, now);
    same("accepted", boolean(case, "accepted")?, verdict.is_accepted())?;
    let matched = match &verdict {
        SeedVerdict::New(_) => None,
        SeedVerdict::Repeated { address: AddressMatch::Equal, .. } => Some("equal"),
        SeedVerdict::Repeated { address: AddressMatch::Unequal, .. } => Some("unequal"),
        SeedVerdict::Repeated { address: AddressMatch::Unknown, .. } => Some("unknown"),
    };
    // Every repetition is logged, the accepted ones too.
    same("logged", boolean(case, "logged")?, matched.is_some())?;
    same("duplicate_client_ip", case.get("duplicate_client_ip").and_then(Value::as_str), matched)
}

fn direction(case: &Value) -> Checked<Direction> {
    let label = text(case, "direction")?;
    [Direction::ClientToServer, Direction::ServerToClient]
        .into_iter()
        .find(|direction| direction.label() == label)
        .ok_or_else(|| format!("unknown direction {label:?}"))
}
