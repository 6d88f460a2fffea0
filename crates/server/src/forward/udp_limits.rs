//! What keeps the datagrams of one tunnel from being turned against others: against networks that are searched for hosts, hosts that
//! are flooded, and this host, for which the answers of some services are a flood.
//!
//! A user is told from an abuser by who answers. Applications talk with others that talk with them, so what is answered is free, and only
//! what is not has a limit. Whoever answers cannot be lied to about who asked: sockets are connected, so only the address that was asked
//! is heard, and this host's own address is all that anybody can have an answer sent to. The figures leave room for what is common:
//! a page of a hundred hosts over QUIC, the first flight of a large request, a call that looks for a way past routers, a game that asks
//! hundreds of servers for their pings, a household behind one tunnel. They do not leave room for a scanner.
//!
//! Not which ports and addresses there may be, which is said by traffic rules, and not how fast all may be, which is too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::figures::DatagramLoss;

/// New sockets, whoever answers.
const OPENS: Rate = Rate::per_second(128, 1024);
/// New sockets from which nothing has come yet.
const UNANSWERED_OPENS: Rate = Rate::per_second(32, 256);
/// Packets to those who do not answer: of the whole tunnel, and of one socket.
const UNANSWERED: Rate = Rate::per_second(256, 2048);
const UNANSWERED_EACH: Rate = Rate::per_second(16, 128);
/// Questions to name servers.
const QUERIES: Rate = Rate::per_second(100, 400);
/// KiB that come although nothing was sent for a long while.
const UNASKED: Rate = Rate::per_second(1024, 8192);

/// For so long an answer speaks for who gave it.
const FRESH: Duration = Duration::from_secs(30);
/// What counts as one packet: a datagram that is larger goes in several.
const PACKET: usize = 1500;
/// What one datagram may have as its answer before more of it counts as unasked.
const ANSWER: usize = 4 * 1024 * 1024;

/// Of one tunnel, however many gateways it has had.
#[derive(Debug)]
pub(crate) struct UdpLimits {
    /// `None` for none.
    budgets: Option<Mutex<Budgets>>,
}

#[derive(Debug)]
struct Budgets {
    opens: Bucket,
    unanswered_opens: Bucket,
    unanswered: Bucket,
    queries: Bucket,
    unasked: Bucket,
}

/// How a socket and its destination get along.
#[derive(Debug)]
pub(crate) struct Dealings {
    answered: Option<Instant>,
    unanswered: Bucket,
    /// Bytes since something was sent.
    unasked: usize,
}

impl UdpLimits {
    /// All of them, or none.
    pub(crate) fn new(limited: bool, now: Instant) -> Self {
        let full = Bucket(now);
        let budgets = || Budgets {
            opens: full,
            unanswered_opens: full,
            unanswered: full,
            queries: full,
            unasked: full,
        };
        Self { budgets: limited.then(|| Mutex::new(budgets())) }
    }

    /// Whether another question may be asked.
    pub(crate) fn query(&self, now: Instant) -> Result<(), DatagramLoss> {
        let taken = self.budgets().is_none_or(|mut budgets| budgets.queries.take(QUERIES, 1, now));
        taken.then_some(()).ok_or(DatagramLoss::Queries)
    }

    /// Whether there may be another socket.
    pub(crate) fn open(&self, now: Instant) -> Result<(), DatagramLoss> {
        let Some(mut budgets) = self.budgets() else { return Ok(()) };
        let taken = budgets.unanswered_opens.has(UNANSWERED_OPENS, now)
            && budgets.opens.take(OPENS, 1, now)
            && budgets.unanswered_opens.take(UNANSWERED_OPENS, 1, now);
        taken.then_some(()).ok_or(DatagramLoss::NewDestinations)
    }

    /// Whether a datagram may be sent.
    pub(crate) fn send(
        &self,
        dealings: &mut Dealings,
        length: usize,
        now: Instant,
    ) -> Result<(), DatagramLoss> {
        let Some(mut budgets) = self.budgets() else { return Ok(()) };
        dealings.unasked = 0;
        let packets = u32::try_from(length.div_ceil(PACKET).max(1)).unwrap_or(u32::MAX);
        let taken = dealings.is_answered(now)
            || (dealings.unanswered.take(UNANSWERED_EACH, packets, now)
                && budgets.unanswered.take(UNANSWERED, packets, now));
        taken.then_some(()).ok_or(DatagramLoss::Unanswered)
    }

    /// Whether a datagram that has come may be passed on.
    pub(crate) fn receive(
        &self,
        dealings: &mut Dealings,
        length: usize,
        now: Instant,
    ) -> Result<(), DatagramLoss> {
        let Some(mut budgets) = self.budgets() else { return Ok(()) };
        if dealings.answered.replace(now).is_none() {
            budgets.unanswered_opens.give_back(UNANSWERED_OPENS);
        }
        dealings.unasked = dealings.unasked.saturating_add(length);
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let taken = dealings.unasked <= ANSWER || budgets.unasked.take(UNASKED, kib, now);
        taken.then_some(()).ok_or(DatagramLoss::Unasked)
    }

    fn budgets(&self) -> Option<MutexGuard<'_, Budgets>> {
        let budgets = self.budgets.as_ref()?;
        Some(budgets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Dealings {
    pub(crate) fn new(now: Instant) -> Self {
        Self { answered: None, unanswered: Bucket(now), unasked: 0 }
    }

    fn is_answered(&self, now: Instant) -> bool {
        self.answered.is_some_and(|answered| now.saturating_duration_since(answered) < FRESH)
    }
}

/// So many at once, and then one after each `each`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    each: Duration,
    burst: u32,
}

impl Rate {
    const fn per_second(rate: u64, burst: u32) -> Self {
        Self { each: Duration::from_nanos(1_000_000_000 / rate), burst }
    }
}

/// A budget as the time at which all that was taken will be paid off.
#[derive(Clone, Copy, Debug)]
struct Bucket(Instant);

impl Bucket {
    fn has(self, rate: Rate, now: Instant) -> bool {
        self.0.saturating_duration_since(now) + rate.each <= rate.each * rate.burst
    }

    /// Takes so much if there is any, so that what is larger than all there can be is not impossible, only expensive.
    fn take(&mut self, rate: Rate, amount: u32, now: Instant) -> bool {
        let has = self.has(rate, now);
        if has {
            self.0 = self.0.max(now) + rate.each.saturating_mul(amount);
        }
        has
    }

    fn give_back(&mut self, rate: Rate) {
        // Before the epoch of the clock there is no debt either.
        self.0 = self.0.checked_sub(rate.each).unwrap_or(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn count(most: u32, mut allowed: impl FnMut() -> bool) -> u32 {
        (0..most).map(|_| u32::from(allowed())).sum()
    }

    #[test]
    fn a_scanner_gets_no_further() {
        let start = Instant::now();
        let limits = UdpLimits::new(true, start);
        assert_eq!(count(5000, || limits.open(start).is_ok()), UNANSWERED_OPENS.burst);
        assert_eq!(limits.open(start), Err(DatagramLoss::NewDestinations));
        // A minute of it finds 32 a second.
        let later = start + 60 * SECOND;
        let found: u32 =
            (1..=600).map(|tenth| count(50, || limits.open(start + SECOND * tenth / 10).is_ok())).sum();
        assert!((1910..=1921).contains(&found), "{found}");
        assert!(limits.open(later).is_err());
    }

    #[test]
    fn who_is_answered_opens_many_and_not_any_number() {
        let start = Instant::now();
        let limits = UdpLimits::new(true, start);
        let opened = count(5000, || {
            let opened = limits.open(start).is_ok();
            if opened {
                limits.receive(&mut Dealings::new(start), 100, start).unwrap();
            }
            opened
        });
        assert_eq!(opened, OPENS.burst);
    }

    #[test]
    fn the_silent_are_not_flooded_and_those_who_answer_are_free() {
        let start = Instant::now();
        let limits = UdpLimits::new(true, start);
        let mut dealings = Dealings::new(start);
        let sent = count(5000, || limits.send(&mut dealings, 1200, start).is_ok());
        assert_eq!(sent, UNANSWERED_EACH.burst);
        limits.receive(&mut dealings, 1200, start).unwrap();
        assert_eq!(count(5000, || limits.send(&mut dealings, 1200, start).is_ok()), 5000);
        // It falls silent.
        let late = start + FRESH;
        assert_eq!(count(5000, || limits.send(&mut dealings, 1200, late).is_ok()), UNANSWERED_EACH.burst);
        // Many sockets to the same place have a limit together, and large datagrams count for more.
        let limits = UdpLimits::new(true, start);
        let many: u32 = (0..1000)
            .map(|_| {
                let mut dealings = Dealings::new(start);
                count(100, || limits.send(&mut dealings, 1200, start).is_ok())
            })
            .sum();
        assert_eq!(many, UNANSWERED.burst);
        let mut dealings = Dealings::new(start);
        let limits = UdpLimits::new(true, start);
        assert!((6..=7).contains(&count(100, || limits.send(&mut dealings, 32_000, start).is_ok())));
    }

    #[test]
    fn what_nobody_asked_for_is_bounded() {
        let start = Instant::now();
        let limits = UdpLimits::new(true, start);
        let mut dealings = Dealings::new(start);
        limits.send(&mut dealings, 15, start).unwrap();
        let kib = count(1 << 20, || limits.receive(&mut dealings, 1024, start).is_ok());
        assert_eq!(kib as usize, ANSWER / 1024 + UNASKED.burst as usize);
        // A receiver who says now and then that it is there hears all.
        for _ in 0..100 {
            limits.send(&mut dealings, 15, start).unwrap();
            assert_eq!(count(4096, || limits.receive(&mut dealings, 1024, start).is_ok()), 4096);
        }
    }

    #[test]
    fn questions_are_bounded_and_limits_can_be_none() {
        let start = Instant::now();
        for (limited, most) in [(true, QUERIES.burst), (false, 5000)] {
            let limits = UdpLimits::new(limited, start);
            assert_eq!(count(5000, || limits.query(start).is_ok()), most);
            let mut dealings = Dealings::new(start);
            let sent =
                count(5000, || limits.open(start).is_ok() && limits.send(&mut dealings, 1, start).is_ok());
            assert_eq!(sent, if limited { UNANSWERED_EACH.burst } else { 5000 });
        }
    }
}
