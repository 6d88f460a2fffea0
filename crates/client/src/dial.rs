//! One attempt: from a plan to an SSH connection whose server has proved who it is and let us in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{ClientPreamble, Keyword, ObfuscatorSeed, PreamblePlan, Seed, TransformError};
use culvert_protocol::ServerEntry;
use culvert_protocol::api::{PasswordPayload, SessionId};
use culvert_protocol::parameters::RateLimits;
use culvert_protocol::server_entry::FieldError;
use culvert_ssh::kex::FreshKeys;
use culvert_ssh::{
    Algorithms, ClientConfig, ClientObfuscation, Connection, Ident, IdentError, Limits, MemoryBudget,
    Negotiated,
};
use culvert_ssh_tokio::{End, Handle, Incoming, Session, TunnelEnded};
use culvert_transport::fragmentor::Fragmenting;
use culvert_transport::resolve::{Resolver, Resolving, Steered};
use culvert_transport::tcp::Splitting;
use culvert_transport::throttle::Throttle;
use culvert_transport::{DialFacts, Network};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use crate::plan::{DialPlan, ObfuscatedSshPlan};
use crate::randomness::random;

/// For the last words of a tunnel.
const FAREWELL: Duration = Duration::from_secs(1);

/// What every attempt of a client shares.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// Identifies this run of the client.
    pub(crate) session_id: SessionId,
    /// 16 hex digits.
    pub(crate) sponsor_id: String,
    /// What is offered to the server.
    pub(crate) capabilities: Vec<String>,
    /// Bounds of the SSH connection.
    pub(crate) limits: Limits,
    /// What windows of all tunnels may grow to together.
    pub(crate) budget: Arc<MemoryBudget>,
    /// How fast each tunnel may be.
    pub(crate) rate_limits: RateLimits,
    /// What finds addresses of names; behind a proxy of the user's that is its task.
    pub(crate) resolver: Option<Arc<Resolver>>,
}

/// A connection to the right server. Login is on its way; the API handshake can follow at once.
pub(crate) struct Connected {
    /// Opens channels and asks.
    pub(crate) handle: Handle,
    /// What the server wants.
    pub(crate) session: Session,
    /// The task that runs the connection.
    pub(crate) driver: JoinHandle<()>,
    /// What was agreed.
    pub(crate) negotiated: Negotiated,
    /// Time from the first byte to the keys.
    pub(crate) duration: Duration,
    /// Bytes of preamble padding, for reports.
    pub(crate) ossh_padding: Option<usize>,
    /// What the transport learned.
    pub(crate) facts: DialFacts,
}

impl Connected {
    /// Waits for the answer to the login, for clients without an API handshake.
    pub(crate) async fn authenticated(&mut self) -> Result<(), DialError> {
        while let Some(incoming) = self.session.next().await {
            if let Incoming::Authenticated { .. } = incoming {
                return Ok(());
            }
        }
        Err(DialError::Ssh(ended(&self.handle)))
    }
}

fn ended(handle: &Handle) -> TunnelEnded {
    TunnelEnded(handle.end().unwrap_or_else(|| Arc::new(End::Closed)))
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The server could not be reached.
    #[error(transparent)]
    Transport(#[from] culvert_transport::DialError),
    /// The SSH connection failed: wrong keys, another server, or something in between.
    #[error("{0}")]
    Ssh(#[from] TunnelEnded),
    /// Nothing, or not enough, was heard in time.
    #[error("the server did not complete the connection within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The entry lacks something.
    #[error("server entry: {0}")]
    Entry(#[from] FieldError),
    /// The settings' seed transform.
    #[error("OSSH seed transform: {0}")]
    Transform(#[from] TransformError),
    /// The identification chosen for this dial.
    #[error(transparent)]
    Ident(#[from] IdentError),
}

impl DialError {
    /// Whether the failure says nothing of how the dial looked, so that a plan that worked is still as good: this machine has no way
    /// out, its proxy fails, or the server was reached and said no.
    pub(crate) fn keeps_plan(&self) -> bool {
        match self {
            Self::Transport(error) => {
                error.upstream().is_some_and(|error| !error.blames_target()) || is_local(error)
            }
            Self::Ssh(TunnelEnded(end)) => match &**end {
                End::Local => true,
                End::Protocol(error) => {
                    matches!(
                        error,
                        culvert_ssh::Error::AuthenticationRefused | culvert_ssh::Error::Disconnected { .. }
                    )
                }
                End::Closed | End::Network(_) => false,
            },
            Self::Entry(_) => true,
            Self::TimedOut(_) | Self::Transform(_) | Self::Ident(_) => false,
        }
    }
}

fn is_local(error: &culvert_transport::DialError) -> bool {
    use culvert_transport::DialError as Error;
    match error {
        Error::Connect(error) => matches!(
            error.kind(),
            io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::PermissionDenied
        ),
        Error::Random | Error::TlsSelfTest(_) => true,
        _ => false,
    }
}

/// Dials by plan. The limit covers everything.
pub(crate) async fn dial(
    plan: &DialPlan,
    entry: &ServerEntry,
    credentials: &Credentials,
    network: &Arc<dyn Network>,
    limit: Duration,
) -> Result<Connected, DialError> {
    timeout(limit, dial_unlimited(plan, entry, credentials, network))
        .await
        .unwrap_or(Err(DialError::TimedOut(limit)))
}

async fn dial_unlimited(
    plan: &DialPlan,
    entry: &ServerEntry,
    credentials: &Credentials,
    network: &Arc<dyn Network>,
) -> Result<Connected, DialError> {
    let started = Instant::now();
    let config = ssh_config(plan, entry, credentials)?;
    let ossh_padding = config.obfuscation.as_ref().map(|obfuscation| obfuscation.preamble.padding_len);
    let dialed = plan.transport.dial(&shaped(plan, credentials, network)).await?;
    let connection = Connection::client(config, Box::new(FreshKeys)).with_budget(credentials.budget.clone());
    let stream = Throttle::new(dialed.stream, &credentials.rate_limits);
    let (mut session, driver) = culvert_ssh_tokio::run(connection, stream);
    // Dropping the session, as a cancelled attempt does, ends the driver.
    let driver = tokio::spawn(async move {
        let (mut stream, _) = driver.await;
        // Some transports send on their own time: the last words are on their way only then.
        let _ = timeout(FAREWELL, stream.shutdown()).await;
    });
    let handle = session.handle();
    let facts = dialed.facts;
    while let Some(incoming) = session.next().await {
        match incoming {
            // The server has proved who it is, and the login is on its way: the API handshake need not wait for
            // the answer to it.
            Incoming::Keyed { negotiated, .. } => {
                let duration = started.elapsed();
                if let (Some(resolver), Some(name)) = (&credentials.resolver, plan.transport.host_name()) {
                    resolver.verified(name);
                }
                return Ok(Connected { handle, session, driver, negotiated, duration, ossh_padding, facts });
            }
            Incoming::Authenticated { .. }
            | Incoming::Preamble(_)
            | Incoming::Channel(_)
            | Incoming::Request(_) => {}
        }
    }
    Err(DialError::Ssh(ended(&handle)))
}

/// The network as the plan wants what leaves through it to look.
fn shaped(plan: &DialPlan, credentials: &Credentials, network: &Arc<dyn Network>) -> Arc<dyn Network> {
    let network: Arc<dyn Network> = match (&plan.resolving, &credentials.resolver) {
        _ if let Some(address) = plan.steering => Arc::new(Steered::new(network.clone(), address)),
        (Some(plan), Some(resolver)) => {
            Arc::new(Resolving::new(network.clone(), resolver.clone(), plan.clone()))
        }
        _ => network.clone(),
    };
    let (seed, first) = &plan.splitting;
    let splitting = Arc::new(Splitting::new(network, seed.clone(), *first));
    match &plan.fragmentor {
        Some((settings, seed)) => Arc::new(Fragmenting::new(splitting, *settings, seed.clone())),
        None => splitting,
    }
}

fn ssh_config(
    plan: &DialPlan,
    entry: &ServerEntry,
    credentials: &Credentials,
) -> Result<ClientConfig, DialError> {
    let payload = PasswordPayload {
        session_id: credentials.session_id.clone(),
        ssh_password: entry.ssh_password()?,
        client_capabilities: credentials.capabilities.clone(),
        sponsor_id: credentials.sponsor_id.clone(),
    };
    let obfuscation = match &plan.obfuscated_ssh {
        Some(ossh) => Some(obfuscation(ossh, entry.obfuscation_keyword()?)?),
        None => None,
    };
    Ok(ClientConfig {
        ident: Ident::local(&plan.ssh.ident)?,
        algorithms: Algorithms {
            no_encrypt_then_mac: plan.ssh.no_encrypt_then_mac,
            seed: Some(plan.ssh.kex_seed.clone()),
            peer_seed: plan.ssh.peer_seed.clone(),
            server: plan.ssh.server,
        },
        host_key: entry.ssh_host_key()?,
        user: entry.ssh_username()?.as_bytes().to_vec(),
        password: Zeroizing::new(payload.to_json().as_bytes().to_vec()),
        obfuscation,
        limits: credentials.limits,
        seed: Seed::from_bytes(random()),
    })
}

fn obfuscation(ossh: &ObfuscatedSshPlan, keyword: Keyword) -> Result<ClientObfuscation, DialError> {
    // PROTOCOL.md 2.3: never derived from the plan, so that a repeated plan is no replay.
    let mut obfuscator_seed = ObfuscatorSeed::from_bytes(random());
    if let Some((_, transform, seed)) = &ossh.seed_transform {
        obfuscator_seed = transform.apply_to_seed(seed, &obfuscator_seed)?;
    }
    let preamble = PreamblePlan {
        obfuscator_seed,
        padding_seed: ossh.padding_seed.clone(),
        padding: ossh.padding,
        prefix: ossh.prefix.clone(),
    };
    Ok(ClientObfuscation {
        preamble: ClientPreamble::new(&keyword, &preamble),
        padding_seed: ossh.padding_seed.clone(),
        keyword,
    })
}
