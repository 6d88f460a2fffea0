//! The server as a whole: bind, announce, serve on one single-threaded runtime for each core, obey signals, stop in
//! order. A tunnel lives on one thread: that measured faster than moving it between threads.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use crate::admission::Monitor;
use crate::config::ServerConfig;
use crate::control::{self, ControlSocket, Listening, SocketError};
use crate::desk::Desk;
use crate::figures::http::{FiguresPort, Source};
use crate::firewall::{FilledChain, FirewallError};
use crate::forward::address_changes;
use crate::forward::egress::EgressPolicy;
use crate::listen::{BindError, Bound, PortLost, bind_all, fields};
use crate::log::{Aggregated, Field, Level, Logger};
use crate::memory;
use crate::open_files;
use crate::orders::{Commanders, Orders, Signals, Until};
use crate::panics;
use crate::pulse::Pulse;
use crate::reload::Reloader;
use crate::service_manager::ServiceManager;
use crate::services::{Services, ServicesError};
use crate::state_directory::{self, StateError};
use crate::workers::Workers;

/// Errors of accepting are reported this often at most.
const ACCEPT_ERRORS: Duration = Duration::from_secs(60);

/// Why a server does not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A port, while it was served.
    #[error(transparent)]
    PortLost(#[from] PortLost),
    /// The configuration or the host.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// The host's firewall.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// Where commands are taken.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// Where state is kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// The port for figures.
    #[error("cannot serve figures at {address}: {source}; {}", figures_fix(*address, source))]
    FiguresPort {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The disk, or what rotates the log.
    #[error(
        "the log cannot be written, and SkipPanickingLogWriter is false; make room for it (df -h says where there is none)"
    )]
    LogLost,
    /// The host.
    #[error("cannot {action}: {source}")]
    System {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

impl RunError {
    /// Whether the system did not permit something.
    pub fn is_permission(&self) -> bool {
        let source = match self {
            Self::Bind(error) => &error.source,
            Self::System { source, .. } | Self::FiguresPort { source, .. } => source,
            Self::Services(_) | Self::Firewall(_) | Self::Control(_) | Self::State(_) => return false,
            Self::PortLost(_) | Self::LogLost => return false,
        };
        source.kind() == io::ErrorKind::PermissionDenied
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// What to do about a port for figures that cannot be had.
fn figures_fix(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program listens there (ss -ltnp 'sport = :{port}' names it): choose another port for MetricsAddress"
        ),
        io::ErrorKind::PermissionDenied => "choose a port above 1023 for MetricsAddress".to_owned(),
        _ => "choose another MetricsAddress, such as 127.0.0.1:9464".to_owned(),
    }
}

/// Serves until told to stop by SIGTERM or SIGINT.
pub fn run(config: ServerConfig, log: &Logger) -> Result<(), RunError> {
    if open_files::allow_many().is_err() {
        log.warning("cannot raise the limit of open files", []);
    }
    on_this_thread(log, async {
        // Before the ports, so that a signal that comes early is obeyed too.
        let signals = Signals::new().map_err(RunError::system("wait for signals"))?;
        serve(config, log, signals, ServiceManager::OfThisProcess, || {}).await
    })
}

/// Serves as a part of another program, which keeps its signals and its limits: until `stop` completes. `running` is
/// called once all ports are bound and served.
pub fn run_until(
    config: ServerConfig,
    log: &Logger,
    running: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    on_this_thread(log, serve(config, log, Until(Some(Box::pin(stop))), ServiceManager::None, running))
}

fn on_this_thread(log: &Logger, serving: impl Future<Output = Result<(), RunError>>) -> Result<(), RunError> {
    panics::log_those_of_this_thread(log);
    let runtime = runtime(log)?;
    let result = runtime.block_on(serving);
    // Nothing of worth runs here any more, but for look-ups that nobody waits for.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: ServerConfig,
    log: &Logger,
    orders: impl Orders,
    manager: ServiceManager,
    running: impl FnOnce(),
) -> Result<(), RunError> {
    log.info("startup", [("version", env!("CARGO_PKG_VERSION").into())]);
    let load_period = config.log.load_period;
    let monitor = Monitor::new(config.load_limits);
    memory::only_small_pages();
    state_directory::prepare(&config.state_directory)?;
    let figures = config.figures.clone();
    let figures_port = figures_port(figures.address).await?;
    let bound = bind_all(&config.listeners)?;
    // Emptied at the end, whichever it is.
    let _chain =
        config.firewall.clone().map(|chain| FilledChain::fill(chain, &config.listeners)).transpose()?;
    let reloader = Reloader::new(&config);
    let (set, default) = (config.control_socket.clone(), config.default_control_socket());
    let services = Arc::new(Services::new(config, log)?);
    reloader.report_ages(&services.figures);
    let (order, asked) = mpsc::channel(1);
    // After the services, which make the state directory.
    let control = control_socket(set, &default, log)?;
    let control = control.map(|socket| tokio::spawn(control::serve(socket, order, log.clone())));
    drop(tokio::spawn(follow_own_addresses(services.clone())));
    for port in &bound {
        log.info("listening", fields(port));
    }
    let (stop, stopping) = watch::channel(false);
    let errors = Arc::new(Aggregated::new(log.clone(), Level::Error, "accept failed", ACCEPT_ERRORS));
    let (lost, mut port_lost) = mpsc::channel(1);
    let workers = Workers::start(&bound, &services, &errors, &stopping, &lost)?;
    for port in &bound {
        log.info("running", fields(port));
    }
    services.figures.serves();
    serve_figures(figures_port, &services, workers.pulse());
    tokio::spawn(manager.watch(workers.pulse().clone()));
    tokio::spawn(monitor.watch(services.clone()));
    running();
    let mut commanders = Commanders { orders, asked };
    let listeners = bound.iter().map(listening).collect();
    let mut desk = Desk::new(&services, Arc::new(Mutex::new(reloader)), listeners, &figures, manager);
    let ended = tokio::select! {
        ended = desk.until_told_to_stop(&mut commanders, load_period) => ended,
        Some(lost) = port_lost.recv() => Err(lost.into()),
    };
    services.figures.stops();
    manager.stopping();
    log.info("shutdown by system", []);
    stop.send_replace(true);
    tokio::select! {
        () = workers.ended(log) => {}
        () = commanders.told_to_stop() => log.warning("stopping at once", []),
    }
    if let Some(control) = control {
        control.abort();
        // Its name is gone when it is.
        let _ = control.await;
    }
    for port in &bound {
        log.info("stopped", fields(port));
    }
    services.write_all_reports();
    errors.write_all();
    ended
}

/// Never returns.
async fn follow_own_addresses(services: Arc<Services>) {
    if let EgressPolicy::PublicOnly(own) = &services.egress.policy {
        address_changes::follow(own, &services.log).await;
    }
}

async fn figures_port(address: Option<SocketAddr>) -> Result<Option<FiguresPort>, RunError> {
    let Some(address) = address else { return Ok(None) };
    let bound = FiguresPort::bind(address).await;
    bound.map(Some).map_err(|source| RunError::FiguresPort { address, source })
}

fn serve_figures(port: Option<FiguresPort>, services: &Arc<Services>, pulse: &Pulse) {
    let Some(port) = port else { return };
    services.log.info("serving figures", [("localAddress", Field::listener(port.address))]);
    tokio::spawn(port.serve(Arc::new(Source::new(services.clone(), pulse.clone()))));
}

/// One that somebody has set must be there. Without the other a server is of as much use as before.
fn control_socket(
    set: Option<PathBuf>,
    default: &Path,
    log: &Logger,
) -> Result<Option<ControlSocket>, SocketError> {
    if let Some(path) = set {
        return ControlSocket::bind(&path).map(Some);
    }
    let bound = ControlSocket::bind(default);
    if let Err(error) = &bound {
        let message = "psiphond reload and status cannot reach this server; signals can";
        log.warning(message, [("error", Field::local_error(error))]);
    }
    Ok(bound.ok())
}

fn listening(port: &Bound) -> Listening {
    Listening { protocol: port.protocol.name().to_owned(), address: port.address.to_string() }
}

/// For one thread.
pub(crate) fn runtime(log: &Logger) -> Result<Runtime, RunError> {
    let log = log.clone();
    // Of those that wait for the system.
    let on_start = move || panics::log_those_of_this_thread(&log);
    let built = Builder::new_current_thread().enable_all().on_thread_start(on_start).build();
    built.map_err(RunError::system("set up waiting for sockets and timers"))
}
