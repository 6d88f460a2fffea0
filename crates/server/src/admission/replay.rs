//! Which ways to cut first bytes have worked, by protocol and place: what worked for one client is done again for others of its place, until
//! it is old or has failed too often. Source: TRANSPORTS.md 6.6.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use tokio::time::Instant;

use crate::geoip::Place;

/// Places and protocols that are remembered; the one that was not used for longest is forgotten.
const MOST: usize = 100_000;

/// A connection's draw, from which its seed follows: the number of a draw of this process, and whether it is another connection's that worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Draw(u64);

impl Draw {
    const REPLAYED: u64 = 1 << 63;

    /// One that no connection had before.
    pub(crate) fn fresh(random: u64) -> Self {
        Self(random & !Self::REPLAYED)
    }

    pub(crate) fn number(self) -> u64 {
        self.0 & !Self::REPLAYED
    }

    pub(crate) fn is_replayed(self) -> bool {
        self.0 & Self::REPLAYED != 0
    }
}

/// Whom something has worked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    protocol: TunnelProtocol,
    country: String,
    network: String,
}

impl Scope {
    pub(crate) fn new(protocol: TunnelProtocol, place: &Place) -> Self {
        Self { protocol, country: place.country.to_string(), network: place.asn.to_string() }
    }
}

/// What has worked.
#[derive(Debug, Default)]
pub(crate) struct ReplayCache(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_scope: HashMap<Scope, Entry>,
    /// Scopes by when they were used, the longest ago first.
    by_use: BTreeMap<u64, Scope>,
    next: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    expires: Instant,
    failures: u32,
    used: u64,
}

/// What has happened since this was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) most_entries: usize,
    pub(crate) set: u64,
    pub(crate) hit: u64,
    pub(crate) missed: u64,
    pub(crate) failed: u64,
    pub(crate) deleted: u64,
}

impl ReplayCache {
    /// What is to be done again.
    pub(crate) fn get(&self, scope: &Scope, now: Instant) -> Option<Draw> {
        let mut known = self.known();
        let number = known.touch(scope, now).map(|entry| entry.number);
        match number {
            Some(_) => known.counts.hit += 1,
            None => known.counts.missed += 1,
        }
        number.map(|number| Draw(number | Draw::REPLAYED))
    }

    /// It has worked: it is done again for so long from now on.
    pub(crate) fn set(&self, scope: Scope, draw: Draw, ttl: Duration, now: Instant) {
        let mut known = self.known();
        known.remove(&scope);
        if known.by_scope.len() >= MOST
            && let Some((_, oldest)) = known.by_use.pop_first()
        {
            known.by_scope.remove(&oldest);
        }
        let used = known.next;
        known.next += 1;
        known.by_use.insert(used, scope.clone());
        let expires = now.checked_add(ttl).unwrap_or(now);
        known.by_scope.insert(scope, Entry { number: draw.number(), expires, failures: 0, used });
        known.counts.set += 1;
        known.counts.most_entries = known.counts.most_entries.max(known.by_scope.len());
    }

    /// It was done again and did not work; after so many times it is forgotten, or never if that is 0.
    pub(crate) fn failed(&self, scope: &Scope, draw: Draw, threshold: u32, now: Instant) {
        let mut known = self.known();
        // Another may have worked meanwhile.
        let Some(entry) = known.touch(scope, now).filter(|entry| entry.number == draw.number()) else {
            return;
        };
        entry.failures += 1;
        let is_forgotten = threshold > 0 && entry.failures >= threshold;
        known.counts.failed += 1;
        if is_forgotten {
            known.remove(scope);
            known.counts.deleted += 1;
        }
    }

    /// Forgets everything: other parameters hold.
    pub(crate) fn clear(&self) {
        let mut known = self.known();
        known.by_scope.clear();
        known.by_use.clear();
    }

    /// What has happened since this was last asked.
    pub(crate) fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.known().counts)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The entry, if it still holds, which counts as used now.
    fn touch(&mut self, scope: &Scope, now: Instant) -> Option<&mut Entry> {
        if self.by_scope.get(scope)?.expires <= now {
            self.remove(scope);
            return None;
        }
        let (next, entry) = (self.next, self.by_scope.get_mut(scope)?);
        if let Some(scope) = self.by_use.remove(&entry.used) {
            self.by_use.insert(next, scope);
        }
        entry.used = next;
        self.next += 1;
        Some(entry)
    }

    fn remove(&mut self, scope: &Scope) {
        if let Some(entry) = self.by_scope.remove(scope) {
            self.by_use.remove(&entry.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(100);

    fn scope(network: usize) -> Scope {
        let place = Place { country: "CA".into(), asn: network.to_string().into(), ..Place::UNKNOWN };
        Scope::new(TunnelProtocol::TLS_OSSH, &place)
    }

    #[test]
    fn what_worked_is_done_again_until_it_is_old() {
        let (cache, now) = (ReplayCache::default(), Instant::now());
        assert_eq!(cache.get(&scope(1), now), None);
        cache.set(scope(1), Draw::fresh(u64::MAX), TTL, now);
        let again = cache.get(&scope(1), now + TTL / 2).unwrap();
        assert!(again.is_replayed() && again.number() == u64::MAX >> 1);
        assert_eq!(cache.get(&scope(2), now), None);
        let other = Scope { protocol: TunnelProtocol::SSH, ..scope(1) };
        assert_eq!(cache.get(&other, now), None);
        // Working again, it lasts for longer.
        cache.set(scope(1), again, TTL, now + TTL / 2);
        assert_eq!(cache.get(&scope(1), now + TTL), Some(again));
        assert_eq!(cache.get(&scope(1), now + TTL + TTL / 2), None);
        let counts = Counts { most_entries: 1, set: 2, hit: 2, missed: 4, ..Counts::default() };
        assert_eq!((cache.take_counts(), cache.take_counts()), (counts, Counts::default()));
    }

    #[test]
    fn what_fails_too_often_is_forgotten() {
        let (cache, now) = (ReplayCache::default(), Instant::now());
        cache.set(scope(1), Draw::fresh(1), TTL, now);
        let draw = cache.get(&scope(1), now).unwrap();
        cache.failed(&scope(1), Draw::fresh(7), 1, now);
        cache.failed(&scope(1), draw, 0, now);
        cache.failed(&scope(1), draw, 3, now);
        assert!(cache.get(&scope(1), now).is_some());
        cache.failed(&scope(1), draw, 3, now);
        assert_eq!(cache.get(&scope(1), now), None);
        let counts = cache.take_counts();
        assert_eq!((counts.failed, counts.deleted), (3, 1));
        // Success in between makes up for failures.
        cache.set(scope(1), draw, TTL, now);
        cache.failed(&scope(1), draw, 2, now);
        cache.set(scope(1), draw, TTL, now);
        cache.failed(&scope(1), draw, 2, now);
        assert!(cache.get(&scope(1), now).is_some());
    }

    #[test]
    fn the_least_used_makes_room() {
        let (cache, now) = (ReplayCache::default(), Instant::now());
        for network in 0..MOST {
            cache.set(scope(network), Draw::fresh(1), TTL, now);
        }
        assert!(cache.get(&scope(0), now).is_some());
        cache.set(scope(MOST), Draw::fresh(1), TTL, now);
        let left = [0, 1, 2, MOST].map(|network| cache.get(&scope(network), now).is_some());
        assert_eq!(left, [true, false, true, true]);
        let known = cache.known();
        assert_eq!((known.by_scope.len(), known.by_use.len()), (MOST, MOST));
    }
}
