//! What a client knows: servers, what worked with them on which network, and what is still to be reported. One file,
//! which survives restarts and crashes. Not the choice among servers: callers choose.
//!
//! A store that cannot be read or written is replaced by what can, and says so through a [`StoreWarning`]; the client
//! runs all the same. So reads have no errors: what cannot be read is not there. All calls block; those that say so,
//! for long.

mod backend;
mod checked;
mod engine;
mod import;
mod memory;
mod record;
mod select;
mod servers;
mod stats;
mod tables;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use culvert_protocol::server_entry::{EntrySource, VerifyingKey};
use culvert_protocol::{ServerEntry, TunnelProtocol};
use time::OffsetDateTime;

use crate::data_dir::DataDir;
use engine::{Engine, Place};

pub use import::{BadLine, ImportError, Imported, Progress};
pub use memory::Success;
pub use select::{Overview, Summary};
pub use servers::{Pruned, Replace, Stored};
pub use stats::{StatKind, Taken};

/// The folder and file in the data folder. The folder is the reference's, whose own file has another name.
const FILE: &str = "datastore/culvert.redb";

/// The store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    clock: fn() -> OffsetDateTime,
    /// Signed entries must be signed with it.
    key: OnceLock<VerifyingKey>,
    /// Reports on their way to a server.
    taken: Mutex<BTreeSet<u64>>,
}

/// A server's number in the store. Numbers of servers that were removed are not given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u32);

/// A server as it was stored.
#[derive(Debug, Clone)]
pub struct StoredServer {
    pub id: ServerId,
    pub entry: ServerEntry,
    pub source: EntrySource,
    pub received: Received,
}

/// The hour in which something was received: no finer time may be kept or told. PROTOCOL.md 4.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Received(u32);

/// A set of tunnel protocols.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ProtocolSet(u64);

/// Why a change was not made. What the store holds is as before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store of servers is full: neither the disk nor memory takes more")]
    Full,
    #[error("the store of servers cannot be used")]
    Unusable,
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What happened to the store. The client runs all the same.
#[derive(Debug, thiserror::Error)]
pub enum StoreWarning {
    #[error("{} was damaged ({why}); it was kept as {} and an empty one begun", .path.display(), .kept.display())]
    Damaged { path: PathBuf, kept: PathBuf, why: String },
    #[error("{} is damaged ({why}) and cannot be replaced ({source}); this run keeps servers in memory only", .path.display())]
    DamagedForGood { path: PathBuf, source: io::Error, why: String },
    #[error("{} cannot be written ({source}); what this run learns is kept in memory only", .path.display())]
    NotWritten { path: PathBuf, source: io::Error },
    #[error("{} cannot be opened ({source}); this run keeps servers in memory only", .path.display())]
    Unavailable { path: PathBuf, source: io::Error },
}

/// A record and the hash of its entry's tag.
struct Tagged<'r> {
    record: &'r record::Record,
    tag: u64,
}

impl Store {
    /// Opens the store of a data folder, or one in memory where the folder cannot be used. `warn` hears of what goes
    /// wrong, now and later.
    pub fn open(data_dir: &DataDir, warn: impl Fn(StoreWarning) + Send + Sync + 'static) -> Self {
        let path = data_dir.path().join(FILE);
        let place = if data_dir.persists() { Place::File(path) } else { Place::ReadOnly(path) };
        let store = Self::at(place, Arc::new(warn));
        store.adopt(data_dir);
        store
    }

    /// A store that is gone with the last clone.
    pub fn in_memory() -> Self {
        Self::at(Place::Memory, Arc::new(|_| {}))
    }

    /// From now on an entry whose signature does not hold is removed instead of used: most such entries were damaged
    /// after they were signed. Entries without signature are used. Can be set once.
    pub fn verify_with(&self, key: VerifyingKey) {
        // Another key for the same store is another config, which is another run.
        drop(self.shared.key.set(key));
    }

    /// Forgets everything.
    pub fn erase(&self) -> Result<(), StoreError> {
        self.shared.engine.erase()
    }

    fn at(place: Place, warn: engine::Warn) -> Self {
        let shared = Shared {
            engine: Engine::open(place, warn),
            clock: OffsetDateTime::now_utc,
            key: OnceLock::new(),
            taken: Mutex::default(),
        };
        let store = Self { shared: Arc::new(shared) };
        store.renew_protocols();
        store
    }

    fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    fn now(&self) -> OffsetDateTime {
        (self.shared.clock)()
    }
}

impl Received {
    /// The hour of `time`.
    pub fn at(time: OffsetDateTime) -> Self {
        Self(u32::try_from(time.unix_timestamp().div_euclid(3600)).unwrap_or_default())
    }

    /// Hours since 1970.
    pub fn hours(self) -> u32 {
        self.0
    }

    /// The hour as the API writes it.
    pub fn to_text(self) -> String {
        let time = OffsetDateTime::from_unix_timestamp(i64::from(self.0) * 3600);
        culvert_protocol::timestamp::to_hour(time.unwrap_or(OffsetDateTime::UNIX_EPOCH))
    }
}

impl ProtocolSet {
    /// No protocol.
    pub const EMPTY: Self = Self(0);

    /// What an entry offers.
    pub fn of(entry: &ServerEntry) -> Self {
        entry.supported_protocols().collect()
    }

    pub fn contains(self, protocol: TunnelProtocol) -> bool {
        TunnelProtocol::all().position(|known| known == protocol).is_some_and(|bit| self.0 >> bit & 1 == 1)
    }

    /// True if there is one that both have.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The protocols, in selection-list order.
    pub fn iter(self) -> impl Iterator<Item = TunnelProtocol> {
        (0..)
            .zip(TunnelProtocol::all())
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, known)| known)
    }

    fn bits(self) -> u64 {
        self.0
    }
}

impl FromIterator<TunnelProtocol> for ProtocolSet {
    fn from_iter<I: IntoIterator<Item = TunnelProtocol>>(protocols: I) -> Self {
        let bit = |protocol| TunnelProtocol::all().position(|known| known == protocol);
        Self(protocols.into_iter().filter_map(bit).fold(0, |bits, bit| bits | 1 << bit))
    }
}

impl fmt::Debug for ProtocolSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(TunnelProtocol::name)).finish()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}
