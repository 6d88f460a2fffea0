//! Keeps an established tunnel in use until it ends.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::api::{DialParams, HandshakeReply, extension};
use culvert_ssh_tokio::{Incoming, Meter};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::discovered::Discovered;
use super::{Controller, moved};
use crate::controls::Controls;
use crate::dial::Connected;
use crate::establish::{Established, Host, Server};
use crate::notice::{DiagnosticId, Notice, Topic};
use crate::randomness::random;
use crate::reports::{FailedTunnel, Reporter};
use crate::store::ServerId;
use crate::tunnel::{
    ActiveTunnel, ApiClient, Checked, KeepAlive, Probe, ProbeRequests, keepalive_sleep, on_server_request,
    unanswered,
};

/// What a tunnel is, while it is operated.
struct Operation {
    controller: Arc<Controller>,
    id: ServerId,
    server: Server,
    /// How it was made, for reports.
    dial: DialParams,
    is_meek: bool,
}

/// Why a tunnel is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    /// The client stops.
    Stopping,
    /// It is over already, or must be.
    Lost,
}

impl Controller {
    /// Serves a tunnel until it is over, or the client stops.
    pub(super) async fn operate(
        self: Arc<Self>,
        established: Established,
        mut stopping: watch::Receiver<bool>,
    ) -> ServerId {
        let Established { id, server, plan, connected, api, handshake, probation, dial } = established;
        let Connected { handle, mut session, driver, .. } = connected;
        let operation = Operation {
            controller: self.clone(),
            id,
            server,
            dial,
            is_meek: plan.protocol.base().traits().meek.is_some(),
        };
        let traffic = Meter::default();
        let (probes, probe_requests) = ProbeRequests::new();
        if let Some(reply) = &handshake {
            operation.announce_handshake(reply);
            operation.learn_servers(reply);
        }
        let extensions = handshake.as_ref().map_or(&[][..], |reply| &reply.culvert_extensions);
        let active = ActiveTunnel {
            handle: handle.clone(),
            traffic: traffic.clone(),
            // Also a server that takes up what was not offered is one that is not asked.
            carries_first_bytes: !self.config().ssh.optimistic_open_off
                && extensions.iter().any(|name| name == extension::FIRST_BYTES),
            probes,
        };
        let name = operation.announce(&active, plan.protocol);
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
        let parameters = self.config().parameters.clone();
        let given_up = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => GivenUp::Stopping,
            () = requests => GivenUp::Lost,
            () = operation.watch(&active, probe_requests) => GivenUp::Lost,
            () = operation.report(api, handshake.is_some()) => GivenUp::Lost,
            () = operation.announce_traffic(&traffic) => GivenUp::Lost,
            () = probation.pass(&parameters, &traffic) => GivenUp::Lost,
        };
        operation.retract(name);
        operation.end(&handle, driver, given_up).await;
        let (sent, received) = traffic.totals();
        let diagnostic_id = operation.diagnostic_id();
        self.notices.emit(Notice::TotalBytesTransferred { diagnostic_id, sent, received });
        id
    }
}

impl Operation {
    /// Lets flows have the tunnel, and says so.
    fn announce(&self, active: &ActiveTunnel, protocol: TunnelProtocol) -> u64 {
        let notices = &self.controller.notices;
        let mut name = 0;
        self.controller.tunnels.send_modify(|tunnels| {
            name = tunnels.add(active.clone());
            notices.emit(Notice::Tunnels { count: tunnels.count() });
        });
        let diagnostic_id = self.diagnostic_id();
        notices.emit(Notice::ActiveTunnel { diagnostic_id, protocol: protocol.to_string() });
        let server_region = self.server.entry.region().unwrap_or_default().to_owned();
        notices.emit(Notice::ConnectedServerRegion { server_region });
        name
    }

    /// Takes the tunnel back.
    fn retract(&self, name: u64) {
        self.controller.tunnels.send_modify(|tunnels| {
            tunnels.remove(name);
            self.controller.notices.emit(Notice::Tunnels { count: tunnels.count() });
        });
    }

    /// Closes the tunnel, if it is not closed yet, and says why it ended.
    async fn end(
        &self,
        handle: &culvert_ssh_tokio::Handle,
        driver: tokio::task::JoinHandle<()>,
        given_up: GivenUp,
    ) {
        match (given_up, handle.end()) {
            (GivenUp::Lost, Some(end)) => self.controller.notices.info(format!("the tunnel ended: {end}")),
            // The server waits for further requests, unless it is told.
            (GivenUp::Stopping, None) if self.is_meek => handle.disconnect(),
            _ => {}
        }
        handle.close();
        let abort = driver.abort_handle();
        // For what is queued to leave.
        let parameters = &self.controller.config().parameters;
        let limit = parameters.tunnel.shutdown_timeout.scaled(parameters.latency.general());
        if timeout(limit, driver).await.is_err() {
            abort.abort();
        }
    }

    /// Returns when the tunnel is dead, or is not wanted any more.
    async fn watch(&self, tunnel: &ActiveTunnel, probe_requests: mpsc::Receiver<()>) {
        let Controller { controls, notices, host, .. } = self.controller.as_ref();
        let keepalive = KeepAlive::new(&self.controller.config());
        let mut network = controls.network();
        // Side by side: a periodic check waits long for its answer, where something that is wrong must be found out soon.
        let found = tokio::select! {
            found = check_periodically(tunnel, &keepalive, host) => found,
            found = check_when_told(tunnel, &keepalive, self.controller.as_ref(), probe_requests) => found,
            () = moved(&mut network) => return notices.info("the network has changed; connecting anew"),
            Ok(()) = asked_anew(controls) => return notices.info("asked to connect anew"),
        };
        notices.info("the tunnel does not answer; connecting anew");
        if found == (Checked::Silent { on_network: true }) {
            self.note_silence(tunnel);
        }
    }

    /// Takes note of a tunnel that stopped to answer, though the network was there: some are let through, and starved later.
    fn note_silence(&self, tunnel: &ActiveTunnel) {
        let Controller { store, servers, credentials, notices, .. } = self.controller.as_ref();
        let config = self.controller.config();
        let mut prng = Prng::new(&Seed::from_bytes(random()));
        let failed = FailedTunnel {
            session_id: credentials.session_id.as_str(),
            tag: &self.server.entry.tag(),
            dial: self.dial.clone(),
            error: "the tunnel does not answer",
            bytes: Some(tunnel.traffic.totals()),
        };
        failed.store(store, &config, &mut prng);
        if config.parameters.keep_alive.reset_on_failure_probability.happens(&mut prng) {
            notices.info("what worked with its server is forgotten");
            servers.forget(&config.network_id, self.id);
        }
    }

    /// Tells the server what it is to know while the tunnel is up. Never returns.
    async fn report(&self, api: ApiClient, enabled: bool) {
        if !enabled {
            std::future::pending::<()>().await;
        }
        let Controller { store, notices, reporting, started, .. } = self.controller.as_ref();
        let establishment = started.elapsed();
        let _turn = reporting.lock().await;
        let parameters = &self.controller.config().parameters;
        Reporter { api, store, notices, parameters, establishment }.run().await;
    }

    /// Tells how many bytes went through, each second in which some did. Never returns.
    async fn announce_traffic(&self, traffic: &Meter) {
        if !self.controller.notices.shows(Topic::BytesTransferred) {
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
                self.controller.notices.emit(Notice::BytesTransferred {
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
            self.controller.notices.emit(Notice::ClientAddress { address: reply.client_address.clone() });
        }
        for url in &reply.homepages {
            self.controller.notices.emit(Notice::Homepage { url: crate::notice::FreeText::new(url) });
        }
        self.controller.notices.emit(Notice::ClientRegion { region: reply.client_region.clone() });
        let newer = &reply.upgrade_client_version;
        self.controller.notices.emit(if newer.is_empty() {
            Notice::ClientIsLatestVersion { available_version: String::new() }
        } else {
            Notice::ClientUpgradeAvailable { version: newer.clone() }
        });
        self.controller.notices.emit(Notice::ServerTimestamp {
            diagnostic_id: diagnostic_id.clone(),
            timestamp: reply.server_timestamp.clone(),
        });
        self.controller.notices.emit(Notice::ActiveAuthorizationIDs {
            diagnostic_id: diagnostic_id.clone(),
            ids: reply.active_authorization_ids.clone(),
        });
        self.controller.notices.emit(Notice::TrafficRateLimits {
            diagnostic_id,
            upstream_bytes_per_second: reply.upstream_bytes_per_second,
            downstream_bytes_per_second: reply.downstream_bytes_per_second,
        });
    }

    /// Stores what the server tells of servers, beside everything else.
    fn learn_servers(&self, reply: &HandshakeReply) {
        let Some(discovered) = Discovered::new(reply, &self.server.entry) else { return };
        let (store, notices) = (self.controller.store.clone(), self.controller.notices.clone());
        tokio::task::spawn_blocking(move || discovered.store(&store, &notices));
    }

    fn diagnostic_id(&self) -> DiagnosticId {
        DiagnosticId::from_tag(self.server.entry.tag().as_str())
    }
}

/// Checks the tunnel at random times; returns when it is dead.
async fn check_periodically(tunnel: &ActiveTunnel, keepalive: &KeepAlive, host: &Host) -> Checked {
    loop {
        keepalive_sleep(keepalive.next().map(|wait| Instant::now() + wait)).await;
        let found = keepalive.check(&tunnel.handle, Probe::Periodic, host).await;
        if found != Checked::Alive {
            return found;
        }
    }
}

/// Checks the tunnel when flows fail, and when something may have happened to the network; returns when it is dead.
async fn check_when_told(
    tunnel: &ActiveTunnel,
    keepalive: &KeepAlive,
    Controller { controls, host, .. }: &Controller,
    mut probe_requests: mpsc::Receiver<()>,
) -> Checked {
    let mut network = controls.network();
    network.mark_unchanged();
    loop {
        let probe = tokio::select! {
            Some(()) = probe_requests.recv() => Probe::Failure,
            () = unanswered(&tunnel.handle) => Probe::Unanswered,
            () = controls.resumed() => Probe::Resume,
            Ok(()) = network.changed() => Probe::NetworkChange,
        };
        let found = keepalive.check(&tunnel.handle, probe, host).await;
        if found != Checked::Alive {
            return found;
        }
    }
}

async fn asked_anew(controls: &Controls) -> Result<(), watch::error::RecvError> {
    let mut reconnects = controls.reconnects();
    reconnects.mark_unchanged();
    reconnects.changed().await
}
