//! Knows a response that a server gives twice. A poll that was lost on its way to the server is asked again from byte 0, which is also
//! how a lost response is asked for; a server cannot tell which it was and may give the response before it once more. Source:
//! TRANSPORTS.md 2.6.

/// So many bytes of ciphertext do not come twice.
const KEPT: usize = 32;

/// The first bytes of a response, as they came, padding included.
#[derive(Clone, Default)]
pub(super) struct Beginning(Vec<u8>);

/// Whether a response to a repeated poll is the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// More of it is needed.
    Open,
    /// It was used already: none of it may be used again.
    Stale,
    /// It is the answer.
    New,
}

impl Beginning {
    /// Takes the next bytes, as far as they are kept.
    pub(super) fn extend(&mut self, piece: &[u8]) {
        let room = KEPT.saturating_sub(self.0.len());
        self.0.extend(piece.iter().take(room));
    }

    /// Compares what has come of a response so far with the one before it.
    pub(super) fn judge(&self, before: &Self) -> Verdict {
        if before.0.is_empty() || !before.0.starts_with(self.0.get(..before.0.len()).unwrap_or(&self.0)) {
            return Verdict::New;
        }
        if self.0.len() < before.0.len() { Verdict::Open } else { Verdict::Stale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(pieces: &[&[u8]]) -> Beginning {
        let mut beginning = Beginning::default();
        pieces.iter().for_each(|piece| beginning.extend(piece));
        beginning
    }

    #[test]
    fn a_response_is_known_by_its_first_bytes() {
        let long: Vec<u8> = (0..100).collect();
        let before = beginning(&[&long]);
        assert_eq!(beginning(&[]).judge(&before), Verdict::Open);
        assert_eq!(beginning(&[&long[..31]]).judge(&before), Verdict::Open);
        assert_eq!(beginning(&[&long[..31], &long[31..40]]).judge(&before), Verdict::Stale);
        assert_eq!(beginning(&[&long[..31], b"x"]).judge(&before), Verdict::New);
        assert_eq!(beginning(&[b"x"]).judge(&before), Verdict::New);
    }

    #[test]
    fn a_short_response_is_known_too() {
        let before = beginning(&[b"abc"]);
        assert_eq!(beginning(&[b"ab"]).judge(&before), Verdict::Open);
        assert_eq!(beginning(&[b"abc"]).judge(&before), Verdict::Stale);
        assert_eq!(beginning(&[b"abd"]).judge(&before), Verdict::New);
        assert_eq!(beginning(&[b"abc"]).judge(&beginning(&[])), Verdict::New, "nothing to be given twice");
    }
}
