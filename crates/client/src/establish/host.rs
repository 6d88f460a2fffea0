//! What the host of a client, and whoever feeds it servers and tactics, has to say to an establishment. Seams: a host without
//! an answer, and no feed at all, are the defaults.

use std::fmt;
use std::sync::Arc;

use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_transport::BoxFuture;

/// What the host can tell. Cheap to clone.
#[derive(Clone, Default)]
pub struct Host {
    /// True while there is a network; asked often, so it must answer at once. Without it a network is assumed.
    pub connectivity: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    /// Names the network at hand, as the config key `NetworkID` does. Asked at start and when the network changes.
    pub network_id: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// The host tells of changes of the network and of sleep: the system is not asked.
    pub tells_changes: bool,
}

impl Host {
    /// Whether dialing makes sense.
    pub(crate) fn has_network(&self) -> bool {
        self.connectivity.as_ref().is_none_or(|asked| asked())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// What lists of servers and tactics contribute while a tunnel is sought.
pub trait Feed: Send + Sync {
    /// Completes once tactics are in force, or cannot be had soon. Establishing waits for it, though not for long.
    fn tactics(&self) -> BoxFuture<'_, ()>;

    /// Servers that are to be tried first, if they are stored, with what to dial them with.
    fn prioritized(&self) -> Vec<(ServerEntry, Option<TunnelProtocol>)>;

    /// Whether servers may come that are not known at start.
    fn brings_servers(&self) -> bool;

    /// No tunnel for long, or no servers at all: whatever lists there are should be fetched now.
    fn fetch(&self);
}

/// Nothing feeds this client.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFeed;

impl Feed for NoFeed {
    fn tactics(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn prioritized(&self) -> Vec<(ServerEntry, Option<TunnelProtocol>)> {
        Vec::new()
    }

    fn brings_servers(&self) -> bool {
        false
    }

    fn fetch(&self) {}
}
