//! The key derivations of strangers who have their turn (`budget`), done several at a time: in the lanes of a vector, as many as there are
//! cost what one does. Whoever comes first does what waits with his own, so that there is no thread for it and nothing to wait for.
//!
//! A derivation begins as soon as everybody has been read who is readable at the moment, so that a client that is alone waits for
//! nothing. Only when so many come that others are about to, they are gathered for up to [`GATHER`], but not those for whom something speaks.
//! Who leaves meanwhile costs nothing. Each connection has one at most, which bounds what waits. Source: PROTOCOL.md 2.4, "Cost".

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_obfuscation::{Derivation, Derived};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::core_time;

/// How long others are waited for at most: nothing beside what a login takes over a network.
const GATHER: Duration = Duration::from_millis(8);
/// Others are about to come when so many have come in [`LATELY`].
const MANY: usize = 4;
const LATELY: Duration = Duration::from_millis(20);

/// All that wait.
pub(crate) struct Derivations {
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: VecDeque<Waiting>,
    /// When the last ones came.
    arrivals: VecDeque<Instant>,
}

struct Waiting {
    number: u64,
    derivation: Derivation,
    done: oneshot::Sender<Done>,
}

/// A derivation that was asked for; dropping it takes it back.
pub(crate) struct Pending {
    all: Arc<Derivations>,
    number: u64,
    done: oneshot::Receiver<Done>,
    /// Others have had the time to come.
    has_waited: bool,
    until: Instant,
}

/// What came of it.
pub(crate) struct Done {
    pub(crate) derived: Derived,
    /// Core time: a share of what all that were done with it took.
    pub(crate) took: Duration,
}

impl Derivations {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { at_once: Derivation::at_once(), state: Mutex::default() })
    }

    /// Asks for one. Who is `awaited` does not wait for others.
    pub(crate) fn begin(self: &Arc<Self>, derivation: Derivation, awaited: bool, now: Instant) -> Pending {
        let (sender, done) = oneshot::channel();
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let gathers = state.note_arrival(now) && !awaited;
        state.waiting.push_back(Waiting { number, derivation, done: sender });
        let until = if gathers { now + GATHER } else { now };
        Pending { all: self.clone(), number, done, has_waited: self.at_once == 1, until }
    }

    /// Does this one and the oldest others. Nothing if somebody else is at it.
    fn work(&self, number: u64) {
        let taken = self.lock().take(number, self.at_once);
        if taken.is_empty() {
            return;
        }
        let began = core_time::of_this_thread();
        let (derivations, receivers): (Vec<_>, Vec<_>) =
            taken.into_iter().map(|waiting| (waiting.derivation, waiting.done)).unzip();
        let all = Derivation::finish(&derivations);
        let took = core_time::of_this_thread().saturating_sub(began);
        let took = took / u32::try_from(derivations.len()).unwrap_or(u32::MAX);
        for (derived, receiver) in all.into_iter().zip(receivers) {
            // Who has left meanwhile needs it no more.
            let _ = receiver.send(Done { derived, took });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether many have come lately.
    fn note_arrival(&mut self, now: Instant) -> bool {
        self.arrivals.push_back(now);
        if self.arrivals.len() > MANY {
            self.arrivals.pop_front();
        }
        let oldest = self.arrivals.front().filter(|_| self.arrivals.len() == MANY);
        oldest.is_some_and(|oldest| now.saturating_duration_since(*oldest) <= LATELY)
    }

    fn take(&mut self, number: u64, most: usize) -> Vec<Waiting> {
        let place = self.waiting.iter().position(|waiting| waiting.number == number);
        let Some(own) = place.and_then(|place| self.waiting.remove(place)) else { return Vec::new() };
        let others = self.waiting.len().min(most.saturating_sub(1));
        std::iter::once(own).chain(self.waiting.drain(..others)).collect()
    }
}

impl Pending {
    /// Returns when it is done. May be dropped and called again.
    pub(crate) async fn finish(&mut self) -> Done {
        if !self.has_waited {
            // Who is readable at this moment comes before this returns.
            yield_now().await;
            self.has_waited = true;
        }
        if self.until > Instant::now() && self.all.lock().waiting.len() < self.all.at_once {
            tokio::select! {
                biased;
                Ok(done) = &mut self.done => return done,
                () = sleep_until(self.until) => {}
            }
        }
        self.all.work(self.number);
        match (&mut self.done).await {
            Ok(done) => done,
            // Only if the work panicked: then it is not known who this is.
            Err(_) => pending().await,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.all.lock().waiting.retain(|waiting| waiting.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::{Keyword, ObfuscatorSeed};

    use super::*;

    fn derivation(number: u8) -> Derivation {
        Derivation::new(&Keyword::new("k"), ObfuscatorSeed::from_bytes([number; 16]))
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_waits_for_nothing() {
        let all = Derivations::new();
        for number in 0..10 {
            let began = Instant::now();
            all.begin(derivation(number), false, began).finish().await;
            assert_eq!(began.elapsed(), Duration::ZERO);
            tokio::time::advance(LATELY).await;
        }
        assert!(all.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_done_together_and_nobody_waits_long() {
        let (all, now) = (Derivations::new(), Instant::now());
        let mut asked: Vec<_> = (0..20).map(|number| all.begin(derivation(number), false, now)).collect();
        for (number, pending) in asked.iter_mut().enumerate() {
            pending.finish().await;
            let left = all.lock().waiting.len();
            assert!(left <= 20 - number.div_ceil(all.at_once).min(20), "{left} are left after {number}");
        }
        assert!(now.elapsed() <= GATHER * 2, "{:?}", now.elapsed());
        assert!(all.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_awaited_takes_those_along_who_gather() {
        let (all, now) = (Derivations::new(), Instant::now());
        if all.at_once < 2 {
            return;
        }
        let mut first: Vec<_> = (0..4).map(|number| all.begin(derivation(number), false, now)).collect();
        // Three do not fill the lanes, so that they would wait.
        let mut last = first.split_off(3);
        all.begin(derivation(9), true, now).finish().await;
        assert_eq!(now.elapsed(), Duration::ZERO);
        for pending in first.iter_mut().chain(&mut last) {
            pending.finish().await;
        }
        assert!(now.elapsed() <= GATHER);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_costs_nothing() {
        let (all, now) = (Derivations::new(), Instant::now());
        let asked: Vec<_> = (0..3).map(|number| all.begin(derivation(number), false, now)).collect();
        assert_eq!(all.lock().waiting.len(), 3);
        drop(asked);
        assert_eq!(all.lock().waiting.len(), 0);
    }
}
