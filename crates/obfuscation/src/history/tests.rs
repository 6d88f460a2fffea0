//! The history with a clock of the test's, and its stored form cut at every place.

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn seed(n: u8) -> [u8; 16] {
    [n; 16]
}

fn small() -> SeedHistoryLimits {
    SeedHistoryLimits {
        seed_ttl: Duration::from_secs(100),
        max_seeds: 3,
        address_ttl: Duration::from_secs(10),
        max_addresses: 2,
    }
}

fn history(limits: SeedHistoryLimits) -> SeedHistory {
    SeedHistory::new(limits, SeedIndexKey::new([1; 16]))
}

fn restore(
    limits: SeedHistoryLimits,
    stored: &[u8],
    now: SystemTime,
) -> Result<RestoredHistory, NotASeedHistory> {
    // Of another run.
    SeedHistory::restore(limits, SeedIndexKey::new([2; 16]), stored, now)
}

fn strict(history: &mut SeedHistory, n: u8, seconds: u64) -> bool {
    history.add(ReplayMode::Strict, &seed(n), PEER, at(seconds)).is_accepted()
}

fn retry(history: &mut SeedHistory, n: u8, peer: IpAddr, seconds: u64) -> SeedVerdict {
    history.add(ReplayMode::SameAddressMayRetry, &seed(n), peer, at(seconds))
}

fn repeated(after: u64, address: AddressMatch, accepted: bool) -> SeedVerdict {
    SeedVerdict::Repeated { after: Duration::from_secs(after), address, accepted }
}

#[test]
fn a_seed_is_refused_until_it_expires() {
    let mut history = history(small());
    assert!(strict(&mut history, 1, 0));
    assert!(!strict(&mut history, 1, 0));
    assert!(!strict(&mut history, 1, 100));
    assert!(strict(&mut history, 1, 101), "expired and new again");
    assert!(!strict(&mut history, 1, 150));
}

#[test]
fn a_retry_is_allowed_from_the_same_address_for_a_while() {
    let mut history = history(small());
    assert!(retry(&mut history, 1, PEER, 0).is_accepted());
    assert_eq!(retry(&mut history, 1, PEER, 9), repeated(9, AddressMatch::Equal, true));
    assert_eq!(retry(&mut history, 1, OTHER, 9), repeated(9, AddressMatch::Unequal, false));
    assert_eq!(retry(&mut history, 1, PEER, 11), repeated(11, AddressMatch::Unknown, false));
    retry(&mut history, 2, PEER, 12);
    retry(&mut history, 3, PEER, 12);
    assert!(history.addresses.len() <= 2);
}

#[test]
fn the_oldest_goes_first_when_it_is_full() {
    let mut history = history(small());
    for n in 1..=4 {
        assert!(strict(&mut history, n, u64::from(n)));
    }
    assert_eq!(history.len(), 3);
    assert!(!strict(&mut history, 2, 5) && !strict(&mut history, 4, 5));
    assert!(strict(&mut history, 1, 5));
}

#[test]
fn a_clock_set_back_forgets_nothing() {
    let mut history = history(small());
    assert!(strict(&mut history, 1, 1000));
    assert!(!strict(&mut history, 1, 0));
}

#[test]
fn seeds_of_other_lengths_are_told_apart() {
    let mut history = history(small());
    let mut add = |seed: &[u8]| history.add(ReplayMode::Strict, seed, PEER, at(0)).is_accepted();
    assert!(add(&[1; 32]) && add(&[1; 31]) && !add(&[1; 32]));
}

#[test]
fn snapshot_and_appended_records_come_back() {
    let mut history = history(SeedHistoryLimits::default());
    strict(&mut history, 1, 0);
    let mut stored = history.snapshot(at(1));
    for n in 2..=3 {
        let SeedVerdict::New(record) = retry(&mut history, n, PEER, n.into()) else { panic!("{n} is new") };
        stored.extend_from_slice(record.as_bytes());
    }
    assert_eq!(stored, history.snapshot(at(10)), "one format for both");

    for cut in 0..stored.len() {
        let restored = restore(SeedHistoryLimits::default(), &stored[..cut], at(10)).unwrap();
        let whole = cut.saturating_sub(HEADER.len()) / SEED_RECORD_LEN;
        assert_eq!(restored.valid, whole, "cut at {cut}");
        assert_eq!(restored.history.len(), whole, "cut at {cut}");
    }
    let mut restored = restore(SeedHistoryLimits::default(), &stored, at(10)).unwrap();
    assert_eq!((restored.valid, restored.damaged), (3, 0));
    assert!((1..=3).all(|n| !strict(&mut restored.history, n, 20)));
    assert!(strict(&mut restored.history, 4, 20));
}

#[test]
fn damage_costs_the_damaged_record_only() {
    let mut history = history(SeedHistoryLimits::default());
    (1..=3).for_each(|n| assert!(strict(&mut history, n, 0)));
    let stored = history.snapshot(at(0));
    for position in HEADER.len()..stored.len() {
        let mut damaged = stored.clone();
        damaged[position] ^= 1;
        let restored = restore(SeedHistoryLimits::default(), &damaged, at(0)).unwrap();
        assert_eq!((restored.valid, restored.damaged), (2, 1), "byte {position}");
    }
    let mut other = stored;
    other[7] = 2;
    assert_eq!(restore(small(), &other, at(0)).unwrap_err(), NotASeedHistory);
    assert_eq!(restore(small(), b"something", at(0)).unwrap_err(), NotASeedHistory);
}

#[test]
fn restoring_keeps_to_the_limits() {
    let mut history = history(SeedHistoryLimits::default());
    (1..=9).for_each(|n| assert!(strict(&mut history, n, u64::from(n) * 20)));
    let stored = history.snapshot(at(200));
    let restored = restore(small(), &stored, at(200)).unwrap();
    assert_eq!((restored.valid, restored.history.len()), (9, 3));
    let restored = restore(small(), &stored, at(1000)).unwrap();
    assert!(restored.history.is_empty());
}

#[test]
fn many_seeds_are_all_known_also_after_a_restart_and_when_it_is_full() {
    const MOST: usize = 70_000;
    let limits = SeedHistoryLimits { max_seeds: MOST, ..SeedHistoryLimits::default() };
    let mut history = history(limits);
    let seed = |number: usize| (number as u128).to_be_bytes();
    for number in 0..2 * MOST {
        assert!(history.add(ReplayMode::Strict, &seed(number), PEER, at(number as u64 / 1000)).is_accepted());
        assert!(history.len() <= MOST);
    }
    let now = at(1000);
    let stored = history.snapshot(now);
    let restarted = restore(limits, &stored, now).unwrap();
    assert_eq!((restarted.valid, restarted.damaged, restarted.history.len()), (MOST, 0, MOST));
    for mut history in [history, restarted.history] {
        assert_eq!(history.snapshot(now), stored);
        assert!((MOST..2 * MOST).all(|number| history.contains(&seed(number), now)));
        assert!((0..MOST).all(|number| !history.contains(&seed(number), now)));
        // The oldest makes room for one that comes, and for no other.
        assert!(history.add(ReplayMode::Strict, &seed(0), PEER, now).is_accepted());
        assert!(!history.contains(&seed(MOST), now) && history.contains(&seed(MOST + 1), now));
        assert!(!history.add(ReplayMode::Strict, &seed(0), PEER, now).is_accepted());
    }
}

#[test]
fn a_seed_that_comes_again_when_it_is_too_old_is_known_since_then() {
    let mut history = history(small());
    assert!(strict(&mut history, 1, 0));
    // It stays behind one that is younger by a clock that was set back.
    assert!(strict(&mut history, 2, 50));
    assert!(strict(&mut history, 3, 20));
    assert!(strict(&mut history, 1, 130));
    assert!(strict(&mut history, 3, 131));
    assert!(!strict(&mut history, 1, 230) && !strict(&mut history, 3, 230));
    let stored = history.snapshot(at(140));
    let mut restored = restore(small(), &stored, at(140)).unwrap().history;
    assert!(!strict(&mut restored, 1, 140) && !strict(&mut restored, 3, 140));
}

#[test]
fn the_latest_arrivals_have_addresses_and_those_from_the_disk_have_none() {
    let limits = SeedHistoryLimits { max_addresses: 3, max_seeds: 100, ..small() };
    let mut first = history(limits);
    (0..50).for_each(|n| assert!(retry(&mut first, n, PEER, 0).is_accepted()));
    let mut history = restore(limits, &first.snapshot(at(0)), at(0)).unwrap().history;
    (50..60).for_each(|n| assert!(retry(&mut history, n, OTHER, 1).is_accepted()));
    for n in 0..60 {
        let expected = if n < 57 {
            repeated(u64::from(n < 50) + 1, AddressMatch::Unknown, false)
        } else {
            repeated(1, AddressMatch::Equal, true)
        };
        assert_eq!(retry(&mut history, n, OTHER, 2), expected, "{n}");
    }
}
