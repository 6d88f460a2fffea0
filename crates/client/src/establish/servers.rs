//! Where candidates come from, and what is remembered of them. Not their order.

use std::sync::Arc;

use culvert_protocol::ServerEntry;
use culvert_protocol::server_entry::EntrySource;

use crate::store::{ProtocolSet, Replace, ServerId, Store, StoreError};

/// The servers that a client may use.
#[derive(Clone, Debug)]
pub(crate) enum Servers {
    /// The one that the user chose: dialed by one worker, and never first because it served last. It has a store of its own,
    /// so that it is not among the others when the user chooses it no more. What worked with it is kept in the client's.
    Target { own: Store, memory: Store, tag: String },
    /// Those of the store.
    Stored(Store),
}

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) entry: Arc<ServerEntry>,
    pub(crate) source: EntrySource,
    /// When it was received, to the hour.
    pub(crate) received: String,
}

impl Servers {
    /// The one that the user chose.
    pub(crate) fn target(entry: &ServerEntry, memory: &Store) -> Result<Self, StoreError> {
        let own = Store::in_memory();
        own.put(entry, &EntrySource::Target, Replace::Always)?;
        Ok(Self::Target { own, memory: memory.clone(), tag: entry.tag().as_str().to_owned() })
    }

    /// All of them in a region, or in any, that may have one of these protocols.
    pub(crate) fn ids(&self, region: &str, wanted: ProtocolSet) -> Vec<ServerId> {
        let region = Some(region).filter(|region| !region.is_empty());
        self.store().servers_where(region, |offered| offered.meets(wanted))
    }

    /// True when there is one in a region, or in any.
    pub(crate) fn has_region(&self, region: &str) -> bool {
        region.is_empty() || self.store().regions().iter().any(|known| known == region)
    }

    /// One of them, unless it has gone meanwhile.
    pub(crate) fn server(&self, id: ServerId) -> Option<Server> {
        let stored = self.store().server(id)?;
        let received = stored.received.to_text();
        Some(Server { entry: Arc::new(stored.entry), source: stored.source, received })
    }

    /// Every region that has one, sorted.
    pub(crate) fn regions(&self) -> Vec<String> {
        self.store().regions()
    }

    /// True when there is none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.store().is_empty()
    }

    /// True for the one that the user chose.
    pub(crate) fn is_target(&self) -> bool {
        matches!(self, Self::Target { .. })
    }

    /// The server that served last on a network.
    pub(crate) fn affinity(&self, network: &str) -> Option<ServerId> {
        match self {
            Self::Target { .. } => None,
            Self::Stored(store) => store.affinity(network),
        }
    }

    /// Makes it the one that served last.
    pub(crate) fn set_affinity(&self, network: &str, id: ServerId) {
        if let Self::Stored(store) = self {
            store.set_affinity(network, id);
        }
    }

    /// The plan that worked with a server on a network.
    pub(crate) fn plan(&self, network: &str, id: ServerId) -> Option<Vec<u8>> {
        match self {
            Self::Target { memory, tag, .. } => memory.value(&plan_name(network, tag)),
            Self::Stored(store) => store.plan(network, id),
        }
    }

    /// Makes it that plan.
    pub(crate) fn set_plan(&self, network: &str, id: ServerId, plan: &[u8]) {
        match self {
            Self::Target { memory, tag, .. } => memory.set_value(&plan_name(network, tag), plan),
            Self::Stored(store) => store.set_plan(network, id, plan),
        }
    }

    /// Forgets it.
    pub(crate) fn drop_plan(&self, network: &str, id: ServerId) {
        match self {
            Self::Target { memory, tag, .. } => memory.remove_value(&plan_name(network, tag)),
            Self::Stored(store) => store.drop_plan(network, id),
        }
    }

    /// Forgets what made a server the first on a network.
    pub(crate) fn forget(&self, network: &str, id: ServerId) {
        self.drop_plan(network, id);
        if let Self::Stored(store) = self
            && store.affinity(network) == Some(id)
        {
            store.clear_affinity(network);
        }
    }

    /// Where what is known of networks is kept.
    pub(crate) fn memory(&self) -> &Store {
        match self {
            Self::Target { memory, .. } => memory,
            Self::Stored(store) => store,
        }
    }

    /// Where the servers are.
    pub(crate) fn store(&self) -> &Store {
        match self {
            Self::Target { own, .. } => own,
            Self::Stored(store) => store,
        }
    }
}

/// The name of a plan among the values of a store.
fn plan_name(network: &str, tag: &str) -> String {
    format!("target-plan {tag} {network}")
}
