//! An established tunnel: flows through it, the server's API over it, and its health.

mod api;
mod flows;
mod keepalive;
mod server_requests;

use culvert_ssh_tokio::{Handle, Meter};

pub(crate) use api::{ApiClient, ApiError};
pub(crate) use flows::{NotOpened, open_flow};
pub(crate) use keepalive::{KeepAlive, Probe, ProbeRequests, sleep_until as keepalive_sleep};
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
