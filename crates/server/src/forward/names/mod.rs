//! The names that one tunnel's flows go to: looked up once for all who want them at a time, and kept for some seconds. Each
//! tunnel has its own, so that nobody learns from times of answers where others go. Source: PROTOCOL.md 3.7.

pub mod question;
pub(crate) mod servers;
mod stub;
mod wire;

#[cfg(test)]
mod real_servers;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

pub(crate) use servers::Resolver;
pub(crate) use stub::NameError;
pub(crate) use wire::Family;

use super::destination::HostName;
use crate::figures::Tally;

/// What is kept, at most, whatever is configured.
const MOST_KEPT: usize = 4096;

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheLimits {
    pub(crate) names: usize,
    pub(crate) time: Duration,
}

/// A tunnel's names.
pub(crate) struct Names {
    resolver: Arc<Resolver>,
    limits: CacheLimits,
    entries: Mutex<Vec<Entry>>,
}

type Outcome = Result<Arc<[IpAddr]>, NameError>;

struct Entry {
    name: HostName,
    began: Instant,
    /// Empty while it is being looked up.
    outcome: Arc<OnceCell<(Instant, Outcome)>>,
}

impl Names {
    pub(crate) fn new(resolver: Arc<Resolver>, limits: CacheLimits) -> Self {
        Self { resolver, limits, entries: Mutex::default() }
    }

    /// The addresses of a name, in the order of the resolver's preference; at least one.
    pub(crate) async fn look_up(&self, name: &HostName, tally: &Tally) -> Outcome {
        let cell = self.cell(name);
        // When whoever looks it up gives up, the next who waits goes on.
        let look_up = || async {
            let outcome = self.resolver.look_up(name, tally).await.map(Arc::from);
            (Instant::now(), outcome)
        };
        cell.get_or_init(look_up).await.1.clone()
    }

    /// Where the outcome is, or will be.
    fn cell(&self, name: &HostName) -> Arc<OnceCell<(Instant, Outcome)>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.retain(|entry| entry.is_of_use(now, self.limits.time));
        if let Some(entry) = entries.iter().find(|entry| entry.name == *name) {
            return entry.outcome.clone();
        }
        let most = self.limits.names.clamp(1, MOST_KEPT);
        if entries.len() >= most {
            let oldest =
                entries.iter().enumerate().min_by_key(|(_, entry)| entry.began).map(|(index, _)| index);
            oldest.map(|oldest| entries.swap_remove(oldest));
        }
        let outcome = Arc::<OnceCell<_>>::default();
        entries.push(Entry { name: name.clone(), began: now, outcome: outcome.clone() });
        outcome
    }
}

impl Entry {
    /// Failures are not kept: who asks again wants another answer.
    fn is_of_use(&self, now: Instant, time: Duration) -> bool {
        match self.outcome.get() {
            None => true,
            Some((at, outcome)) => outcome.is_ok() && now.saturating_duration_since(*at) < time,
        }
    }
}
