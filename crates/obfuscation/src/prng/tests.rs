//! The generator against its known answers, and the properties that no answer covers.

use std::time::Duration;

use serde_json::Value;

use super::*;

const CASES: &str = include_str!("../../../../vectors/data/prng.json");

fn number(case: &Value, field: &str) -> i64 {
    let value = &case[field];
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{field} in {case}"))
}

fn length(case: &Value, field: &str) -> usize {
    usize::try_from(number(case, field)).expect("a length")
}

fn outputs(case: &Value) -> Vec<String> {
    let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    match &case["out"] {
        Value::Array(items) => items.iter().map(plain).collect(),
        single => vec![plain(single)],
    }
}

fn coins(prng: &mut Prng, count: usize, mut flip: impl FnMut(&mut Prng) -> bool) -> Vec<String> {
    vec![(0..count).map(|_| if flip(prng) { '1' } else { '0' }).collect()]
}

fn repeat<T: ToString>(count: usize, mut draw: impl FnMut() -> T) -> Vec<String> {
    (0..count).map(|_| draw().to_string()).collect()
}

fn strings(items: &[usize]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn nanos(case: &Value, field: &str) -> Duration {
    Duration::from_nanos(u64::try_from(number(case, field)).expect("nanoseconds"))
}

fn draw(case: &Value, seed: &Seed, prng: &mut Prng) -> Vec<String> {
    let n = outputs(case).len();
    match case["method"].as_str().expect("a method") {
        "bytes" => vec![prng.hex_string(length(case, "length"))],
        "bytes_split" => {
            let lengths = case["lengths"].as_array().expect("lengths");
            lengths.iter().map(|len| prng.hex_string(len.as_u64().expect("a length") as usize)).collect()
        }
        "uint64" => repeat(n, || prng.uint64()),
        "int63" => repeat(n, || prng.int63()),
        "intn" => repeat(n, || prng.intn(number(case, "n"))),
        "int63n" => repeat(n, || prng.int63n(number(case, "n"))),
        "flip_coin" => coins(prng, length(case, "count"), Prng::flip_coin),
        "flip_weighted_coin" => {
            let weight = case["weight"].as_f64().expect("a weight");
            coins(prng, length(case, "count"), |prng| prng.flip_weighted_coin(weight))
        }
        "perm" => strings(&prng.perm(length(case, "n"))),
        "shuffle" => {
            let mut items: Vec<usize> = (0..length(case, "n")).collect();
            prng.shuffle(&mut items);
            strings(&items)
        }
        "range" => repeat(n, || prng.range(number(case, "min"), number(case, "max"))),
        "range_uint32" => repeat(n, || {
            prng.range_u32(number(case, "min").try_into().unwrap(), number(case, "max").try_into().unwrap())
        }),
        "padding" => vec![HEXLOWER.encode(&prng.padding(length(case, "min"), length(case, "max")))],
        "period_ns" => repeat(n, || prng.period(nanos(case, "min"), nanos(case, "max")).as_nanos()),
        "jitter" => repeat(n, || prng.jitter(number(case, "n"), case["factor"].as_f64().unwrap())),
        "hex_string" => vec![prng.hex_string(length(case, "byte_length"))],
        "base64_string" => vec![prng.base64_string(length(case, "byte_length"))],
        "salted_seed" => vec![HEXLOWER.encode(seed.derive(case["salt"].as_str().unwrap()).as_bytes())],
        other => panic!("unknown method {other}"),
    }
}

#[test]
fn known_answers() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let cases = file["vectors"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let seed = HEXLOWER.decode(case["seed"].as_str().unwrap().as_bytes()).unwrap();
        let seed = Seed::from_bytes(seed.try_into().unwrap());
        let mut prng = Prng::new(&seed);
        assert_eq!(draw(case, &seed, &mut prng), outputs(case), "{case}");
        if let Some(next) = case.get("next_byte") {
            assert_eq!(prng.hex_string(1), next.as_str().unwrap(), "consumed another amount: {case}");
        }
    }
}

#[test]
fn the_stream_changes_its_nonce_before_the_limit() {
    let seed = Seed::from_bytes([9; 32]);
    let mut prng = Prng::new(&seed);
    prng.used = REKEY_AT - 9;
    let before = prng.uint64();
    assert_eq!((before, prng.rekeys), (Prng::new(&seed).uint64(), 1), "8 bytes still fit");
    let after = prng.uint64();
    assert_eq!((prng.rekeys, prng.used), (2, 8));
    assert_ne!(before, after);
}

#[test]
fn extreme_ranges_do_not_overflow() {
    let mut prng = Prng::new(&Seed::from_bytes([3; 32]));
    assert_eq!(prng.range(0, i64::MAX), 0, "the span wraps, as in the reference");
    assert!(prng.range(1, i64::MAX) >= 1);
    let _ = prng.range_u32(0, u32::MAX);
    let _ = prng.jitter(i64::MAX, 1.0);
    let _ = prng.jitter(i64::MIN, 2.0);
    assert_eq!(prng.period(Duration::MAX, Duration::ZERO), Duration::MAX);
    assert!(prng.period(Duration::ZERO, Duration::MAX) < Duration::MAX);
}

#[test]
fn pick_takes_one_or_none() {
    let mut prng = Prng::new(&Seed::from_bytes([4; 32]));
    assert_eq!(prng.pick::<u8>(&[]), None);
    assert!(matches!(prng.pick(&[1, 2, 3]), Some(1..=3)));
}
