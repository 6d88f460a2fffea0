//! Turns of one tunnel for connecting to destinations: so many at once, the rest in line. How many may change while they are taken.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Flows that may wait to be connected (PROTOCOL.md 3.7).
const MOST_WAITING: usize = 1024;

pub(super) struct Turns {
    free: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    most: usize,
    waiting: usize,
    taken: usize,
    peak: usize,
    /// Turns that are given up for good when they end, because there are fewer now.
    too_many: usize,
}

/// A turn; dropping it lets the next one have it.
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    permit: Option<SemaphorePermit<'t>>,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        let state = State { most, ..State::default() };
        Self { free: Semaphore::new(most), state: Mutex::new(state) }
    }

    /// Waits for a turn. `None` when too many wait already.
    pub(super) async fn take(&self) -> Option<Turn<'_>> {
        let waiting = Waiting::enter(self)?;
        let permit = self.free.acquire().await.ok()?;
        drop(waiting);
        self.state(|state| {
            state.taken += 1;
            state.peak = state.peak.max(state.taken);
        });
        Some(Turn { turns: self, permit: Some(permit) })
    }

    /// The most that were taken at once.
    pub(super) fn peak(&self) -> usize {
        self.state(|state| state.peak)
    }

    /// There are so many from now on. Those that are taken already are not taken back.
    pub(super) fn set_most(&self, most: usize) {
        self.state(|state| {
            if most > state.most {
                let more = most - state.most;
                let kept = more.min(state.too_many);
                state.too_many -= kept;
                self.free.add_permits(more - kept);
            } else {
                let fewer = state.most - most;
                state.too_many += fewer - self.free.forget_permits(fewer);
            }
            state.most = most;
        });
    }

    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let permit = self.permit.take();
        self.turns.state(|state| {
            state.taken = state.taken.saturating_sub(1);
            if state.too_many > 0
                && let Some(permit) = permit
            {
                state.too_many -= 1;
                permit.forget();
            }
        });
    }
}

/// Counts one that waits for its turn.
struct Waiting<'t>(&'t Turns);

impl<'t> Waiting<'t> {
    fn enter(turns: &'t Turns) -> Option<Self> {
        turns.state(|state| {
            if state.waiting >= MOST_WAITING {
                return None;
            }
            state.waiting += 1;
            Some(Self(turns))
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state(|state| state.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn is_free(turns: &Turns) -> bool {
        timeout(Duration::from_millis(1), turns.take()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn their_number_may_change_while_they_are_taken() {
        let turns = Turns::new(2);
        let first = turns.take().await.unwrap();
        let second = turns.take().await.unwrap();
        assert!(!is_free(&turns).await);
        turns.set_most(1);
        drop(first);
        assert!(!is_free(&turns).await, "one is left, which is taken");
        turns.set_most(3);
        let third = turns.take().await.unwrap();
        let fourth = turns.take().await.unwrap();
        assert!(!is_free(&turns).await);
        assert_eq!(turns.peak(), 3);
        turns.set_most(1);
        turns.set_most(2);
        drop((second, third));
        assert!(is_free(&turns).await);
        drop(fourth);
        let _both = (turns.take().await.unwrap(), turns.take().await.unwrap());
        assert!(!is_free(&turns).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_no_longer_than_it_may_be() {
        let turns = Turns::new(1);
        let turn = turns.take().await.unwrap();
        let mut line: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(turns.take())).collect();
        for waiting in &mut line {
            assert!(timeout(Duration::ZERO, waiting).await.is_err());
        }
        assert!(turns.take().await.is_none());
        drop(turn);
        assert!(line.remove(0).await.is_some());
        drop(line);
        assert!(is_free(&turns).await);
    }
}
