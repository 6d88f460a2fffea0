//! The history of seeds that were used, which refuses replays, and its form on disk. No clock and no files: callers
//! bring the time, store the bytes and bring them back. Source: `PROTOCOL.md` 2.4.
//!
//! Stored form: an 8-byte header (`culvsee` and a version byte), then 24-byte records, oldest first: 16 bytes of
//! key, 4 bytes of UNIX seconds, big endian, and the first 4 bytes of the SHA-256 of those 20. A snapshot is a header
//! and the records of the moment; a new seed is one more record at the end. So a write cut short costs its own
//! record only. Peer addresses are never stored.

mod arrivals;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};

pub use self::arrivals::SeedIndexKey;
use self::arrivals::{Arrival, Arrivals};

const KEY_LEN: usize = 16;
const BODY_LEN: usize = KEY_LEN + 4;
const CHECK_LEN: usize = 4;
/// Length of a stored record in bytes.
pub const SEED_RECORD_LEN: usize = BODY_LEN + CHECK_LEN;
/// Length of what is before the records, in bytes.
pub const SEED_HEADER_LEN: usize = 8;
const HEADER: [u8; SEED_HEADER_LEN] = *b"culvsee\x01";

type Key = [u8; KEY_LEN];

/// Bounds of a [`SeedHistory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedHistoryLimits {
    /// How long a seed is remembered, in whole seconds. The longest replay seen in the wild came after 24 days.
    pub seed_ttl: Duration,
    /// How many seeds are remembered; the oldest goes first.
    pub max_seeds: usize,
    /// How long it is remembered which address brought a seed.
    pub address_ttl: Duration,
    /// For how many seeds that is remembered.
    pub max_addresses: usize,
}

impl Default for SeedHistoryLimits {
    /// 30 days where the reference keeps 24 hours; the rest as the reference (`PROTOCOL.md` 2.4).
    fn default() -> Self {
        Self {
            seed_ttl: Duration::from_secs(30 * 24 * 3600),
            max_seeds: 1_000_000,
            address_ttl: Duration::from_secs(120),
            max_addresses: 10_000,
        }
    }
}

/// What a repeated seed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayMode {
    /// Always a replay: for SSH tunnels.
    Strict,
    /// No replay when the same address repeats it soon: for carriers that retry, as HTTP does.
    SameAddressMayRetry,
}

/// Whether a repeated seed came from the address that first brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMatch {
    /// From the same.
    Equal,
    /// From another.
    Unequal,
    /// No longer known.
    Unknown,
}

/// What [`SeedHistory::add`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedVerdict {
    /// The seed is new. The record is to be appended to the stored history.
    New(SeedRecord),
    /// The seed was used before.
    Repeated {
        /// How long ago, in whole seconds.
        after: Duration,
        /// From where.
        address: AddressMatch,
        /// Whether the mode allows it.
        accepted: bool,
    },
}

impl SeedVerdict {
    /// Whether the connection may go on.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self, Self::New(_) | Self::Repeated { accepted: true, .. })
    }
}

/// One remembered seed in its stored form.
#[derive(Clone, PartialEq, Eq)]
pub struct SeedRecord([u8; SEED_RECORD_LEN]);

impl SeedRecord {
    /// The bytes to append.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SEED_RECORD_LEN] {
        &self.0
    }

    fn new(key: &Key, seconds: u32) -> Self {
        let mut bytes = [0; SEED_RECORD_LEN];
        let body = key.iter().copied().chain(seconds.to_be_bytes());
        bytes.iter_mut().zip(body).for_each(|(to, from)| *to = from);
        let check = checksum(&bytes);
        bytes.iter_mut().skip(BODY_LEN).zip(check).for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// The key and the time, if the record is whole.
    fn parse(bytes: &[u8; SEED_RECORD_LEN]) -> Option<(Key, u32)> {
        let check: &[u8; CHECK_LEN] = bytes.last_chunk()?;
        if *check != checksum(bytes) {
            return None;
        }
        let (key, rest) = bytes.split_first_chunk::<KEY_LEN>()?;
        Some((*key, u32::from_be_bytes(*rest.first_chunk()?)))
    }
}

impl fmt::Debug for SeedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeedRecord([redacted])")
    }
}

/// A history read back, and in which state it was.
#[derive(Debug)]
pub struct RestoredHistory {
    /// Everything valid and not yet expired.
    pub history: SeedHistory,
    /// How many records were valid.
    pub valid: usize,
    /// How many were not, a last incomplete one included. When any, or when many have expired, the caller replaces
    /// the stored bytes by [`SeedHistory::snapshot`] before it appends more.
    pub damaged: usize,
}

/// The stored bytes are no history at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no seed history of a known version: move it away, and a new one will be started")]
pub struct NotASeedHistory;

/// Which seeds were used, by whom, how long ago. Bounded; 28 bytes per seed, taken for 32,768 seeds at a time.
pub struct SeedHistory {
    limits: SeedHistoryLimits,
    /// In order of arrival. May hold an older arrival of a key that expired and came again.
    seeds: Arrivals,
    /// Who brought the latest of them.
    addresses: VecDeque<IpAddr>,
}

impl SeedHistory {
    /// An empty history.
    #[must_use]
    pub fn new(limits: SeedHistoryLimits, index_key: SeedIndexKey) -> Self {
        Self { limits, seeds: Arrivals::new(limits.max_seeds, index_key), addresses: VecDeque::new() }
    }

    /// How many seeds are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seeds.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers a seed that proved to be valid, or tells that it is known. `seed` may have any length: 16 bytes are
    /// kept as they are, of others the first 16 bytes of their SHA-256.
    pub fn add(&mut self, mode: ReplayMode, seed: &[u8], peer: IpAddr, now: SystemTime) -> SeedVerdict {
        let (key, now) = (key_of(seed), unix_seconds(now));
        self.expire(now);
        if let Some((number, first_seen)) = self.live_since(&key, now) {
            let address = match self.brought_by(number) {
                Some(_) if expired(first_seen, self.limits.address_ttl, now) => AddressMatch::Unknown,
                Some(first) if first == peer => AddressMatch::Equal,
                Some(_) => AddressMatch::Unequal,
                None => AddressMatch::Unknown,
            };
            let accepted = mode == ReplayMode::SameAddressMayRetry && address == AddressMatch::Equal;
            let after = Duration::from_secs(now.saturating_sub(first_seen).into());
            return SeedVerdict::Repeated { after, address, accepted };
        }
        self.seeds.push(Arrival { key, at: now });
        self.addresses.push_back(peer);
        self.expire(now);
        SeedVerdict::New(SeedRecord::new(&key, now))
    }

    /// Whether a seed, of any length as for [`Self::add`], is remembered.
    #[must_use]
    pub fn contains(&self, seed: &[u8], now: SystemTime) -> bool {
        self.live_since(&key_of(seed), unix_seconds(now)).is_some()
    }

    /// The whole history in its stored form, without what has expired.
    #[must_use]
    pub fn snapshot(&mut self, now: SystemTime) -> Vec<u8> {
        self.expire(unix_seconds(now));
        let mut out = Vec::with_capacity(HEADER.len() + self.len() * SEED_RECORD_LEN);
        out.extend_from_slice(&HEADER);
        for Arrival { key, at } in self.seeds.iter() {
            out.extend_from_slice(SeedRecord::new(&key, at).as_bytes());
        }
        out
    }

    /// Reads a stored history. Damaged records are passed over; no bytes at all are an empty history.
    ///
    /// # Errors
    /// The header is of something else, or of another version.
    pub fn restore(
        limits: SeedHistoryLimits,
        index_key: SeedIndexKey,
        stored: &[u8],
        now: SystemTime,
    ) -> Result<RestoredHistory, NotASeedHistory> {
        let (mut history, now) = (Self::new(limits, index_key), unix_seconds(now));
        let (mut valid, mut damaged) = (0, 0);
        let Some((header, records)) = stored.split_first_chunk::<{ HEADER.len() }>() else {
            // A header cut short is a first write cut short.
            return if HEADER.starts_with(stored) {
                Ok(RestoredHistory { history, valid, damaged: usize::from(!stored.is_empty()) })
            } else {
                Err(NotASeedHistory)
            };
        };
        if *header != HEADER {
            return Err(NotASeedHistory);
        }
        for record in records.chunks(SEED_RECORD_LEN) {
            match record.first_chunk().and_then(SeedRecord::parse) {
                Some((key, at)) => {
                    valid += 1;
                    // A clock that was set back must not make a record immortal.
                    history.seeds.push(Arrival { key, at: at.min(now) });
                }
                None => damaged += 1,
            }
            history.expire(now);
        }
        Ok(RestoredHistory { history, valid, damaged })
    }

    /// A seed's number, and when it was first seen.
    fn live_since(&self, key: &Key, now: u32) -> Option<(u64, u32)> {
        let (number, arrival) = self.seeds.find(key)?;
        (!expired(arrival.at, self.limits.seed_ttl, now)).then_some((number, arrival.at))
    }

    fn brought_by(&self, number: u64) -> Option<IpAddr> {
        let place = number.checked_sub(self.first_with_address())?;
        self.addresses.get(usize::try_from(place).ok()?).copied()
    }

    /// Its number.
    fn first_with_address(&self) -> u64 {
        self.seeds.next().saturating_sub(self.addresses.len() as u64)
    }

    /// Removes what is too old or too much, oldest first.
    fn expire(&mut self, now: u32) {
        let limits = self.limits;
        while self
            .seeds
            .oldest()
            .is_some_and(|oldest| self.len() > limits.max_seeds || expired(oldest.at, limits.seed_ttl, now))
        {
            self.seeds.forget_oldest();
        }
        while !self.addresses.is_empty()
            && (self.addresses.len() > limits.max_addresses.min(self.len())
                || self
                    .seeds
                    .came(self.first_with_address())
                    .is_none_or(|at| expired(at, limits.address_ttl, now)))
        {
            self.addresses.pop_front();
        }
    }
}

impl fmt::Debug for SeedHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedHistory").field("limits", &self.limits).field("seeds", &self.seeds.len()).finish()
    }
}

fn key_of(seed: &[u8]) -> Key {
    Key::try_from(seed).unwrap_or_else(|_| {
        let mut key = [0; KEY_LEN];
        key.iter_mut().zip(digest(&SHA256, seed).as_ref()).for_each(|(to, from)| *to = *from);
        key
    })
}

fn checksum(record: &[u8; SEED_RECORD_LEN]) -> [u8; CHECK_LEN] {
    let mut check = [0; CHECK_LEN];
    let body = record.get(..BODY_LEN).unwrap_or_default();
    check.iter_mut().zip(digest(&SHA256, body).as_ref()).for_each(|(to, from)| *to = *from);
    check
}

fn expired(at: u32, ttl: Duration, now: u32) -> bool {
    u64::from(now.saturating_sub(at)) > ttl.as_secs()
}

fn unix_seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
