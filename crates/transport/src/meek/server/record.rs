//! What a session was like, for the server's report of its tunnel. No address and no payload gets here.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the request said that began a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// The cookie's name.
    pub cookie_name: String,
    /// The header `Content-Type`; empty without one.
    pub content_type: String,
    /// The version of HTTP, as in `HTTP/1.1`; empty if it says none.
    pub version: String,
}

/// What has happened in a session so far. Sizes are in bytes and as sent, padding included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Requests that asked for a response from a position on.
    pub retries: u64,
    /// The longest response. As much was kept of it.
    pub largest_response: u64,
    /// The most that was sent of a kept response.
    pub largest_again: u64,
    /// The furthest position that was asked for and not kept.
    pub missed_position: u64,
    /// Connections that carried requests, counted whenever another one did.
    pub connections: u64,
}

/// A connection that carries requests, to be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier(u64);

impl Carrier {
    /// One that is equal to no other.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Counts, and the connection that carried the last request.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) counts: SessionCounts,
    last: Option<Carrier>,
}

impl Counting {
    pub(super) fn carried_by(&mut self, carrier: Carrier) {
        if self.last.replace(carrier) != Some(carrier) {
            self.counts.connections += 1;
        }
    }
}

/// A length as it is counted.
pub(super) fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
