//! What was cut of a connection so far, for reports.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts pieces as they are written.
#[derive(Debug, Default)]
pub struct Cuts(Mutex<Option<CutCounts>>);

/// What the pieces written so far were like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutCounts {
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes of the smallest and of the largest.
    pub sizes: [u64; 2],
    /// The shortest and the longest pause before one.
    pub delays: [Duration; 2],
}

impl Cuts {
    /// Counts so far; `None` before the first piece.
    #[must_use]
    pub fn counts(&self) -> Option<CutCounts> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, bytes: usize, delay: Duration) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counts.unwrap_or(CutCounts { bytes: 0, sizes: [bytes; 2], delays: [delay; 2] });
        let [least, most] = before.sizes;
        let [shortest, longest] = before.delays;
        *counts = Some(CutCounts {
            bytes: before.bytes + bytes,
            sizes: [least.min(bytes), most.max(bytes)],
            delays: [shortest.min(delay), longest.max(delay)],
        });
    }
}
