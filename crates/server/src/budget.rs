//! How many key derivations strangers may cause. A derivation is 6000 rounds of SHA-1, which is all that a garbage probe costs, though less
//! when several are done at once (`derivations`); it is paid for before it is done, and paid back when the preamble turns out to be good. So honest clients use up nothing, however many share
//! an address, and garbage is looked at only as often as there is budget. Source: PROTOCOL.md 2.4, "Cost".
//!
//! Each address has a budget for garbage, refilled at [`EACH`]. While it is used up, connections of that address wait for their turn, first
//! come first served; a flood that closes its connections leaves the line, so who waits gets in within moments. Only when too many wait is
//! a connection taken for garbage unseen, and even then a client that sent a prefix is recognised by its terminator, which costs nothing to
//! check and cannot be made without the keyword; repeated prefixes have a budget of their own. Every success adds to what an address may
//! waste, so that an address which thousands share is not judged by its worst user.
//!
//! What is left over is not kept from those who wait: [`SPARE`] of a core serves whoever is over the budget of his address, while there
//! is no more of them. So a user whose own address sends garbage waits only when that is several hundred pieces a second, and what he waits
//! for costs others nothing that they would feel.
//!
//! The figures: 32 and 20 a second let a user whose configuration is wrong, and some scanners, go unnoticed behind a carrier's address, and
//! cost at most 2 % of one core; a success lends 4, so garbage may be four fifths of what a busy address sends. Larger figures would let a
//! single prober keep a core busy, smaller ones would make a wait of what is common.
//!
//! All together may use [`SHARE`] of one core. The more an address has wasted, the less it may use of what is in reserve, so that many
//! addresses which send garbage do not take the turn of one that has not. The last third is for those who show a terminator, or whose
//! address has had a success lately, so that they get in beside a flood from ever new addresses. What remains: such a flood competes with
//! new honest addresses without a prefix, whose connections then wait for a turn, or for the next attempt.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_obfuscation::Evidence;
use culvert_transport::Remote;
use tokio::time::Instant;

/// An address gets another derivation after this: 20 in a second, about 2 % of one core.
const EACH: Duration = Duration::from_millis(50);
/// Derivations that an address may waste at once.
const BURST: u32 = 32;
/// What each success adds to that, and up to how many.
const BONUS: u32 = 4;
const MOST_BONUS: u32 = 256;
/// Connections of one address that wait for their turn: the last waits about three seconds.
const MOST_WAITING_EACH: u16 = 64;
/// Connections that wait altogether: each may keep 16 KiB meanwhile.
const MOST_WAITING: usize = 1024;
/// How long a wasted derivation is held against an address.
const FORGIVEN: Duration = Duration::from_secs(60);
/// All derivations may use this share of one core, in percent.
const SHARE: u32 = 60;
/// Those who are over the budget of their address may use this share of one core together, in percent, and so much of it at once.
const SPARE: u32 = 20;
const SPARE_AT_ONCE: Duration = Duration::from_millis(50);
/// What a derivation is counted as before it is done.
const AT_LEAST: Duration = Duration::from_micros(20);
/// Core time in reserve, all of it only for those who are known for good.
const RESERVE: Duration = Duration::from_millis(500);
/// An address that has wasted so many, or more, may use the least part of it.
const WORST: u32 = 3;
/// One derivation is counted as no more than this.
const LONGEST: Duration = Duration::from_millis(5);
/// How soon to look again when all addresses together use too much.
const AGAIN: Duration = Duration::from_millis(50);
/// Addresses remembered, in each of two generations. An address forgotten is one that nothing is known against.
/// So many fill a table of 2^14 places as far as it may be filled.
const GENERATION: usize = 14_336;

/// The budgets of all addresses.
pub(crate) struct Budget(Mutex<State>);

/// Whether a derivation may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may, and is paid for.
    Now,
    /// Not before this; ask again then.
    After(Instant),
    /// Never: too many wait already.
    Never,
}

/// One connection's dealings with the budget. What was wasted stays wasted when it is dropped.
pub(crate) struct Account {
    budget: Arc<Budget>,
    address: Address,
    /// A turn that is not used yet.
    reserved: Option<(Evidence, Instant)>,
    waits: bool,
    /// A turn that was granted, for a derivation that is not done yet.
    granted: Option<Grant>,
    /// What is charged to those who were over their budgets.
    spare_time: Duration,
    /// Derivations done.
    bare: u32,
    terminated: u32,
    core_time: Duration,
}

/// What a turn was paid from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    Own(Evidence),
    /// What others left over.
    Spare,
}

/// Who shares a budget: an IPv4 address, or the 2^64 addresses that an IPv6 host has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Address(u64, bool);

impl Address {
    fn of(peer: Remote) -> Self {
        match peer.ip().to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits()), false),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64, true),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted address]")
    }
}

struct State {
    /// Core time.
    all: Bucket,
    spare: Bucket,
    recent: HashMap<Address, Entry>,
    older: HashMap<Address, Entry>,
    waiting: usize,
}

/// What is known of an address.
#[derive(Clone, Copy)]
struct Entry {
    bare: Bucket,
    /// For those who show a terminator, which others at the address cannot use up without having recorded one.
    terminated: Bucket,
    /// What it wasted lately.
    standing: Bucket,
    /// Successes not yet spent on waste.
    bonus: u32,
    waiting: u16,
}

/// A budget as the time at which all that was taken will be paid off.
#[derive(Clone, Copy)]
struct Bucket(Instant);

impl Bucket {
    fn debt(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    fn take(&mut self, amount: Duration, now: Instant) {
        self.0 = self.0.max(now) + amount;
    }

    fn give_back(&mut self, amount: Duration) {
        // Before the epoch of the clock there is no debt either.
        self.0 = self.0.checked_sub(amount).unwrap_or(self.0);
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        let empty = Bucket(now);
        Self { bare: empty, terminated: empty, standing: empty, bonus: 0, waiting: 0 }
    }

    fn bucket(&mut self, evidence: Evidence) -> &mut Bucket {
        match evidence {
            Evidence::Nothing => &mut self.bare,
            Evidence::Terminator => &mut self.terminated,
        }
    }

    /// Takes a place in line; returns when its turn comes.
    fn take_turn(&mut self, evidence: Evidence, now: Instant) -> Instant {
        let bucket = self.bucket(evidence);
        bucket.take(EACH, now);
        let wait = bucket.debt(now).saturating_sub(EACH * BURST);
        if !wait.is_zero() && self.bonus > 0 {
            self.bonus -= 1;
            self.bucket(evidence).give_back(EACH);
            return now;
        }
        now + wait
    }

    /// Whether something speaks for who comes from there.
    fn is_known(&self, evidence: Evidence) -> bool {
        self.bonus > 0 || evidence == Evidence::Terminator
    }

    /// How much it may use of the core time in reserve.
    fn reserve_for(&self, evidence: Evidence, now: Instant) -> Duration {
        let debt = self.standing.debt(now).as_millis();
        let wasted = debt.div_ceil(FORGIVEN.as_millis()).min(WORST.into());
        match wasted {
            0 if self.is_known(evidence) => RESERVE,
            wasted => RESERVE * 2 / 3 / (1 + wasted as u32),
        }
    }
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            all: Bucket(now),
            spare: Bucket(now),
            recent: generation(now),
            older: generation(now),
            waiting: 0,
        })))
    }

    /// For a connection of this peer.
    pub(crate) fn account(self: &Arc<Self>, peer: Remote) -> Account {
        Account {
            budget: self.clone(),
            address: Address::of(peer),
            reserved: None,
            waits: false,
            granted: None,
            spare_time: Duration::ZERO,
            bare: 0,
            terminated: 0,
            core_time: Duration::ZERO,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for a generation. All of it was written to once, so that it takes no more memory when addresses come.
fn generation(now: Instant) -> HashMap<Address, Entry> {
    let mut addresses = HashMap::with_capacity(GENERATION);
    addresses.extend((0..GENERATION as u64).map(|number| (Address(number, false), Entry::new(now))));
    addresses.clear();
    addresses
}

impl State {
    /// The entry, which is remembered longer for having been looked at.
    fn entry(&mut self, address: Address, now: Instant) -> &mut Entry {
        if self.recent.len() >= GENERATION && !self.recent.contains_key(&address) {
            std::mem::swap(&mut self.recent, &mut self.older);
            self.recent.clear();
        }
        let older = &mut self.older;
        let known = || older.remove(&address).unwrap_or_else(|| Entry::new(now));
        self.recent.entry(address).or_insert_with(known)
    }

    /// Whether all addresses together leave a derivation to this one.
    fn leaves_one_to(&mut self, address: Address, evidence: Evidence, now: Instant) -> bool {
        let reserve = self.entry(address, now).reserve_for(evidence, now);
        self.all.debt(now) < share_of(reserve)
    }

    /// Whether there is something over for who is over his budget. Those who wait come first.
    fn has_spare(&mut self, address: Address, waits: bool, now: Instant) -> bool {
        let is_first = waits || self.entry(address, now).waiting == 0;
        is_first && self.spare.debt(now) < spare_share_of(SPARE_AT_ONCE)
    }

    fn wait(&mut self, address: Address, now: Instant) -> bool {
        let all = self.waiting;
        let entry = self.entry(address, now);
        if entry.waiting >= MOST_WAITING_EACH || all >= MOST_WAITING {
            return false;
        }
        entry.waiting += 1;
        self.waiting += 1;
        true
    }

    fn wait_no_more(&mut self, address: Address, now: Instant) {
        let entry = self.entry(address, now);
        // It may have been forgotten meanwhile.
        entry.waiting = entry.waiting.saturating_sub(1);
        self.waiting = self.waiting.saturating_sub(1);
    }
}

impl Account {
    /// Asks for a derivation.
    pub(crate) fn turn(&mut self, evidence: Evidence, now: Instant) -> Turn {
        let budget = self.budget.clone();
        let mut state = budget.lock();
        self.give_up_grant(&mut state, now);
        if self.reserved.is_some_and(|(reserved, _)| reserved != evidence) {
            self.give_up_turn(&mut state, now);
        }
        let address = self.address;
        let (_, at) = *self
            .reserved
            .get_or_insert_with(|| (evidence, state.entry(address, now).take_turn(evidence, now)));
        let is_over = now < at;
        let wait_until = if is_over && !state.has_spare(address, self.waits, now) {
            at.min(now + AGAIN)
        } else if state.leaves_one_to(address, evidence, now) {
            self.grant(&mut state, if is_over { Grant::Spare } else { Grant::Own(evidence) }, now);
            return Turn::Now;
        } else {
            now + AGAIN
        };
        self.waits = self.waits || state.wait(address, now);
        if !self.waits {
            self.give_up_turn(&mut state, now);
            return Turn::Never;
        }
        Turn::After(wait_until)
    }

    /// Whether something speaks for this connection, so that it should not wait for others.
    pub(crate) fn is_known(&self, evidence: Evidence, now: Instant) -> bool {
        self.budget.lock().entry(self.address, now).is_known(evidence)
    }

    /// A derivation was done, and took so long.
    pub(crate) fn derived(&mut self, evidence: Evidence, took: Duration, now: Instant) {
        let took = took.min(LONGEST);
        self.core_time += took;
        let budget = self.budget.clone();
        let mut state = budget.lock();
        state.all.take(share_of(took), now);
        if self.granted.take() == Some(Grant::Spare) {
            self.spare_time += took.max(AT_LEAST);
            state.spare.take(spare_share_of(took.saturating_sub(AT_LEAST)), now);
        } else {
            *self.count(evidence) += 1;
        }
    }

    /// The preamble was good: everything is paid back.
    pub(crate) fn refund(&mut self, now: Instant) {
        let budget = self.budget.clone();
        let mut state = budget.lock();
        state.all.give_back(share_of(self.core_time));
        state.spare.give_back(spare_share_of(self.spare_time));
        let entry = state.entry(self.address, now);
        entry.standing.give_back(FORGIVEN * (self.bare + self.terminated));
        entry.bare.give_back(EACH * self.bare);
        entry.terminated.give_back(EACH * self.terminated);
        entry.bonus = (entry.bonus + BONUS).min(MOST_BONUS);
        (self.bare, self.terminated) = (0, 0);
        (self.core_time, self.spare_time) = (Duration::ZERO, Duration::ZERO);
    }

    /// The turn that was waited for has come.
    fn grant(&mut self, state: &mut State, grant: Grant, now: Instant) {
        match grant {
            // What was reserved is left to others of the address.
            Grant::Spare => {
                state.spare.take(spare_share_of(AT_LEAST), now);
                self.give_up_turn(state, now);
            }
            Grant::Own(_) => {
                self.reserved = None;
                self.stop_waiting(state, now);
            }
        }
        state.entry(self.address, now).standing.take(FORGIVEN, now);
        self.granted = Some(grant);
    }

    /// A turn that was granted is not used.
    fn give_up_grant(&mut self, state: &mut State, now: Instant) {
        let Some(grant) = self.granted.take() else { return };
        let entry = state.entry(self.address, now);
        entry.standing.give_back(FORGIVEN);
        match grant {
            Grant::Own(evidence) => entry.bucket(evidence).give_back(EACH),
            Grant::Spare => state.spare.give_back(spare_share_of(AT_LEAST)),
        }
    }

    fn count(&mut self, evidence: Evidence) -> &mut u32 {
        match evidence {
            Evidence::Nothing => &mut self.bare,
            Evidence::Terminator => &mut self.terminated,
        }
    }

    fn give_up_turn(&mut self, state: &mut State, now: Instant) {
        if let Some((evidence, _)) = self.reserved.take() {
            state.entry(self.address, now).bucket(evidence).give_back(EACH);
        }
        self.stop_waiting(state, now);
    }

    fn stop_waiting(&mut self, state: &mut State, now: Instant) {
        if std::mem::take(&mut self.waits) {
            state.wait_no_more(self.address, now);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.reserved.is_some() || self.waits || self.granted.is_some() {
            let (budget, now) = (self.budget.clone(), Instant::now());
            let mut state = budget.lock();
            self.give_up_grant(&mut state, now);
            self.give_up_turn(&mut state, now);
        }
    }
}

/// How long it takes until there is so much core time over.
fn spare_share_of(core_time: Duration) -> Duration {
    core_time * 100 / SPARE
}

/// How long it takes until all addresses together have so much core time.
fn share_of(core_time: Duration) -> Duration {
    core_time * 100 / SHARE
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
