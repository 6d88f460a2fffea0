//! Generated texts: patterns, transforms, and what servers derive from their keys.

use culvert_obfuscation::{
    ObfuscatorSeed, Pattern, PatternKind, PrefixSpec, Prng, Seed, ServerSeedLabel, Transform,
    server_identification,
};
use serde_json::Value;

use super::fields::{
    Checked, boolean, bytes, expect_bytes, expect_len, integer, list, pairs, same, same_bytes, seed, text,
};

pub(super) fn derived_server_seeds(case: &Value, _file: &Value) -> Checked {
    let key = text(case, "obfuscated_key")?.as_bytes();
    for (name, label) in [
        ("ssh_server_kex_seed", ServerSeedLabel::KeyExchange),
        ("ssh_server_version_seed", ServerSeedLabel::Identification),
        ("bpf_server_program_seed", ServerSeedLabel::PacketFilter),
    ] {
        expect_bytes(case, name, Seed::for_server(key, label).as_bytes())?;
    }
    let identification = server_identification(key);
    same("default_server_version", text(case, "default_server_version")?, &identification)
}

/// Patterns, and patterns that are no patterns for bytes.
pub(super) fn regen(file: &Value) -> Checked {
    each(file, "cases", regen_case)?;
    each(file, "byte_mode_rejections", |case| {
        let refused = Pattern::parse(text(case, "pattern")?, kind(case)?).is_err();
        same("rejected", boolean(case, "rejected")?, refused)
    })
}

fn regen_case(case: &Value) -> Checked {
    let seed = seed(case, "seed_hex")?;
    let first_draw = Prng::new(&seed).int63();
    same("xorshift_seed", integer(case, "xorshift_seed")?, first_draw)?;
    match text(case, "flags")? {
        "posix" | "oneline|nongreedy" => {}
        other => return Err(format!("unknown flags {other:?}")),
    }
    let pattern = Pattern::parse(text(case, "pattern")?, kind(case)?).map_err(|error| error.to_string())?;
    let mut generator = pattern.generator(&mut Prng::new(&seed));
    for place in ["first", "second"] {
        let generated = generator.generate().map_err(|error| error.to_string())?;
        let (as_hex, as_len, as_hash) =
            (format!("{place}_hex"), format!("{place}_len"), format!("{place}_sha256"));
        if case.get(&as_hex).is_some() {
            expect_bytes(case, &as_hex, &generated)?;
        } else {
            expect_len(case, &as_len, generated.len())?;
        }
        if case.get(&as_hash).is_some() {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &generated);
            expect_bytes(case, &as_hash, hash.as_ref())?;
        }
    }
    Ok(())
}

fn kind(case: &Value) -> Checked<PatternKind> {
    Ok(if boolean(case, "byte_mode")? { PatternKind::Bytes } else { PatternKind::Text })
}

/// Transforms of texts, of request heads and of seeds, and prefixes.
pub(super) fn transforms(file: &Value) -> Checked {
    each(file, "apply_string", text_transform)?;
    each(file, "http_apply", text_transform)?;
    each(file, "obfuscator_seed", seed_transform)?;
    each(file, "apply_prefix", |case| {
        let spec = PrefixSpec::from_pattern(text(case, "generator")?).map_err(|error| error.to_string())?;
        let min_len = integer(case, "min_length")?;
        let generated = spec.generate(&seed(case, "seed_hex")?, min_len);
        let (bytes, unfilled) = generated.map_err(|error| error.to_string())?;
        expect_bytes(case, "bytes_hex", &bytes)?;
        expect_len(case, "prefix_len_without_fill", unfilled)
    })
}

fn text_transform(case: &Value) -> Checked {
    let transform = Transform::new(&pairs(case, "spec")?).map_err(|error| error.to_string())?;
    let input = text(case, "input")?.as_bytes();
    let output = transform.apply(&seed(case, "seed_hex")?, input).map_err(|error| error.to_string())?;
    same("output", text(case, "output")?, &String::from_utf8_lossy(&output))
}

/// A transform that fails leaves the seed as it is.
fn seed_transform(case: &Value) -> Checked {
    let transform = Transform::new(&pairs(case, "spec")?).map_err(|error| error.to_string())?;
    let input = bytes(case, "input_hex")?;
    let exact = input.clone().try_into().map_err(|_| "input_hex is no seed")?;
    let result = transform.apply_to_seed(&seed(case, "seed_hex")?, &ObfuscatorSeed::from_bytes(exact));
    same("error", boolean(case, "error")?, result.is_err())?;
    let output = result.map_or(input, |seed| seed.as_bytes().to_vec());
    same_bytes("output_hex", &bytes(case, "output_hex")?, &output)
}

fn each(file: &Value, name: &str, check: fn(&Value) -> Checked) -> Checked {
    let cases = list(file, name)?;
    if cases.is_empty() {
        return Err(format!("{name} has no cases"));
    }
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        if let Err(error) = check(case) {
            wrong.push(format!("{name}, case {index}: {error}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
