//! Storing, reading and removing servers.

use std::time::Duration;

use culvert_protocol::ServerEntry;
use culvert_protocol::server_entry::{EntrySource, Tag};

use super::engine::{Failure, Lasting};
use super::record::{self, Record, RecordHead, hash64};
use super::tables::{ADDRESSES, ENTRIES, Servers};
use super::{Received, ServerId, Store, StoreError, StoredServer, Tagged};

/// When an entry takes the place of a stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// When its configuration version is higher. PROTOCOL.md 5.7.
    IfNewer,
    Always,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    Added(ServerId),
    Replaced(ServerId),
    /// The stored one stays.
    Kept(ServerId),
    /// It was pruned once, and an embedded list does not bring it back.
    Pruned,
}

/// What became of a tag that a server calls invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruned {
    Removed,
    /// The entry is too young to be believed gone.
    TooYoung,
    Unknown,
}

impl Stored {
    /// The server's number, if the store has it.
    pub fn id(self) -> Option<ServerId> {
        match self {
            Self::Added(id) | Self::Replaced(id) | Self::Kept(id) => Some(id),
            Self::Pruned => None,
        }
    }
}

impl Store {
    /// Stores an entry; one for the same address is replaced as `replace` says, which drops what was kept for it.
    pub fn put(
        &self,
        entry: &ServerEntry,
        source: &EntrySource,
        replace: Replace,
    ) -> Result<Stored, StoreError> {
        self.put_received(entry, source, Received::at(self.now()), replace)
    }

    /// The same for an entry that came at another time.
    pub fn put_received(
        &self,
        entry: &ServerEntry,
        source: &EntrySource,
        received: Received,
        replace: Replace,
    ) -> Result<Stored, StoreError> {
        let record = Record::new(entry, source, received);
        self.put_all(&[Incoming::new(entry, source, replace, record)])
            .map(|stored| stored.first().copied().unwrap_or(Stored::Pruned))
    }

    /// The server of this number.
    pub fn server(&self, id: ServerId) -> Option<StoredServer> {
        let (server, is_there) = self.engine().read(|transaction| {
            let found = transaction.open_table(ENTRIES)?.get(id.0)?;
            let server = found.as_ref().and_then(|bytes| record::read(id, bytes.value()));
            let server = server.filter(|server| self.is_genuine(server));
            Ok((server, found.is_some()))
        })?;
        if server.is_none() && is_there {
            // A damaged record is of no use to anyone. That it cannot be removed changes nothing for the caller.
            drop(self.delete(id));
        }
        server
    }

    /// The number of the server with this entry's address.
    pub fn id_of(&self, entry: &ServerEntry) -> Option<ServerId> {
        let address = record::address_key(entry.address());
        self.engine().read(|transaction| {
            let addresses = transaction.open_table(ADDRESSES)?;
            Ok(addresses.get(address.as_slice())?.map(|id| ServerId(id.value())))
        })?
    }

    /// Removes a server and all that is kept for it; false when there is none.
    pub fn delete(&self, id: ServerId) -> Result<bool, StoreError> {
        self.engine().write(Lasting::Now, |transaction| Servers::open(transaction)?.remove(id))
    }

    /// Removes the server with this tag, which a server says is no longer valid, unless it came less than
    /// `least_age` ago: a server's list may be older. An embedded list does not bring it back; other sources may.
    /// PROTOCOL.md 4.7.
    pub fn prune(&self, tag: &Tag, least_age: Duration) -> Result<Pruned, StoreError> {
        let hash = hash64(tag.as_str().as_bytes());
        let now = Received::at(self.now());
        let hours = u32::try_from(least_age.as_secs() / 3600).unwrap_or(u32::MAX);
        self.engine().write(Lasting::Now, |transaction| {
            let mut servers = Servers::open(transaction)?;
            let Some(id) = servers.by_tag(hash)? else { return Ok(Pruned::Unknown) };
            let Some(head) = servers.head(id)?.filter(|head| head.tag == hash) else {
                return Ok(Pruned::Unknown);
            };
            if now.0.saturating_sub(head.received.0) < hours {
                return Ok(Pruned::TooYoung);
            }
            servers.remove(id)?;
            if head.source == EntrySource::Embedded.to_string() {
                servers.bury(hash)?;
            }
            Ok(Pruned::Removed)
        })
    }

    fn is_genuine(&self, server: &StoredServer) -> bool {
        let fields = server.entry.fields();
        let Some(key) = self.shared.key.get().filter(|_| fields.has_signature()) else { return true };
        fields.verify_signature(key).is_ok()
    }

    /// Stores several entries in one step.
    pub(super) fn put_all(&self, incoming: &[Incoming]) -> Result<Vec<Stored>, StoreError> {
        self.engine().write(Lasting::Now, |transaction| {
            let mut servers = Servers::open(transaction)?;
            incoming.iter().map(|entry| entry.store(&mut servers)).collect()
        })
    }
}

/// An entry to be stored, ready but for the comparison with what is there.
#[derive(Debug)]
pub(super) struct Incoming {
    record: Record,
    tag: u64,
    version: i64,
    embedded: bool,
    replace: Replace,
}

impl Incoming {
    pub(super) fn new(entry: &ServerEntry, source: &EntrySource, replace: Replace, record: Record) -> Self {
        let tag = RecordHead::read(&record.bytes).map_or(0, |head| head.tag);
        let embedded = *source == EntrySource::Embedded;
        Self { record, tag, version: entry.configuration_version(), embedded, replace }
    }

    /// Bytes that it holds.
    pub(super) fn size(&self) -> usize {
        self.record.bytes.len()
    }

    pub(super) fn address(&self) -> &[u8] {
        &self.record.address
    }

    fn store(&self, servers: &mut Servers<'_>) -> Result<Stored, Failure> {
        let id = servers.by_address(&self.record.address)?;
        // A stored entry that is damaged is replaced by whatever comes.
        let stored = id.map(|id| servers.head(id)).transpose()?.flatten();
        if let (Some(id), Some(head), Replace::IfNewer) = (id, stored, self.replace)
            && head.version >= self.version
        {
            return Ok(Stored::Kept(id));
        }
        // What is known of it still fits.
        if let Some(id) = id
            && servers.holds(id, &self.record)?
        {
            return Ok(Stored::Kept(id));
        }
        if self.embedded && servers.is_buried(self.tag)? {
            return Ok(Stored::Pruned);
        }
        let written = servers.write(id, &Tagged { record: &self.record, tag: self.tag })?;
        Ok(if id.is_some() { Stored::Replaced(written) } else { Stored::Added(written) })
    }
}
