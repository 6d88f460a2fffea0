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
    }

    /// Counts bytes that came with a channel rather than through it.
    pub fn add_received(&self, bytes: usize) {
        for counters in [Some(&self.own), self.whole.as_ref()].into_iter().flatten() {
            counters.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Bytes written to, and read from, channels.
    pub fn totals(&self) -> (u64, u64) {
        (self.own.sent.load(Ordering::Relaxed), self.own.received.load(Ordering::Relaxed))
    }
}
