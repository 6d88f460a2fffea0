//! Reading lists of entries into the store: one entry a line, streamed, in memory that the list's length does not
//! change. A bad line costs only itself. PROTOCOL.md 5.1.

use std::io::{self, BufRead};
use std::ops::ControlFlow;

use culvert_protocol::ServerEntry;
use culvert_protocol::server_entry::{DecodeError, EntrySource, ListDecoder, ListLine};

use super::record::Record;
use super::servers::{Incoming, Replace, Stored};
use super::{Received, Store, StoreError};

/// What is stored in one step: a step costs a write to the disk, and memory.
const BATCH_ENTRIES: usize = 2_000;
const BATCH_BYTES: usize = 2 << 20;
const READ_AT_ONCE: usize = 64 << 10;
/// Bad lines that are remembered; all are counted.
const MOST_BAD: usize = 10;

/// How far an import is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries read so far, good or bad.
    pub entries: u64,
    pub bytes: u64,
}

/// What became of a list's lines.
#[derive(Debug, Default)]
pub struct Imported {
    pub added: u64,
    pub replaced: u64,
    /// Lines whose server was known, or was pruned.
    pub kept: u64,
    pub bad: u64,
    /// The first bad lines.
    pub first_bad: Vec<BadLine>,
    /// Somebody stopped the import before the end.
    pub stopped: bool,
}

/// A line that is no entry.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    pub error: DecodeError,
}

/// Why an import ended early. What was stored stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the list cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Imported {
    /// Lines that were no blank ones.
    pub fn lines(&self) -> u64 {
        self.added + self.replaced + self.kept + self.bad
    }

    /// True if there was something to read and none of it was an entry.
    pub fn is_all_bad(&self) -> bool {
        self.bad > 0 && self.bad == self.lines()
    }

    fn count(&mut self, stored: &[Stored]) {
        for one in stored {
            match one {
                Stored::Added(_) => self.added += 1,
                Stored::Replaced(_) => self.replaced += 1,
                Stored::Kept(_) | Stored::Pruned => self.kept += 1,
            }
        }
    }
}

impl Store {
    /// Reads a list to its end, or until `progress`, which is told after each step, breaks it off. Takes long.
    pub fn import(
        &self,
        mut list: impl BufRead,
        source: &EntrySource,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Imported, ImportError> {
        let mut batch = Batch::new(self, source);
        let mut decoder = Some(ListDecoder::new());
        let mut at = Progress::default();
        while let Some(mut reading) = decoder.take() {
            let read = loop {
                match list.fill_buf() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            // A reader may give the whole list at once.
            let read = read.get(..READ_AT_ONCE).unwrap_or(read);
            let len = read.len();
            if len == 0 {
                reading.finish(&mut |line| batch.take(line));
            } else {
                reading.push(read, &mut |line| batch.take(line));
                decoder = Some(reading);
            }
            list.consume(len);
            at.bytes += len as u64;
            if decoder.is_none() || batch.is_full() {
                batch.store()?;
                at.entries = batch.imported.lines();
                if progress(at).is_break() && decoder.is_some() {
                    batch.imported.stopped = true;
                    break;
                }
            }
        }
        Ok(batch.imported)
    }
}

/// Entries that are read but not stored.
struct Batch<'s> {
    store: &'s Store,
    source: &'s EntrySource,
    received: Received,
    waiting: Vec<Incoming>,
    bytes: usize,
    imported: Imported,
}

impl<'s> Batch<'s> {
    fn new(store: &'s Store, source: &'s EntrySource) -> Self {
        Self {
            store,
            source,
            received: Received::at(store.now()),
            waiting: Vec::new(),
            bytes: 0,
            imported: Imported::default(),
        }
    }

    fn take(&mut self, line: ListLine) {
        match line.entry {
            Ok(entry) => self.add(&entry),
            Err(error) => {
                self.imported.bad += 1;
                if self.imported.first_bad.len() < MOST_BAD {
                    self.imported.first_bad.push(BadLine { line: line.number, error });
                }
            }
        }
    }

    fn add(&mut self, entry: &ServerEntry) {
        let record = Record::new(entry, self.source, self.received);
        let incoming = Incoming::new(entry, self.source, Replace::IfNewer, record);
        self.bytes += incoming.size();
        self.waiting.push(incoming);
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }

    fn store(&mut self) -> Result<(), StoreError> {
        // Neighbours in the index are written together. A stable sort: of two entries for one server, the first in the
        // list is there first.
        self.waiting.sort_by(|a, b| a.address().cmp(b.address()));
        let stored = self.store.put_all(&self.waiting)?;
        self.imported.count(&stored);
        self.waiting.clear();
        self.bytes = 0;
        Ok(())
    }
}
