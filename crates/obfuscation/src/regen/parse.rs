//! The pattern parser: the POSIX subset of Go's regular expressions, which is what the reference generates from.
//! No flags, no Perl classes, no lazy marks. Source: `PROTOCOL.md` 2.5.

use super::class::{CharSet, MAX_CHAR, named, other_case};
use super::{MAX_PATTERN_LEN, Node, PatternFault, PatternKind, Repeat, factor};

/// How deep groups may nest.
const MAX_GROUPS: usize = 64;
/// How many repetitions may be stacked on one thing, as in `a{2}{3}`.
const MAX_STACKED: usize = 4;
const MAX_REPEAT: u32 = 1000;

type Fault = (usize, PatternFault);

pub(super) fn parse(pattern: &str, kind: PatternKind) -> Result<Node, Fault> {
    if pattern.len() > MAX_PATTERN_LEN {
        return Err((MAX_PATTERN_LEN, PatternFault::TooLong));
    }
    if kind == PatternKind::Bytes {
        refuse_in_bytes(pattern)?;
    }
    let mut parser = Parser { pattern, rest: pattern, kind };
    let root = parser.alternation(0)?;
    if parser.rest.is_empty() { Ok(root) } else { Err(parser.fault(PatternFault::Parenthesis)) }
}

/// What the reference looks for in the text of a pattern for bytes, wherever it stands.
fn refuse_in_bytes(pattern: &str) -> Result<(), Fault> {
    const NEGATED: [&str; 6] = ["[^", "[[:^", r"\P", r"\D", r"\S", r"\W"];
    for negated in NEGATED {
        if let Some(place) = pattern.find(negated) {
            return Err((place, PatternFault::Negated));
        }
    }
    match pattern.find(r"\x{") {
        Some(place) => Err((place, PatternFault::NotAByte)),
        None => Ok(()),
    }
}

struct Parser<'a> {
    pattern: &'a str,
    rest: &'a str,
    kind: PatternKind,
}

impl<'a> Parser<'a> {
    fn fault(&self, fault: PatternFault) -> Fault {
        (self.pattern.len() - self.rest.len(), fault)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn alternation(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut branches = vec![self.sequence(depth)?];
        while self.eat("|") {
            branches.push(self.sequence(depth)?);
        }
        Ok(factor::alternate(branches))
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut parts: Vec<Node> = Vec::new();
        let mut stacked = 0;
        while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
            if let Some(repeat) = self.repetition(c)? {
                let place = self.fault(PatternFault::NothingToRepeat);
                let inner = parts.pop().ok_or(place)?;
                stacked += 1;
                if stacked > MAX_STACKED {
                    return Err(self.fault(PatternFault::TooDeep));
                }
                let node = Node::Repeat(Box::new(inner), repeat);
                if !fits(&node, MAX_REPEAT) {
                    return Err(self.fault(PatternFault::RepeatBounds));
                }
                parts.push(node);
            } else {
                stacked = 0;
                parts.push(self.atom(depth)?);
            }
        }
        Ok(factor::concat(parts))
    }

    fn atom(&mut self, depth: usize) -> Result<Node, Fault> {
        let before = self.rest;
        match self.next() {
            Some('(') => {
                if depth >= MAX_GROUPS {
                    return Err(self.fault(PatternFault::TooDeep));
                }
                let inner = self.alternation(depth + 1)?;
                if self.eat(")") {
                    return Ok(Node::Group(Box::new(inner)));
                }
                self.rest = before;
                Err(self.fault(PatternFault::Parenthesis))
            }
            Some('^' | '$') => Ok(Node::Anchor),
            Some('.') => Ok(Node::AnyButNewline),
            Some('[') => self.class(),
            Some('\\') => {
                self.rest = before;
                let c = self.escape()?;
                self.literal(c, before)
            }
            Some(c) => self.literal(c.into(), before),
            None => Ok(Node::Empty),
        }
    }

    fn literal(&mut self, c: u32, before: &str) -> Result<Node, Fault> {
        if self.kind == PatternKind::Bytes && c > 0xFF {
            return Err((self.pattern.len() - before.len(), PatternFault::NotAByte));
        }
        Ok(Node::Literal { text: vec![c], fold: false })
    }

    /// The repetition that starts here, if one does. A brace that starts none is an ordinary character.
    fn repetition(&mut self, c: char) -> Result<Option<Repeat>, Fault> {
        let repeat = match c {
            '*' => Repeat::Star,
            '+' => Repeat::Plus,
            '?' => Repeat::Quest,
            '{' => {
                let Some((min, max, rest)) = braces(self.rest) else { return Ok(None) };
                let max = match max {
                    Max::Same => Some(min),
                    Max::None => None,
                    Max::Bound(max) => Some(max),
                };
                if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
                    return Err(self.fault(PatternFault::RepeatBounds));
                }
                self.rest = rest;
                return Ok(Some(Repeat::Bounds { min, max }));
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(repeat))
    }

    /// Behind a `[`.
    fn class(&mut self) -> Result<Node, Fault> {
        let opened = self.fault(PatternFault::ClassNotClosed);
        let negated = self.eat("^");
        // A negated class does not match a newline: it is among what is negated.
        let mut ranges: Vec<(u32, u32)> = if negated { vec![(0x0A, 0x0A)] } else { Vec::new() };
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            // Unescaped, `-` stands first or last.
            if !first && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                return Err(self.fault(PatternFault::ClassRange));
            }
            first = false;
            if self.rest.starts_with("[:") && self.named_class(&mut ranges)? {
                continue;
            }
            let place = self.fault(PatternFault::ClassRange);
            let low = self.class_char(opened)?;
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.next();
                high = self.class_char(opened)?;
            }
            if high < low {
                return Err(place);
            }
            ranges.push((low, high));
        }
        self.eat("]");
        let set = CharSet::new(ranges);
        self.class_node(if negated { set.negated() } else { set }, opened.0)
    }

    /// A named class, if its end is there.
    fn named_class(&mut self, ranges: &mut Vec<(u32, u32)>) -> Result<bool, Fault> {
        let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        let set = match name.strip_prefix('^') {
            Some(name) => named(name).map(|set| set.negated()),
            None => named(name),
        };
        let set = set.ok_or_else(|| self.fault(PatternFault::ClassRange))?;
        ranges.extend_from_slice(set.ranges());
        self.rest = rest;
        Ok(true)
    }

    fn class_char(&mut self, opened: Fault) -> Result<u32, Fault> {
        match self.peek() {
            None => Err(opened),
            Some('\\') => self.escape(),
            Some(c) => {
                self.next();
                Ok(c.into())
            }
        }
    }

    /// A class of one character is that character; one of a letter's two cases is the first of them.
    fn class_node(&self, set: CharSet, place: usize) -> Result<Node, Fault> {
        match *set.ranges() {
            [(low, high)] if low == high => {
                return self.single(low, false, place);
            }
            [(upper, also), (lower, too)]
                if upper == also && lower == too && other_case(upper) == Some(lower) =>
            {
                return self.single(upper, true, place);
            }
            _ => {}
        }
        // Nothing is cut off before merging: alternations compare whole classes with everything.
        let usable = match self.kind {
            PatternKind::Bytes => set.bytes(),
            PatternKind::Text => set.text(),
        };
        match usable {
            None => Err((place, PatternFault::EmptyClass)),
            Some(_) if set.is_everything() || set.is_everything_but_newline() => Ok(Node::Class(set)),
            Some(usable) => Ok(Node::Class(usable)),
        }
    }

    fn single(&self, c: u32, fold: bool, place: usize) -> Result<Node, Fault> {
        if self.kind == PatternKind::Bytes && c > 0xFF {
            return Err((place, PatternFault::NotAByte));
        }
        Ok(Node::Literal { text: vec![c], fold })
    }

    /// At a backslash.
    fn escape(&mut self) -> Result<u32, Fault> {
        let fault = self.fault(PatternFault::Escape);
        let trailing = self.fault(PatternFault::TrailingBackslash);
        self.eat("\\");
        let c = self.next().ok_or(trailing)?;
        match c {
            '0' => Ok(self.octal(0)),
            '1'..='7' if self.peek().is_some_and(|next| next.is_digit(8)) => {
                Ok(self.octal(c.to_digit(8).unwrap_or(0)))
            }
            'x' if self.eat("{") => {
                let (digits, rest) = self.rest.split_once('}').ok_or(fault)?;
                self.rest = rest;
                hex(digits).filter(|c| *c <= MAX_CHAR).ok_or(fault)
            }
            'x' => {
                let (digits, rest) = self.rest.split_at_checked(2).ok_or(fault)?;
                self.rest = rest;
                hex(digits).ok_or(fault)
            }
            'a' => Ok(0x07),
            'f' => Ok(0x0C),
            'n' => Ok(0x0A),
            'r' => Ok(0x0D),
            't' => Ok(0x09),
            'v' => Ok(0x0B),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c.into()),
            _ => Err(fault),
        }
    }

    /// Up to two more octal digits.
    fn octal(&mut self, first: u32) -> u32 {
        let mut value = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            self.next();
            value = value * 8 + digit;
        }
        value
    }
}

/// Hexadecimal digits and nothing else.
fn hex(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[derive(Clone, Copy)]
enum Max {
    Same,
    None,
    Bound(u32),
}

/// `{2}`, `{2,}` or `{2,5}` at the start of the text, and what follows.
fn braces(text: &str) -> Option<(u32, Max, &str)> {
    let (min, rest) = number(text.strip_prefix('{')?)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, Max::Same, rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, Max::None, rest));
    }
    let (max, rest) = number(rest)?;
    Some((min, Max::Bound(max), rest.strip_prefix('}')?))
}

/// A number without leading zeros. One too big to be valid is given as the greatest.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

/// Whether the innermost of nested bounded repetitions happens at most `left` times.
fn fits(node: &Node, left: u32) -> bool {
    match node {
        Node::Repeat(inner, Repeat::Bounds { min, max }) => match max.unwrap_or(*min) {
            0 => max.is_some() || fits(inner, left),
            most => most <= left && fits(inner, left / most),
        },
        Node::Repeat(inner, _) | Node::Group(inner) => fits(inner, left),
        Node::Concat(parts) | Node::Alternate(parts) => parts.iter().all(|part| fits(part, left)),
        _ => true,
    }
}
