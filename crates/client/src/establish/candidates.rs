//! The order in which servers are tried: the one that served last, those that someone recommended, those with a plan that worked on this network, then
//! all others as a seed shuffles them. Works on identifiers alone: with a hundred thousand entries, only those are read
//! whose turn comes.

use std::collections::BTreeSet;

use culvert_obfuscation::Prng;
use culvert_protocol::TunnelProtocol;

/// Why a server has its place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It served last.
    Affinity,
    /// Whoever lists servers recommends it.
    Prioritized(Option<TunnelProtocol>),
    /// A plan is stored that worked on this network.
    Proven,
    /// The shuffle's turn.
    Unknown,
}

/// What is known before a round.
#[derive(Debug)]
pub(crate) struct Known<I> {
    /// Every server of the wanted region.
    pub(crate) all: Vec<I>,
    /// The one that served last.
    pub(crate) affinity: Option<I>,
    /// With a hint of what to dial it with.
    pub(crate) prioritized: Vec<(I, Option<TunnelProtocol>)>,
    /// Those with a plan that worked here, best first.
    pub(crate) proven: Vec<I>,
    /// How many may leave the shuffle's order; `None` for any number.
    pub(crate) most_moved: Option<usize>,
}

/// One round's order.
#[derive(Debug)]
pub(crate) struct Order<I> {
    front: std::vec::IntoIter<(I, Standing)>,
    /// What the front leaves out of the shuffle.
    moved: BTreeSet<I>,
    rest: Vec<I>,
    prng: Prng,
}

impl<I: Copy + Ord> Order<I> {
    /// Draws an order. Servers that are named twice, or that are not of the region, have no second place.
    pub(crate) fn new(known: Known<I>, prng: Prng) -> Self {
        let Known { mut all, affinity, prioritized, proven, most_moved } = known;
        all.sort_unstable();
        all.dedup();
        let wishes = affinity.map(|id| (id, Standing::Affinity)).into_iter();
        let wishes =
            wishes.chain(prioritized.into_iter().map(|(id, hint)| (id, Standing::Prioritized(hint))));
        let wishes = wishes.chain(proven.into_iter().map(|id| (id, Standing::Proven)));
        let mut moved = BTreeSet::new();
        let front: Vec<_> = wishes
            .filter(|(id, _)| all.binary_search(id).is_ok() && moved.insert(*id))
            // The one that served last is not counted.
            .take(most_moved.map_or(usize::MAX, |most| most.saturating_add(usize::from(affinity.is_some()))))
            .collect();
        moved.retain(|id| front.iter().any(|(placed, _)| placed == id));
        Self { front: front.into_iter(), moved, rest: all, prng }
    }

    /// Servers that left the shuffle's order.
    pub(crate) fn moved_to_front(&self) -> usize {
        self.moved.len()
    }
}

impl<I: Copy + Ord> Iterator for Order<I> {
    type Item = (I, Standing);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.front.next() {
            return Some(first);
        }
        // The shuffle as it goes: what is never asked for is never drawn.
        while !self.rest.is_empty() {
            let last = i64::try_from(self.rest.len() - 1).unwrap_or(i64::MAX);
            let drawn = usize::try_from(self.prng.range(0, last)).unwrap_or(0);
            let id = self.rest.swap_remove(drawn);
            if !self.moved.contains(&id) {
                return Some((id, Standing::Unknown));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::Seed;

    use super::*;

    fn order(known: Known<u32>, seed: u8) -> Vec<(u32, Standing)> {
        Order::new(known, Prng::new(&Seed::from_bytes([seed; 32]))).collect()
    }

    fn none() -> Known<u32> {
        Known {
            all: Vec::new(),
            affinity: None,
            prioritized: Vec::new(),
            proven: Vec::new(),
            most_moved: None,
        }
    }

    fn ids(range: std::ops::Range<u32>) -> Vec<u32> {
        range.collect()
    }

    #[test]
    fn each_server_has_one_place() {
        let known = || Known {
            all: ids(0..50),
            affinity: Some(7),
            prioritized: vec![(9, Some(TunnelProtocol::OSSH)), (7, None)],
            proven: vec![3, 9, 4, 99],
            most_moved: None,
        };
        let first = order(known(), 1);
        let hinted = Standing::Prioritized(Some(TunnelProtocol::OSSH));
        let front = [(7, Standing::Affinity), (9, hinted), (3, Standing::Proven), (4, Standing::Proven)];
        assert_eq!(first[..4], front);
        assert!(first[4..].iter().all(|(_, standing)| *standing == Standing::Unknown));
        let places: BTreeSet<u32> = first.iter().map(|(id, _)| *id).collect();
        assert_eq!((places.len(), first.len()), (50, 50));
        assert_eq!(first, order(known(), 1), "the same seed");
        assert_ne!(first, order(known(), 2), "another seed");
        let few = order(Known { most_moved: Some(1), ..known() }, 1);
        assert_eq!(few[..2], front[..2]);
        assert_eq!((few[2].1, few.len()), (Standing::Unknown, 50));
    }

    #[test]
    fn the_shuffle_is_even() {
        let mut firsts = [0; 5];
        for seed in 0..=255 {
            let drawn = order(Known { all: ids(0..5), ..none() }, seed);
            firsts[drawn[0].0 as usize] += 1;
        }
        assert!(firsts.iter().all(|count| (25..=80).contains(count)), "{firsts:?}");
    }
}
