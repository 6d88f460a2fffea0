//! Patterns that are refused, and properties of what is generated. The known answers are among the vectors.

use super::*;
use crate::Seed;

fn generate(pattern: &str, kind: PatternKind, seed: u8) -> Vec<u8> {
    let pattern = Pattern::parse(pattern, kind).unwrap();
    pattern.generate(&mut Prng::new(&Seed::from_bytes([seed; 32]))).unwrap()
}

#[test]
fn faults_name_their_place() {
    use PatternFault as F;
    for (pattern, place, reason) in [
        ("ab(c", 2, F::Parenthesis),
        ("ab)c", 2, F::Parenthesis),
        ("a|*", 3, F::NothingToRepeat),
        ("(?:a)", 2, F::NothingToRepeat),
        ("a{3,2}", 1, F::RepeatBounds),
        ("a{1001}", 1, F::RepeatBounds),
        ("(a{100}){11}", 12, F::RepeatBounds),
        ("[a", 1, F::ClassNotClosed),
        ("[z-a]", 1, F::ClassRange),
        ("[[:nope:]]", 1, F::ClassRange),
        ("[a-c-e]", 4, F::ClassRange),
        (r"a\d", 1, F::Escape),
        (r"a\Qb\E", 1, F::Escape),
        (r"\x{110000}", 0, F::Escape),
        (r"\x+1", 0, F::Escape),
        (r"a\", 1, F::TrailingBackslash),
    ] {
        let error = Pattern::parse(pattern, PatternKind::Text).expect_err(pattern);
        assert_eq!((error.place, error.reason), (place, reason), "{pattern}");
    }
    let error = Pattern::parse("ab(c", PatternKind::Text).unwrap_err();
    assert_eq!(error.to_string(), "pattern \"ab(c\", byte 2: unbalanced parenthesis");
}

#[test]
fn deep_and_long_patterns_are_refused() {
    let nested = format!("{}a{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(Pattern::parse(&nested, PatternKind::Text).unwrap_err().reason, PatternFault::TooDeep);
    let stacked = format!("a{}", "*+".repeat(1000));
    assert_eq!(Pattern::parse(&stacked, PatternKind::Text).unwrap_err().reason, PatternFault::TooDeep);
    let long = "a".repeat(MAX_PATTERN_LEN + 1);
    assert_eq!(Pattern::parse(&long, PatternKind::Text).unwrap_err().reason, PatternFault::TooLong);
}

#[test]
fn output_and_work_are_bounded() {
    let generate = |pattern: &str| {
        let parsed = Pattern::parse(pattern, PatternKind::Text).unwrap();
        parsed.generate(&mut Prng::new(&Seed::from_bytes([1; 32])))
    };
    assert_eq!(generate("(((((a*)+)+)+)+)+"), Err(GeneratedTooMuch), "output");
    assert_eq!(generate("((((()+)+)+)+)+"), Err(GeneratedTooMuch), "work without output");
    assert_eq!(generate("(a{100}){10}").map(|text| text.len()), Ok(1000));
}

#[test]
fn bytes_take_neither_negation_nor_wide_characters() {
    for pattern in ["[^a]", r"\D", r"\W", "[[:^alpha:]]", r"\x{100}", "\u{100}", "[\u{100}-\u{110}]"] {
        assert!(Pattern::parse(pattern, PatternKind::Bytes).is_err(), "{pattern}");
    }
    assert_eq!(generate("\u{e9}", PatternKind::Bytes, 0), [0xE9]);
}

#[test]
fn braces_that_bound_nothing_are_characters() {
    assert_eq!(generate("a{b}{01}{", PatternKind::Text, 0), b"a{b}{01}{");
}

#[test]
fn escapes_and_classes() {
    assert_eq!(
        generate(r"\a\f\n\r\t\v\x41\x{42}\103\0\.\_\-", PatternKind::Text, 0),
        b"\x07\x0c\n\r\t\x0bABC\0._-"
    );
    for seed in 0..50 {
        let text = generate("[]a][a-][^\\x00-\\x{10fffe}][[:digit:]]", PatternKind::Text, seed);
        let text = String::from_utf8(text).unwrap();
        let chars: Vec<char> = text.chars().collect();
        assert!(matches!(chars[..], [']' | 'a', 'a' | '-', '\u{10ffff}', '0'..='9']), "{text:?}");
    }
}
