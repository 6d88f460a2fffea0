//! The controller: has tunnels sought, serves flows through those that are up, and starts over when one is
//! lost. It owns all changing state of a run.

mod discovered;
mod flow_desk;
mod operate;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::api::{SERVER_REQUESTS, SessionId, extension};
use culvert_protocol::server_entry::DecodeError;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_ssh::{Limits, MemoryBudget};
use culvert_transport::Network;
use culvert_transport::resolve::{CacheLimits, ResolvePlan, Resolver, Resolving};
use tokio::sync::{Mutex, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Config, Upstream, WindowMemory};
use crate::controls::{Controls, NetworkEvents};
use crate::data_dir::DataDir;
use crate::dial::Credentials;
use crate::establish::{
    self, Deadline, EstablishError, Established, Failure, Feed, Host, Lessons, NoFeed, SPOKEN, Scene,
    Servers, Settings,
};
use crate::flow::{FlowOpener, flow_queue};
use crate::local::{self, Direct, LocalError, LocalSettings};
use crate::notice::{Notice, Notices};
use crate::randomness::random;
use crate::store::{ServerId, Store, StoreError};
use crate::tunnel::Tunnels;
use flow_desk::FlowDesk;

/// Wishes for flows that may wait in the queue; further ones wait in the proxies.
const FLOW_QUEUE: usize = 256;
/// What windows may take beyond their first size, all tunnels together: phones end programs that take more.
const WINDOW_MEMORY: u64 = 64 << 20;
/// Largest channel window a config may ask for, in packets of 32 KiB. PROTOCOL.md 3.7.
const MAX_WINDOW_PACKETS: u32 = 128;

/// Why a run ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing to connect to.
    #[error(
        "no server is known: give a list with -serverList, or set TargetServerEntry to the line in the server's server-entry.dat"
    )]
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
    /// No entry is in the wanted region.
    #[error("no server in region {wanted} (EgressRegion); known servers are in: {found}")]
    Region {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// This machine has no room for what is known of servers.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// A bug.
    #[error("bug: the client ended without a reason")]
    Unasked,
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
    /// What it may ask its host.
    pub host: Host,
    /// What brings it servers and tactics.
    pub feed: Arc<dyn Feed>,
    /// What it knows of servers.
    pub store: Store,
    /// Where choices of servers, and of how they are dialed, come from, but for key material: for tests that are to be repeated.
    /// `None`: this machine's random source.
    pub seed: Option<Seed>,
}

impl Surroundings {
    /// With the store of the folder, a host that says nothing, and nobody who brings servers.
    pub fn new(data_dir: DataDir, notices: Notices, network: Arc<dyn Network>) -> Self {
        let told = notices.clone();
        Self {
            store: Store::open(&data_dir, move |warning| told.warning(warning)),
            data_dir,
            notices,
            network,
            controls: Controls::default(),
            host: Host::default(),
            feed: Arc::new(NoFeed),
            seed: None,
        }
    }
}

/// A client's run.
pub(crate) struct Controller {
    /// In force for the next tunnel.
    config: watch::Sender<Arc<Config>>,
    pub(crate) notices: Notices,
    /// Keeps the folder locked.
    _data_dir: DataDir,
    store: Store,
    network: Arc<dyn Network>,
    controls: Controls,
    host: Host,
    feed: Arc<dyn Feed>,
    credentials: Credentials,
    servers: Servers,
    lessons: Lessons,
    /// One seed for each establishment.
    seeds: std::sync::Mutex<Prng>,
    started: Instant,
    tunnels: watch::Sender<Tunnels>,
    /// One tunnel at a time reports.
    reporting: Mutex<()>,
}

/// Runs a client until `stop` completes, or until it cannot go on. `opening` gets what opens flows.
pub(crate) async fn run(
    config: Config,
    surroundings: Surroundings,
    opening: oneshot::Sender<FlowOpener>,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let controller = Arc::new(Controller::new(config, surroundings)?);
    let notices = &controller.notices;
    controller.name_network();
    let (opener, requests) = flow_queue(FLOW_QUEUE);
    let tunnels = controller.tunnels.subscribe();
    let opener = opener.that_carries(move || tunnels.borrow().carry_first_bytes());
    // Nobody waits for it where flows come from the proxies alone.
    let _ = opening.send(opener.clone());
    let mut helpers = JoinSet::new();
    helpers.spawn(FlowDesk::new(Arc::clone(&controller), requests).run());
    if !controller.host.tells_changes {
        helpers.spawn(crate::system::watch(controller.controls.clone(), notices.clone()));
    }
    let settings = LocalSettings {
        proxies: controller.config().local.clone(),
        origin_timeout: LocalSettings::ORIGIN_TIMEOUT,
        direct: Direct(controller.direct()),
    };
    let proxies = local::start(&settings, opener, notices.clone()).await?;
    notices.emit(Notice::AvailableEgressRegions { regions: controller.servers.regions() });
    if controller.config().establish.off {
        helpers.spawn(Arc::clone(&controller).fetch());
    }
    let result = controller.run(stop).await;
    drop(proxies);
    result
}

impl Controller {
    fn new(config: Config, surroundings: Surroundings) -> Result<Self, RunError> {
        let Surroundings { data_dir, notices, network, controls, host, feed, store, seed } = surroundings;
        if let Some(key) = &config.servers.entry_signature_key {
            store.verify_with(key.clone());
        }
        let servers = servers(&config, &store, feed.as_ref())?;
        let resolver = config.upstream.is_none().then(|| Arc::new(Resolver::new(network.clone())));
        let network = match &config.upstream {
            Some(upstream) => upstream.network(network),
            None => network,
        };
        let session_id = session_id(&config);
        notices.emit(Notice::SessionId { session_id: session_id.as_str().to_owned() });
        let mut limits = Limits::default();
        let packets = config.parameters.tunnel.channel_window_size;
        if (1..=MAX_WINDOW_PACKETS).contains(&packets) {
            limits.window = packets * 32 * 1024;
        }
        limits.rekey_bytes = config.ssh.rekey_bytes;
        let credentials = Credentials {
            session_id,
            sponsor_id: config.identity.sponsor_id.clone(),
            capabilities: capabilities(&config),
            limits,
            budget: MemoryBudget::new(match config.ssh.windows {
                WindowMemory::Usual => WINDOW_MEMORY,
                WindowMemory::Least => 0,
            }),
            rate_limits: config.parameters.tunnel.rate_limits,
            resolver,
        };
        Ok(Self {
            config: watch::Sender::new(Arc::new(config)),
            notices,
            _data_dir: data_dir,
            store,
            network,
            controls,
            host,
            feed,
            credentials,
            servers,
            lessons: Lessons::default(),
            seeds: std::sync::Mutex::new(Prng::new(&seed.unwrap_or_else(|| Seed::from_bytes(random())))),
            started: Instant::now(),
            tunnels: watch::Sender::new(Tunnels::default()),
            reporting: Mutex::new(()),
        })
    }

    /// The config in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Has tunnels sought while there are fewer than wanted, and looks after those that are up.
    async fn run(self: &Arc<Self>, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut stop = std::pin::pin!(stop);
        let limit = Some(self.config().parameters.establish.timeout).filter(|limit| !limit.is_zero());
        let mut deadline = Deadline::after(limit);
        let mut network = self.controls.network();
        let mut imports = self.controls.imports();
        let (stopping, stopped) = watch::channel(false);
        let mut operating: JoinSet<ServerId> = JoinSet::new();
        let mut in_use = BTreeSet::new();
        let result = loop {
            let wanted =
                if self.config().establish.off { 0 } else { establish::wanted_tunnels(&self.config()) };
            let established = tokio::select! {
                () = &mut stop => break Ok(()),
                established = self.establish(&in_use, &mut deadline), if in_use.len() < wanted => established,
                Some(ended) = operating.join_next() => {
                    // One whose task panicked is not known: it is found to be gone by counting.
                    match ended {
                        Ok(id) => drop(in_use.remove(&id)),
                        Err(_) => self.on_panic(&mut in_use),
                    }
                    continue;
                }
                () = moved(&mut network) => {
                    self.name_network();
                    continue;
                }
                Ok(()) = imports.changed() => {
                    self.notices.emit(Notice::AvailableEgressRegions { regions: self.servers.regions() });
                    continue;
                }
            };
            match established {
                Ok(established) => {
                    deadline = Deadline::after(None);
                    in_use.insert(established.id);
                    operating.spawn(self.clone().operate(established, stopped.clone()));
                }
                Err(failure) => break Err(self.explain(failure, limit)),
            }
        };
        stopping.send_replace(true);
        while operating.join_next().await.is_some() {}
        result
    }

    async fn establish(
        &self,
        in_use: &BTreeSet<ServerId>,
        deadline: &mut Deadline,
    ) -> Result<Established, Failure> {
        let config = self.dynamic_config();
        let mut bytes = [0; 32];
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut bytes);
        let seed = Seed::from_bytes(bytes);
        let mut prng = Prng::derived(&seed, "settings");
        if let Some(resolver) = &self.credentials.resolver {
            let of = &config.parameters.resolver;
            let limits = CacheLimits {
                initial: of.cache_extension_initial_ttl,
                verified: of.cache_extension_verified_ttl,
            };
            resolver.enter(&config.network_id, limits);
        }
        let scene = Scene {
            settings: Settings::new(&config, &mut prng),
            credentials: Credentials {
                sponsor_id: config.identity.sponsor_id.clone(),
                rate_limits: config.parameters.tunnel.rate_limits,
                ..self.credentials.clone()
            },
            config,
            notices: self.notices.clone(),
            network: self.network.clone(),
            servers: self.servers.clone(),
            reports: self.store.clone(),
            host: self.host.clone(),
            feed: self.feed.clone(),
            changes: self.controls.network(),
            lessons: self.lessons.clone(),
            seed,
            in_use: in_use.clone(),
            handshakes: Semaphore::new(1),
        };
        establish::establish(Arc::new(scene.without_vain_limits()), deadline).await
    }

    /// The network as dials have it, for what does not go through the tunnel.
    fn direct(&self) -> Arc<dyn Network> {
        let Some(resolver) = &self.credentials.resolver else { return self.network.clone() };
        let parameters = &self.config().parameters;
        let seed = Seed::from_bytes(random());
        let plan = ResolvePlan::draw(parameters, parameters.latency.general(), None, &seed);
        Arc::new(Resolving::new(self.network.clone(), resolver.clone(), plan))
    }

    /// What a client does that makes no tunnels.
    async fn fetch(self: Arc<Self>) {
        self.feed.tactics().await;
        if self.servers.is_empty() {
            self.feed.fetch();
        }
    }

    /// What the host has set takes effect with the next tunnel.
    fn dynamic_config(&self) -> Arc<Config> {
        if let Some(wanted) = self.controls.dynamic_config() {
            self.config.send_if_modified(|config| {
                let identity = &config.identity;
                let is_new = identity.sponsor_id != wanted.sponsor_id
                    || identity.authorizations != wanted.authorizations;
                if is_new {
                    let identity = &mut Arc::make_mut(config).identity;
                    identity.sponsor_id = wanted.sponsor_id;
                    identity.authorizations = wanted.authorizations;
                }
                is_new
            });
        }
        self.config()
    }

    /// Asks the host how the network is called.
    fn name_network(&self) {
        if let Some(id) = self.host.network_id.as_ref().map(|asked| asked()) {
            self.config.send_if_modified(|config| {
                let is_new = config.network_id != id;
                if is_new {
                    Arc::make_mut(config).network_id = id;
                }
                is_new
            });
        }
        let id = self.config().network_id.clone();
        let worked = self.servers.memory().successes(&id);
        self.lessons.change_network(worked.into_iter().map(|success| success.protocol));
        self.notices.emit(Notice::NetworkID { id });
    }

    fn on_panic(&self, in_use: &mut BTreeSet<ServerId>) {
        self.notices.error("bug: a tunnel's task panicked; connecting anew");
        in_use.clear();
        self.tunnels.send_modify(Tunnels::forget_closed);
    }

    fn explain(&self, failure: Failure, limit: Option<Duration>) -> RunError {
        match failure {
            Failure::Timeout { last } => {
                let after = limit.unwrap_or_default();
                self.notices.emit(Notice::EstablishTunnelTimeout { timeout: after });
                RunError::Timeout { after, last }
            }
            Failure::Hopeless(error) => RunError::Hopeless(error),
            Failure::NoServers => RunError::NoServers,
        }
    }
}

/// Completes when there is another network: attempts on the old one are lost.
async fn moved(network: &mut watch::Receiver<NetworkEvents>) {
    loop {
        let before = network.borrow_and_update().moved;
        if network.changed().await.is_err() {
            return std::future::pending().await;
        }
        if network.borrow().moved != before {
            return;
        }
    }
}

/// The servers of a config, checked as far as that can be done before anything is opened.
fn servers(config: &Config, store: &Store, feed: &dyn Feed) -> Result<Servers, RunError> {
    let servers = match &config.servers.target {
        Some(target) => {
            let entry = ServerEntry::decode(target.expose().trim())?;
            something_usable(&entry, config)?;
            Servers::target(&entry, store)?
        }
        None => Servers::Stored(store.clone()),
    };
    if feed.brings_servers() || config.establish.off {
        return Ok(servers);
    }
    if servers.is_empty() {
        return Err(RunError::NoServers);
    }
    let wanted = &config.servers.egress_region;
    if !servers.has_region(wanted) {
        let found = servers.regions();
        let found = if found.is_empty() { "none that is named".to_owned() } else { found.join(", ") };
        return Err(RunError::Region { wanted: wanted.clone(), found });
    }
    Ok(servers)
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

/// Checks that the entry offers something that this build can speak and the config allows.
fn something_usable(server: &ServerEntry, config: &Config) -> Result<(), RunError> {
    let limits = &config.servers.limit_protocols;
    let reaches = |protocol: &TunnelProtocol| config.upstream.is_none() || Upstream::carries(*protocol);
    let is_allowed = |protocol: &TunnelProtocol| establish::is_allowed(*protocol, limits);
    let allowed: Vec<TunnelProtocol> = SPOKEN.into_iter().filter(is_allowed).filter(reaches).collect();
    if allowed.iter().any(|protocol| server.supports(*protocol)) {
        return Ok(());
    }
    let names = |protocols: &mut dyn Iterator<Item = TunnelProtocol>| {
        let names: Vec<String> = protocols.map(|protocol| protocol.to_string()).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    Err(RunError::NoCommonProtocol {
        offered: names(&mut server.supported_protocols()),
        allowed: names(&mut allowed.into_iter()),
    })
}
