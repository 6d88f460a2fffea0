//! Texts from patterns: a pattern in the syntax of Go's regular expressions, read as a recipe for strings that
//! match it. Given the seed, the result is the reference's byte for byte, which takes its parse tree too: what it
//! factors, merges and simplifies decides how many draws are made. Nothing is matched here, see `transform`.
//! Source: `PROTOCOL.md` 2.5.

mod class;
mod factor;
mod parse;

use std::fmt;

use self::class::CharSet;
use crate::Prng;
use crate::prng::Draw;

/// Longest pattern, in bytes.
pub const MAX_PATTERN_LEN: usize = 16_384;
/// Longest text that a pattern may generate, in bytes.
pub const MAX_GENERATED_LEN: usize = 1 << 20;
/// Most repetitions where a pattern names no bound.
const UNBOUNDED_REPEATS: i64 = 4096;
/// Most steps of one generation: patterns can nest repetitions of nothing.
const MAX_STEPS: usize = 1 << 22;

/// What a pattern generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternKind {
    /// UTF-8 text.
    Text,
    /// Bytes: characters up to 255 stand for one byte each, and classes may not be negated.
    Bytes,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    root: Node,
    kind: PatternKind,
}

/// Why a pattern is refused. Local: the pattern is from configuration or from signed parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {}, byte {place}: {reason}", Shown(.pattern))]
pub struct PatternError {
    /// The whole pattern.
    pub pattern: String,
    /// Where in it, in bytes from its start.
    pub place: usize,
    /// What is wrong there.
    pub reason: PatternFault,
}

/// What can be wrong in a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// The pattern has more than [`MAX_PATTERN_LEN`] bytes.
    #[error("longer than {MAX_PATTERN_LEN} bytes")]
    TooLong,
    /// Groups or repetitions are nested too deeply.
    #[error("nested too deeply")]
    TooDeep,
    /// `*`, `+`, `?` or `{..}` without anything before it.
    #[error("nothing to repeat (groups with `?` are not supported)")]
    NothingToRepeat,
    /// More than 1000 repetitions in all, or bounds in the wrong order.
    #[error("repetition out of bounds (at most 1000, minimum first)")]
    RepeatBounds,
    /// A group is opened and not closed, or the reverse.
    #[error("unbalanced parenthesis")]
    Parenthesis,
    /// A class is not closed.
    #[error("class without `]`")]
    ClassNotClosed,
    /// A range in a class that is empty, or a class name that does not exist.
    #[error("invalid range or name in a class")]
    ClassRange,
    /// An escape this syntax does not know.
    #[error("unknown escape")]
    Escape,
    /// The pattern ends inside an escape.
    #[error("nothing behind the last backslash")]
    TrailingBackslash,
    /// A negated class in a pattern for bytes.
    #[error("negated classes cannot generate bytes")]
    Negated,
    /// `\x{..}`, or a character above 255, in a pattern for bytes.
    #[error("characters above 255 cannot generate a byte (write two digits behind \\x)")]
    NotAByte,
    /// A class out of which nothing can be generated.
    #[error("a class with nothing to generate")]
    EmptyClass,
}

/// The pattern generates too much. Local, as [`PatternError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern generates more than {MAX_GENERATED_LEN} bytes: bound its repetitions")]
pub struct GeneratedTooMuch;

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// Names the place and what is wrong there.
    pub fn parse(pattern: &str, kind: PatternKind) -> Result<Self, PatternError> {
        match parse::parse(pattern, kind) {
            Ok(root) => Ok(Self { root, kind }),
            Err((place, reason)) => Err(PatternError { pattern: pattern.to_owned(), place, reason }),
        }
    }

    /// A generator, seeded by one draw of 8 bytes.
    #[must_use]
    pub fn generator(&self, prng: &mut Prng) -> Generator<'_> {
        Generator { pattern: self, source: XorShift(prng.int63().cast_unsigned()) }
    }

    /// One text from a fresh generator.
    ///
    /// # Errors
    /// The pattern generates too much.
    pub fn generate(&self, prng: &mut Prng) -> Result<Vec<u8>, GeneratedTooMuch> {
        self.generator(prng).generate()
    }
}

/// Generates one text after the other.
#[derive(Debug)]
pub struct Generator<'a> {
    pattern: &'a Pattern,
    source: XorShift,
}

impl Generator<'_> {
    /// The next text.
    ///
    /// # Errors
    /// The pattern generates too much.
    pub fn generate(&mut self) -> Result<Vec<u8>, GeneratedTooMuch> {
        let Pattern { root, kind } = self.pattern;
        let mut run = Run { source: &mut self.source, kind: *kind, out: Vec::new(), steps: 0 };
        run.node(root)?;
        Ok(run.out)
    }
}

/// The generator's own source, xorshift64* (`PROTOCOL.md` 2.5).
struct XorShift(u64);

impl Draw for XorShift {
    fn draw63(&mut self) -> i64 {
        let mut state = self.0.max(1);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0 = state;
        (state.wrapping_mul(2_685_821_657_736_338_717) >> 1).cast_signed()
    }
}

impl fmt::Debug for XorShift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XorShift([redacted])")
    }
}

/// A node of the parse tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Empty,
    /// `^` and `$`: nothing to generate.
    Anchor,
    /// `fold` marks a letter that came from a class of its two cases. It generates the first one only.
    Literal {
        text: Vec<u32>,
        fold: bool,
    },
    Class(CharSet),
    AnyButNewline,
    Any,
    Group(Box<Node>),
    Repeat(Box<Node>, Repeat),
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
}

/// How often something repeats. The first three are not bounds in disguise: they draw in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Star,
    Plus,
    Quest,
    Bounds { min: u32, max: Option<u32> },
}

struct Run<'a> {
    source: &'a mut XorShift,
    kind: PatternKind,
    out: Vec<u8>,
    steps: usize,
}

impl Run<'_> {
    fn node(&mut self, node: &Node) -> Result<(), GeneratedTooMuch> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.out.len() > MAX_GENERATED_LEN {
            return Err(GeneratedTooMuch);
        }
        match node {
            Node::Empty | Node::Anchor => {}
            Node::Literal { text, .. } => text.iter().for_each(|&c| self.emit(c)),
            Node::Class(set) => {
                let index = self.source.int31n(set.size());
                self.emit(set.get(index));
            }
            Node::AnyButNewline => {
                let drawn = match self.kind {
                    PatternKind::Bytes => self.source.int31n(256),
                    PatternKind::Text => self.source.int31n(i32::MAX) + 1,
                };
                self.emit(drawn.cast_unsigned());
            }
            Node::Any => {
                let drawn = match self.kind {
                    PatternKind::Bytes => self.source.int31n(256),
                    PatternKind::Text => self.source.int31(),
                };
                self.emit(drawn.cast_unsigned());
            }
            Node::Group(inner) => self.node(inner)?,
            Node::Repeat(inner, repeat) => self.repeat(inner, *repeat)?,
            Node::Concat(parts) => parts.iter().try_for_each(|part| self.node(part))?,
            Node::Alternate(branches) => {
                let index = usize::try_from(self.source.intn(branches.len() as i64)).unwrap_or(0);
                if let Some(branch) = branches.get(index) {
                    self.node(branch)?;
                }
            }
        }
        Ok(())
    }

    fn repeat(&mut self, inner: &Node, repeat: Repeat) -> Result<(), GeneratedTooMuch> {
        let count = match repeat {
            // Repeating in the same way twice is repeating once, and nothing repeated is nothing: no draw.
            _ if repeat.is_absorbed_by(inner) => 1,
            Repeat::Star => self.source.intn(UNBOUNDED_REPEATS + 1),
            Repeat::Plus => 1 + self.source.intn(UNBOUNDED_REPEATS),
            Repeat::Quest => self.source.intn(2),
            Repeat::Bounds { min: 0, max: Some(0) } => 0,
            Repeat::Bounds { min: 0, max: None } => return self.repeat(inner, Repeat::Star),
            Repeat::Bounds { min, max: None } => {
                self.times(inner, i64::from(min) - 1)?;
                return self.repeat(inner, Repeat::Plus);
            }
            Repeat::Bounds { min, max: Some(max) } => {
                self.times(inner, min.into())?;
                return self.optional(inner, max.saturating_sub(min));
            }
        };
        self.times(inner, count)
    }

    fn times(&mut self, inner: &Node, count: i64) -> Result<(), GeneratedTooMuch> {
        (0..count).try_for_each(|_| self.node(inner))
    }

    /// `x{0,3}` is `(x(x(x)?)?)?`: a coin before each, and the first that falls badly ends it.
    fn optional(&mut self, inner: &Node, most: u32) -> Result<(), GeneratedTooMuch> {
        for left in (0..most).rev() {
            let certain = left == 0 && Repeat::Quest.is_absorbed_by(inner);
            if !certain && self.source.intn(2) == 0 {
                return Ok(());
            }
            self.node(inner)?;
        }
        Ok(())
    }

    fn emit(&mut self, c: u32) {
        match self.kind {
            // The parser let nothing else through.
            PatternKind::Bytes => self.out.push(c as u8),
            PatternKind::Text => {
                let c = char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER);
                self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}

impl Repeat {
    /// Whether the node is already what this would make of it.
    fn is_absorbed_by(self, inner: &Node) -> bool {
        match inner {
            Node::Empty => !matches!(self, Self::Bounds { .. }),
            Node::Repeat(_, repeat) => *repeat == self && !matches!(self, Self::Bounds { .. }),
            _ => false,
        }
    }
}

/// A pattern in an error message: quoted, and no longer than a line.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 120;
        let end = self.0.char_indices().nth(MOST).map_or(self.0.len(), |(index, _)| index);
        let shown = self.0.get(..end).unwrap_or_default();
        write!(f, "{shown:?}{}", if end < self.0.len() { ".." } else { "" })
    }
}

#[cfg(test)]
mod tests;
