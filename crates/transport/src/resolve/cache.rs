//! Answers that were believed, by network: what holds on one may be a lie on another. No clock here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Longest time that an answer is kept, whatever its servers say, unless it is extended. TRANSPORTS.md 6.8.
const LONGEST: Duration = Duration::from_secs(60);
/// Most answers.
const MOST: usize = 1000;

/// How long answers live beyond what their servers say. Zero is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheLimits {
    /// At least so long.
    pub initial: Duration,
    /// At least so long, from when a tunnel was made by the answer.
    pub verified: Duration,
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Cache {
    answers: BTreeMap<(String, String), Kept>,
}

#[derive(Debug)]
struct Kept {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Cache {
    pub(super) fn get(&self, network: &str, name: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let kept = self.answers.get(&key(network, name))?;
        (kept.until > now).then(|| kept.addresses.clone())
    }

    pub(super) fn put(
        &mut self,
        [network, name]: [&str; 2],
        addresses: Vec<IpAddr>,
        [ttl, at_least]: [Option<Duration>; 2],
        now: Instant,
    ) {
        // A server that says zero is not asked again for each connection of a dial.
        let ttl = ttl.filter(|ttl| !ttl.is_zero()).unwrap_or(LONGEST).min(LONGEST);
        let ttl = ttl.max(at_least.unwrap_or_default());
        if self.answers.len() >= MOST {
            self.answers.retain(|_, kept| kept.until > now);
        }
        if self.answers.len() >= MOST
            && let Some(oldest) =
                self.answers.iter().min_by_key(|(_, kept)| kept.until).map(|(key, _)| key.clone())
        {
            self.answers.remove(&oldest);
        }
        self.answers.insert(key(network, name), Kept { addresses, until: now + ttl });
    }

    /// Lets an answer that proved right live longer.
    pub(super) fn extend(&mut self, network: &str, name: &str, by: Duration, now: Instant) {
        if let Some(kept) = self.answers.get_mut(&key(network, name)).filter(|kept| kept.until > now) {
            kept.until = kept.until.max(now + by);
        }
    }
}

fn key(network: &str, name: &str) -> (String, String) {
    (network.to_owned(), name.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn answers_live_as_long_as_they_may() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let address = || vec![IpAddr::from([1, 2, 3, 4])];
        cache.put(["n", "short"], address(), [Some(SECOND), None], start);
        cache.put(["n", "long"], address(), [Some(SECOND * 3600), None], start);
        cache.put(["n", "zero"], address(), [Some(Duration::ZERO), Some(SECOND * 90)], start);
        let lives = |cache: &Cache, name, after: u32| cache.get("n", name, start + SECOND * after).is_some();
        assert!(lives(&cache, "Short.", 0) && !lives(&cache, "short", 1));
        assert!(lives(&cache, "long", 59) && !lives(&cache, "long", 60));
        assert!(lives(&cache, "zero", 89) && !lives(&cache, "zero", 90));
        assert_eq!(cache.get("other", "short", start), None);
        cache.extend("n", "long", SECOND * 500, start + SECOND * 10);
        cache.extend("n", "short", SECOND * 500, start + SECOND * 10);
        assert!(lives(&cache, "long", 509) && !lives(&cache, "short", 11));
        cache.extend("n", "long", SECOND, start + SECOND * 20);
        assert!(lives(&cache, "long", 509), "never shortened");
    }

    #[test]
    fn there_is_an_end_to_memory() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        for number in 0..MOST * 2 {
            cache.put(["n", &number.to_string()], Vec::new(), [None, None], start + SECOND * 10);
        }
        assert!(cache.answers.len() <= MOST);
    }
}
