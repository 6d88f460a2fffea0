//! Draws of the seeded generator.

use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use data_encoding::HEXLOWER;
use serde_json::Value;

use super::fields::{Checked, float, integer, list, same, seed, text};

/// One method, called as often as the case has outputs; then the next byte of the stream, where the case has it.
pub(super) fn draws(case: &Value, _file: &Value) -> Checked {
    let seed = seed(case, "seed")?;
    let mut prng = Prng::new(&seed);
    let expected = outputs(case)?;
    let got = draw(case, &seed, &mut prng, expected.len())?;
    same("out", expected, got)?;
    if case.get("next_byte").is_some() {
        same("next_byte", text(case, "next_byte")?.to_owned(), prng.hex_string(1))?;
    }
    Ok(())
}

/// What is expected, as texts: numbers are written as numbers in some cases and as strings in others.
fn outputs(case: &Value) -> Checked<Vec<String>> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match case.get("out") {
        Some(Value::Array(items)) => Ok(items.iter().map(plain).collect()),
        Some(single) => Ok(vec![plain(single)]),
        None => Err("the case has no field \"out\"".to_owned()),
    }
}

fn draw(case: &Value, seed: &Seed, prng: &mut Prng, count: usize) -> Checked<Vec<String>> {
    Ok(match text(case, "method")? {
        "bytes" => vec![prng.hex_string(integer(case, "length")?)],
        "bytes_split" => {
            let lengths =
                list(case, "lengths")?.iter().map(|len| len.as_u64().ok_or("a length is no number"));
            let lengths: Vec<u64> = lengths.collect::<Result<_, _>>()?;
            lengths.into_iter().map(|len| prng.hex_string(len as usize)).collect()
        }
        "salted_seed" => vec![HEXLOWER.encode(seed.derive(text(case, "salt")?).as_bytes())],
        "padding" => vec![HEXLOWER.encode(&prng.padding(integer(case, "min")?, integer(case, "max")?))],
        "hex_string" => vec![prng.hex_string(integer(case, "byte_length")?)],
        "base64_string" => vec![prng.base64_string(integer(case, "byte_length")?)],
        "perm" => prng.perm(integer(case, "n")?).iter().map(ToString::to_string).collect(),
        "shuffle" => {
            let mut items: Vec<usize> = (0..integer(case, "n")?).collect();
            prng.shuffle(&mut items);
            items.iter().map(ToString::to_string).collect()
        }
        "flip_coin" => coins(integer(case, "count")?, || prng.flip_coin()),
        "flip_weighted_coin" => {
            let weight = float(case, "weight")?;
            coins(integer(case, "count")?, || prng.flip_weighted_coin(weight))
        }
        method => numbers(case, method, prng, count)?,
    })
}

fn numbers(case: &Value, method: &str, prng: &mut Prng, count: usize) -> Checked<Vec<String>> {
    Ok(match method {
        "uint64" => repeat(count, || prng.uint64()),
        "uint32" => repeat(count, || prng.uint32()),
        "int63" => repeat(count, || prng.int63()),
        "int31" => repeat(count, || prng.int31()),
        "int31n" => {
            let n = integer(case, "n")?;
            repeat(count, || prng.int31n(n))
        }
        "intn" => {
            let n = integer(case, "n")?;
            repeat(count, || prng.intn(n))
        }
        "int63n" => {
            let n = integer(case, "n")?;
            repeat(count, || prng.int63n(n))
        }
        "range" => {
            let (min, max) = (integer(case, "min")?, integer(case, "max")?);
            repeat(count, || prng.range(min, max))
        }
        "range_uint32" => {
            let (min, max) = (integer(case, "min")?, integer(case, "max")?);
            repeat(count, || prng.range_u32(min, max))
        }
        "period_ns" => {
            let (min, max) = (nanos(case, "min")?, nanos(case, "max")?);
            repeat(count, || prng.period(min, max).as_nanos())
        }
        "jitter" => {
            let (n, factor) = (integer(case, "n")?, float(case, "factor")?);
            repeat(count, || prng.jitter(n, factor))
        }
        other => return Err(format!("unknown method {other:?}")),
    })
}

fn repeat<T: ToString>(count: usize, mut draw: impl FnMut() -> T) -> Vec<String> {
    (0..count).map(|_| draw().to_string()).collect()
}

fn coins(count: usize, mut flip: impl FnMut() -> bool) -> Vec<String> {
    vec![(0..count).map(|_| if flip() { '1' } else { '0' }).collect()]
}

fn nanos(case: &Value, name: &str) -> Checked<Duration> {
    integer(case, name).map(Duration::from_nanos)
}
