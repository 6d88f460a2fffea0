//! How much peers may make one connection hold, and all connections of a process.
//!
//! A channel *claims* what its peer may still send and what was received and not yet taken: all of it may come
//! to stand in memory. Claims up to the first window come out of a small pool, larger ones out of a larger; both
//! grow only with what applications have really taken, so that a peer must have moved data before it can make
//! anyone hold much. No channel gets more than a part of what is left, and each gets something: streams that
//! stall leave room for those that do not, however many they are.
//!
//! No I/O and no clock. Source: RFC 4254 section 5.2; the policy is ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// First windows that a connection promises before anything was taken from it.
const UNEARNED_WINDOWS: u64 = 7;
/// Bytes promised for each byte that was taken.
const EARNINGS: u64 = 4;
/// The same for the first bytes, up to so much in all: beside streams that stall, one that does not must get going.
const FIRST_EARNINGS: u64 = 64;
const MOST_FIRST_EARNINGS: u64 = 256 * 1024;
/// A channel claims at most the part of its pool that is left, divided by so much: it takes a fifth, and what is left
/// when many have come is still this many times what each may claim.
const LEFT_OF_FIRST: u64 = 4;
/// What first windows may claim together at most. Two hundred streams that stall leave each other 60 KiB.
const MAX_FIRST: u64 = 12 << 20;
/// What windows may claim together beyond their first size. A peer chooses the round trip that is measured and,
/// through what it opens channels to, how fast they are read: without a bound for all it could make each as
/// large as one may be, and then have nobody read.
pub(crate) const MAX_GROWTH: u64 = 64 << 20;
/// Divided by the number of channels, what each may claim whatever the others do. The sum over all channels grows
/// with the logarithm of their number only.
const FLOOR: u64 = 32 * 1024;
/// The same once it is earned. Shares of a pool come to be equal only after many round trips.
const EARNED_FLOOR: u64 = 2 << 20;
/// Drawn from the process's budget at a time, and kept when less is needed.
const QUANTUM: u64 = 256 * 1024;

/// Memory that the connections of a process share for windows beyond what each has by itself.
#[derive(Debug)]
pub struct MemoryBudget {
    capacity: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { capacity: bytes, used: AtomicU64::new(0) })
    }

    /// Bytes that connections have drawn.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// More than four fifths are in use: windows go back to their first size.
    pub fn is_strained(&self) -> bool {
        self.used() > self.capacity / 5 * 4
    }

    /// Draws up to `bytes`, at most half of what is left: no connection takes everything.
    fn draw(&self, bytes: u64) -> u64 {
        let mut used = self.used();
        loop {
            let drawn = bytes.min(self.capacity.saturating_sub(used) / 2);
            let sum = used.saturating_add(drawn);
            match self.used.compare_exchange_weak(used, sum, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return drawn,
                Err(now) => used = now,
            }
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What the channels of one connection claim.
#[derive(Debug)]
pub(crate) struct Credit {
    /// A channel's first window.
    first: u32,
    /// Claims up to the first window, all channels' together.
    claimed: u64,
    /// Claims beyond it.
    grown: u64,
    /// Bytes that applications have taken, as far as they still count.
    taken: u64,
    budget: Option<Arc<MemoryBudget>>,
    /// Drawn from the budget.
    drawn: u64,
}

impl Credit {
    pub(crate) fn new(first: u32) -> Self {
        Self { first, claimed: 0, grown: 0, taken: 0, budget: None, drawn: 0 }
    }

    pub(crate) fn set_budget(&mut self, budget: Arc<MemoryBudget>) {
        self.give_back(self.drawn);
        self.budget = Some(budget);
    }

    /// True when windows should go back to their first size.
    pub(crate) fn is_strained(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.is_strained())
    }

    /// An application has taken bytes.
    pub(crate) fn earn(&mut self, bytes: u64) {
        self.taken = self.taken.saturating_add(bytes).min(MAX_GROWTH);
    }

    fn unearned(&self) -> u64 {
        UNEARNED_WINDOWS * u64::from(self.first.max(128 * 1024))
    }

    fn split(&self, claim: u32) -> (u64, u64) {
        (u64::from(claim.min(self.first)), u64::from(claim.saturating_sub(self.first)))
    }

    /// By how much a channel that claims `claim` may be credited, `wanted` at most, when `channels` exist.
    pub(crate) fn grant(&mut self, claim: u32, wanted: u32, channels: usize) -> u32 {
        let channels = u64::try_from(channels.max(1)).unwrap_or(u64::MAX);
        let up_to =
            |floor: u64| u32::try_from(floor.max(1)).unwrap_or(u32::MAX).saturating_sub(claim).min(wanted);
        let least = up_to(FLOOR / channels);
        let earned = up_to(self.earned().min(EARNED_FLOOR) / channels);
        let more = self.shared(claim, wanted).max(earned);
        least.max(self.covered(claim, more))
    }

    fn earned(&self) -> u64 {
        self.taken * EARNINGS + (self.taken * FIRST_EARNINGS).min(MOST_FIRST_EARNINGS)
    }

    /// What the pools have for a channel. One that claims more than its part of what is left gets nothing until it
    /// has come down to it, so that all come to claim the same.
    fn shared(&self, claim: u32, wanted: u32) -> u32 {
        let earned = self.earned();
        let (below, above) = self.split(claim);
        let (below_wanted, above_wanted) = self.split(claim.saturating_add(wanted));
        let pool = self.unearned().saturating_add(earned.min(MAX_FIRST));
        let left = pool.saturating_sub(self.claimed);
        let Some(spare) = left.checked_sub(LEFT_OF_FIRST * below) else { return 0 };
        let first = (below_wanted - below).min(spare / (LEFT_OF_FIRST + 1));
        if first < below_wanted - below {
            return u32::try_from(first).unwrap_or(u32::MAX);
        }
        let left = earned.min(MAX_GROWTH).saturating_sub(self.grown);
        let growth = left.checked_sub(above).map_or(0, |spare| (above_wanted - above).min(spare / 2));
        u32::try_from(first + growth).unwrap_or(u32::MAX)
    }

    /// How much of `more` the process's budget covers, after drawing from it.
    fn covered(&mut self, claim: u32, more: u32) -> u32 {
        let Some(budget) = &self.budget else { return more };
        let (below, above) = self.split(claim);
        let (below_then, above_then) = self.split(claim.saturating_add(more));
        let needed = self.needed(self.claimed + below_then - below, self.grown + above_then - above);
        if needed > self.drawn {
            self.drawn += budget.draw((needed - self.drawn).next_multiple_of(QUANTUM));
        }
        more.saturating_sub(u32::try_from(needed.saturating_sub(self.drawn)).unwrap_or(u32::MAX))
    }

    /// What must be drawn for claims. What a connection promises unearned is its own.
    fn needed(&self, claimed: u64, grown: u64) -> u64 {
        claimed.saturating_sub(self.unearned()) + grown
    }

    /// A channel's claim has changed.
    pub(crate) fn changed(&mut self, before: u32, after: u32) {
        let (below, above) = self.split(before);
        let (below_now, above_now) = self.split(after);
        self.claimed = (self.claimed + below_now).saturating_sub(below);
        self.grown = (self.grown + above_now).saturating_sub(above);
        let needed = self.needed(self.claimed, self.grown);
        let kept = if needed == 0 { 0 } else { needed + QUANTUM };
        if self.drawn > kept + QUANTUM || (needed == 0 && self.drawn > 0) {
            self.give_back(self.drawn - kept);
        }
    }

    /// All claims.
    pub(crate) fn total(&self) -> u64 {
        self.claimed + self.grown
    }

    fn give_back(&mut self, bytes: u64) {
        if let Some(budget) = &self.budget {
            budget.give_back(bytes);
        }
        self.drawn = self.drawn.saturating_sub(bytes);
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.give_back(self.drawn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = 128 * 1024;

    /// Grants, and what the channel then claims.
    fn claim(credit: &mut Credit, before: u32, wanted: u32, channels: usize) -> u32 {
        let granted = credit.grant(before, wanted, channels);
        assert!(granted <= wanted);
        credit.changed(before, before + granted);
        before + granted
    }

    #[test]
    fn first_windows_share_a_pool_and_everyone_gets_something() {
        let mut credit = Credit::new(FIRST);
        let claims: Vec<u32> = (1..=4096).map(|n| claim(&mut credit, 0, FIRST, n)).collect();
        assert!(claims[..3].iter().all(|claim| *claim == FIRST), "{:?}", &claims[..3]);
        assert!(claims.is_sorted_by(|a, b| a >= b));
        assert!(claims[15] >= 2048 && claims[511] >= 64 && claims[4095] >= 8, "{}", claims[15]);
        assert!(credit.total() < 1200 * 1024, "{}", credit.total());
        assert_eq!(credit.total(), claims.iter().map(|claim| u64::from(*claim)).sum::<u64>());
    }

    /// Whoever comes and goes in whatever order, floors cannot be gathered.
    #[test]
    fn channels_that_come_and_go_gather_no_more() {
        let mut credit = Credit::new(FIRST);
        let mut claims = Vec::new();
        for round in 0..200_usize {
            while claims.len() < 4096 {
                let channels = claims.len() + 1;
                claims.push(claim(&mut credit, 0, FIRST, channels));
            }
            assert!(credit.total() < 1200 * 1024, "{}", credit.total());
            // All but a few end, each time others.
            let keep = 1 + round * 7 % 50;
            for ended in claims.drain(keep..) {
                credit.changed(ended, 0);
            }
            for held in &mut claims {
                *held = claim(&mut credit, *held, FIRST - *held, keep);
            }
        }
    }

    #[test]
    fn pools_grow_with_what_was_taken_and_no_further_than_their_bounds() {
        let mut credit = Credit::new(FIRST);
        assert_eq!(credit.grant(FIRST, 1 << 20, 1), 0, "nothing was earned");
        credit.earn(1 << 20);
        assert_eq!(credit.grant(FIRST, 1 << 20, 1), 1 << 20);
        credit.earn(u64::MAX);
        for _ in 0..200 {
            claim(&mut credit, 0, 32 << 20, 200);
        }
        assert!(credit.claimed <= MAX_FIRST + (4 << 20), "{}", credit.claimed);
        assert!(credit.grown <= MAX_GROWTH, "{}", credit.grown);
        assert!(credit.grown > MAX_GROWTH / 2, "{}", credit.grown);
    }

    #[test]
    fn connections_share_a_budget_and_give_it_back() {
        let budget = MemoryBudget::new(64 << 20);
        let mut credits: Vec<Credit> = (0..20).map(|_| Credit::new(FIRST)).collect();
        for credit in &mut credits {
            credit.set_budget(budget.clone());
            credit.earn(u64::MAX);
            let grown = claim(credit, 0, 32 << 20, 1);
            assert!(grown >= FIRST, "a first window is everyone's own: {grown}");
            assert!(budget.used() <= 64 << 20, "{}", budget.used());
        }
        assert!(budget.is_strained());
        let all: u64 = credits.iter().map(|credit| credit.grown).sum();
        assert!(all <= budget.used(), "{all} of {}", budget.used());
        // One shrinks, the others end.
        let first = &mut credits[0];
        let grown = u32::try_from(first.total()).unwrap();
        first.changed(grown, FIRST);
        assert_eq!(first.drawn, 0);
        credits.clear();
        assert_eq!(budget.used(), 0);
    }
}
