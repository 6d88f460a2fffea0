//! Sets of characters, as sorted ranges. Source: `PROTOCOL.md` 2.5.

/// The greatest character.
pub(super) const MAX_CHAR: u32 = 0x10_FFFF;
const NEWLINE: u32 = '\n' as u32;

/// A set of characters: inclusive ranges, sorted, neither touching nor overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CharSet(Vec<(u32, u32)>);

impl CharSet {
    /// The set of these ranges, in any order.
    pub(super) fn new(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut sorted: Vec<(u32, u32)> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
        for (low, high) in sorted {
            match merged.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }

    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    pub(super) fn negated(&self) -> Self {
        let mut out = Vec::new();
        let mut next = 0;
        for (low, high) in &self.0 {
            if next < *low {
                out.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= MAX_CHAR {
            out.push((next, MAX_CHAR));
        }
        Self(out)
    }

    pub(super) fn contains(&self, c: u32) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&c))
    }

    pub(super) fn contains_newline(&self) -> bool {
        self.contains(NEWLINE)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.0 == [(0, MAX_CHAR)]
    }

    pub(super) fn is_everything_but_newline(&self) -> bool {
        self.0 == [(0, NEWLINE - 1), (NEWLINE + 1, MAX_CHAR)]
    }

    /// What of the set can be generated as a byte; `None` when nothing can.
    pub(super) fn bytes(&self) -> Option<Self> {
        let fitting = self.0.iter().filter(|(low, _)| *low <= 0xFF);
        let set = Self(fitting.map(|(low, high)| (*low, (*high).min(0xFF))).collect());
        (!set.0.is_empty()).then_some(set)
    }

    /// What of the set can be generated as text, which is all but NUL; `None` when NUL stands alone in it, which
    /// the reference refuses too, or when nothing is left.
    pub(super) fn text(&self) -> Option<Self> {
        if self.0.is_empty() || self.0.first() == Some(&(0, 0)) {
            return None;
        }
        Some(Self(self.0.iter().map(|(low, high)| ((*low).max(1), *high)).collect()))
    }

    /// How many characters are in it.
    pub(super) fn size(&self) -> i32 {
        let total: u32 = self.0.iter().map(|(low, high)| high - low + 1).sum();
        i32::try_from(total).unwrap_or(i32::MAX)
    }

    /// The character at an index below [`CharSet::size`].
    pub(super) fn get(&self, index: i32) -> u32 {
        let mut left = u32::try_from(index).unwrap_or(0);
        for (low, high) in &self.0 {
            let size = high - low + 1;
            if left < size {
                return low + left;
            }
            left -= size;
        }
        0
    }
}

/// The set of a class name such as `alpha`.
pub(super) fn named(name: &str) -> Option<CharSet> {
    const NAMES: &[(&str, &[(u8, u8)])] = &[
        ("alnum", &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
        ("alpha", &[(b'A', b'Z'), (b'a', b'z')]),
        ("ascii", &[(0, 0x7F)]),
        ("blank", &[(b'\t', b'\t'), (b' ', b' ')]),
        ("cntrl", &[(0, 0x1F), (0x7F, 0x7F)]),
        ("digit", &[(b'0', b'9')]),
        ("graph", &[(b'!', b'~')]),
        ("lower", &[(b'a', b'z')]),
        ("print", &[(b' ', b'~')]),
        ("punct", &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')]),
        ("space", &[(b'\t', b'\r'), (b' ', b' ')]),
        ("upper", &[(b'A', b'Z')]),
        ("word", &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')]),
        ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
    ];
    let (_, ranges) = NAMES.iter().find(|(known, _)| *known == name)?;
    Some(CharSet::new(ranges.iter().map(|(low, high)| (u32::from(*low), u32::from(*high)))))
}

/// The other case of a letter that has exactly one: ASCII but for k and s, which fold to signs beyond it too.
pub(super) fn other_case(c: u32) -> Option<u32> {
    let letter = char::from_u32(c).filter(char::is_ascii_alphabetic)?;
    let plain = !matches!(letter.to_ascii_lowercase(), 'k' | 's');
    plain.then_some(c ^ 0x20)
}
