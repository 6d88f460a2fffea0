//! What selection of candidates asks: numbers by region and protocol, from an index, without decoding an entry.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _};

use super::engine::{Failure, Lasting, META};
use super::record::{self, RecordHead, protocols_stamp};
use super::tables::{ENTRIES, PROTOCOLS, REGIONS};
use super::{ProtocolSet, Received, ServerId, Store};

/// Entries that are looked at in one step when the index is made anew.
const RENEWED_AT_ONCE: usize = 500;

/// What is known of a server without decoding its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Two letters, or empty.
    pub region: String,
    pub protocols: ProtocolSet,
    /// The source's name in the API.
    pub source: String,
    pub received: Received,
    pub configuration_version: i64,
}

/// Counts for a person who looks into a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    pub servers: u64,
    pub by_region: BTreeMap<String, u64>,
    pub by_source: BTreeMap<String, u64>,
    pub by_protocol: BTreeMap<&'static str, u64>,
    /// Entries that cannot be read.
    pub damaged: u64,
}

impl Store {
    /// The servers of a region, or all, in the order of their numbers: 4 bytes each.
    pub fn servers(&self, region: Option<&str>) -> Vec<ServerId> {
        self.servers_where(region, |_| true)
    }

    /// Those of them whose protocols `wanted` takes.
    pub fn servers_where(&self, region: Option<&str>, wanted: impl Fn(ProtocolSet) -> bool) -> Vec<ServerId> {
        let mut found = self
            .engine()
            .read(|transaction| {
                let mut found = Vec::new();
                walk(transaction, region, |_, id, protocols| {
                    if wanted(protocols) {
                        found.push(id);
                    }
                })?;
                Ok(found)
            })
            .unwrap_or_default();
        found.sort_unstable();
        found
    }

    /// How many servers there are.
    pub fn count(&self) -> u64 {
        self.engine().read(|transaction| Ok(transaction.open_table(REGIONS)?.len()?)).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The regions that servers name, sorted.
    pub fn regions(&self) -> Vec<String> {
        let regions = self.engine().read(|transaction| {
            let table = transaction.open_table(REGIONS)?;
            let mut regions: Vec<String> = Vec::new();
            let mut from = (String::new(), 0);
            // One look for each region: all rows of a region are passed over in one step.
            while let Some(row) = table.range((from.0.as_str(), from.1)..)?.next() {
                let (region, id) = {
                    let (key, _) = row?;
                    let (region, id) = key.value();
                    (region.to_owned(), id)
                };
                if regions.last().is_some_and(|last| *last >= region) {
                    // Only a row with the last number that there can be.
                    from = (format!("{region}\0"), 0);
                    continue;
                }
                let _ = id;
                regions.push(region.clone());
                from = (region, u32::MAX);
            }
            Ok(regions)
        });
        let mut regions = regions.unwrap_or_default();
        regions.retain(|region| !region.is_empty());
        regions
    }

    /// What is known of a server without decoding its entry.
    pub fn summary(&self, id: ServerId) -> Option<Summary> {
        self.engine().read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let Some(head) = entries.get(id.0)?.and_then(|bytes| RecordHead::read(bytes.value())) else {
                return Ok(None);
            };
            let regions = transaction.open_table(REGIONS)?;
            let bits = regions.get((head.region.as_str(), id.0))?.map_or(0, |bits| bits.value());
            Ok(Some(Summary {
                region: head.region,
                protocols: ProtocolSet(bits),
                source: head.source,
                received: head.received,
                configuration_version: head.version,
            }))
        })?
    }

    /// Counts everything. Takes long: it reads all entries.
    pub fn overview(&self) -> Overview {
        let overview = self.engine().read(|transaction| {
            let mut overview = Overview::default();
            walk(transaction, None, |region, _, protocols| {
                *overview.by_region.entry(region.to_owned()).or_default() += 1;
                for protocol in protocols.iter() {
                    *overview.by_protocol.entry(protocol.name()).or_default() += 1;
                }
            })?;
            for row in transaction.open_table(ENTRIES)?.iter()? {
                let (id, bytes) = row?;
                overview.servers += 1;
                match record::read(ServerId(id.value()), bytes.value()) {
                    Some(server) => {
                        *overview.by_source.entry(server.source.to_string()).or_default() += 1;
                    }
                    None => overview.damaged += 1,
                }
            }
            Ok(overview)
        });
        overview.unwrap_or_default()
    }

    /// Makes the index of protocols anew when another version of the program wrote it, for whom bits meant others.
    pub(super) fn renew_protocols(&self) {
        let stamp = protocols_stamp();
        let fits = self.engine().read(|transaction| {
            Ok(transaction.open_table(META)?.get(PROTOCOLS)?.is_some_and(|found| found.value() == stamp))
        });
        if fits != Some(false) {
            return;
        }
        let mut from = Some(0);
        while let Some(first) = from {
            let renewed = self.engine().write(Lasting::Eventually, |transaction| {
                let entries = transaction.open_table(ENTRIES)?;
                let mut regions = transaction.open_table(REGIONS)?;
                let mut last = None;
                for row in entries.range(first..)?.take(RENEWED_AT_ONCE) {
                    let (id, bytes) = row?;
                    last = Some(id.value());
                    if let Some(server) = record::read(ServerId(id.value()), bytes.value())
                        && let Some(head) = RecordHead::read(bytes.value())
                    {
                        let bits = ProtocolSet::of(&server.entry).bits();
                        regions.insert((head.region.as_str(), id.value()), bits)?;
                    }
                }
                Ok(last.and_then(|last| last.checked_add(1)))
            });
            let Ok(next) = renewed else { return };
            from = next;
        }
        let stamped = self.engine().write(Lasting::Now, |transaction| {
            transaction.open_table(META)?.insert(PROTOCOLS, stamp)?;
            Ok(())
        });
        // Otherwise the next start does it again.
        drop(stamped);
    }
}

fn walk(
    transaction: &ReadTransaction,
    region: Option<&str>,
    mut each: impl FnMut(&str, ServerId, ProtocolSet),
) -> Result<(), Failure> {
    let table = transaction.open_table(REGIONS)?;
    let rows = match region {
        Some(region) => table.range((region, 0)..=(region, u32::MAX))?,
        None => table.range::<(&str, u32)>(..)?,
    };
    for row in rows {
        let (key, bits) = row?;
        let (region, id) = key.value();
        each(region, ServerId(id), ProtocolSet(bits.value()));
    }
    Ok(())
}
