//! Whether new clients are welcome, for load balancers and people: of the server's life, and of the orders that it was given.

use std::sync::atomic::{AtomicU8, Ordering};

/// Why there are no new tunnels, the most lasting reason first; or that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Ports are not served yet.
    Loading,
    Stopping,
    /// Told to take no tunnels.
    Paused,
    /// The host has enough to do.
    Overloaded,
    Ready,
}

impl Readiness {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Stopping => "stopping",
            Self::Paused => "paused",
            Self::Overloaded => "overloaded",
            Self::Ready => "ready",
        }
    }
}

/// Where the server is in its life.
#[derive(Debug, Default)]
pub(super) struct Life(AtomicU8);

const LOADING: u8 = 0;
const SERVING: u8 = 1;
const STOPPING: u8 = 2;

impl Life {
    pub(super) fn serves(&self) {
        // Not when it stops already.
        let _ = self.0.compare_exchange(LOADING, SERVING, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn stops(&self) {
        self.0.store(STOPPING, Ordering::Relaxed);
    }

    /// What is ready as far as its life goes; the rest is the door's.
    pub(super) fn readiness(&self) -> Readiness {
        match self.0.load(Ordering::Relaxed) {
            LOADING => Readiness::Loading,
            SERVING => Readiness::Ready,
            _ => Readiness::Stopping,
        }
    }
}
