//! The controller: tries servers until one lets us in, serves flows through it, and starts over when it is
//! lost. It owns all changing state of a run.

mod establish;
mod flow_desk;
mod operate;

use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::api::{SERVER_REQUESTS, SessionId, extension};
use culvert_protocol::server_entry::DecodeError;
use culvert_protocol::{Feature, ServerEntry, TunnelProtocol};
use culvert_ssh::{Limits, MemoryBudget, ServerKind};
use culvert_transport::Network;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::{Config, Upstream};
use crate::data_dir::DataDir;
use crate::dial::Credentials;
use crate::flow::flow_queue;
use crate::local::{self, LocalError, LocalSettings};
use crate::notice::{Notice, Notices};
use crate::randomness::random;
use crate::tunnel::ActiveTunnel;
use establish::EstablishError;
use flow_desk::FlowDesk;

/// Wishes for flows that may wait in the queue; further ones wait in the proxies.
const FLOW_QUEUE: usize = 256;
/// What windows may take beyond their first size, all tunnels together: phones end programs that take more.
const WINDOW_MEMORY: u64 = 64 << 20;
/// Largest channel window a config may ask for, in packets of 32 KiB. PROTOCOL.md 3.7.
const MAX_WINDOW_PACKETS: u32 = 128;
/// Pause before another round, at first and at most: a server that restarts is found again at once, a
/// network that is gone is not hammered.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Why a run ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing to connect to.
    #[error("no server is configured: set TargetServerEntry to the line in the server's server-entry.dat")]
    NoServers,
    /// The entry cannot be read.
    #[error("TargetServerEntry: {0}")]
    Entry(#[from] DecodeError),
    /// The entry offers nothing that may be used.
    #[error("the server entry supports {offered}; allowed and supported here: {allowed}")]
    NoCommonProtocol {
        /// What the entry names.
        offered: String,
        /// What config and build allow.
        allowed: String,
    },
    /// The entry is not in the wanted region.
    #[error("no server in region {wanted} (EgressRegion); the server entry says {found:?}")]
    Region {
        /// What was asked for.
        wanted: String,
        /// What the entry says.
        found: String,
    },
    /// The local proxies.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// No tunnel within the time allowed.
    #[error("no tunnel within {} s (EstablishTunnelTimeoutSeconds); last failure: {last}", .after.as_secs())]
    Timeout {
        /// The time allowed.
        after: Duration,
        /// What the last attempt ran into.
        last: String,
    },
    /// Trying again cannot help.
    #[error("{0}")]
    Hopeless(#[from] EstablishError),
}

/// What the host of a client may tell it while it runs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    resumed: Arc<Notify>,
}

impl Controls {
    /// The device, or the application, was suspended and goes on: the tunnel is checked at once instead of when
    /// its next check is due. Without effect while no tunnel is up.
    pub fn app_resumed(&self) {
        self.resumed.notify_waiters();
    }
}

/// What a client runs in.
pub struct Surroundings {
    /// Where its state is.
    pub data_dir: DataDir,
    /// Where its events go.
    pub notices: Notices,
    /// Where its bytes leave.
    pub network: Arc<dyn Network>,
    /// What its host tells it.
    pub controls: Controls,
}

/// A client's run.
pub(crate) struct Controller {
    pub(crate) config: Arc<Config>,
    pub(crate) notices: Notices,
    pub(crate) data_dir: Arc<DataDir>,
    pub(crate) network: Arc<dyn Network>,
    controls: Controls,
    pub(crate) credentials: Credentials,
    pub(crate) server: Arc<ServerEntry>,
    pub(crate) protocols: Vec<TunnelProtocol>,
    pub(crate) started: Instant,
    tunnel: watch::Sender<Option<ActiveTunnel>>,
    /// Predictable until a server surprises us.
    server_kind: watch::Sender<ServerKind>,
}

/// Runs a client until `stop` completes, or until it cannot go on.
pub async fn run(
    config: Config,
    surroundings: Surroundings,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let notices = surroundings.notices.clone();
    let controller = Controller::new(config, surroundings)?;
    notices.emit(Notice::NetworkID { id: controller.config.network_id.clone() });
    let (opener, requests) = flow_queue(FLOW_QUEUE);
    let tunnel = controller.tunnel.subscribe();
    let opener = opener
        .that_carries(move || tunnel.borrow().as_ref().is_some_and(|active| active.carries_first_bytes));
    let desk = FlowDesk::new(controller.tunnel.subscribe(), requests);
    let desk = tokio::spawn(desk.run());
    let settings = LocalSettings {
        proxies: controller.config.local.clone(),
        origin_timeout: LocalSettings::ORIGIN_TIMEOUT,
    };
    let proxies = local::start(&settings, opener, notices.clone()).await?;
    let regions = controller.server.region().map(str::to_owned).into_iter().collect();
    notices.emit(Notice::AvailableEgressRegions { regions });
    let result = controller.run(stop).await;
    drop(proxies);
    desk.abort();
    result
}

impl Controller {
    fn new(config: Config, surroundings: Surroundings) -> Result<Self, RunError> {
        let Surroundings { data_dir, notices, network, controls } = surroundings;
        let target = config.servers.target.as_ref().ok_or(RunError::NoServers)?;
        let server = ServerEntry::decode(target.expose().trim())?;
        let protocols = usable_protocols(&server, &config)?;
        let wanted = &config.servers.egress_region;
        let found = server.region().unwrap_or_default();
        if !wanted.is_empty() && wanted != found {
            return Err(RunError::Region { wanted: wanted.clone(), found: found.to_owned() });
        }
        let network = match &config.upstream {
            Some(upstream) => upstream.network(network),
            None => network,
        };
        let session_id = session_id(&config);
        notices.emit(Notice::SessionId { session_id: session_id.as_str().to_owned() });
        let mut limits = Limits::default();
        if let Some(packets) =
            config.ssh.channel_window_packets.filter(|n| (1..=MAX_WINDOW_PACKETS).contains(n))
        {
            limits.window = packets * 32 * 1024;
        }
        limits.rekey_bytes = config.ssh.rekey_bytes;
        let credentials = Credentials {
            session_id,
            sponsor_id: config.identity.sponsor_id.clone(),
            capabilities: capabilities(&config),
            limits,
            budget: MemoryBudget::new(WINDOW_MEMORY),
        };
        Ok(Self {
            config: Arc::new(config),
            notices,
            data_dir: Arc::new(data_dir),
            network,
            controls,
            credentials,
            server: Arc::new(server),
            protocols,
            started: Instant::now(),
            tunnel: watch::Sender::new(None),
            server_kind: watch::Sender::new(ServerKind::Predictable),
        })
    }

    /// Establish, operate, and again.
    async fn run(&self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut stop = std::pin::pin!(stop);
        loop {
            let established = tokio::select! {
                () = &mut stop => return Ok(()),
                established = self.establish() => established?,
            };
            let asked_to_stop = self.operate(established, stop.as_mut()).await;
            self.tunnel.send_replace(None);
            self.notices.emit(Notice::Tunnels { count: 0 });
            if asked_to_stop {
                return Ok(());
            }
        }
    }
}

/// What the client offers. PROTOCOL.md 3.5, 12.
fn capabilities(config: &Config) -> Vec<String> {
    let first_bytes = (!config.ssh.optimistic_open_off).then_some(extension::FIRST_BYTES);
    let always = [SERVER_REQUESTS, extension::REFUSAL_REASONS];
    always.into_iter().chain(first_bytes).map(str::to_owned).collect()
}

fn session_id(config: &Config) -> SessionId {
    config.identity.session_id.clone().unwrap_or_else(|| SessionId::from_bytes(random()))
}

/// The tunnel protocols that this build can dial, the one to be tried first in front.
pub const SPOKEN: [TunnelProtocol; 11] = [
    TunnelProtocol::OSSH,
    TunnelProtocol::SHADOWSOCKS_OSSH,
    TunnelProtocol::TLS_OSSH,
    TunnelProtocol::QUIC_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_HTTPS_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_SESSION_TICKET_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_OSSH,
    TunnelProtocol::FRONTED_MEEK_OSSH,
    TunnelProtocol::FRONTED_MEEK_HTTP_OSSH,
    TunnelProtocol::FRONTED_MEEK_QUIC_OSSH,
    TunnelProtocol::SSH,
];

/// What the entry offers, this build can speak and the config allows.
fn usable_protocols(server: &ServerEntry, config: &Config) -> Result<Vec<TunnelProtocol>, RunError> {
    let limits = &config.servers.limit_protocols;
    let by_itself = |protocol: &TunnelProtocol| limits.is_empty() && !protocol.has(Feature::DefaultDisabled);
    let reaches = |protocol: &TunnelProtocol| config.upstream.is_none() || Upstream::carries(*protocol);
    let allowed: Vec<TunnelProtocol> = SPOKEN
        .into_iter()
        .filter(|protocol| by_itself(protocol) || limits.contains(protocol))
        .filter(reaches)
        .collect();
    let usable: Vec<_> = allowed.iter().copied().filter(|protocol| server.supports(*protocol)).collect();
    if usable.is_empty() {
        let names = |protocols: &mut dyn Iterator<Item = TunnelProtocol>| {
            let names: Vec<String> = protocols.map(|protocol| protocol.to_string()).collect();
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        };
        return Err(RunError::NoCommonProtocol {
            offered: names(&mut server.supported_protocols()),
            allowed: names(&mut allowed.into_iter()),
        });
    }
    Ok(usable)
}
