//! How many clients may be in the middle of logging in. Key exchanges are what a tunnel costs most, so a rush of clients
//! waits in line for a moment, and who finds no place is turned away. Strangers are not counted: see `hold`.
//! Source: PROTOCOL.md 3.6.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::HandshakeLimits;

/// The bound where the configuration sets none.
const MOST: usize = 10_000;

/// Places for clients that log in.
pub(crate) struct HandshakeSlots {
    slots: Arc<Semaphore>,
    wait: Option<Duration>,
}

/// A place; dropping it frees it.
pub(crate) struct HandshakeSlot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl HandshakeSlots {
    pub(crate) fn new(limits: &HandshakeLimits) -> Self {
        let most = limits.at_once.map_or(MOST, |most| most.get().min(MOST));
        Self { slots: Arc::new(Semaphore::new(most)), wait: limits.wait_for_slot }
    }

    /// Waits for a place; `None` when there was none in time.
    pub(crate) async fn acquire(&self) -> Option<HandshakeSlot> {
        let slot = self.slots.clone().acquire_owned();
        let slot = match self.wait {
            Some(limit) => timeout(limit, slot).await.ok()?,
            None => slot.await,
        };
        // Fails only if the semaphore is closed, which nobody does.
        slot.ok().map(HandshakeSlot)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_line_is_short() {
        let limits = HandshakeLimits {
            wait_for_slot: Some(Duration::from_secs(1)),
            duration: None,
            at_once: NonZeroUsize::new(1),
            probe_hold: None,
        };
        let slots = HandshakeSlots::new(&limits);
        let first = slots.acquire().await;
        assert!(first.is_some());
        assert!(slots.acquire().await.is_none());
        let (second, ()) = tokio::join!(slots.acquire(), async { drop(first) });
        assert!(second.is_some());
    }
}
