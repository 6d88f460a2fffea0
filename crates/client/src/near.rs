//! The nearest known name to a misspelled one, for hints. Not a search: at most one answer, or none when nothing
//! is close enough to be what was meant.
//!
//! Source: optimal string alignment distance (insert, delete, replace, swap of neighbours), letter case ignored.

/// Names longer than this are never compared: the cost grows with the square of the length.
const LONGEST: usize = 128;

/// The known name closest to `given`, if it is plausibly what was meant: at most one edit per three characters.
pub fn near_name<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.chars().take(LONGEST + 1).map(|c| c.to_ascii_lowercase()).collect();
    if given.is_empty() || given.len() > LONGEST {
        return None;
    }
    let allowed = (given.len() / 3).max(1);
    known
        .into_iter()
        .filter_map(|name| {
            let letters: Vec<char> = name.chars().take(LONGEST).map(|c| c.to_ascii_lowercase()).collect();
            let edits = distance(&given, &letters);
            (edits <= allowed).then_some((edits, name))
        })
        .min()
        .map(|(_, name)| name)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut two_back: Vec<usize> = vec![0; b.len() + 1];
    let mut back: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let replace = at(&back, j) + usize::from(from != to);
            let mut best = replace.min(at(&back, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0
                && j > 0
                && a.get(i.wrapping_sub(1)) == Some(to)
                && b.get(j.wrapping_sub(1)) == Some(from);
            if swapped {
                best = best.min(at(&two_back, j.saturating_sub(1)) + 1);
            }
            row.push(best);
        }
        two_back = std::mem::replace(&mut back, row);
    }
    back.last().copied().unwrap_or(usize::MAX)
}

fn at(row: &[usize], index: usize) -> usize {
    row.get(index).copied().unwrap_or(usize::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["LocalSocksProxyPort", "LocalHttpProxyPort", "EgressRegion", "DeviceRegion"];

    #[test]
    fn finds_the_name_that_was_meant() {
        for (given, meant) in [
            ("LocalSockProxyPort", "LocalSocksProxyPort"),
            ("LocalHtptProxyPort", "LocalHttpProxyPort"),
            ("egressregion", "EgressRegion"),
            ("DevcieRegion", "DeviceRegion"),
        ] {
            assert_eq!(near_name(given, KNOWN), Some(meant), "{given}");
        }
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        for given in ["", "x", "Authorizations", &"L".repeat(100_000)] {
            assert_eq!(near_name(given, KNOWN), None);
        }
    }

    #[test]
    fn counts_a_swap_as_one_edit() {
        let letters = |s: &str| s.chars().collect::<Vec<_>>();
        for (a, b, edits) in [("ab", "ba", 1), ("", "abc", 3), ("kitten", "sitting", 3), ("same", "same", 0)]
        {
            assert_eq!(distance(&letters(a), &letters(b)), edits, "{a} {b}");
        }
    }
}
