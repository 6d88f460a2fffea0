//! Properties of the generator. Its known answers are among the vectors.

use super::*;

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
