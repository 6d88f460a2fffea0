//! What the host of a client may tell it while it runs, and what the system tells by itself.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::config::Secret;

/// What the host of a client may tell it while it runs. Cheap to clone; nothing is lost that is told before the client starts.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    signals: Arc<Signals>,
}

#[derive(Debug, Default)]
struct Signals {
    resumed: Notify,
    reconnects: watch::Sender<u64>,
    imports: watch::Sender<u64>,
    network: watch::Sender<NetworkEvents>,
    identity: watch::Sender<Option<DynamicConfig>>,
}

/// What can be changed while a client runs, and is in force from the next tunnel on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicConfig {
    /// The sponsor's ID, in hex.
    pub sponsor_id: String,
    /// Signed access tokens, base64.
    pub authorizations: Vec<Secret<String>>,
}

/// What has happened to the network so far: counts, of which a change matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkEvents {
    /// It is another one: what goes over the old one is lost.
    pub(crate) moved: u64,
    /// Something about it changed, perhaps nothing that matters.
    pub(crate) touched: u64,
}

impl Controls {
    /// The device, or the application, was suspended and goes on: tunnels are checked at once instead of when
    /// their next check is due. Without effect while no tunnel is up.
    pub fn app_resumed(&self) {
        self.signals.resumed.notify_waiters();
    }

    /// The device is on another network: tunnels are given up and made anew, and what was known of the old network's ways is
    /// not used on the new one.
    pub fn network_changed(&self) {
        self.signals.network.send_modify(|events| events.moved += 1);
    }

    /// Tunnels are closed and made anew, to whichever server comes first.
    pub fn reconnect(&self) {
        self.signals.reconnects.send_modify(|count| *count += 1);
    }

    /// Servers were put into the store that are worth trying at once: a search for a tunnel begins anew. Without effect while
    /// no tunnel is sought.
    pub fn servers_imported(&self) {
        self.signals.imports.send_modify(|count| *count += 1);
    }

    /// Sets what the next tunnel tells its server. A tunnel that is up stays as it is: see [`Controls::reconnect`].
    pub fn set_dynamic_config(&self, config: DynamicConfig) {
        self.signals.identity.send_replace(Some(config));
    }

    /// Something about the network has changed: tunnels are checked, and attempts begin anew.
    pub(crate) fn network_touched(&self) {
        self.signals.network.send_modify(|events| events.touched += 1);
    }

    pub(crate) async fn resumed(&self) {
        self.signals.resumed.notified().await;
    }

    pub(crate) fn reconnects(&self) -> watch::Receiver<u64> {
        self.signals.reconnects.subscribe()
    }

    pub(crate) fn imports(&self) -> watch::Receiver<u64> {
        self.signals.imports.subscribe()
    }

    pub(crate) fn network(&self) -> watch::Receiver<NetworkEvents> {
        self.signals.network.subscribe()
    }

    pub(crate) fn dynamic_config(&self) -> Option<DynamicConfig> {
        self.signals.identity.borrow().clone()
    }
}
