//! What worked on which network: plans to replay, the server to try first, protocols that got through. All of it is
//! bounded: a traveller's oldest networks are forgotten.

use culvert_protocol::TunnelProtocol;
use redb::{ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};

use super::engine::{Failure, Lasting};
use super::record::{seal, unseal};
use super::tables::{AFFINITY, ENTRIES, NETWORKS, PLANS, REPLAY, SUCCESSES, next_sequence};
use super::{Received, ServerId, Store};

/// Networks of which anything is kept.
const MOST_NETWORKS: u64 = 64;
/// Plans kept for one network.
const MOST_PLANS: usize = 256;
/// Longest plan that is kept.
const LONGEST_PLAN: usize = 64 << 10;

/// How a protocol fared on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Success {
    pub protocol: TunnelProtocol,
    pub count: u64,
    /// The hour of the last time.
    pub last: Received,
}

impl Store {
    /// The server to try first on a network.
    pub fn affinity(&self, network: &str) -> Option<ServerId> {
        self.engine().read(|transaction| {
            let Some(id) = transaction.open_table(AFFINITY)?.get(network)?.map(|id| id.value()) else {
                return Ok(None);
            };
            let is_there = transaction.open_table(ENTRIES)?.get(id)?.is_some();
            Ok(is_there.then_some(ServerId(id)))
        })?
    }

    /// Sets it. Lasts when the call returns.
    pub fn set_affinity(&self, network: &str, id: ServerId) {
        self.change(Lasting::Now, |transaction| {
            touch(transaction, network)?;
            transaction.open_table(AFFINITY)?.insert(network, id.0)?;
            Ok(())
        });
    }

    /// Forgets it.
    pub fn clear_affinity(&self, network: &str) {
        self.change(Lasting::Now, |transaction| {
            transaction.open_table(AFFINITY)?.remove(network)?;
            Ok(())
        });
    }

    /// The plan that last worked with a server on a network, as the bytes that were given.
    pub fn plan(&self, network: &str, id: ServerId) -> Option<Vec<u8>> {
        self.engine().read(|transaction| {
            let plans = transaction.open_table(PLANS)?;
            let plan = plans.get((id.0, network))?;
            Ok(plan.and_then(|plan| unseal(plan.value().1).map(<[u8]>::to_vec)))
        })?
    }

    /// Keeps a plan that has just worked; it is the first of [`Store::replayable`] from now on. Lasts when the call
    /// returns. Not kept when there is no such server.
    pub fn set_plan(&self, network: &str, id: ServerId, plan: &[u8]) {
        if plan.len() > LONGEST_PLAN {
            return;
        }
        let sealed = seal(plan);
        self.change(Lasting::Now, |transaction| {
            if transaction.open_table(ENTRIES)?.get(id.0)?.is_none() {
                return Ok(());
            }
            touch(transaction, network)?;
            remove_plan(transaction, network, id)?;
            let sequence = next_sequence(transaction)?;
            transaction.open_table(PLANS)?.insert((id.0, network), (sequence, sealed.as_slice()))?;
            transaction.open_table(REPLAY)?.insert((network, sequence), id.0)?;
            drop_oldest_plans(transaction, network)
        });
    }

    /// Drops a plan, so that the next dial to the server is made anew.
    pub fn drop_plan(&self, network: &str, id: ServerId) {
        self.change(Lasting::Now, |transaction| remove_plan(transaction, network, id));
    }

    /// Networks of which anything is kept.
    pub fn networks(&self) -> Vec<String> {
        let found = self.engine().read(|transaction| {
            let mut found = Vec::new();
            for row in transaction.open_table(NETWORKS)?.iter()? {
                found.push(row?.0.value().to_owned());
            }
            Ok(found)
        });
        found.unwrap_or_default()
    }

    /// Servers with a plan for a network, the last success first.
    pub fn replayable(&self, network: &str) -> Vec<ServerId> {
        let found = self.engine().read(|transaction| {
            let replay = transaction.open_table(REPLAY)?;
            let mut found = Vec::new();
            for row in replay.range((network, 0)..=(network, u64::MAX))?.rev() {
                found.push(ServerId(row?.1.value()));
            }
            Ok(found)
        });
        found.unwrap_or_default()
    }

    /// Counts that a protocol got through on a network. A crash may lose it.
    pub fn note_success(&self, network: &str, protocol: TunnelProtocol) {
        let now = Received::at(self.now());
        self.change(Lasting::Eventually, |transaction| {
            touch(transaction, network)?;
            let mut successes = transaction.open_table(SUCCESSES)?;
            let before = successes.get((network, protocol.name()))?.map_or(0, |row| row.value().0);
            successes.insert((network, protocol.name()), (before.saturating_add(1), now.0))?;
            Ok(())
        });
    }

    /// What got through on a network, the latest first.
    pub fn successes(&self, network: &str) -> Vec<Success> {
        let found = self.engine().read(|transaction| {
            let mut found = Vec::new();
            for row in transaction.open_table(SUCCESSES)?.range((network, "")..)? {
                let (key, value) = row?;
                let (on, protocol) = key.value();
                if on != network {
                    break;
                }
                let (count, last) = value.value();
                let known = protocol.parse().ok();
                found.extend(known.map(|protocol| Success { protocol, count, last: Received(last) }));
            }
            Ok(found)
        });
        let mut found = found.unwrap_or_default();
        found.sort_by_key(|success| std::cmp::Reverse((success.last, success.count)));
        found
    }

    /// Changes what is only an aid: that it was not kept has been said, and is nothing to the caller.
    pub(super) fn change(&self, lasting: Lasting, op: impl Fn(&WriteTransaction) -> Result<(), Failure>) {
        drop(self.engine().write(lasting, op));
    }
}

fn remove_plan(transaction: &WriteTransaction, network: &str, id: ServerId) -> Result<(), Failure> {
    let mut plans = transaction.open_table(PLANS)?;
    let sequence = plans.remove((id.0, network))?.map(|row| row.value().0);
    if let Some(sequence) = sequence {
        transaction.open_table(REPLAY)?.remove((network, sequence))?;
    }
    Ok(())
}

fn drop_oldest_plans(transaction: &WriteTransaction, network: &str) -> Result<(), Failure> {
    let mut replay = transaction.open_table(REPLAY)?;
    let mut rows = Vec::new();
    for row in replay.range((network, 0)..=(network, u64::MAX))?.rev().skip(MOST_PLANS) {
        let (key, id) = row?;
        rows.push((key.value().1, id.value()));
    }
    let mut plans = transaction.open_table(PLANS)?;
    for (sequence, id) in rows {
        replay.remove((network, sequence))?;
        plans.remove((id, network))?;
    }
    Ok(())
}

/// Notes that something is kept for a network now, and forgets the one that was used least recently when there are too
/// many.
fn touch(transaction: &WriteTransaction, network: &str) -> Result<(), Failure> {
    let sequence = next_sequence(transaction)?;
    let mut networks = transaction.open_table(NETWORKS)?;
    networks.insert(network, sequence)?;
    if networks.len()? <= MOST_NETWORKS {
        return Ok(());
    }
    let mut oldest: Option<(u64, String)> = None;
    for row in networks.iter()? {
        let (name, used) = row?;
        if oldest.as_ref().is_none_or(|(least, _)| used.value() < *least) {
            oldest = Some((used.value(), name.value().to_owned()));
        }
    }
    let Some((_, oldest)) = oldest else { return Ok(()) };
    networks.remove(oldest.as_str())?;
    transaction.open_table(AFFINITY)?.remove(oldest.as_str())?;
    let mut plans = transaction.open_table(PLANS)?;
    let mut ids = Vec::new();
    {
        let mut replay = transaction.open_table(REPLAY)?;
        replay.retain_in((oldest.as_str(), 0)..=(oldest.as_str(), u64::MAX), |_, id| {
            ids.push(id);
            false
        })?;
    }
    for id in ids {
        plans.remove((id, oldest.as_str()))?;
    }
    let after = format!("{oldest}\0");
    transaction
        .open_table(SUCCESSES)?
        .retain_in((oldest.as_str(), "")..(after.as_str(), ""), |_, _| false)?;
    Ok(())
}
