//! What a store survives: being killed at any moment, damage to its file, a full disk, a disk that may not be written.
//!
//! A tenth of the cycles that `cargo xtask long store` runs, unless `CULVERT_STORE_LONG` is set. `CULVERT_STORE_SEED`
//! repeats what a failure has printed. A harness of its own, because the killed writer is this program too.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod disks;
mod killed;
mod mutated;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use culvert_client::data_dir::DataDir;
use culvert_client::store::{Store, StoreWarning};
use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::{EntryFields, ServerEntry};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().as_deref() == Some(OsStr::new(killed::WRITER)) {
        killed::write_until_killed(Path::new(&words.next().unwrap_or_default()));
    }
    // One after the other: a process that is being started holds the locks of this one for a moment.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let trials = vec![
        Trial::test("a_killed_writer_loses_nothing_that_it_had_done", || {
            killed::check(cycles(500));
            Ok(())
        }),
        Trial::test("a_damaged_file_never_stops_the_client", || {
            mutated::check("mutated", 300, cycles(1_000));
            Ok(())
        }),
        // Of several groups of checksums, and too large to be read whole at each start.
        Trial::test("a_large_damaged_file_never_stops_the_client", || {
            mutated::check("large", 10_000, cycles(50));
            Ok(())
        }),
        disks::trial("a_full_disk_costs_durability_only", disks::full),
        disks::trial("a_disk_that_may_not_be_written_is_read", disks::read_only),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All cycles, or a tenth.
fn cycles(all: u32) -> u32 {
    if std::env::var_os("CULVERT_STORE_LONG").is_some() { all } else { all / 10 }
}

/// A source of chances that a failure can name.
struct Chance {
    seed: u64,
}

impl Chance {
    fn new() -> Self {
        let given = std::env::var("CULVERT_STORE_SEED").ok().map(|text| text.parse().unwrap());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos())
        });
        Self { seed }
    }

    /// The chances of one cycle.
    fn of(&self, cycle: u32) -> Prng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..12].copy_from_slice(&cycle.to_le_bytes());
        Prng::new(&Seed::from_bytes(seed))
    }
}

/// A data root, removed at the end.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("culvert-store-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The store's file below a root.
fn file(root: &Path) -> PathBuf {
    root.join("ca.psiphon.PsiphonTunnel.tunnel-core/datastore/culvert.redb")
}

/// A store and what it warned of.
struct Opened {
    store: Store,
    warnings: Arc<Mutex<Vec<StoreWarning>>>,
    _data_dir: DataDir,
}

fn open(root: &Path) -> Opened {
    let data_dir = DataDir::open(Some(root)).unwrap().data_dir;
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&warnings);
    let store = Store::open(&data_dir, move |warning| heard.lock().unwrap().push(warning));
    Opened { store, warnings, _data_dir: data_dir }
}

impl Opened {
    fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

/// The `number`th server.
fn entry(number: u32, version: i64) -> ServerEntry {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
    let region = ["CA", "US", "DE"][number as usize % 3];
    let text = format!(
        r#"{{"ipAddress":"{address}","webServerSecret":"{number:064x}","sshObfuscatedKey":"{version:064x}",
        "sshObfuscatedPort":443,"capabilities":["OSSH","QUIC"],"region":"{region}",
        "webServerCertificate":"{}","configurationVersion":{version}}}"#,
        "MIIC".repeat(200)
    );
    ServerEntry::try_from(EntryFields::from_json(text.as_bytes()).unwrap()).unwrap()
}
