//! Budgets under a clock that only the tests move.

use std::net::{Ipv6Addr, SocketAddr};

use super::*;

const COST: Duration = Duration::from_micros(800);

fn v4(last: u32) -> Remote {
    Remote(SocketAddr::new(IpAddr::V4((0x0a00_0000 + last).into()), 1))
}

/// What a test does to the budgets, and when.
struct Run {
    budget: Arc<Budget>,
    now: Instant,
}

impl Run {
    fn new() -> Self {
        let now = Instant::now();
        Self { budget: Budget::new(now), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// One connection that asks once; whether it was judged.
    fn connect(&self, peer: Remote, evidence: Evidence, good: bool) -> bool {
        let mut account = self.budget.account(peer);
        let judged = account.turn(evidence, self.now) == Turn::Now;
        if judged {
            self.judge(&mut account, evidence, good);
        }
        judged
    }

    fn judge(&self, account: &mut Account, evidence: Evidence, good: bool) {
        account.derived(evidence, COST, self.now);
        if good {
            account.refund(self.now);
        }
    }

    fn garbage(&self, peer: Remote) -> bool {
        self.connect(peer, Evidence::Nothing, false)
    }

    fn honest(&self, peer: Remote) -> bool {
        self.connect(peer, Evidence::Nothing, true)
    }
}

#[test]
fn a_flood_is_judged_as_often_as_its_address_may_and_no_other_address_feels_it() {
    let mut run = Run::new();
    let mut judged = 0;
    for _ in 0..10_000 {
        judged += u32::from(run.garbage(v4(1)));
        run.pass(Duration::from_micros(500));
    }
    let refilled = BURST + (Duration::from_secs(5).as_millis() / EACH.as_millis()) as u32;
    let left_over = (Duration::from_secs(5) * SPARE / 100 + SPARE_AT_ONCE).div_duration_f64(COST) as u32;
    let expected = refilled + left_over * 9 / 10..=refilled + left_over + 2;
    assert!(expected.contains(&judged), "{judged} in five seconds, not {expected:?}");
    run.garbage(v4(1));
    assert!(!run.honest(v4(1)), "its budget is used up");
    assert!(run.honest(v4(2)));
    assert!(run.connect(v4(1), Evidence::Terminator, true), "who shows a terminator does not wait");
}

#[test]
fn what_is_over_is_for_whoever_waits() {
    let mut run = Run::new();
    // 500 pieces of garbage a second, which cost little since several are judged at once.
    let cheap = Duration::from_micros(120);
    for round in 0..5000 {
        let mut account = run.budget.account(v4(1));
        assert_eq!(account.turn(Evidence::Nothing, run.now), Turn::Now, "round {round}");
        account.derived(Evidence::Nothing, cheap, run.now);
        run.pass(Duration::from_millis(2));
    }
    assert!(run.honest(v4(1)), "a client at the same address does not wait");
}

#[test]
fn a_turn_that_is_not_used_costs_nothing() {
    let run = Run::new();
    for _ in 0..10_000 {
        assert_eq!(run.budget.account(v4(1)).turn(Evidence::Nothing, run.now), Turn::Now);
    }
    assert!(run.budget.lock().entry(Address::of(v4(1)), run.now).standing.debt(run.now).is_zero());
}

#[test]
fn honest_clients_use_up_nothing() {
    let run = Run::new();
    for _ in 0..100_000 {
        assert!(run.honest(v4(1)));
    }
}

#[test]
fn an_address_that_many_share_may_waste_more() {
    let mut run = Run::new();
    // Four of five connections are garbage, far more often than a budget is refilled.
    for round in 0..20_000 {
        assert!(run.connect(v4(1), Evidence::Nothing, round % 5 == 0), "round {round}");
        run.pass(Duration::from_millis(2));
    }
}

#[test]
fn who_waits_gets_the_next_turn_while_a_flood_comes_and_goes() {
    let mut run = Run::new();
    while run.garbage(v4(1)) {}
    let mut client = run.budget.account(v4(1));
    let Turn::After(at) = client.turn(Evidence::Nothing, run.now) else { panic!("there is a line") };
    assert!(at - run.now <= EACH);
    while run.now < at {
        assert!(!run.garbage(v4(1)), "somebody was first in line");
        run.pass(Duration::from_millis(1));
    }
    assert_eq!(client.turn(Evidence::Nothing, run.now), Turn::Now);
}

#[test]
fn the_line_is_short_and_those_who_leave_make_room() {
    let run = Run::new();
    while run.garbage(v4(1)) {}
    let mut waiting = Vec::new();
    loop {
        let mut account = run.budget.account(v4(1));
        match account.turn(Evidence::Nothing, run.now) {
            Turn::After(at) => {
                assert!(at - run.now <= EACH * u32::from(MOST_WAITING_EACH), "turns come within seconds");
                waiting.push(account);
            }
            Turn::Never => break,
            Turn::Now => panic!("the budget is used up"),
        }
    }
    assert_eq!(waiting.len(), usize::from(MOST_WAITING_EACH));
    drop(waiting);
    let mut account = run.budget.account(v4(1));
    assert!(matches!(account.turn(Evidence::Nothing, run.now), Turn::After(at) if at - run.now <= EACH));
}

#[test]
fn a_turn_is_changed_for_that_of_a_terminator() {
    let run = Run::new();
    while run.garbage(v4(1)) {}
    let mut client = run.budget.account(v4(1));
    assert!(matches!(client.turn(Evidence::Nothing, run.now), Turn::After(_)));
    assert_eq!(client.turn(Evidence::Terminator, run.now), Turn::Now);
    assert_eq!(run.budget.lock().waiting, 0);
}

#[test]
fn many_misbehaving_addresses_leave_room_for_the_others() {
    let mut run = Run::new();
    let began = run.now;
    let mut judged = 0;
    // 2,000 addresses, 20,000 connections each second: sixteen cores' worth.
    for round in 0..400_000 {
        judged += u32::from(run.garbage(v4(round % 2000)));
        run.pass(Duration::from_micros(50));
        // Before, it is as likely as not that one of them is new.
        if round >= 100_000 && round % 1000 == 0 {
            assert!(run.honest(v4(1_000_000 + round)), "round {round}");
        }
    }
    let used = COST * judged;
    let allowed = (run.now - began) * SHARE / 100 + RESERVE + COST;
    assert!(used <= allowed, "{used:?} of {allowed:?}");
    assert!(used >= allowed * 9 / 10, "the limit was reached: {used:?} of {allowed:?}");
}

#[test]
fn ever_new_addresses_leave_room_for_those_that_are_known() {
    let mut run = Run::new();
    assert!(run.honest(v4(0)));
    let (mut refused, mut next) = (0, 1000);
    for round in 0..100_000 {
        next += 1;
        refused += u32::from(!run.garbage(v4(next)));
        run.pass(Duration::from_micros(100));
        if round % 1000 == 0 {
            assert!(run.honest(v4(0)), "round {round}: it has had a success");
            assert!(run.connect(v4(round % 900), Evidence::Terminator, true), "round {round}: a terminator");
        }
    }
    assert!(refused > 10_000, "there was enough for all: {refused}");
}

#[test]
fn an_ipv6_host_is_one_address_and_mapped_ones_are_ipv4() {
    let address = |text: &str| Address::of(Remote(SocketAddr::new(text.parse().unwrap(), 1)));
    assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff::2"));
    assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
    assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    let low = Ipv6Addr::from_bits(u128::from(0x0a00_0001_u32) << 64);
    assert_ne!(address(&low.to_string()), address("10.0.0.1"));
    assert_eq!(format!("{:?}", address("10.0.0.1")), "[redacted address]");
}

#[test]
fn the_table_is_bounded_and_keeps_those_who_come_back() {
    let run = Run::new();
    while run.garbage(v4(0)) {}
    for address in 1..100_000 {
        run.budget.lock().entry(Address::of(v4(address)), run.now);
        if address % 1000 == 0 {
            assert!(!run.garbage(v4(0)), "it was forgotten at {address}");
        }
    }
    let state = run.budget.lock();
    assert!(state.recent.len() <= GENERATION && state.older.len() <= GENERATION);
}
