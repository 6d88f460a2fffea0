//! Counts the bytes of channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that went through the channels that share a meter.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    own: Arc<Counters>,
    whole: Option<Arc<Counters>>,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
    /// Of a whole: how often its parts were used. Of a part: what that was when it was used last.
    uses: AtomicU64,
}

impl Meter {
    /// A meter for a part of what this one counts.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { own: Arc::default(), whole: Some(self.own.clone()) }
    }

    /// Counts bytes that came with a channel rather than through it.
    pub fn add_sent(&self, bytes: usize) {
        for counters in [Some(&self.own), self.whole.as_ref()].into_iter().flatten() {
            counters.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        self.touch();
    }

    /// Counts bytes that came with a channel rather than through it.
    pub fn add_received(&self, bytes: usize) {
        for counters in [Some(&self.own), self.whole.as_ref()].into_iter().flatten() {
            counters.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        self.touch();
    }

    /// Makes this part the one that was used last.
    pub fn touch(&self) {
        if let Some(whole) = &self.whole {
            self.own.uses.store(whole.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// When this part was last used, by a clock that ticks with each use of a part of the whole.
    pub fn last_use(&self) -> u64 {
        self.own.uses.load(Ordering::Relaxed)
    }

    /// Bytes written to, and read from, channels.
    pub fn totals(&self) -> (u64, u64) {
        (self.own.sent.load(Ordering::Relaxed), self.own.received.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_together_and_know_who_was_used_last() {
        let whole = Meter::default();
        let (first, second) = (whole.part(), whole.part());
        second.touch();
        first.add_sent(3);
        assert!(first.last_use() > second.last_use());
        second.add_received(4);
        assert!(first.last_use() < second.last_use());
        assert_eq!((first.totals(), second.totals(), whole.totals()), ((3, 0), (0, 4), (3, 4)));
    }
}
