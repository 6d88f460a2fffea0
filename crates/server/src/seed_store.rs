//! The seed history on disk, so that a replay is recognised after a restart or a crash too. A journal: one record is
//! appended per seed before the connection that brought it is answered, and the whole is rewritten when half of it is
//! dead. Form of the records: `culvert_obfuscation::SeedHistory`. No address of a client is stored.
//!
//! Without a place to write, the history lives in memory and one warning says so; writing is tried again from time to
//! time. What a crash of this process loses is at most the record being written then.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use culvert_obfuscation::{
    ReplayMode, SEED_HEADER_LEN, SEED_RECORD_LEN, SeedHistory, SeedHistoryLimits, SeedIndexKey, SeedVerdict,
};

use crate::log::{Field, Logger};
use crate::state_directory::LOCK;

const JOURNAL: &str = "ossh-seeds";
const NEW_JOURNAL: &str = "ossh-seeds.new";
/// Where a file goes that is no history.
const SET_ASIDE: &str = "ossh-seeds.unreadable";
/// The journal is rewritten when it holds more than twice the live records and this many.
const SLACK: usize = 4096;
/// How long after a failure writing is tried again.
const RETRY: Duration = Duration::from_secs(600);

/// Shared by all sessions.
#[derive(Debug)]
pub struct SeedStore(Mutex<Inner>);

struct Inner {
    limits: SeedHistoryLimits,
    history: SeedHistory,
    /// Whether `history` holds what an earlier run stored.
    read: bool,
    journal: Journal,
    /// `None` is a history that was never meant to be stored.
    folder: Option<PathBuf>,
    /// Held while this process writes the journal.
    lock: Option<File>,
    log: Logger,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("seeds", &self.history.len()).finish_non_exhaustive()
    }
}

enum Journal {
    Open { file: File, records: usize },
    Lost { since: SystemTime },
}

/// Why the journal cannot be used. Local: the folder, its permissions, the disk, or a second server beside this one.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error("{action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another process uses {}", path.display())]
    Locked { path: PathBuf },
}

impl SeedStore {
    /// Reads what an earlier run left in `folder`, which is made if need be. Never fails: see the module's text.
    pub fn open(folder: &Path, limits: SeedHistoryLimits, now: SystemTime, log: Logger) -> Self {
        let mut inner = Inner {
            limits,
            history: SeedHistory::new(limits, index_key()),
            read: false,
            journal: Journal::Lost { since: now },
            folder: Some(folder.to_owned()),
            lock: None,
            log,
        };
        if let Err(error) = inner.begin(folder, now) {
            inner.warn(&error);
        }
        Self(Mutex::new(inner))
    }

    /// A history that ends with the process.
    pub fn in_memory(limits: SeedHistoryLimits, log: Logger) -> Self {
        Self(Mutex::new(Inner {
            limits,
            history: SeedHistory::new(limits, index_key()),
            read: false,
            journal: Journal::Lost { since: SystemTime::UNIX_EPOCH },
            folder: None,
            lock: None,
            log,
        }))
    }

    /// Remembers a seed, or tells that it is known. When this returns, the seed is in the system's hands. `peer` is
    /// kept in memory for a short time only.
    pub fn add(&self, mode: ReplayMode, seed: &[u8], peer: IpAddr, now: SystemTime) -> SeedVerdict {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = inner.history.add(mode, seed, peer, now);
        if let SeedVerdict::New(record) = &verdict {
            inner.append(record.as_bytes(), now);
        }
        verdict
    }

    /// Whether a seed is known.
    pub fn contains(&self, seed: &[u8], now: SystemTime) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).history.contains(seed, now)
    }

    /// How many seeds are remembered.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).history.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    fn begin(&mut self, folder: &Path, now: SystemTime) -> Result<(), StoreError> {
        self.acquire(folder)?;
        let path = folder.join(JOURNAL);
        let mut stored = read_journal(&path, self.limits)?;
        let seeds_since = !self.history.is_empty();
        if seeds_since {
            self.append_live(&mut stored, now);
        }
        let mut rewrite = stored.is_empty() || seeds_since;
        match SeedHistory::restore(self.limits, index_key(), &stored, now) {
            Ok(restored) => {
                rewrite |= restored.damaged > 0 || is_wasteful(restored.valid, restored.history.len());
                self.history = restored.history;
            }
            Err(_) => {
                self.set_aside(folder)?;
                rewrite = true;
            }
        }
        self.read = true;
        if rewrite {
            return self.rewrite(folder, now);
        }
        let file =
            open_private(&path, OpenOptions::new().append(true)).map_err(failed("cannot open", &path))?;
        self.journal = Journal::Open { file, records: stored.len() / SEED_RECORD_LEN };
        Ok(())
    }

    /// Adds the seeds that came while the journal could not be read to what it holds.
    fn append_live(&mut self, stored: &mut Vec<u8>, now: SystemTime) {
        let live = self.history.snapshot(now);
        match stored.len().checked_sub(SEED_HEADER_LEN) {
            Some(records) => {
                // The records must stay aligned when the last one was cut short.
                stored.truncate(stored.len() - records % SEED_RECORD_LEN);
                stored.extend_from_slice(live.get(SEED_HEADER_LEN..).unwrap_or_default());
            }
            None => *stored = live,
        }
    }

    fn set_aside(&self, folder: &Path) -> Result<(), StoreError> {
        let (path, aside) = (folder.join(JOURNAL), folder.join(SET_ASIDE));
        fs::rename(&path, &aside).map_err(failed("cannot set aside", &path))?;
        let message =
            "the seed history was unreadable and is set aside; replays from before are not recognised";
        self.log.warning(message, [("path", Field::text(aside.display().to_string()))]);
        Ok(())
    }

    /// Makes the folder and takes the right to write in it.
    fn acquire(&mut self, folder: &Path) -> Result<(), StoreError> {
        if self.lock.is_some() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("cannot make", folder))?;
        let path = folder.join(LOCK);
        let lock = open_private(&path, OpenOptions::new().write(true).create(true))
            .map_err(failed("cannot open", &path))?;
        match lock.try_lock() {
            Ok(()) => self.lock = Some(lock),
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::Locked { path: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(failed("cannot lock", &path)(source)),
        }
        Ok(())
    }

    fn append(&mut self, record: &[u8], now: SystemTime) {
        let Some(folder) = self.folder.clone() else { return };
        let written = match &mut self.journal {
            Journal::Open { file, records } => {
                *records += 1;
                file.write_all(record).map_err(failed("cannot write to", &folder.join(JOURNAL)))
            }
            Journal::Lost { since } => {
                // A clock that was set back must not put it off.
                let is_due = now.duration_since(*since).map_or(true, |waited| waited >= RETRY);
                if is_due { self.recover(&folder, now) } else { Ok(()) }
            }
        };
        if let Err(error) = written {
            self.lose(&error, now);
        }
        if matches!(self.journal, Journal::Open { records, .. } if is_wasteful(records, self.history.len()))
            && let Err(error) = self.rewrite(&folder, now)
        {
            self.lose(&error, now);
        }
    }

    fn recover(&mut self, folder: &Path, now: SystemTime) -> Result<(), StoreError> {
        if self.read {
            self.rewrite(folder, now)?;
        } else {
            self.begin(folder, now)?;
        }
        self.log.info("the seed history is stored again", []);
        Ok(())
    }

    /// Goes on in memory. A record that was written in part stays behind: rewriting, which is how the journal comes
    /// back, removes it, and reading passes over it.
    fn lose(&mut self, error: &StoreError, now: SystemTime) {
        if matches!(self.journal, Journal::Open { .. }) {
            self.warn(error);
        }
        self.journal = Journal::Lost { since: now };
    }

    fn warn(&self, error: &StoreError) {
        let message =
            "the seed history is kept in memory only; replays will not be recognised after a restart";
        self.log.warning(message, [("error", Field::local_error(error))]);
    }

    /// Replaces the journal by the live records.
    fn rewrite(&mut self, folder: &Path, now: SystemTime) -> Result<(), StoreError> {
        let (path, new) = (folder.join(JOURNAL), folder.join(NEW_JOURNAL));
        let snapshot = self.history.snapshot(now);
        let mut options = OpenOptions::new();
        let file = open_private(&new, options.append(true).create(true))
            .and_then(|mut file| {
                file.set_len(0)?;
                file.write_all(&snapshot)?;
                file.sync_all()?;
                fs::rename(&new, &path)?;
                File::open(folder)?.sync_all()?;
                Ok(file)
            })
            .map_err(failed("cannot write", &path))?;
        self.journal = Journal::Open { file, records: self.history.len() };
        Ok(())
    }
}

/// Another one each time.
fn index_key() -> SeedIndexKey {
    // The library draws both halves from the system, once for each thread.
    let drawn = RandomState::new();
    let halves = [0_u8, 1].map(|half| u128::from(drawn.hash_one(half)));
    SeedIndexKey::new(halves.iter().fold(0, |all, half| all << 64 | half).to_be_bytes())
}

fn is_wasteful(stored: usize, live: usize) -> bool {
    stored > live.saturating_mul(2).saturating_add(SLACK)
}

/// The journal's bytes, none if there is no journal. A longer file than this program writes is read up to that length.
fn read_journal(path: &Path, limits: SeedHistoryLimits) -> Result<Vec<u8>, StoreError> {
    let file = match open_private(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("cannot open", path)(error)),
    };
    let most = limits.max_seeds.saturating_mul(2).saturating_add(2 * SLACK).saturating_mul(SEED_RECORD_LEN);
    let mut stored = Vec::new();
    file.take(u64::try_from(most).unwrap_or(u64::MAX))
        .read_to_end(&mut stored)
        .map_err(failed("cannot read", path))?;
    Ok(stored)
}

fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { action, path, source }
}

#[cfg(test)]
#[path = "seed_store_tests.rs"]
mod tests;
