//! What every connection may use: narrow handles, made once from the configuration. Nobody below sees the whole
//! configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use culvert_obfuscation::{
    BuiltinPrefix, GeneratedPrefix, Keyword, ObfuscatorSeed, PrefixName, PrefixSpec, Prng, ReplayMode,
    SEED_LEN, Seed, SeedHistoryLimits, ServerPreamble, ServerSeedLabel,
};
use culvert_protocol::parameters::RateLimits;
use culvert_protocol::proxy_header::HeaderKey;
use culvert_protocol::{Feature, ServerEntry, TunnelProtocol};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::FreshKeys;
use culvert_ssh::{
    Algorithms, Connection, Decisions, Ident, IdentError, Limits, MemoryBudget, Preamble, ReplyPrefix,
    ServerObfuscation,
};
use culvert_transport::quic::{KeyText, QuicServer};
use culvert_transport::tls::{PassthroughKey, TlsServer};
use culvert_transport::{Remote, shadowsocks};
use tokio::time::Instant;

use crate::admission::{AcceptRules, Clocks, Door, HandshakeSlots, Host, Shut, Treatment};
use crate::authorizations::Authorizations;
use crate::budget::Budget;
use crate::config::{self, FamilyOrder, HandshakeLimits, Tactics};
use crate::derivations::Derivations;
use crate::figures::{self, Country, Figures, Readiness};
use crate::forward::blocklist::Blocklist;
use crate::forward::destination_bytes::DestinationBytes;
use crate::forward::egress::EgressPolicy;
use crate::forward::exit::Egress;
use crate::forward::headers::Headers;
use crate::forward::names::{CacheLimits, Family, Resolver};
use crate::geoip::GeoIp;
use crate::hold::{self, Held};
use crate::live::Live;
use crate::log::{Aggregated, Level, Logger};
use crate::memory::for_windows;
use crate::open_files::{self, Descriptors};
use crate::panics::Drill;
use crate::psinet::Psinet;
use crate::quic::QuicService;
use crate::rules::{ClientFacts, RuleSet, RulesFile, Stage};
use crate::seed_store::SeedStore;
use crate::session::Arrival;
use crate::session::auth::Login;
use crate::session::meek::MeekService;
use crate::session::registry::Sessions;
use crate::session::report::Irregular;
use crate::session::tls::{Strangers, TlsService};

/// Clients that were turned away are reported this often at most.
const TURNED_AWAY: Duration = Duration::from_secs(300);
/// Lack of files, ports or memory is reported this often at most.
const EXHAUSTION: Duration = Duration::from_secs(60);

/// The handles. Cheap to share.
pub(crate) struct Services {
    pub(crate) ssh: SshFactory,
    pub(crate) shadowsocks_key: Option<shadowsocks::Key>,
    /// Of each protocol inside TLS.
    pub(crate) tls: BTreeMap<TunnelProtocol, TlsService>,
    pub(crate) quic: Option<QuicService>,
    pub(crate) treatment: Treatment,
    pub(crate) meek: Option<MeekService>,
    /// Who serves those that are no clients of a protocol, `host:port`.
    pub(crate) sites: BTreeMap<TunnelProtocol, String>,
    pub(crate) handshakes: HandshakeLimits,
    pub(crate) slots: HandshakeSlots,
    pub(crate) descriptors: Descriptors,
    /// Clients that were turned away, for the log.
    pub(crate) turned_away: Aggregated,
    pub(crate) clocks: Clocks,
    /// Whether new tunnels are wanted.
    pub(crate) door: Arc<Door>,
    /// Strangers who are kept waiting, and those who are shown a site.
    pub(crate) held: Arc<Held>,
    pub(crate) at_site: Arc<Held>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) derivations: Arc<Derivations>,
    pub(crate) irregular: Irregular,
    pub(crate) sessions: Sessions,
    pub(crate) egress: Arc<Egress>,
    pub(crate) blocklist: Arc<Live<Blocklist>>,
    pub(crate) udp_gateway: Option<std::net::SocketAddr>,
    pub(crate) rules: Live<RuleSet>,
    pub(crate) geoip: Arc<Live<GeoIp>>,
    pub(crate) psinet: Arc<Live<Psinet>>,
    pub(crate) authorizations: Authorizations,
    pub(crate) own_entries: BTreeMap<String, ServerEntry>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) drill: Drill,
    pub(crate) log: Logger,
}

/// Why a server cannot start with its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The configuration.
    #[error("SSHServerVersion: {0}")]
    Identification(#[from] IdentError),
    /// The host.
    #[error("cannot list this machine's addresses, which clients must not reach: {0}")]
    OwnAddresses(#[source] io::Error),
    /// The host.
    #[error("this machine's random source failed")]
    Random,
    /// TLS-OSSH.
    #[error("TLS-OSSH: {0}")]
    Tls(#[from] culvert_transport::tls::ServerError),
    /// The configuration.
    #[error("MeekCookieEncryptionPrivateKey: {0}")]
    Meek(#[from] culvert_transport::meek::wire::BoxError),
    /// QUIC-OSSH.
    #[error("QUIC-OSSH: {0}")]
    Quic(#[from] culvert_transport::quic::SetupError),
}

impl Services {
    pub(crate) fn new(config: config::ServerConfig, log: &Logger) -> Result<Self, ServicesError> {
        let memory = Host::new().memory_limit();
        let geoip = Arc::new(Live::new(config.geoip.clone()));
        let accept_rules = AcceptRules::of(&config.tactics, &config.own_entries);
        let blocklist = Arc::new(Live::new(config.egress.blocklist.clone()));
        let egress = Arc::new(egress(&config, (&blocklist, &geoip), log)?);
        let seeds = SeedStore::open(
            &config.state_directory,
            SeedHistoryLimits::default(),
            SystemTime::now(),
            log.clone(),
        );
        let protocols: Vec<_> = config.listeners.iter().map(|listener| listener.protocol).collect();
        let Watched { door, held, at_site, figures } = watched(&protocols, &config.figures, memory, log);
        let uses_quic = config.listeners.iter().any(|it| it.protocol == TunnelProtocol::QUIC_OSSH);
        let quic = config.obfuscated_ssh_key.as_ref().filter(|_| uses_quic).map(quic_service);
        let rules = RuleSet::compile(&config.traffic_rules, config::provider_of(&config.own_entries));
        let login = Login::new(config.ssh.user, config.ssh.password, log, figures.clone());
        Ok(Self {
            ssh: SshFactory {
                ident: Ident::local(&config.ssh.identification)?,
                host_key: config.ssh.host_key,
                key: config.obfuscated_ssh_key.map(|key| ObfuscationKey::new(key.expose())),
                limits: Limits { rekey_bytes: config.ssh.rekey_bytes, ..Limits::default() },
                windows: MemoryBudget::new(config.ssh.window_memory.unwrap_or_else(|| for_windows(memory))),
                prefix_specs: Arc::new(Live::new(config.tactics.prefix_specs.clone())),
                seeds,
                login: Arc::new(login),
            },
            shadowsocks_key: config.shadowsocks_key.map(|key| shadowsocks::Key::from_password(key.expose())),
            quic: quic.transpose()?,
            tls: tls_services(config.tls.as_ref(), &protocols, &config.sites)?,
            treatment: Treatment::new(accept_rules, fresh_seed()?),
            meek: config.meek.map(MeekService::new).transpose()?,
            sites: config.sites,
            handshakes: config.ssh.handshakes,
            slots: HandshakeSlots::new(&config.ssh.handshakes),
            descriptors: Descriptors::among(open_files::most()),
            turned_away: Aggregated::new(log.clone(), Level::Warning, "connections turned away", TURNED_AWAY),
            clocks: Clocks::new(),
            door,
            held,
            at_site,
            budget: Budget::new(Instant::now()),
            derivations: Derivations::new(),
            irregular: Irregular::new(log.clone(), own_tag(&config.own_entries), figures.clone()),
            sessions: Sessions::new(config.load_limits.tunnels),
            egress,
            blocklist,
            udp_gateway: config.egress.udp_gateway,
            rules: Live::new(rules),
            geoip,
            psinet: Arc::new(Live::new(config.psinet)),
            authorizations: Authorizations::new(config.authorization_keys, log),
            own_entries: config.own_entries,
            figures,
            drill: config.drill,
            log: log.clone(),
        })
    }

    /// Whether a new tunnel may begin; one that may not is counted.
    pub(crate) fn admits(&self, protocol: TunnelProtocol) -> bool {
        let shut = self.door.shut();
        if let Some(reason) = shut {
            self.refuse(protocol, reason);
        }
        shut.is_none()
    }

    /// Counts a connection that is turned away.
    pub(crate) fn refuse(&self, protocol: TunnelProtocol, reason: Shut) {
        self.figures.refused(protocol, reason.refusal());
        self.turned_away.record(reason.as_str());
        self.door.count_refused();
    }

    /// Whether keys are renewed so often that somebody wants to see it.
    pub(crate) fn watches_rekeying(&self) -> bool {
        self.ssh.limits.rekey_bytes.is_some()
    }

    /// Whether new clients are welcome now.
    pub(crate) fn readiness(&self) -> Readiness {
        match (self.figures.readiness(), self.door.shut()) {
            (Readiness::Ready, Some(Shut::Ordered)) => Readiness::Paused,
            (Readiness::Ready, Some(_)) => Readiness::Overloaded,
            (readiness, _) => readiness,
        }
    }

    /// How fast a connection may be until its client's handshake is answered.
    pub(crate) fn limits_before_handshake(&self, arrival: Arrival) -> RateLimits {
        let rules = self.rules.get();
        if !rules.limits_establishment() {
            return RateLimits::default();
        }
        let place = self.geoip.get().look_up(arrival.peer.ip());
        rules.select(&ClientFacts::at(&place, arrival.protocol)).rates.at(Stage::Establishing)
    }

    /// Puts other tactics in place of those in use, for connections that come.
    pub(crate) fn replace_tactics(&self, tactics: Tactics) {
        self.treatment.replace(AcceptRules::of(&tactics, &self.own_entries));
        self.egress.names.replace(cache_limits(&tactics));
        self.egress.headers.replace(headers(&self.egress.header_keys, &tactics));
        self.egress.destination_bytes.networks.replace(networks(&tactics));
        self.ssh.prefix_specs.replace(tactics.prefix_specs);
    }

    /// Puts other rules in place of those in use, for all clients.
    pub(crate) fn replace_rules(&self, rules: &RulesFile) {
        self.rules.replace(RuleSet::compile(rules, config::provider_of(&self.own_entries)));
    }

    /// The tag by which reports name this server.
    pub(crate) fn own_tag(&self) -> &str {
        own_tag(&self.own_entries)
    }

    /// Writes reports that have been gathered for a while.
    pub(crate) fn write_due_reports(&self) {
        self.ssh.login.failures.write_due();
        self.authorizations.refused.write_due();
        self.turned_away.write_due();
        self.irregular.write_older_than(Irregular::INTERVAL);
        self.egress.exhausted.write_due();
    }

    /// Writes all reports that have been gathered.
    pub(crate) fn write_all_reports(&self) {
        self.ssh.login.failures.write_all();
        self.authorizations.refused.write_all();
        self.turned_away.write_all();
        self.irregular.write_older_than(Duration::ZERO);
        self.egress.exhausted.write_all();
        self.egress.destination_bytes.write_all();
    }
}

fn cache_limits(tactics: &Tactics) -> CacheLimits {
    let parameters = &tactics.parameters.services;
    CacheLimits {
        names: usize::try_from(parameters.dns_cache_max_size).unwrap_or(usize::MAX),
        time: parameters.dns_cache_ttl,
    }
}

fn headers(keys: &BTreeMap<String, HeaderKey>, tactics: &Tactics) -> Headers {
    let parameters = &tactics.parameters.services;
    let probability = parameters.proxy_protocol_default_enable_probability.get();
    Headers::new(keys, &parameters.proxy_protocol_destinations, probability)
}

/// Those to which bytes are counted.
fn networks(tactics: &Tactics) -> BTreeSet<String> {
    tactics.parameters.services.destination_bytes_asns.iter().cloned().collect()
}

fn egress(
    config: &config::ServerConfig,
    (blocklist, geoip): (&Arc<Live<Blocklist>>, &Arc<Live<GeoIp>>),
    log: &Logger,
) -> Result<Egress, ServicesError> {
    let entries = config.own_entries.values();
    let known_as = entries.filter_map(|entry| entry.text("ipAddress")?.parse().ok()).chain([config.address]);
    let policy = EgressPolicy::new(config.egress.allow_bogons, known_as);
    let first = match config.egress.family_order {
        FamilyOrder::Ipv4First => Family::V4,
        FamilyOrder::Ipv6First => Family::V6,
    };
    let exhausted = "port forward dial failed due to unavailable resource";
    Ok(Egress {
        policy: policy.map_err(ServicesError::OwnAddresses)?,
        resolver: Arc::new(Resolver::new(config.egress.dns_resolver, first)),
        blocklist: blocklist.clone(),
        geoip: geoip.clone(),
        blocks: config.egress.blocklist_active,
        limits_udp: config.egress.limits_udp,
        names: Live::new(cache_limits(&config.tactics)),
        header_keys: config.egress.header_keys.clone(),
        headers: Live::new(headers(&config.egress.header_keys, &config.tactics)),
        destination_bytes: DestinationBytes::new(
            networks(&config.tactics),
            config.egress.destination_bytes_period,
            geoip.clone(),
            log.clone(),
        ),
        exhausted: Aggregated::new(log.clone(), Level::Error, exhausted, EXHAUSTION),
    })
}

/// What figures are taken from, and they.
struct Watched {
    door: Arc<Door>,
    held: Arc<Held>,
    at_site: Arc<Held>,
    figures: Arc<Figures>,
}

fn watched(
    protocols: &[TunnelProtocol],
    config: &config::FiguresConfig,
    memory: Option<u64>,
    log: &Logger,
) -> Watched {
    let door = Arc::<Door>::default();
    let held = Held::among(open_files::most(), memory, &hold::SILENT);
    let at_site = Held::among(open_files::most(), memory, &hold::AT_SITE);
    let sources = figures::Sources {
        door: door.clone(),
        held: [held.clone(), at_site.clone()],
        log: log.clone(),
        countries: config.countries.iter().map(|name| Country::of(name)).collect(),
    };
    let figures = Figures::watching(protocols, sources);
    Watched { door, held, at_site, figures }
}

/// A name for a certificate that nobody sees but clients, which do not look at it.
fn certificate_name() -> Result<String, ServicesError> {
    let mut name = [0; 6];
    aws_lc_rs::rand::fill(&mut name).map_err(|_| ServicesError::Random)?;
    Ok(format!("{}.com", data_encoding::BASE32_DNSSEC.encode(&name)))
}

fn own_tag(own_entries: &BTreeMap<String, ServerEntry>) -> &str {
    own_entries.keys().next().map_or("", String::as_str)
}

fn quic_service(key: &config::Secret) -> Result<QuicService, ServicesError> {
    Ok(QuicService { server: QuicServer::new(&certificate_name()?)?, key: KeyText::new(key.expose()) })
}

/// One for each of the protocols that are inside TLS.
fn tls_services(
    config: Option<&config::TlsConfig>,
    protocols: &[TunnelProtocol],
    sites: &BTreeMap<TunnelProtocol, String>,
) -> Result<BTreeMap<TunnelProtocol, TlsService>, ServicesError> {
    let mut services = BTreeMap::new();
    let Some(config) = config else { return Ok(services) };
    for protocol in protocols.iter().copied().filter(|protocol| config::is_inside_tls(*protocol)) {
        // Seen by nobody but clients, which do not look at it, or by CDNs.
        let mut name = [0; 6];
        aws_lc_rs::rand::fill(&mut name).map_err(|_| ServicesError::Random)?;
        let name = format!("{}.com", data_encoding::BASE32_DNSSEC.encode(&name));
        let needs_tls13 = protocol == TunnelProtocol::TLS_OSSH;
        let strangers = match sites.get(&protocol) {
            Some(address) => {
                let shares_port = !needs_tls13 && !config.legacy_passthrough;
                Strangers::Site { address: address.clone(), shares_port }
            }
            None if needs_tls13 => Strangers::Silence,
            None => Strangers::Inside,
        };
        let secret = config.ticket_secret.clone().filter(|_| protocol.has(Feature::SessionTicket));
        let server = if needs_tls13 {
            TlsServer::new(&name, config.ticket_secret.clone())?
        } else if protocol.has(Feature::Fronted) {
            TlsServer::for_meek(&name, None, &[b"h2", b"http/1.1"])?
        } else {
            TlsServer::for_meek(&name, secret, &[b"http/1.1"])?
        };
        let key = PassthroughKey::new(config.key.expose(), !config.legacy_passthrough);
        services.insert(protocol, TlsService { key, server, strangers, needs_tls13 });
    }
    Ok(services)
}

/// Makes the SSH side of a connection.
pub(crate) struct SshFactory {
    ident: Ident,
    host_key: Arc<HostKey>,
    key: Option<ObfuscationKey>,
    limits: Limits,
    /// Shared by the windows of all connections.
    windows: Arc<MemoryBudget>,
    prefix_specs: Arc<Live<BTreeMap<String, PrefixSpec>>>,
    seeds: SeedStore,
    login: Arc<Login>,
}

/// What follows from the key that obfuscates.
struct ObfuscationKey {
    keyword: Keyword,
    /// Plain SSH clients predict the lists that it gives (PROTOCOL.md 3.3.2).
    lists: Seed,
}

impl ObfuscationKey {
    fn new(key: &str) -> Self {
        let lists = Seed::for_server(key.as_bytes(), ServerSeedLabel::KeyExchange);
        Self { keyword: Keyword::new(key), lists }
    }
}

impl SshFactory {
    /// What the preambles of this protocol's port are made with; `None` where there are none.
    pub(crate) fn keyword(&self, protocol: TunnelProtocol) -> Option<Keyword> {
        self.key.as_ref().filter(|_| protocol.obfuscates_ssh()).map(|key| key.keyword.clone())
    }

    /// Whether a valid preamble's seed may be used. PROTOCOL.md 2.4.
    pub(crate) fn admit(&self, seed: &ObfuscatorSeed, peer: Remote) -> bool {
        self.seeds.add(ReplayMode::Strict, seed.as_bytes(), peer.ip(), SystemTime::now()).is_accepted()
    }

    /// Whether a valid stream's salt may be used. The first half may be the same in many, so the other is remembered.
    pub(crate) fn admit_salt(&self, salt: &shadowsocks::Salt, peer: Remote) -> bool {
        let (_, drawn) = salt.as_bytes().split_at(shadowsocks::wire::MAX_PREFIX);
        self.admit_bytes(drawn, peer)
    }

    /// Whether a proof that must come only once may be used.
    pub(crate) fn admit_bytes(&self, proof: &[u8], peer: Remote) -> bool {
        self.seeds.add(ReplayMode::Strict, proof, peer.ip(), SystemTime::now()).is_accepted()
    }

    /// Whether no preamble with this seed will be admitted.
    pub(crate) fn is_known(&self, seed: &ObfuscatorSeed) -> bool {
        self.seeds.contains(seed.as_bytes(), SystemTime::now())
    }

    /// A connection that begins behind this preamble, or without one.
    pub(crate) fn connection(
        &self,
        preamble: Option<Box<ServerPreamble>>,
    ) -> Result<Connection, ServicesError> {
        let obfuscates = preamble.is_some();
        let seed = fresh_seed()?;
        let obfuscation = self.key.as_ref().zip(preamble).map(|(key, preamble)| ServerObfuscation {
            keyword: key.keyword.clone(),
            fallback_seed: seed.derive("padding"),
            preamble: Preamble::Read(preamble),
        });
        // PROTOCOL.md 3.3.2.
        let lists = self.key.as_ref().filter(|_| !obfuscates).map(|key| key.lists.clone());
        let config = culvert_ssh::ServerConfig {
            ident: self.ident.clone(),
            algorithms: Algorithms { no_encrypt_then_mac: obfuscates, seed: lists, ..Algorithms::default() },
            host_key: self.host_key.clone(),
            obfuscation,
            decisions: self.decisions(seed.derive("prefix")),
            limits: self.limits,
            seed,
        };
        Ok(Connection::server(config, Box::new(FreshKeys)).with_budget(self.windows.clone()))
    }

    fn decisions(&self, prefix_seed: Seed) -> Decisions {
        let (login, specs) = (self.login.clone(), self.prefix_specs.clone());
        Decisions {
            reply_prefix: Box::new(move |name, _| reply_prefix(&specs.get(), name, &prefix_seed)),
            authenticate: Box::new(move |user, password| login.judge(user, password)),
        }
    }
}

/// The prefix to answer a client's with: from the configuration; else ours for the names that our client uses; else bytes
/// without a form, as the reference does (PROTOCOL.md 2.5).
fn reply_prefix(specs: &BTreeMap<String, PrefixSpec>, name: &PrefixName, seed: &Seed) -> ReplyPrefix {
    let configured = name.as_str().and_then(|name| specs.get(name)?.prefix(seed).ok());
    let builtin = || BuiltinPrefix::named(name).map(|builtin| builtin.for_server(seed));
    let prefix = configured.or_else(builtin).unwrap_or_else(|| GeneratedPrefix::random(&mut Prng::new(seed)));
    ReplyPrefix { prefix, split: None }
}

pub(crate) fn fresh_seed() -> Result<Seed, ServicesError> {
    let mut bytes = [0; SEED_LEN];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ServicesError::Random)?;
    Ok(Seed::from_bytes(bytes))
}
