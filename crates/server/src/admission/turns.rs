//! How many clients may be in the middle of logging in. Key exchanges are what a tunnel costs most, so a rush of clients waits in line for a
//! moment, and who finds no place is turned away. Strangers are not counted: see `hold`. Source: PROTOCOL.md 3.6.
//!
//! Places are shared fairly between addresses. While there is room, an address may have up to [`SHARE`] times as many places as are still
//! free, so that many people behind one address are served like others, and yet one address can never take all that there is: a hundred
//! places leave twenty to whoever comes next. When nothing is free, a place goes to the address that has the fewest, in turn; and who comes
//! from an address with few takes the place of a login that does not get on, of the address that has most.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::AddressGroup;
use crate::config::HandshakeLimits;

/// The bound where the configuration sets none.
const MOST: usize = 10_000;
/// How many times the places that are free one address may have.
const SHARE: usize = 4;
/// A login that takes so long does not get on: others are done in a second, over bad networks too.
const STALLED: Duration = Duration::from_secs(3);
/// Clients that wait: of one address, and altogether. Each has an open connection and a few kilobytes.
const MOST_WAITING_EACH: usize = 1024;
const MOST_WAITING: usize = 8192;

/// Places for clients that log in.
pub(crate) struct HandshakeSlots {
    state: Arc<Mutex<State>>,
    wait: Option<Duration>,
}

/// A place; dropping it frees it.
pub(crate) struct HandshakeSlot {
    state: Arc<Mutex<State>>,
    group: AddressGroup,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

struct State {
    free: usize,
    groups: HashMap<AddressGroup, Group>,
    /// Those of `groups` that wait, who has the fewest places first, then who came first.
    order: BTreeSet<(usize, u64, AddressGroup)>,
    /// All groups, who has the fewest places first.
    by_size: BTreeSet<(usize, AddressGroup)>,
    waiting: usize,
    next: u64,
}

/// What an address has, and who waits there.
#[derive(Default)]
struct Group {
    held: VecDeque<Place>,
    /// Its number in `order`.
    turn: u64,
    line: VecDeque<Waiting>,
}

/// A place that is taken.
struct Place {
    number: u64,
    since: Instant,
    /// Dropped when it is needed for somebody else.
    _leave: oneshot::Sender<()>,
}

struct Waiting {
    number: u64,
    /// Told when a place is taken in its name.
    granted: oneshot::Sender<oneshot::Receiver<()>>,
}

/// Somebody in line; dropping it leaves the line, or gives back what was got too late.
struct Waiter {
    state: Arc<Mutex<State>>,
    group: AddressGroup,
    number: u64,
    granted: oneshot::Receiver<oneshot::Receiver<()>>,
    /// Nothing is left to be given back.
    served: bool,
}

enum Entered {
    Placed(u64, oneshot::Receiver<()>),
    InLine(u64, oneshot::Receiver<oneshot::Receiver<()>>),
    LineFull,
}

impl HandshakeSlots {
    pub(crate) fn new(limits: &HandshakeLimits) -> Self {
        let most = limits.at_once.map_or(MOST, |most| most.get().min(MOST));
        Self { state: Arc::new(Mutex::new(State::new(most))), wait: limits.wait_for_slot }
    }

    /// Waits for a place; `None` when there was none in time.
    pub(crate) async fn acquire(&self, group: AddressGroup) -> Option<HandshakeSlot> {
        let entered = lock(&self.state).enter(group, Instant::now());
        let place = |number, evicted| HandshakeSlot { state: self.state.clone(), group, number, evicted };
        let (number, granted) = match entered {
            Entered::Placed(number, evicted) => return Some(place(number, evicted)),
            Entered::InLine(number, granted) => (number, granted),
            Entered::LineFull => return None,
        };
        let mut waiter = Waiter { state: self.state.clone(), group, number, granted, served: false };
        let granted = match self.wait {
            Some(limit) => timeout(limit, &mut waiter.granted).await.ok()?,
            None => (&mut waiter.granted).await,
        };
        // The sender is only dropped by who leaves the line.
        let evicted = granted.ok()?;
        waiter.served = true;
        Some(place(number, evicted))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HandshakeSlot {
    /// Returns when the place is needed for somebody else.
    pub(crate) async fn evicted(&mut self) {
        // Nothing is ever sent: the sender's end is the message.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        lock(&self.state).release(self.group, self.number);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut state = lock(&self.state);
        // Granting happens under the lock, so that this cannot miss it.
        match self.granted.try_recv() {
            Ok(_) => state.release(self.group, self.number),
            Err(_) => state.leave(self.group, self.number),
        }
    }
}

impl State {
    fn new(most: usize) -> Self {
        Self {
            free: most,
            groups: HashMap::new(),
            order: BTreeSet::new(),
            by_size: BTreeSet::new(),
            waiting: 0,
            next: 0,
        }
    }

    fn enter(&mut self, address: AddressGroup, now: Instant) -> Entered {
        let number = self.next;
        self.next += 1;
        let (held, line) =
            self.groups.get(&address).map_or((0, 0), |group| (group.held.len(), group.line.len()));
        if line == 0 {
            if !may_take(self.free, held) {
                self.evict_for(held, now);
            }
            if may_take(self.free, held) {
                return Entered::Placed(number, self.take(address, number, now));
            }
        }
        if line >= MOST_WAITING_EACH || self.waiting >= MOST_WAITING {
            return Entered::LineFull;
        }
        let (sender, granted) = oneshot::channel();
        self.waiting += 1;
        self.change(address, |group| {
            if group.line.is_empty() {
                group.turn = number;
            }
            group.line.push_back(Waiting { number, granted: sender });
        });
        Entered::InLine(number, granted)
    }

    fn take(&mut self, address: AddressGroup, number: u64, now: Instant) -> oneshot::Receiver<()> {
        let (leave, evicted) = oneshot::channel();
        self.free -= 1;
        self.change(address, |group| group.held.push_back(Place { number, since: now, _leave: leave }));
        evicted
    }

    /// Frees the place of a login that does not get on, of the address that has most, for one that has far fewer.
    fn evict_for(&mut self, held: usize, now: Instant) {
        let Some((most, address)) = self.by_size.last().copied() else { return };
        let first = self.groups.get(&address).and_then(|group| group.held.front());
        let is_stalled = |place: &Place| now.saturating_duration_since(place.since) >= STALLED;
        if let Some(place) = first.filter(|place| most > 2 * (held + 1) && is_stalled(place)) {
            let number = place.number;
            self.release(address, number);
        }
    }

    /// A place that was taken from its owner is free already.
    fn release(&mut self, address: AddressGroup, number: u64) {
        let mut freed = 0;
        self.change(address, |group| {
            let before = group.held.len();
            group.held.retain(|place| place.number != number);
            freed = before - group.held.len();
        });
        self.free += freed;
        self.grant();
    }

    fn leave(&mut self, address: AddressGroup, number: u64) {
        let mut left = 0;
        self.change(address, |group| {
            let before = group.line.len();
            group.line.retain(|waiting| waiting.number != number);
            left = before - group.line.len();
        });
        self.waiting -= left;
    }

    /// Gives what is free to those who wait.
    fn grant(&mut self) {
        while let Some((held, _, address)) = self.order.first().copied() {
            // Who has more may not take one either.
            if !may_take(self.free, held) {
                return;
            }
            let turn = self.next;
            self.next += 1;
            let mut first = None;
            self.change(address, |group| {
                first = group.line.pop_front();
                group.turn = turn;
            });
            let Some(waiting) = first else { return };
            self.waiting -= 1;
            let evicted = self.take(address, waiting.number, Instant::now());
            if waiting.granted.send(evicted).is_err() {
                // It is leaving at this moment.
                self.free += 1;
                self.change(address, |group| drop(group.held.pop_back()));
            }
        }
    }

    /// Changes a group and keeps its place in the orders.
    fn change(&mut self, address: AddressGroup, change: impl FnOnce(&mut Group)) {
        let mut entry = match self.groups.entry(address) {
            MapEntry::Occupied(entry) => entry,
            MapEntry::Vacant(entry) => entry.insert_entry(Group::default()),
        };
        let group = entry.get_mut();
        self.order.remove(&(group.held.len(), group.turn, address));
        self.by_size.remove(&(group.held.len(), address));
        change(group);
        let held = group.held.len();
        if !group.line.is_empty() {
            self.order.insert((held, group.turn, address));
        }
        if held > 0 {
            self.by_size.insert((held, address));
        } else if group.line.is_empty() {
            entry.remove();
        }
    }
}

/// Whether an address with so many places may have another.
fn may_take(free: usize, held: usize) -> bool {
    match held {
        0 => free > 0,
        // The last one is for an address that has none.
        _ => free > 1 && held < free.saturating_mul(SHARE),
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
