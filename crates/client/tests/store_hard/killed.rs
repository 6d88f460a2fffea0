//! A writer that is killed again and again, and whoever opens the file after it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use culvert_client::store::StatKind;
use culvert_protocol::server_entry::EntrySource;

use super::{Chance, Root, entry, open};

/// The word that makes this program the writer.
pub(crate) const WRITER: &str = "write-until-killed";
/// Servers that each step writes anew.
const SERVERS: u32 = 40;
const VALUE: &str = "step";

pub(crate) fn check(cycles: u32) {
    let chance = Chance::new();
    let root = Root::new("killed");
    let mut done = 0;
    for cycle in 0..cycles {
        let context = format!("CULVERT_STORE_SEED={} cycle {cycle}", chance.seed);
        let mut prng = chance.of(cycle);
        let later = Duration::from_micros(u64::from(prng.range_u32(0, 20_000)));
        done = done.max(kill(&root.0, prng.range_u32(1, 8), later));
        let opened = open(&root.0);
        assert_eq!(opened.warnings(), Vec::<String>::new(), "{context}");
        let store = &opened.store;
        let step = store.value(VALUE).map(|value| String::from_utf8(value).unwrap().parse::<u64>().unwrap());
        let step = step.unwrap_or_default();
        assert!(step >= done, "{context}: step {step}, but {done} was done");
        let ids = store.servers(None);
        assert!(step == 0 || ids.len() == SERVERS as usize, "{context}: {} servers", ids.len());
        for id in ids {
            let server = store.server(id).unwrap_or_else(|| panic!("{context}: {id:?} is gone"));
            assert!(server.entry.configuration_version() >= i64::try_from(step).unwrap(), "{context}");
        }
        if step > 0 {
            let affinity = store.affinity("NET").unwrap_or_else(|| panic!("{context}: no affinity"));
            let replayed = store.replayable("NET");
            assert!(replayed.iter().all(|id| store.plan("NET", *id).is_some()), "{context}: {replayed:?}");
            assert!(store.server(affinity).is_some(), "{context}");
        }
        done = step;
    }
}

/// Lets a writer do some steps, kills it a little later, and gives back the last step that it said was done.
fn kill(root: &Path, steps: u32, later: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([WRITER.as_ref(), root.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = 0;
    for (line, _) in lines.by_ref().zip(0..steps) {
        done = line.unwrap().parse().unwrap();
    }
    // The moment is what varies, not what is waited for.
    std::thread::sleep(later);
    child.kill().unwrap();
    child.wait().unwrap();
    // Read until here: a writer that nobody hears would end by itself.
    drop(lines);
    done
}

/// Changes everything that lasts, says so, and begins again.
pub(crate) fn write_until_killed(root: &Path) -> ! {
    let opened = open(root);
    let store = &opened.store;
    let mut step: u64 =
        store.value(VALUE).map_or(0, |value| String::from_utf8(value).unwrap().parse().unwrap());
    loop {
        step += 1;
        let version = i64::try_from(step).unwrap();
        let list: String = (0..SERVERS).map(|number| entry(number, version).encode() + "\n").collect();
        store.import(list.as_bytes(), &EntrySource::Embedded, |_| ControlFlow::Continue(())).unwrap();
        let ids = store.servers(None);
        let id = ids[usize::try_from(step).unwrap() % ids.len()];
        store.enqueue_stat(StatKind::FailedTunnel, "{}", 200);
        store.set_plan("NET", id, &step.to_le_bytes().repeat(200));
        store.set_affinity("NET", id);
        store.set_value(VALUE, step.to_string().as_bytes());
        println!("{step}");
        std::io::stdout().flush().unwrap();
    }
}
