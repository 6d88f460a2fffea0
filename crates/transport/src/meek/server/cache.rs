//! The last response of a session, kept so that a client that lost it can ask for the rest. No response is longer than what is kept, so none is
//! lost unless the memory for all sessions is used up. Source: TRANSPORTS.md 2.6.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The memory that all sessions share for this.
#[derive(Debug)]
pub(super) struct CacheBudget {
    used: AtomicUsize,
    most: usize,
}

impl CacheBudget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    fn is_used_up(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.most
    }
}

/// One session's part.
pub(super) struct Cache {
    budget: Arc<CacheBudget>,
    pieces: VecDeque<Bytes>,
    /// The position of the first byte that is kept.
    start: u64,
    len: usize,
    /// What a session keeps even when the budget is used up.
    least: usize,
    most: usize,
}

impl Cache {
    pub(super) fn new(budget: Arc<CacheBudget>, least: usize, most: usize) -> Self {
        Self { budget, pieces: VecDeque::new(), start: 0, len: 0, least, most: most.max(least) }
    }

    /// A new response begins.
    pub(super) fn reset(&mut self) {
        self.budget.used.fetch_sub(self.len, Ordering::Relaxed);
        self.pieces.clear();
        (self.start, self.len) = (0, 0);
    }

    /// How much more a response may hold without losing its beginning.
    pub(super) fn room(&self) -> usize {
        let most = if self.budget.is_used_up() { self.least } else { self.most };
        most.saturating_sub(self.len)
    }

    /// How much is kept.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The next piece of the response.
    pub(super) fn add(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.budget.used.fetch_add(piece.len(), Ordering::Relaxed);
        self.pieces.push_back(piece);
        while self.len > self.most {
            let Some(oldest) = self.pieces.pop_front() else { break };
            self.start += oldest.len() as u64;
            self.len -= oldest.len();
            self.budget.used.fetch_sub(oldest.len(), Ordering::Relaxed);
        }
    }

    /// The response from a position to its end; `None` if the position is not kept.
    pub(super) fn from(&self, position: u64) -> Option<Vec<Bytes>> {
        let mut skip = usize::try_from(position.checked_sub(self.start)?).ok()?;
        if skip > self.len {
            return None;
        }
        let mut rest = Vec::new();
        for piece in &self.pieces {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            if skipped < piece.len() {
                rest.push(piece.slice(skipped..));
            }
        }
        Some(rest)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: Option<Vec<Bytes>>) -> Option<String> {
        pieces.map(|pieces| pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect())
    }

    #[test]
    fn the_rest_of_a_response_is_had_from_any_position() {
        let budget = CacheBudget::new(100);
        let mut cache = Cache::new(budget.clone(), 4, 10);
        for piece in ["abc", "def", "g"] {
            cache.add(Bytes::from_static(piece.as_bytes()));
        }
        for (position, rest) in [(0, "abcdefg"), (2, "cdefg"), (3, "defg"), (6, "g"), (7, "")] {
            assert_eq!(text(cache.from(position)).as_deref(), Some(rest), "{position}");
        }
        assert_eq!(cache.from(8), None);
        assert_eq!(cache.room(), 3);
        cache.add(Bytes::from_static(b"hijk"));
        assert_eq!(cache.from(2), None);
        assert_eq!(text(cache.from(4)).as_deref(), Some("efghijk"));
        drop(cache);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_others_use_shortens_responses() {
        let budget = CacheBudget::new(5);
        let (mut first, second) = (Cache::new(budget.clone(), 2, 10), Cache::new(budget, 2, 10));
        first.add(Bytes::from_static(b"abcdef"));
        assert_eq!((first.room(), second.room()), (0, 2));
        first.reset();
        assert_eq!((first.room(), second.room()), (10, 10));
        assert_eq!(text(first.from(0)).as_deref(), Some(""));
    }
}
