//! An established tunnel: flows through it, the server's API over it, and its health.

mod api;
mod flows;
mod keepalive;
mod server_requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use culvert_ssh_tokio::Handle;

pub(crate) use api::{ApiClient, ApiError};
pub(crate) use flows::open_flow;
pub(crate) use keepalive::{KeepAlive, Probe, ProbeRequests, sleep_until as keepalive_sleep};
pub(crate) use server_requests::on_server_request;

/// Bytes that went through a tunnel's flows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    fn add_sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn add_received(&self, bytes: usize) {
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Sent and received so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.0.sent.load(Ordering::Relaxed), self.0.received.load(Ordering::Relaxed))
    }
}

/// What flows need of the tunnel that is up.
#[derive(Clone)]
pub(crate) struct ActiveTunnel {
    /// Opens channels.
    pub(crate) handle: Handle,
    /// Counts bytes.
    pub(crate) traffic: Traffic,
    /// Asks for a check when flows fail.
    pub(crate) probes: ProbeRequests,
}
