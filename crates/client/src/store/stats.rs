//! Reports that wait for a tunnel: stored, taken out for a request, put back when it failed, cleared when it was
//! answered. What was taken when the process ended is reported again. PROTOCOL.md 4.7.

use std::sync::{MutexGuard, PoisonError};

use redb::{ReadableTable as _, ReadableTableMetadata as _};

use super::Store;
use super::engine::Lasting;
use super::tables::{STATS, next_sequence};

/// A longer report is a mistake.
const LONGEST_STAT: usize = 64 << 10;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatKind {
    /// A tunnel that was not established, or broke.
    FailedTunnel,
    /// A download of a list of servers.
    RemoteServerList,
}

/// Reports on their way to a server. Give it back to [`Store::put_back`] or [`Store::clear`].
#[derive(Debug, Default)]
#[must_use]
pub struct Taken {
    sequences: Vec<u64>,
    /// Kind and JSON.
    pub reports: Vec<(StatKind, String)>,
}

impl StatKind {
    fn code(self) -> u8 {
        match self {
            Self::FailedTunnel => 1,
            Self::RemoteServerList => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::FailedTunnel, Self::RemoteServerList].into_iter().find(|kind| kind.code() == code)
    }
}

impl Taken {
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }
}

impl Store {
    /// Stores a report, a JSON object, unless there are so many already. A crash may lose it.
    pub fn enqueue_stat(&self, kind: StatKind, json: &str, most: u32) {
        if json.len() > LONGEST_STAT {
            return;
        }
        self.change(Lasting::Eventually, |transaction| {
            let sequence = next_sequence(transaction)?;
            let mut stats = transaction.open_table(STATS)?;
            if stats.len()? < u64::from(most) {
                stats.insert(sequence, (kind.code(), json))?;
            }
            Ok(())
        });
    }

    /// Reports that nobody has taken.
    pub fn waiting_stats(&self) -> u64 {
        let stored = self.engine().read(|transaction| Ok(transaction.open_table(STATS)?.len()?));
        stored.unwrap_or_default().saturating_sub(self.taken().len() as u64)
    }

    /// Takes the oldest reports out, of at least one until `most_bytes` are reached.
    pub fn take_stats(&self, most_bytes: usize) -> Taken {
        let mut already = self.taken();
        let found = self.engine().read(|transaction| {
            let mut found = Taken::default();
            let mut bytes = 0;
            for row in transaction.open_table(STATS)?.iter()? {
                let (sequence, report) = row?;
                let (kind, json) = report.value();
                if already.contains(&sequence.value()) {
                    continue;
                }
                found.sequences.push(sequence.value());
                // What cannot be read goes with the rest when it is cleared.
                let readable = serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
                if let Some(kind) = StatKind::from_code(kind).filter(|_| readable) {
                    found.reports.push((kind, json.to_owned()));
                    bytes += json.len();
                }
                if bytes >= most_bytes {
                    break;
                }
            }
            Ok(found)
        });
        let found = found.unwrap_or_default();
        already.extend(&found.sequences);
        found
    }

    /// Makes reports wait again.
    pub fn put_back(&self, taken: Taken) {
        let mut all = self.taken();
        taken.sequences.iter().for_each(|sequence| {
            all.remove(sequence);
        });
    }

    /// Removes reports that a server has.
    pub fn clear(&self, taken: Taken) {
        self.change(Lasting::Now, |transaction| {
            let mut stats = transaction.open_table(STATS)?;
            for sequence in &taken.sequences {
                stats.remove(sequence)?;
            }
            Ok(())
        });
        self.put_back(taken);
    }

    fn taken(&self) -> MutexGuard<'_, std::collections::BTreeSet<u64>> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
