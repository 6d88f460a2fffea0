//! Keeps an established tunnel in use until it ends.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use culvert_protocol::api::{HandshakeReply, extension};
use culvert_ssh_tokio::{Incoming, Meter};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Controller;
use super::establish::Established;
use crate::dial::Connected;
use crate::notice::{DiagnosticId, Notice, Topic};
use crate::tunnel::{
    ActiveTunnel, ApiClient, KeepAlive, Probe, ProbeRequests, keepalive_sleep, on_server_request,
};

/// Until the next attempt after a failed `psiphon-connected`. PROTOCOL.md 4.6.
const CONNECTED_RETRY: Duration = Duration::from_secs(5);
/// Between two successful ones on a long-lived tunnel.
const CONNECTED_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// For what is queued to leave when the client stops.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

impl Controller {
    /// Serves the tunnel; true when it ended because the client was asked to stop.
    pub(super) async fn operate(
        &self,
        established: Established,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        let Established { plan, connected, api, handshake } = established;
        let Connected { handle, mut session, driver, .. } = connected;
        let traffic = Meter::default();
        let (probes, probe_requests) = ProbeRequests::new();
        if let Some(reply) = &handshake {
            self.announce_handshake(reply);
        }
        let extensions = handshake.as_ref().map_or(&[][..], |reply| &reply.culvert_extensions);
        let active = ActiveTunnel {
            handle: handle.clone(),
            traffic: traffic.clone(),
            // Also a server that takes up what was not offered is one that is not asked.
            carries_first_bytes: !self.config.ssh.optimistic_open_off
                && extensions.iter().any(|name| name == extension::FIRST_BYTES),
            probes,
        };
        self.tunnel.send_replace(Some(active.clone()));
        self.notices.emit(Notice::Tunnels { count: 1 });
        self.notices.emit(Notice::ActiveTunnel {
            diagnostic_id: self.diagnostic_id(),
            protocol: plan.protocol.to_string(),
        });
        let server_region = self.server.region().unwrap_or_default().to_owned();
        self.notices.emit(Notice::ConnectedServerRegion { server_region });

        let requests = async {
            while let Some(incoming) = session.next().await {
                match incoming {
                    Incoming::Request(request) => on_server_request(request, &self.notices),
                    Incoming::Keyed { .. } => self.notices.info("keys renewed"),
                    // The server opens no channels (PROTOCOL.md 3.7): dropping the offer refuses it.
                    Incoming::Authenticated { .. } | Incoming::Channel(_) | Incoming::Preamble(_) => {}
                }
            }
        };
        let asked_to_stop = tokio::select! {
            () = stop => true,
            () = requests => false,
            () = self.watch(&active, probe_requests) => false,
            () = self.report(api, handshake.is_some()) => false,
            () = self.announce_traffic(&traffic) => false,
        };
        self.tunnel.send_replace(None);
        if asked_to_stop && plan.protocol.base().traits().meek.is_some() {
            // The server waits for further requests, unless it is told.
            handle.disconnect();
        }
        self.end(&handle, driver, asked_to_stop).await;
        let (sent, received) = traffic.totals();
        self.notices.emit(Notice::TotalBytesTransferred {
            diagnostic_id: self.diagnostic_id(),
            sent,
            received,
        });
        asked_to_stop
    }

    /// Closes the tunnel, if it is not closed yet, and says why it ended.
    async fn end(
        &self,
        handle: &culvert_ssh_tokio::Handle,
        driver: tokio::task::JoinHandle<()>,
        asked_to_stop: bool,
    ) {
        if let Some(end) = handle.end().filter(|_| !asked_to_stop) {
            self.notices.info(format!("the tunnel ended: {end}"));
        }
        handle.close();
        let abort = driver.abort_handle();
        if timeout(CLOSE_LIMIT, driver).await.is_err() {
            abort.abort();
        }
    }

    /// Checks the tunnel at random times and when flows fail; returns when it is dead.
    async fn watch(&self, tunnel: &ActiveTunnel, mut probe_requests: mpsc::Receiver<()>) {
        let keepalive = KeepAlive::from(&self.config.ssh.keep_alive);
        let mut next = keepalive.next().map(|wait| Instant::now() + wait);
        loop {
            let probe = tokio::select! {
                () = keepalive_sleep(next) => Probe::Periodic,
                Some(()) = probe_requests.recv() => Probe::Failure,
                () = self.controls.resumed.notified() => Probe::Resume,
            };
            if !keepalive.check(&tunnel.handle, probe).await {
                self.notices.info("the tunnel does not answer; connecting anew");
                return;
            }
            next = keepalive.next().map(|wait| Instant::now() + wait);
        }
    }

    /// Tells the server that the tunnel is in use, once at its start and once a day. Never returns.
    async fn report(&self, mut api: ApiClient, enabled: bool) {
        if !enabled {
            std::future::pending::<()>().await;
        }
        let establishment = self.started.elapsed();
        loop {
            let last = self.data_dir.state().last_connected;
            match api.connected(last.as_deref(), establishment).await {
                Ok(reply) => {
                    let stored = self.data_dir.update(|state| {
                        state.last_connected = Some(reply.connected_timestamp);
                    });
                    if let Err(error) = stored {
                        self.notices.warning(format!("storing the time of this connection: {error}"));
                    }
                    sleep(CONNECTED_PERIOD).await;
                }
                Err(error) => {
                    self.notices.info(format!("psiphon-connected: {error}"));
                    sleep(CONNECTED_RETRY).await;
                }
            }
        }
    }

    /// Tells how many bytes went through, each second in which some did. Never returns.
    async fn announce_traffic(&self, traffic: &Meter) {
        if !self.notices.shows(Topic::BytesTransferred) {
            // Nobody listens: no timer either.
            std::future::pending::<()>().await;
        }
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut sent_before, mut received_before) = (0, 0);
        loop {
            ticks.tick().await;
            let (sent, received) = traffic.totals();
            if (sent, received) != (sent_before, received_before) {
                self.notices.emit(Notice::BytesTransferred {
                    diagnostic_id: self.diagnostic_id(),
                    sent: sent - sent_before,
                    received: received - received_before,
                });
            }
            (sent_before, received_before) = (sent, received);
        }
    }

    fn announce_handshake(&self, reply: &HandshakeReply) {
        let diagnostic_id = self.diagnostic_id();
        if !reply.client_address.is_empty() {
            self.notices.emit(Notice::ClientAddress { address: reply.client_address.clone() });
        }
        for url in &reply.homepages {
            self.notices.emit(Notice::Homepage { url: crate::notice::FreeText::new(url) });
        }
        self.notices.emit(Notice::ClientRegion { region: reply.client_region.clone() });
        let newer = &reply.upgrade_client_version;
        self.notices.emit(if newer.is_empty() {
            Notice::ClientIsLatestVersion { available_version: String::new() }
        } else {
            Notice::ClientUpgradeAvailable { version: newer.clone() }
        });
        self.notices.emit(Notice::ServerTimestamp {
            diagnostic_id: diagnostic_id.clone(),
            timestamp: reply.server_timestamp.clone(),
        });
        self.notices.emit(Notice::ActiveAuthorizationIDs {
            diagnostic_id: diagnostic_id.clone(),
            ids: reply.active_authorization_ids.clone(),
        });
        self.notices.emit(Notice::TrafficRateLimits {
            diagnostic_id,
            upstream_bytes_per_second: reply.upstream_bytes_per_second,
            downstream_bytes_per_second: reply.downstream_bytes_per_second,
        });
    }

    fn diagnostic_id(&self) -> DiagnosticId {
        DiagnosticId::from_tag(self.server.tag().as_str())
    }
}
