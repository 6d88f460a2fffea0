//! Takes wishes for flows from the local proxies and opens them through whichever tunnel is up.
//!
//! While none is up, wishes wait a while: an application sees a slow request instead of a failed one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Controller;
use crate::flow::{Destination, FlowStream, OpenFailure, OpenRequest};
use crate::tunnel::{NotOpened, Tunnels, open_flow};

/// How long a flow waits for a tunnel.
const HOLD: Duration = Duration::from_secs(15);

/// The desk.
pub(super) struct FlowDesk {
    controller: Arc<Controller>,
    requests: mpsc::Receiver<OpenRequest>,
}

impl FlowDesk {
    pub(super) fn new(controller: Arc<Controller>, requests: mpsc::Receiver<OpenRequest>) -> Self {
        Self { controller, requests }
    }

    /// Serves until the proxies are gone; each flow is opened in a task of its own.
    pub(super) async fn run(mut self) {
        let mut opening = JoinSet::new();
        loop {
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(request) = request else { return };
                    let limit = self.dial_limit();
                    opening.spawn(serve(self.controller.tunnels.subscribe(), request, limit));
                }
                Some(_) = opening.join_next() => {}
            }
        }
    }

    /// How long the server may take to open a flow.
    fn dial_limit(&self) -> Duration {
        let parameters = &self.controller.config().parameters;
        parameters.tunnel.port_forward_dial_timeout.scaled(parameters.latency.general())
    }
}

async fn serve(tunnels: watch::Receiver<Tunnels>, mut request: OpenRequest, limit: Duration) {
    let result = tokio::select! {
        result = open(tunnels, &request.destination, &request.first_bytes, limit) => result,
        // The application gave up.
        () = request.reply.closed() => return,
    };
    // It may give up in this very moment; the flow is then closed by being dropped.
    let _ = request.reply.send(result);
}

/// Opens a flow; one that falls between two tunnels is tried again on the next, unless its first bytes may have arrived:
/// they must not arrive twice.
async fn open(
    mut tunnels: watch::Receiver<Tunnels>,
    destination: &Destination,
    first_bytes: &[u8],
    limit: Duration,
) -> Result<FlowStream, OpenFailure> {
    let deadline = Instant::now() + HOLD;
    loop {
        let active = match timeout_at(deadline, tunnels.wait_for(|tunnels| !tunnels.is_empty())).await {
            Ok(Ok(tunnels)) => tunnels.next(),
            Ok(Err(_)) => return Err(OpenFailure::Stopping),
            Err(_) => return Err(OpenFailure::NoTunnel { waited: HOLD }),
        };
        let Some(active) = active else { continue };
        match open_flow(&active, destination, first_bytes, limit).await {
            Err(NotOpened { failure: OpenFailure::TunnelLost, nothing_sent: true }) => {
                // Wait until the controller has noticed too, or this would spin.
                let changed = timeout_at(deadline, tunnels.changed()).await;
                if !matches!(changed, Ok(Ok(()))) {
                    return Err(OpenFailure::TunnelLost);
                }
            }
            result => return result.map_err(|not_opened| not_opened.failure),
        }
    }
}
