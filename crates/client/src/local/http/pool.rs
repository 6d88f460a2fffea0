//! Idle connections to origin servers, kept for the next request to the same host and port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::Body;

/// Idle connections per origin server, as in the reference.
const MOST_PER_ORIGIN: usize = 50;

/// Idle connections in all.
const MOST: usize = 256;

/// How long an idle connection is kept: less than the time after which servers cut quiet flows.
const LONGEST_IDLE: Duration = Duration::from_secs(25);

/// Host and port as text: `example.org:80`.
pub(super) type Origin = String;

/// Cheap to clone; all clones are one pool.
#[derive(Clone, Default)]
pub(super) struct Pool {
    idle: Arc<Mutex<BTreeMap<Origin, Vec<Idle>>>>,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Pool {
    /// A connection to the origin that is open, the one used last first. It may need a moment to become ready.
    pub(super) fn take(&self, origin: &str) -> Option<SendRequest<Body>> {
        let mut idle = self.lock();
        let list = idle.get_mut(origin)?;
        let found = std::iter::from_fn(|| list.pop())
            .find(|idle| !idle.sender.is_closed() && idle.since.elapsed() < LONGEST_IDLE);
        if list.is_empty() {
            idle.remove(origin);
        }
        found.map(|idle| idle.sender)
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(super) fn put(&self, origin: Origin, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        idle.retain(|_, list| {
            list.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < LONGEST_IDLE);
            !list.is_empty()
        });
        let total: usize = idle.values().map(Vec::len).sum();
        let list = idle.entry(origin).or_default();
        if total < MOST && list.len() < MOST_PER_ORIGIN {
            list.push(Idle { sender, since: Instant::now() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Origin, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
