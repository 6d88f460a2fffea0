//! The database as the rest of the store uses it: opened, guarded and, when it is damaged, begun anew. The one place
//! that knows what can go wrong with it.
//!
//! Damage makes reading fail wherever it is met (`checked`). Then the file is moved aside, where one such file is kept,
//! and an empty one begun: the client can get servers again, a damaged store it cannot use.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase as _, TableDefinition, WriteTransaction,
};

use super::backend::{Backend, Diversion};
use super::checked::CheckedFile;
use super::{StoreError, StoreWarning};
use crate::private_file::private;

/// The layout of the tables. Another one is moved aside like a damaged file.
const VERSION: u64 = 1;
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const VERSION_KEY: &str = "version";
/// Pages that redb keeps in memory: a tenth of the figure for the whole client.
const CACHE: usize = 1 << 20;
/// A file that is damaged again and again is left alone.
const MOST_RESETS: u32 = 3;

/// Who hears of a store's troubles.
pub(super) type Warn = Arc<dyn Fn(StoreWarning) + Send + Sync>;

/// A guarded database.
pub(super) struct Engine {
    state: RwLock<State>,
    place: Place,
    warn: Warn,
}

/// Where the database is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    /// A file that may be read, with changes in memory.
    ReadOnly(PathBuf),
    Memory,
}

struct State {
    /// Only gone while it is replaced, or when not even memory could be had.
    open: Option<Open>,
    /// Counts what replaced what, so that two who meet the same damage replace it once.
    generation: u64,
    resets: u32,
}

struct Open {
    database: Database,
    diversion: Diversion,
}

/// What went wrong below.
#[derive(Debug)]
pub(super) enum Failure {
    Database(redb::Error),
    Panic(String),
    /// Content that the layout does not allow.
    Content(&'static str),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// How long a change may take to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// When the call returns.
    Now,
    /// With the next change that lasts; a crash may lose it.
    Eventually,
}

impl Engine {
    /// Opens what is there, or something that can be used in its place.
    pub(super) fn open(place: Place, warn: Warn) -> Self {
        let state = State { open: None, generation: 0, resets: 0 };
        let engine = Self { state: RwLock::new(state), place, warn };
        engine.reopen(0);
        engine
    }

    /// Reads; `None` when there is nothing that can be read.
    pub(super) fn read<T>(&self, op: impl Fn(&ReadTransaction) -> Result<T, Failure>) -> Option<T> {
        self.guarded(|open| op(&open.database.begin_read()?)).ok()
    }

    /// Changes everything that `op` changes, or nothing. It may be run twice.
    pub(super) fn write<T>(
        &self,
        lasting: Lasting,
        op: impl Fn(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.guarded(|open| {
            let mut transaction = open.database.begin_write()?;
            match lasting {
                // After a crash the file is ready at once, without a walk through all of it.
                Lasting::Now => transaction.set_quick_repair(true),
                Lasting::Eventually => transaction.set_durability(Durability::None)?,
            }
            let done = op(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Replaces the database by an empty one, keeping nothing.
    pub(super) fn erase(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        close(state.open.take());
        state.generation += 1;
        if let Place::File(path) = &self.place {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let error = StoreError::Io { path: path.clone(), source: error };
                    drop(state);
                    self.reopen(0);
                    return Err(error);
                }
                _ => {}
            }
        }
        let generation = state.generation;
        drop(state);
        self.reopen(generation);
        Ok(())
    }

    /// Runs `op`; where the database turns out to be damaged, replaces it and runs `op` once more.
    fn guarded<T>(&self, op: impl Fn(&Open) -> Result<T, Failure>) -> Result<T, StoreError> {
        let mut again = true;
        loop {
            let (result, generation) = {
                let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                let Some(open) = &state.open else { return Err(StoreError::Unusable) };
                let result = without_panic(|| op(open));
                if let Some(source) = open.diversion.take_failure() {
                    (self.warn)(StoreWarning::NotWritten { path: self.path(), source });
                }
                (result, state.generation)
            };
            let failure = match result {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let full = failure.is_full();
            if full {
                self.replace(generation, None);
                return Err(StoreError::Full);
            }
            self.replace(generation, Some(failure));
            if !again {
                return Err(StoreError::Unusable);
            }
            again = false;
        }
    }

    /// Closes the database and opens it again; a damaged one is moved aside before.
    fn replace(&self, generation: u64, damage: Option<Failure>) {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if state.generation != generation {
                return;
            }
            close(state.open.take());
            if let Some(failure) = damage {
                state.resets += 1;
                self.move_aside(failure);
            }
        }
        self.reopen(generation);
    }

    fn reopen(&self, generation: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.generation != generation || state.open.is_some() {
            return;
        }
        state.generation += 1;
        while state.open.is_none() && state.resets < MOST_RESETS {
            match open(&self.place) {
                Ok(open) => state.open = Some(open),
                Err(OpenError::Unavailable(source)) => {
                    (self.warn)(StoreWarning::Unavailable { path: self.path(), source });
                    break;
                }
                Err(OpenError::Damaged(failure)) => {
                    state.resets += 1;
                    self.move_aside(failure);
                }
            }
        }
        if state.open.is_none() {
            state.open = open(&Place::Memory).ok();
        }
    }

    fn move_aside(&self, failure: Failure) {
        let (Place::File(path) | Place::ReadOnly(path)) = &self.place else { return };
        let kept = path.with_extension("damaged");
        let moved = match self.place {
            Place::File(_) => fs::rename(path, &kept),
            _ => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        };
        let why = failure.to_string();
        (self.warn)(match moved {
            Ok(()) => StoreWarning::Damaged { path: path.clone(), kept, why },
            Err(source) => StoreWarning::DamagedForGood { path: path.clone(), source, why },
        });
    }

    fn path(&self) -> PathBuf {
        match &self.place {
            Place::File(path) | Place::ReadOnly(path) => path.clone(),
            Place::Memory => PathBuf::new(),
        }
    }
}

impl Failure {
    fn is_full(&self) -> bool {
        matches!(self, Self::Database(redb::Error::Io(error)) if error.kind() == io::ErrorKind::StorageFull)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(error) => write!(f, "{error}"),
            Self::Panic(message) => f.write_str(message),
            Self::Content(what) => f.write_str(what),
        }
    }
}

enum OpenError {
    /// Something is there that is no store, or a broken one.
    Damaged(Failure),
    /// The system does not let us.
    Unavailable(io::Error),
}

fn open(place: &Place) -> Result<Open, OpenError> {
    let backend = match place {
        Place::File(path) => match file(path, true) {
            Ok(file) => Ok(Backend::on(file)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
            // What exists may still be read.
            Err(error) => match file(path, false) {
                Ok(file) => Backend::in_memory(Some(file), Some(error)),
                Err(_) => Err(error),
            },
        },
        Place::ReadOnly(path) => match file(path, false) {
            Ok(file) => Backend::in_memory(Some(file), None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Backend::in_memory(None, None),
            Err(error) => Err(error),
        },
        Place::Memory => Backend::in_memory(None, None),
    };
    let backend = backend.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => OpenError::Damaged(error.into()),
        _ => OpenError::Unavailable(error),
    })?;
    let diversion = backend.diversion();
    without_panic(|| {
        let database = Builder::new().set_cache_size(CACHE).create_with_backend(backend)?;
        Ok(Open { database, diversion })
    })
    .and_then(checked)
    .map_err(OpenError::Damaged)
}

fn file(path: &Path, written: bool) -> io::Result<CheckedFile> {
    let file: File = private().read(true).write(written).create(written).truncate(false).open(path)?;
    CheckedFile::open(FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?)
}

/// Writes the version into a new database and compares that of an old one.
fn checked(open: Open) -> Result<Open, Failure> {
    let found = without_panic(|| {
        let transaction = open.database.begin_read()?;
        match transaction.open_table(META) {
            Ok(table) => Ok(Some(table.get(VERSION_KEY)?.map(|version| version.value()))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    let result = match found {
        Ok(Some(Some(VERSION))) => Ok(()),
        Ok(Some(_)) => Err(Failure::Content("it is of another version of this program")),
        Ok(None) => without_panic(|| {
            let mut transaction = open.database.begin_write()?;
            transaction.set_quick_repair(true);
            transaction.open_table(META)?.insert(VERSION_KEY, VERSION)?;
            super::tables::make_all(&transaction)?;
            Ok(transaction.commit()?)
        }),
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => Ok(open),
        Err(failure) => {
            close(Some(open));
            Err(failure)
        }
    }
}

/// Drops a database that may be broken.
fn close(open: Option<Open>) {
    drop(without_panic(|| {
        drop(open);
        Ok(())
    }));
}

/// redb panics where it finds what it did not write. What it has changed is thrown away with the database, so nothing
/// half-changed is seen.
fn without_panic<T>(op: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(op)).unwrap_or_else(|cause| {
        let message = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| cause.downcast_ref::<String>().cloned());
        Err(Failure::Panic(message.unwrap_or_else(|| "panic".to_owned())))
    })
}
