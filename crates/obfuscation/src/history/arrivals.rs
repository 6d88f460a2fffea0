//! Seeds in the order in which they came, and a way to find one. Memory is taken a segment at a time, written to when it
//! is taken: what a segment takes does not grow while it fills, nor does a seed move. When a segment's last seed is
//! forgotten, the segment is used again. Source: none, a data structure of our own.

use std::collections::VecDeque;
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::Key;

/// Most seeds in a segment: what five a second bring in almost two hours, in 0.9 MB.
const SEGMENT: usize = 1 << POSITION_BITS;
const POSITION_BITS: u32 = 15;
const TAG_BITS: u32 = 16;
/// A place of the index that leads nowhere. Places that lead somewhere have the highest bit clear.
const FREE: u32 = u32::MAX;

/// A secret number of this run. Who draws seeds cannot know which ones share places in the index.
#[derive(Clone)]
pub struct SeedIndexKey([u8; 16]);

impl SeedIndexKey {
    /// From bytes that were drawn at random.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    fn hash(&self, key: &Key) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(key);
        let digest = context.finish();
        Hash(digest.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes))
    }
}

impl fmt::Debug for SeedIndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeedIndexKey([redacted])")
    }
}

/// A seed that came.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) key: Key,
    /// In UNIX seconds.
    pub(super) at: u32,
}

/// Where a seed is looked for first, and by what others at its places are told from it most of the time.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    fn place(self) -> usize {
        self.0 as usize
    }

    fn entry(self, position: usize) -> u32 {
        // A segment's length keeps positions within their bits.
        self.tag() << POSITION_BITS | u32::try_from(position).unwrap_or(0)
    }

    fn tag(self) -> u32 {
        (self.0 >> (u64::BITS - TAG_BITS)) as u32
    }

    /// Where an entry leads that may be this seed's.
    fn position(self, entry: u32) -> Option<usize> {
        let is_own = entry >> POSITION_BITS == self.tag();
        usize::try_from(entry & ((1 << POSITION_BITS) - 1)).ok().filter(|_| is_own)
    }
}

/// All that are remembered. Each has a number: how many came before it.
pub(super) struct Arrivals {
    index_key: SeedIndexKey,
    /// Of every segment.
    segment_len: usize,
    segments: VecDeque<Segment>,
    /// Not in use now.
    spare: Option<Segment>,
    /// Of the first segment's first seed, and of the oldest seed that is remembered: it is in that segment, or the next to come.
    first: u64,
    oldest: u64,
    /// Of the seed that comes next.
    next: u64,
}

impl Arrivals {
    /// None yet, of which about so many will be kept at once.
    pub(super) fn new(most: usize, index_key: SeedIndexKey) -> Self {
        let segment_len = most.clamp(1, SEGMENT).next_power_of_two();
        // There from the start: a server is as large as it will be for a while.
        let segments = VecDeque::from([Segment::new(segment_len)]);
        Self { index_key, segment_len, segments, spare: None, first: 0, oldest: 0, next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        usize::try_from(self.next - self.oldest).unwrap_or(usize::MAX)
    }

    /// The latest arrival of a seed, and its number.
    pub(super) fn find(&self, key: &Key) -> Option<(u64, Arrival)> {
        let hash = self.index_key.hash(key);
        let found = self.segments.iter().enumerate().rev().find_map(|(place, segment)| {
            let (position, arrival) = segment.find(hash, key)?;
            Some((self.first + (place * self.segment_len + position) as u64, arrival))
        });
        found.filter(|(number, _)| *number >= self.oldest)
    }

    pub(super) fn push(&mut self, arrival: Arrival) {
        if self.segments.back().is_none_or(Segment::is_full) {
            let segment = self.spare.take().unwrap_or_else(|| Segment::new(self.segment_len));
            self.segments.push_back(segment);
        }
        let hash = self.index_key.hash(&arrival.key);
        if let Some(segment) = self.segments.back_mut() {
            segment.push(hash, arrival);
            self.next += 1;
        }
    }

    /// The oldest that is remembered.
    pub(super) fn oldest(&self) -> Option<Arrival> {
        self.iter().next()
    }

    /// Forgets it.
    pub(super) fn forget_oldest(&mut self) {
        if self.oldest == self.next {
            return;
        }
        self.oldest += 1;
        if self.oldest - self.first < self.segment_len as u64 {
            return;
        }
        if let Some(mut segment) = self.segments.pop_front() {
            segment.clear();
            self.spare = Some(segment);
            self.first = self.oldest;
        }
    }

    /// When one came that has this number and is remembered, in UNIX seconds.
    pub(super) fn came(&self, number: u64) -> Option<u32> {
        let offset = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let segment = self.segments.get(offset / self.segment_len)?;
        Some(segment.in_use().get(offset % self.segment_len)?.at)
    }

    /// What number comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Arrival> {
        let forgotten = usize::try_from(self.oldest - self.first).unwrap_or(usize::MAX);
        let first = self.segments.front().and_then(|first| first.in_use().get(forgotten..));
        let others = self.segments.iter().skip(1).flat_map(Segment::in_use);
        first.unwrap_or_default().iter().chain(others).copied()
    }
}

/// Seeds that came one after the other.
struct Segment {
    /// As many as there may be; those behind `used` mean nothing.
    arrivals: Box<[Arrival]>,
    used: usize,
    /// Open addressing: a seed's entry is at the first place behind its own that had room. Half of it stays free.
    index: Box<[u32]>,
}

impl Segment {
    fn new(len: usize) -> Self {
        // Neither is zeros, for which an allocator would have pages that take no memory until they are written to.
        let nothing = Arrival { key: [u8::MAX; super::KEY_LEN], at: u32::MAX };
        Self {
            arrivals: vec![nothing; len].into_boxed_slice(),
            used: 0,
            index: vec![FREE; 2 * len].into_boxed_slice(),
        }
    }

    fn is_full(&self) -> bool {
        self.used == self.arrivals.len()
    }

    fn in_use(&self) -> &[Arrival] {
        self.arrivals.get(..self.used).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.used = 0;
        self.index.fill(FREE);
    }

    /// The latest arrival of a seed, and its position.
    fn find(&self, hash: Hash, key: &Key) -> Option<(usize, Arrival)> {
        for place in self.places(hash) {
            let entry = self.index.get(place).copied().filter(|entry| *entry != FREE)?;
            if let Some(found) = self.leads_to(hash, entry, key) {
                return Some(found);
            }
        }
        None
    }

    /// If there is room, which its owner sees to.
    fn push(&mut self, hash: Hash, arrival: Arrival) {
        let position = self.used;
        let Some(slot) = self.arrivals.get_mut(position) else { return };
        *slot = arrival;
        self.used += 1;
        // One that came before, and is too old to count, makes room.
        let place = self.places(hash).find(|place| {
            let entry = self.index.get(*place).copied().unwrap_or(FREE);
            entry == FREE || self.leads_to(hash, entry, &arrival.key).is_some()
        });
        if let Some(entry) = place.and_then(|place| self.index.get_mut(place)) {
            *entry = hash.entry(position);
        }
    }

    /// Where a seed's entry may be, in the order in which they are looked at.
    fn places(&self, hash: Hash) -> impl Iterator<Item = usize> + use<> {
        let mask = self.index.len() - 1;
        (0..=mask).map(move |step| hash.place().wrapping_add(step) & mask)
    }

    fn leads_to(&self, hash: Hash, entry: u32, key: &Key) -> Option<(usize, Arrival)> {
        let position = hash.position(entry)?;
        self.arrivals.get(position).copied().filter(|arrival| arrival.key == *key).map(|it| (position, it))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{Prng, Seed};

    fn key(number: usize) -> Key {
        (number as u128).to_be_bytes()
    }

    fn arrivals(most: usize) -> Arrivals {
        Arrivals::new(most, SeedIndexKey::new([7; 16]))
    }

    #[test]
    fn it_agrees_with_a_plain_list() {
        for seed in 0_u8..20 {
            let mut prng = Prng::new(&Seed::from_bytes([seed; 32]));
            let most = usize::try_from(prng.range(1, 40)).unwrap();
            let (mut arrivals, mut list) = (arrivals(most), VecDeque::new());
            for at in 0..600 {
                // Few enough that some come again while they are remembered.
                let key = key(usize::try_from(prng.range(0, 60)).unwrap());
                arrivals.push(Arrival { key, at });
                list.push_back((key, at));
                while list.len() > most {
                    arrivals.forget_oldest();
                    list.pop_front();
                }
                assert_eq!(arrivals.len(), list.len(), "seed {seed}");
                assert_eq!(arrivals.oldest().map(|it| it.at), list.front().map(|it| it.1), "seed {seed}");
                for known in (0..=60).map(self::key) {
                    let expected = list.iter().rev().find(|it| it.0 == known);
                    let found = arrivals.find(&known);
                    assert_eq!(found.map(|it| it.1.at), expected.map(|it| it.1), "seed {seed}, {known:?}");
                    assert!(found.is_none_or(|it| arrivals.came(it.0) == Some(it.1.at)), "seed {seed}");
                }
            }
            let all: VecDeque<_> = arrivals.iter().map(|it| (it.key, it.at)).collect();
            assert_eq!(all, list, "seed {seed}");
        }
    }

    #[test]
    fn a_segment_takes_its_memory_at_once_and_is_used_again() {
        let mut arrivals = arrivals(1_000_000);
        let places = |arrivals: &Arrivals| {
            let all = arrivals.segments.iter().chain(&arrivals.spare);
            all.map(|segment| segment.index.as_ptr()).collect::<std::collections::BTreeSet<_>>()
        };
        let first = places(&arrivals);
        for number in 0..SEGMENT {
            arrivals.push(Arrival { key: key(number), at: 0 });
        }
        assert_eq!(places(&arrivals), first);
        // Two segments are enough to remember so many for ever.
        for number in SEGMENT..4 * SEGMENT {
            arrivals.push(Arrival { key: key(number), at: 0 });
            arrivals.forget_oldest();
        }
        assert_eq!((places(&arrivals).len(), arrivals.len()), (2, SEGMENT));
        assert!((3 * SEGMENT..4 * SEGMENT).all(|number| arrivals.find(&key(number)).is_some()));
        assert!((0..3 * SEGMENT).all(|number| arrivals.find(&key(number)).is_none()));
    }

    #[test]
    fn a_full_segment_is_searched_in_few_steps() {
        let mut arrivals = arrivals(SEGMENT);
        (0..SEGMENT).for_each(|number| arrivals.push(Arrival { key: key(number), at: 0 }));
        let segment = arrivals.segments.front().unwrap();
        let longest = segment.index.split(|entry| *entry == FREE).map(<[u32]>::len).max().unwrap();
        assert!(longest < 200, "{longest} places in a row are taken");
    }
}
