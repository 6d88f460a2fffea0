//! The store through restarts, crashes at any byte, damage, and folders that cannot be written.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::log::{Captured, Level, Origin};
use crate::scratch::Scratch;

/// What is said of a folder that somebody else has.
const USED: &str = "another process uses";
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn open_at(folder: &Path, now: SystemTime) -> (SeedStore, Captured) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let (store, captured) = open_once(folder, now);
        // A process that another test starts has the lock of this one's last store until it is what it is to be.
        if !captured.text().contains(USED) || tokio::time::Instant::now() > deadline {
            return (store, captured);
        }
    }
}

fn open_once(folder: &Path, now: SystemTime) -> (SeedStore, Captured) {
    let (log, captured) = Logger::captured(Level::Info, Origin::default());
    (SeedStore::open(folder, SeedHistoryLimits::default(), now, log), captured)
}

fn seed(number: usize) -> [u8; 16] {
    u128::try_from(number).unwrap().to_be_bytes()
}

fn is_new(store: &SeedStore, number: usize, now: SystemTime) -> bool {
    store.add(ReplayMode::Strict, &seed(number), PEER, now).is_accepted()
}

#[test]
fn seeds_survive_restarts_for_thirty_days() {
    let scratch = Scratch::new("seeds");
    let folder = scratch.path().join("deep/state");
    let day = Duration::from_secs(86_400);
    let (store, warnings) = open_at(&folder, start());
    assert!(is_new(&store, 1, start()) && !is_new(&store, 1, start()));
    drop(store);
    let (store, _) = open_at(&folder, start() + 29 * day);
    assert!(!is_new(&store, 1, start() + 29 * day) && is_new(&store, 2, start() + 29 * day));
    drop(store);
    let (store, _) = open_at(&folder, start() + 31 * day);
    assert!(is_new(&store, 1, start() + 31 * day) && !is_new(&store, 2, start() + 31 * day));
    assert_eq!(warnings.text(), "");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join(JOURNAL)), mode(&folder.join(LOCK))), (0o700, 0o600, 0o600));
}

#[test]
fn a_crash_at_any_byte_loses_at_most_the_last_record() {
    let scratch = Scratch::new("seeds-crash");
    let (store, _) = open_at(scratch.path(), start());
    (0..6).for_each(|number| assert!(is_new(&store, number, start())));
    drop(store);
    let journal = scratch.path().join(JOURNAL);
    let whole = fs::read(&journal).unwrap();
    let header = whole.len() - 6 * SEED_RECORD_LEN;
    for length in 0..=whole.len() {
        fs::write(&journal, &whole[..length]).unwrap();
        let kept = length.saturating_sub(header) / SEED_RECORD_LEN;
        // Twice: what the first start repaired and appended must read well again.
        for round in 0..2 {
            let (store, warnings) = open_at(scratch.path(), start());
            let known = (0..6).filter(|number| !is_new(&store, *number, start())).count();
            assert_eq!(known, if round == 0 { kept } else { 6 }, "cut at {length}, round {round}");
            assert_eq!(warnings.text(), "", "cut at {length}");
        }
    }
}

#[test]
fn damage_costs_only_what_was_damaged_and_garbage_is_set_aside() {
    let scratch = Scratch::new("seeds-damage");
    let journal = scratch.path().join(JOURNAL);
    let (store, _) = open_at(scratch.path(), start());
    (0..3).for_each(|number| assert!(is_new(&store, number, start())));
    drop(store);
    let mut bytes = fs::read(&journal).unwrap();
    let middle = bytes.len() - 2 * SEED_RECORD_LEN + 3;
    bytes[middle] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let (store, _) = open_at(scratch.path(), start());
    let found: Vec<bool> = (0..3).map(|number| is_new(&store, number, start())).collect();
    assert_eq!(found, [false, true, false]);
    drop(store);
    fs::write(&journal, b"something else entirely").unwrap();
    let (store, warnings) = open_at(scratch.path(), start());
    assert!(store.is_empty() && warnings.text().contains("set aside"), "{}", warnings.text());
    assert_eq!(fs::read(scratch.path().join(SET_ASIDE)).unwrap(), b"something else entirely");
    assert!(is_new(&store, 1, start()));
    drop(store);
    assert!(!is_new(&open_at(scratch.path(), start()).0, 1, start()));
}

#[test]
fn the_journal_does_not_grow_with_dead_records() {
    let scratch = Scratch::new("seeds-compact");
    let limits = SeedHistoryLimits { max_seeds: 100, ..SeedHistoryLimits::default() };
    let (log, warnings) = Logger::captured(Level::Info, Origin::default());
    let store = SeedStore::open(scratch.path(), limits, start(), log);
    let count = 3 * SLACK;
    (0..count).for_each(|number| assert!(is_new(&store, number, start())));
    assert_eq!(store.len(), 100);
    let length = fs::metadata(scratch.path().join(JOURNAL)).unwrap().len();
    assert!(length < u64::try_from((SLACK + 300) * SEED_RECORD_LEN).unwrap(), "{length}");
    drop(store);
    let (store, _) = open_at(scratch.path(), start());
    assert!((count - 100..count).all(|number| !is_new(&store, number, start())));
    assert_eq!(warnings.text(), "");
}

#[test]
fn without_a_place_to_write_one_warning_and_memory() {
    let scratch = Scratch::new("seeds-nowhere");
    // A file where the folder should be: refused to every user, root too.
    let folder = scratch.path().join("state");
    fs::write(&folder, "").unwrap();
    let (store, captured) = open_at(&folder, start());
    for number in 0..10 {
        let now = start() + RETRY * u32::try_from(number).unwrap();
        assert!(is_new(&store, number, now) && !is_new(&store, number, now));
    }
    assert_eq!(captured.text().lines().count(), 1, "{}", captured.text());
    assert!(captured.text().contains("kept in memory only"));
    // The obstacle goes away: everything that is remembered is stored at the next try.
    fs::remove_file(&folder).unwrap();
    assert!(is_new(&store, 99, start() + RETRY * 20));
    assert!(captured.text().lines().last().unwrap().contains("stored again"));
    drop(store);
    let (store, _) = open_at(&folder, start() + RETRY * 21);
    assert!(!is_new(&store, 3, start() + RETRY * 21) && !is_new(&store, 99, start() + RETRY * 21));
}

#[test]
fn a_history_that_could_not_be_read_at_first_is_not_overwritten() {
    let scratch = Scratch::new("seeds-late");
    let journal = scratch.path().join(JOURNAL);
    let hidden = scratch.path().join("hidden");
    assert!(is_new(&open_at(scratch.path(), start()).0, 1, start()));
    fs::rename(&journal, &hidden).unwrap();
    // A folder of this name cannot be read as a file.
    fs::create_dir(&journal).unwrap();
    let (store, captured) = open_at(scratch.path(), start());
    assert!(captured.text().contains("cannot"), "{}", captured.text());
    assert!(is_new(&store, 2, start()));
    fs::remove_dir(&journal).unwrap();
    fs::rename(&hidden, &journal).unwrap();
    let later = start() + RETRY;
    assert!(is_new(&store, 3, later) && !is_new(&store, 1, later), "the earlier run's seed is known again");
    drop(store);
    let (store, _) = open_at(scratch.path(), later);
    assert!((1..=3).all(|number| !is_new(&store, number, later)));
}

#[test]
fn two_servers_do_not_share_a_journal() {
    let scratch = Scratch::new("seeds-two");
    let (first, quiet) = open_at(scratch.path(), start());
    let (second, warned) = open_once(scratch.path(), start());
    assert!(is_new(&first, 1, start()) && is_new(&second, 1, start()));
    assert_eq!(quiet.text(), "");
    assert!(warned.text().contains(USED), "{}", warned.text());
}

#[test]
fn links_are_not_followed() {
    let scratch = Scratch::new("seeds-link");
    let outside = scratch.path().join("outside");
    fs::write(&outside, "keep").unwrap();
    let folder = scratch.path().join("state");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&outside, folder.join(JOURNAL)).unwrap();
    let (store, captured) = open_at(&folder, start());
    assert!(is_new(&store, 1, start()));
    assert!(captured.text().contains("cannot open"), "{}", captured.text());
    assert_eq!(fs::read(&outside).unwrap(), b"keep");
}

#[test]
fn clocks_that_jump_let_no_replay_in() {
    let scratch = Scratch::new("seeds-clock");
    let (store, _) = open_at(scratch.path(), start());
    assert!(is_new(&store, 1, start()));
    let minute = Duration::from_secs(60);
    let day = 24 * 60 * minute;
    for jumped in
        [start() - day, start() - 41 * minute, start() - 19 * minute, start() + 19 * minute, start() + day]
    {
        assert!(!is_new(&store, 1, jumped), "{jumped:?}");
    }
    // Nor does a server that starts while the clock is wrong.
    drop(store);
    for jumped in [start() - day, start() + day] {
        let (store, _) = open_at(scratch.path(), jumped);
        assert!(!is_new(&store, 1, jumped), "{jumped:?}");
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_put_off_writing() {
    let scratch = Scratch::new("seeds-back");
    let folder = scratch.path().join("state");
    fs::write(&folder, "in the way").unwrap();
    let (store, warnings) = open_at(&folder, start());
    fs::remove_file(&folder).unwrap();
    assert!(is_new(&store, 1, start() - Duration::from_secs(86_400)));
    assert!(warnings.text().contains("the seed history is stored again"), "{}", warnings.text());
}

/// Set for the process that is killed: the folder that it writes to.
const KILLED: &str = "CULVERT_SEEDS_OF_THE_KILLED";

/// Not a test but for the process that the next one starts: adds seeds and says which, until it is killed.
#[test]
fn add_until_killed() {
    let Some(folder) = std::env::var_os(KILLED) else { return };
    let folder = PathBuf::from(folder);
    let (store, _) = open_at(&folder, start());
    let first = store.len();
    for number in first..usize::MAX {
        assert!(is_new(&store, number, start()));
        println!("added {number}");
    }
}

/// 200 times with `CULVERT_STORE_LONG`.
#[test]
fn what_was_answered_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let cycles = if std::env::var_os("CULVERT_STORE_LONG").is_some() { 200 } else { 5 };
    let scratch = Scratch::new("seeds-killed");
    let mut known = 0;
    for cycle in 0..cycles {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "seed_store::tests::add_until_killed", "--nocapture"])
            .env(KILLED, scratch.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let added = lines.filter_map(|line| line.unwrap().split_once("added ")?.1.parse::<usize>().ok());
        let mut last = None;
        for number in added {
            last = Some(number);
            if number >= known + 50 + 37 * (cycle % 5) {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let last = last.unwrap();
        let (store, warnings) = open_at(scratch.path(), start());
        assert_eq!(warnings.text(), "", "cycle {cycle}");
        // One more may have been written and not said.
        assert!(store.len() > last, "cycle {cycle}: {} of {last}", store.len());
        assert!((0..=last).all(|number| store.contains(&seed(number), start())), "cycle {cycle}");
        known = store.len();
    }
}
