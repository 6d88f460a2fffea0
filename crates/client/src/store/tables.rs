//! The tables of the store and the rows that must change together.
//!
//! Servers are numbered when they come, and a number is never given twice: what still names a server that is gone
//! names nothing. All indexes lead to numbers.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::engine::{Failure, META};
use super::record::{Record, RecordHead, same_entry};
use super::{ServerId, Tagged};

/// An entry's record, see `record.rs`.
pub(super) const ENTRIES: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("entries");
/// A server's address, 4 or 16 bytes.
pub(super) const ADDRESSES: TableDefinition<'static, &[u8], u32> = TableDefinition::new("addresses");
/// What selection asks for, under region and number: the protocols that the server offers.
pub(super) const REGIONS: TableDefinition<'static, (&str, u32), u64> = TableDefinition::new("regions");
/// The hash of a tag.
pub(super) const TAGS: TableDefinition<'static, u64, u32> = TableDefinition::new("tags");
/// Hashes of tags that must not come back from an embedded list.
pub(super) const TOMBSTONES: TableDefinition<'static, u64, ()> = TableDefinition::new("tombstones");
/// A dial plan of a server on a network: its place in [`REPLAY`], then sealed bytes.
pub(super) const PLANS: TableDefinition<'static, (u32, &str), (u64, &[u8])> = TableDefinition::new("plans");
/// Servers with a plan, by network and time of success.
pub(super) const REPLAY: TableDefinition<'static, (&str, u64), u32> = TableDefinition::new("replay");
/// The server to be tried first on a network.
pub(super) const AFFINITY: TableDefinition<'static, &str, u32> = TableDefinition::new("affinity");
/// When something was last kept for a network.
pub(super) const NETWORKS: TableDefinition<'static, &str, u64> = TableDefinition::new("networks");
/// How often a protocol worked on a network, and in which hour last.
pub(super) const SUCCESSES: TableDefinition<'static, (&str, &str), (u64, u32)> =
    TableDefinition::new("successes");
/// What is to be reported: a kind, then JSON.
pub(super) const STATS: TableDefinition<'static, u64, (u8, &str)> = TableDefinition::new("stats");
/// Everything else.
pub(super) const VALUES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("values");

const NEXT_ID: &str = "next_id";
const SEQUENCE: &str = "sequence";
/// Which protocols the bits in [`REGIONS`] stand for.
pub(super) const PROTOCOLS: &str = "protocols";

/// Makes all tables, so that readers find them.
pub(super) fn make_all(transaction: &WriteTransaction) -> Result<(), Failure> {
    transaction.open_table(META)?.insert(PROTOCOLS, super::record::protocols_stamp())?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(ADDRESSES)?;
    transaction.open_table(REGIONS)?;
    transaction.open_table(TAGS)?;
    transaction.open_table(TOMBSTONES)?;
    transaction.open_table(PLANS)?;
    transaction.open_table(REPLAY)?;
    transaction.open_table(AFFINITY)?;
    transaction.open_table(NETWORKS)?;
    transaction.open_table(SUCCESSES)?;
    transaction.open_table(STATS)?;
    transaction.open_table(VALUES)?;
    Ok(())
}

/// The next number of a count that only grows.
pub(super) fn next_sequence(transaction: &WriteTransaction) -> Result<u64, Failure> {
    let mut meta = transaction.open_table(META)?;
    let next = meta.get(SEQUENCE)?.map_or(0, |next| next.value());
    meta.insert(SEQUENCE, next.wrapping_add(1))?;
    Ok(next)
}

/// The tables in which a server has rows, open in one transaction.
pub(super) struct Servers<'t> {
    meta: Table<'t, &'static str, u64>,
    entries: Table<'t, u32, &'static [u8]>,
    addresses: Table<'t, &'static [u8], u32>,
    regions: Table<'t, (&'static str, u32), u64>,
    tags: Table<'t, u64, u32>,
    tombstones: Table<'t, u64, ()>,
    plans: Table<'t, (u32, &'static str), (u64, &'static [u8])>,
    replay: Table<'t, (&'static str, u64), u32>,
}

impl<'t> Servers<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            entries: transaction.open_table(ENTRIES)?,
            addresses: transaction.open_table(ADDRESSES)?,
            regions: transaction.open_table(REGIONS)?,
            tags: transaction.open_table(TAGS)?,
            tombstones: transaction.open_table(TOMBSTONES)?,
            plans: transaction.open_table(PLANS)?,
            replay: transaction.open_table(REPLAY)?,
        })
    }

    pub(super) fn by_address(&self, address: &[u8]) -> Result<Option<ServerId>, Failure> {
        Ok(self.addresses.get(address)?.map(|id| ServerId(id.value())))
    }

    pub(super) fn by_tag(&self, tag: u64) -> Result<Option<ServerId>, Failure> {
        Ok(self.tags.get(tag)?.map(|id| ServerId(id.value())))
    }

    /// What is known of a stored entry without reading all of it.
    pub(super) fn head(&self, id: ServerId) -> Result<Option<RecordHead>, Failure> {
        Ok(self.entries.get(id.0)?.and_then(|bytes| RecordHead::read(bytes.value())))
    }

    /// Whether the stored entry is this one already.
    pub(super) fn holds(&self, id: ServerId, record: &Record) -> Result<bool, Failure> {
        let stored = self.entries.get(id.0)?;
        Ok(stored.is_some_and(|stored| same_entry(stored.value(), &record.bytes)))
    }

    pub(super) fn is_buried(&self, tag: u64) -> Result<bool, Failure> {
        Ok(self.tombstones.get(tag)?.is_some())
    }

    pub(super) fn bury(&mut self, tag: u64) -> Result<(), Failure> {
        self.tombstones.insert(tag, ())?;
        Ok(())
    }

    /// Writes all rows of a server, as a new one or in place of `id`, whose plans no longer fit then.
    pub(super) fn write(&mut self, id: Option<ServerId>, tagged: &Tagged<'_>) -> Result<ServerId, Failure> {
        let id = match id {
            Some(id) => {
                self.remove(id)?;
                id
            }
            None => self.next_id()?,
        };
        let Record { address, region, protocols, bytes } = tagged.record;
        self.entries.insert(id.0, bytes.as_slice())?;
        self.addresses.insert(address.as_slice(), id.0)?;
        self.regions.insert((region.as_str(), id.0), protocols.bits())?;
        self.tags.insert(tagged.tag, id.0)?;
        Ok(id)
    }

    /// Removes a server with all that is kept for it; false when there is none.
    pub(super) fn remove(&mut self, id: ServerId) -> Result<bool, Failure> {
        self.drop_plans(id)?;
        let Some(head) = self.entries.remove(id.0)?.map(|bytes| RecordHead::read(bytes.value())) else {
            return Ok(false);
        };
        // A record without a head leaves rows behind that lead nowhere; readers pass over them.
        let Some(head) = head else { return Ok(true) };
        self.regions.remove((head.region.as_str(), id.0))?;
        if self.addresses.get(head.address.as_slice())?.is_some_and(|found| found.value() == id.0) {
            self.addresses.remove(head.address.as_slice())?;
        }
        if self.tags.get(head.tag)?.is_some_and(|found| found.value() == id.0) {
            self.tags.remove(head.tag)?;
        }
        Ok(true)
    }

    fn drop_plans(&mut self, id: ServerId) -> Result<(), Failure> {
        let mut kept = Vec::new();
        for row in self.plans.range((id.0, "")..)? {
            let (key, plan) = row?;
            let (server, network) = key.value();
            if server != id.0 {
                break;
            }
            kept.push((network.to_owned(), plan.value().0));
        }
        for (network, sequence) in kept {
            self.plans.remove((id.0, network.as_str()))?;
            self.replay.remove((network.as_str(), sequence))?;
        }
        Ok(())
    }

    fn next_id(&mut self) -> Result<ServerId, Failure> {
        let next = self.meta.get(NEXT_ID)?.map_or(0, |next| next.value());
        let id =
            u32::try_from(next).map_err(|_| Failure::Content("it has run out of numbers for servers"))?;
        self.meta.insert(NEXT_ID, next + 1)?;
        Ok(ServerId(id))
    }
}
