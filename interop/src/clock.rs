//! The one place where the harness reads the clock, and deadlines made from it.

use std::time::{Duration, Instant};

/// Now. The harness waits for other processes, so it needs real time.
#[expect(clippy::disallowed_methods, reason = "real programs are timed by the real clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A point in time by which something must have happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// `limit` from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self(now() + limit)
    }

    /// What is left, `None` once it has passed.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(now()).filter(|left| !left.is_zero())
    }
}

/// Tries `attempt` every 20 ms until it gives something or `limit` has passed.
pub(crate) fn poll<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = attempt() {
            return Some(found);
        }
        deadline.left()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}
