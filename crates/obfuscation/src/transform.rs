//! Transform specs: lists of a pattern to match and a pattern to generate its replacement from, with which
//! parameters change how seeds, nonces and requests look; and the specs of prefixes, which only generate. Where
//! specs come from (JSON) is the caller's matter. Source: `PROTOCOL.md` 2.3, 2.5.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use regex::bytes::{Regex, RegexBuilder};

use crate::regen::{GeneratedTooMuch, Pattern, PatternError, PatternKind};
use crate::{GeneratedPrefix, ObfuscatorSeed, PREFIX_SALT_LEN, Prng, Seed};

/// Most memory that a compiled matcher may take, in bytes.
const MAX_MATCHER_SIZE: usize = 1 << 20;
/// Most steps of one spec.
const MAX_STEPS: usize = 64;
/// Longest result of a transform, in bytes.
pub const MAX_TRANSFORMED_LEN: usize = 1 << 20;

/// Rewrites text, step by step.
#[derive(Clone)]
pub struct Transform {
    steps: Vec<Step>,
}

#[derive(Clone)]
struct Step {
    matcher: Regex,
    replacement: Pattern,
}

/// Why a spec is refused, or did not work. Local: specs are from configuration or from signed parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// What a step generates.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// What a step matches.
    #[error("step {step} of a transform cannot match {pattern:?}: {reason}")]
    Matcher {
        /// Which step, from 1.
        step: usize,
        /// Its pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A prefix spec is one pair; a transform has at most 64.
    #[error("a spec of {0} steps: a prefix has exactly one, a transform at most {MAX_STEPS}")]
    StepCount(usize),
    /// A step generates too much.
    #[error(transparent)]
    GeneratedTooMuch(#[from] GeneratedTooMuch),
    /// The result is too long.
    #[error("a transform makes more than {MAX_TRANSFORMED_LEN} bytes: bound what it inserts")]
    TooLong,
    /// What is left of a seed or nonce is no longer hexadecimal of the same length.
    #[error(
        "a transform makes something else than {expected} bytes of hexadecimal: it must keep length and alphabet"
    )]
    NotHex {
        /// How many bytes it was given.
        expected: usize,
    },
}

impl Transform {
    /// The transform of these pairs: what to match, and what to generate instead.
    ///
    /// # Errors
    /// A pattern is refused.
    pub fn new<M: AsRef<str>, G: AsRef<str>>(pairs: &[(M, G)]) -> Result<Self, TransformError> {
        if pairs.len() > MAX_STEPS {
            return Err(TransformError::StepCount(pairs.len()));
        }
        let step = |(index, (matcher, generator)): (usize, &(M, G))| {
            let replacement = Pattern::parse(generator.as_ref(), PatternKind::Text)?;
            Ok(Step { matcher: compile(matcher.as_ref(), index + 1)?, replacement })
        };
        Ok(Self { steps: pairs.iter().enumerate().map(step).collect::<Result<_, TransformError>>()? })
    }

    /// Rewrites `input`. Every step generates from the start of the same seed (`PROTOCOL.md` 2.5); in what it
    /// generates, `$1`, `$name` and `${1}` stand for what the groups matched.
    ///
    /// # Errors
    /// It would become too long.
    pub fn apply(&self, seed: &Seed, input: &[u8]) -> Result<Vec<u8>, TransformError> {
        let mut value = input.to_vec();
        for step in &self.steps {
            let replacement = step.replacement.generate(&mut Prng::new(seed))?;
            value = replace_all(&step.matcher, &value, &replacement)?;
        }
        Ok(value)
    }

    /// Rewrites bytes by way of their lower-case hexadecimal, keeping their number.
    ///
    /// # Errors
    /// The result is no hexadecimal of that length.
    pub fn apply_hex(&self, seed: &Seed, input: &[u8]) -> Result<Vec<u8>, TransformError> {
        let text = self.apply(seed, HEXLOWER.encode(input).as_bytes())?;
        let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode(&text).ok();
        decoded
            .filter(|bytes| bytes.len() == input.len())
            .ok_or(TransformError::NotHex { expected: input.len() })
    }

    /// Rewrites a preamble's seed (`PROTOCOL.md` 2.3). Not to be used together with a prefix.
    ///
    /// # Errors
    /// The result is no seed.
    pub fn apply_to_seed(
        &self,
        seed: &Seed,
        input: &ObfuscatorSeed,
    ) -> Result<ObfuscatorSeed, TransformError> {
        let bytes = self.apply_hex(seed, input.as_bytes())?;
        let exact = bytes.try_into().map_err(|_| TransformError::NotHex { expected: ObfuscatorSeed::LEN })?;
        Ok(ObfuscatorSeed::from_bytes(exact))
    }
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.matcher.as_str())).finish()
    }
}

/// What a prefix is generated from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixSpec(Pattern);

impl PrefixSpec {
    /// The spec of a single pair, whose matching side is ignored (`PROTOCOL.md` 2.5).
    ///
    /// # Errors
    /// There is not exactly one pair, or its pattern is refused.
    pub fn new<M: AsRef<str>, G: AsRef<str>>(pairs: &[(M, G)]) -> Result<Self, TransformError> {
        match pairs {
            [(_, generator)] => Self::from_pattern(generator.as_ref()),
            _ => Err(TransformError::StepCount(pairs.len())),
        }
    }

    /// The spec that generates from this pattern.
    ///
    /// # Errors
    /// The pattern is refused.
    pub fn from_pattern(pattern: &str) -> Result<Self, TransformError> {
        Ok(Self(Pattern::parse(pattern, PatternKind::Bytes)?))
    }

    /// What the spec generates for a seed, filled up to `min_len` bytes from the same stream. The number is how
    /// many bytes were generated, before filling.
    ///
    /// # Errors
    /// It generates too much.
    pub fn generate(&self, seed: &Seed, min_len: usize) -> Result<(Vec<u8>, usize), TransformError> {
        let mut prng = Prng::new(seed);
        let mut bytes = self.0.generate(&mut prng)?;
        let unfilled = bytes.len();
        bytes.extend(prng.bytes(min_len.saturating_sub(unfilled)));
        Ok((bytes, unfilled))
    }

    /// A prefix for an obfuscated SSH stream.
    ///
    /// # Errors
    /// It generates too much.
    pub fn prefix(&self, seed: &Seed) -> Result<GeneratedPrefix, TransformError> {
        let (bytes, unfilled) = self.generate(seed, PREFIX_SALT_LEN)?;
        Ok(GeneratedPrefix::filled(bytes, unfilled))
    }
}

/// Names of specs by scope, which is what they are known to work for: a server, a provider, a resolver. The empty
/// scope is for every one that has no entry of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopedNames(BTreeMap<String, Vec<String>>);

impl ScopedNames {
    /// These names by scope.
    #[must_use]
    pub fn new(names: BTreeMap<String, Vec<String>>) -> Self {
        Self(names)
    }

    /// Picks a name for a scope and looks it up (`PROTOCOL.md` 2.5). Nothing is picked when the scope has an empty
    /// list, when neither it nor the empty scope has one, or when the name is unknown.
    #[must_use]
    pub fn select<'a, S>(
        &'a self,
        scope: &str,
        specs: &'a BTreeMap<String, S>,
        prng: &mut Prng,
    ) -> Option<(&'a str, &'a S)> {
        let names = self.0.get(scope).or_else(|| self.0.get(""))?;
        let name = prng.pick(names)?;
        specs.get(name).map(|spec| (name.as_str(), spec))
    }

    /// The first name that `specs` does not have.
    #[must_use]
    pub fn first_unknown<S>(&self, specs: &BTreeMap<String, S>) -> Option<&str> {
        self.0.values().flatten().find(|name| !specs.contains_key(*name)).map(String::as_str)
    }
}

fn compile(pattern: &str, step: usize) -> Result<Regex, TransformError> {
    // Without Unicode, `\d`, `\w` and `\b` are ASCII, as they are for the reference.
    let built = RegexBuilder::new(&from_go_syntax(pattern))
        .unicode(false)
        .size_limit(MAX_MATCHER_SIZE)
        .nest_limit(100)
        .build();
    built.map_err(|error| TransformError::Matcher {
        step,
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })
}

fn replace_all(matcher: &Regex, value: &[u8], replacement: &[u8]) -> Result<Vec<u8>, TransformError> {
    let mut out = Vec::with_capacity(value.len());
    let mut copied = 0;
    for captures in matcher.captures_iter(value) {
        let Some(whole) = captures.get(0) else { continue };
        out.extend_from_slice(value.get(copied..whole.start()).unwrap_or_default());
        captures.expand(replacement, &mut out);
        copied = whole.end();
        if out.len() > MAX_TRANSFORMED_LEN {
            return Err(TransformError::TooLong);
        }
    }
    out.extend_from_slice(value.get(copied..).unwrap_or_default());
    if out.len() > MAX_TRANSFORMED_LEN { Err(TransformError::TooLong) } else { Ok(out) }
}

/// Rewrites what Go's syntax and this matcher's read differently: quoted runs, braces that bound nothing, and the
/// set operators inside classes.
fn from_go_syntax(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let (head, tail) = rest.split_at(c.len_utf8());
        rest = tail;
        match c {
            '\\' if !in_class && tail.starts_with('Q') => {
                let quoted = tail.get(1..).unwrap_or_default();
                let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                out.push_str(&regex::escape(text));
                rest = after;
            }
            '\\' => {
                out.push('\\');
                let next = tail.chars().next();
                out.extend(next);
                rest = tail.get(next.map_or(0, char::len_utf8)..).unwrap_or_default();
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                // Negation, and a bracket that stands first and closes nothing.
                for first in ['^', ']'] {
                    if let Some(after) = rest.strip_prefix(first) {
                        out.push_str(if first == ']' { r"\]" } else { "^" });
                        rest = after;
                    }
                }
            }
            '[' if rest.starts_with(':') => {
                let end = rest.find(":]").map_or(0, |end| end + 2);
                out.push_str(if end == 0 { r"\[" } else { "[" });
                let (name, after) = rest.split_at(end);
                out.push_str(name);
                rest = after;
            }
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '{' if !in_class && !bounds(rest) => out.push_str(r"\{"),
            _ => out.push_str(head),
        }
    }
    out
}

/// Whether what stands behind a brace are bounds.
fn bounds(text: &str) -> bool {
    let Some((inside, _)) = text.split_once('}') else { return false };
    let (min, max) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    !min.is_empty() && digits(min) && digits(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(matcher: &str, generator: &str, input: &str) -> String {
        let transform = Transform::new(&[(matcher, generator)]).unwrap();
        String::from_utf8(transform.apply(&Seed::from_bytes([1; 32]), input.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn groups_are_put_back() {
        assert_eq!(apply("(b+)(c)", r"<\$2\$\{1\}>", "abbcd"), "a<cbb>d");
        assert_eq!(apply("b*", "-", "abc"), "-a-c-");
        assert_eq!(apply("(a)", r"\$1x", "a"), "", "the longest name is meant, and it is unknown");
    }

    #[test]
    fn go_syntax_is_matched_as_go_matches_it() {
        assert_eq!(apply(r"\Qa.b\E", "x", "a.b acb"), "x acb");
        assert_eq!(apply("a{,2}", "x", "a{,2}"), "x");
        assert_eq!(apply("a{2}", "x", "aaa{2}"), "xa{2}");
        assert_eq!(apply("[[a]", "x", "[ab"), "xxb");
        assert_eq!(apply("[]a&&b~~c]+", "x", "]a&b~c-"), "x-");
        assert_eq!(apply("[[:digit:]]+", "x", "12a"), "xa");
        assert_eq!(apply("[^]a]+", "x", "bc]a"), "x]a");
    }

    #[test]
    fn wrong_specs_are_refused_with_their_place() {
        let error = Transform::new(&[("a", "b"), ("(", "b")]).unwrap_err();
        assert!(matches!(error, TransformError::Matcher { step: 2, .. }), "{error}");
        assert!(matches!(Transform::new(&[("a", "(")]), Err(TransformError::Pattern(_))));
        assert!(matches!(PrefixSpec::new(&[("", "a"), ("", "b")]), Err(TransformError::StepCount(2))));
        assert!(matches!(PrefixSpec::from_pattern("[^a]"), Err(TransformError::Pattern(_))));
    }

    #[test]
    fn a_seed_must_stay_one() {
        let seed = ObfuscatorSeed::from_bytes([0xAB; 16]);
        let apply = |pair| Transform::new(&[pair]).unwrap().apply_to_seed(&Seed::from_bytes([2; 32]), &seed);
        assert_eq!(apply(("^.{4}", "0123")).unwrap().as_bytes()[..3], [1, 0x23, 0xAB]);
        assert_eq!(apply(("^.{4}", "01")), Err(TransformError::NotHex { expected: 16 }));
        assert_eq!(apply(("^.{4}", "wxyz")), Err(TransformError::NotHex { expected: 16 }));
    }

    #[test]
    fn inserting_is_bounded() {
        let transform = Transform::new(&[("a", "a{1000}"), ("a", "a{1000}"), ("a", "a{1000}")]).unwrap();
        assert_eq!(transform.apply(&Seed::from_bytes([0; 32]), b"aa"), Err(TransformError::TooLong));
    }

    #[test]
    fn scopes_select_names() {
        let specs = BTreeMap::from([("one".to_owned(), 1), ("two".to_owned(), 2)]);
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let scoped = ScopedNames::new(BTreeMap::from([
            (String::new(), names(&["one"])),
            ("two's".to_owned(), names(&["two"])),
            ("none".to_owned(), names(&[])),
            ("broken".to_owned(), names(&["three"])),
        ]));
        let mut prng = Prng::new(&Seed::from_bytes([0; 32]));
        let mut select = |scope| scoped.select(scope, &specs, &mut prng).map(|(name, spec)| (name, *spec));
        assert_eq!(select("two's"), Some(("two", 2)));
        assert_eq!(select("other"), Some(("one", 1)));
        assert_eq!(select(""), Some(("one", 1)));
        assert_eq!((select("none"), select("broken")), (None, None));
        assert_eq!(scoped.first_unknown(&specs), Some("three"));
    }
}
