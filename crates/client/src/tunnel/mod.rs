//! An established tunnel: flows through it, the server's API over it, and its health.

mod api;
mod flows;
mod keepalive;
mod liveness;
mod server_requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use culvert_ssh_tokio::{Handle, Meter};

pub(crate) use api::{ApiClient, ApiError, base_params};
pub(crate) use flows::{NotOpened, open_flow};
pub(crate) use keepalive::{
    Checked, KeepAlive, Probe, ProbeRequests, sleep_until as keepalive_sleep, unanswered,
};
pub(crate) use liveness::LivenessError;
pub(crate) use liveness::{Sizes as LivenessSizes, test as test_liveness};
pub(crate) use server_requests::on_server_request;

/// What flows need of the tunnel that is up.
#[derive(Clone)]
pub(crate) struct ActiveTunnel {
    /// Opens channels.
    pub(crate) handle: Handle,
    /// Counts bytes.
    pub(crate) traffic: Meter,
    /// The server takes first bytes with an open. PROTOCOL.md 12.2.
    pub(crate) carries_first_bytes: bool,
    /// Asks for a check when flows fail.
    pub(crate) probes: ProbeRequests,
}

/// The tunnels that are up. New flows take them in turn.
#[derive(Clone, Default)]
pub(crate) struct Tunnels {
    up: Vec<(u64, ActiveTunnel)>,
    added: u64,
    turn: Arc<AtomicUsize>,
}

impl Tunnels {
    /// The tunnel for the next flow.
    pub(crate) fn next(&self) -> Option<ActiveTunnel> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (_, tunnel) = self.up.get(turn.checked_rem(self.up.len())?)?;
        Some(tunnel.clone())
    }

    /// Adds one, and names it.
    pub(crate) fn add(&mut self, tunnel: ActiveTunnel) -> u64 {
        self.added += 1;
        self.up.push((self.added, tunnel));
        self.added
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, name: u64) {
        self.up.retain(|(own, _)| *own != name);
    }

    /// Takes out those whose connections are over.
    pub(crate) fn forget_closed(&mut self) {
        self.up.retain(|(_, tunnel)| tunnel.handle.end().is_none());
    }

    /// How many are up.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.up.len()).unwrap_or(u32::MAX)
    }

    /// True when none is.
    pub(crate) fn is_empty(&self) -> bool {
        self.up.is_empty()
    }

    /// True when the next flow's first bytes would go with its open.
    pub(crate) fn carry_first_bytes(&self) -> bool {
        !self.is_empty() && self.up.iter().all(|(_, tunnel)| tunnel.carries_first_bytes)
    }
}
