//! The server as a whole: bind, announce, serve on one single-threaded runtime for each core, obey signals, stop in
//! order. A tunnel lives on one thread: that measured faster than moving it between threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::admission::Monitor;
use crate::config::ServerConfig;
use crate::control::{self, Answer, ControlSocket, Listening, SocketError, Status};
use crate::figures::http::{FiguresPort, Source};
use crate::forward::address_changes;
use crate::forward::egress::EgressPolicy;
use crate::listen::{Accepting, BindError, Bound, bind_all, fields};
use crate::log::{Aggregated, Field, Level, Logger};
use crate::memory;
use crate::open_files;
use crate::orders::{Command, Commanders, Order, Orders, Signals, Until};
use crate::panics;
use crate::pulse::{Answering, Pulse};
use crate::reload::{self, Reloader, SharedReloader};
use crate::services::{Services, ServicesError};

/// How long tunnels get to end.
const STOP: Duration = Duration::from_millis(4500);
/// How often reports that were gathered are looked at.
const REPORTS: Duration = Duration::from_secs(60);
/// Errors of accepting are reported this often at most.
const ACCEPT_ERRORS: Duration = Duration::from_secs(60);

/// Why a server does not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The configuration or the host.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// Where commands are taken.
    #[error(transparent)]
    Control(#[from] SocketError),
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
            Self::System { source, .. } => source,
            Self::Services(_) | Self::Control(_) => return false,
        };
        source.kind() == io::ErrorKind::PermissionDenied
    }

    fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Serves until told to stop by SIGTERM or SIGINT.
pub fn run(config: ServerConfig, log: &Logger) -> Result<(), RunError> {
    culvert_ssh_tokio::give_back_what_is_freed();
    if open_files::allow_many().is_err() {
        log.warning("cannot raise the limit of open files", []);
    }
    on_this_thread(log, async {
        // Before the ports, so that a signal that comes early is obeyed too.
        let signals = Signals::new().map_err(RunError::system("wait for signals"))?;
        serve(config, log, signals, || {}).await
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
    on_this_thread(log, serve(config, log, Until(Some(Box::pin(stop))), running))
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
    running: impl FnOnce(),
) -> Result<(), RunError> {
    log.info("startup", [("version", env!("CARGO_PKG_VERSION").into())]);
    let load_period = config.log.load_period;
    let monitor = Monitor::new(config.load_limits);
    memory::only_small_pages();
    let figures_port = match config.figures.address {
        Some(address) => {
            Some(FiguresPort::bind(address).await.map_err(RunError::system("listen at MetricsAddress"))?)
        }
        None => None,
    };
    let bound = bind_all(&config.listeners)?;
    let reloader = Arc::new(Mutex::new(Reloader::new(&config)));
    let (set, default) = (config.control_socket.clone(), config.default_control_socket());
    let services = Arc::new(Services::new(config, log)?);
    let (order, asked) = mpsc::channel(1);
    // After the services, which make the state directory.
    let control = control_socket(set, &default, log)?;
    let control = control.map(|socket| tokio::spawn(control::serve(socket, order, log.clone())));
    let _ = tokio::spawn(follow_own_addresses(services.clone()));
    for port in &bound {
        log.info("listening", fields(port));
    }
    let (stop, stopping) = watch::channel(false);
    let errors = Aggregated::new(log.clone(), Level::Error, "accept failed", ACCEPT_ERRORS);
    let errors = Arc::new(errors);
    let mut pulse = Pulse::default();
    let mut workers = Vec::new();
    for number in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
        // Each thread has its own: dropping the last one ends it.
        let (serving, served) = mpsc::channel(1);
        let (services, errors) = (services.clone(), errors.clone());
        let stopping = stopping.clone();
        let ports: io::Result<Vec<_>> = bound.iter().map(|port| port.share(number)).collect();
        let ports = ports.map_err(RunError::system("share a port between threads"))?;
        workers.push(worker(
            ports.into_iter().flatten().collect(),
            Accepting { services, errors, stopping, serving },
            pulse.thread(),
            served,
        )?);
    }
    for port in &bound {
        log.info("running", fields(port));
    }
    services.figures.serves();
    if let Some(port) = figures_port {
        log.info("serving figures", [("localAddress", Field::listener(port.address))]);
        tokio::spawn(port.serve(Arc::new(Source::new(services.clone(), pulse))));
    }
    tokio::spawn(monitor.watch(services.clone()));
    running();
    let mut commanders = Commanders { orders, asked };
    let listeners = bound.iter().map(listening).collect();
    let mut desk =
        Desk { services: &services, reloader, listeners, began: Instant::now(), last_reload: None };
    desk.until_told_to_stop(&mut commanders, load_period).await;
    services.figures.stops();
    log.info("shutdown by system", []);
    stop.send_replace(true);
    tokio::select! {
        () = all_ended(workers, log) => {}
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
    Ok(())
}

/// Never returns.
async fn follow_own_addresses(services: Arc<Services>) {
    if let EgressPolicy::PublicOnly(own) = &services.egress.policy {
        address_changes::follow(own, &services.log).await;
    }
}

/// A thread with its own runtime, which accepts from these ports. Sends when all that it served has ended.
fn worker(
    ports: Vec<Bound>,
    accepting: Accepting,
    pulse: Answering,
    mut served: mpsc::Receiver<()>,
) -> Result<oneshot::Receiver<()>, RunError> {
    let log = accepting.services.log.clone();
    let runtime = runtime(&log)?;
    let (ended, end) = oneshot::channel();
    let work = move || {
        panics::log_those_of_this_thread(&log);
        runtime.block_on(async {
            tokio::spawn(pulse.run());
            let services = accepting.services.clone();
            tokio::spawn(async move { services.clocks.tick().await });
            for port in ports {
                tokio::spawn(port.accept(accepting.clone()));
            }
            drop(accepting);
            // Ready when the last sender is gone: nothing is ever sent.
            let _ = served.recv().await;
        });
        runtime.shutdown_background();
        // Whoever waited may have lost patience.
        let _ = ended.send(());
    };
    let spawned = thread::Builder::new().name("tunnels".into()).spawn(work);
    spawned.map_err(RunError::system("start a thread"))?;
    Ok(end)
}

async fn all_ended(workers: Vec<oneshot::Receiver<()>>, log: &Logger) {
    let ended = async {
        for worker in workers {
            // An error is a thread that ended otherwise.
            let _ = worker.await;
        }
    };
    if timeout(STOP, ended).await.is_err() {
        log.warning("some tunnels did not end in time", []);
    }
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

/// Where orders are carried out.
struct Desk<'s> {
    services: &'s Arc<Services>,
    reloader: SharedReloader,
    listeners: Vec<Listening>,
    began: Instant,
    last_reload: Option<String>,
}

impl Desk<'_> {
    async fn until_told_to_stop(
        &mut self,
        commanders: &mut Commanders<impl Orders>,
        load_period: Option<Duration>,
    ) {
        let mut reports = every(REPORTS);
        let mut load = load_period.map(every);
        // One at a time is enough: who asks meanwhile waits for the next.
        let (reloaded, mut reloads) = mpsc::channel(1);
        loop {
            tokio::select! {
                Order { command, answer } = commanders.next() => {
                    match command {
                        Command::Stop => {
                            tell(answer, Answer::Done);
                            return;
                        }
                        Command::Reload => {
                            self.reload(answer, reloaded.clone());
                            continue;
                        }
                        Command::Establish(wanted) => self.establish(wanted),
                        Command::Snapshot => report_load(self.services),
                        Command::Status => {
                            tell(answer, Answer::Status(self.status()));
                            continue;
                        }
                    }
                    tell(answer, Answer::Done);
                }
                Some(summary) = reloads.recv() => self.last_reload = Some(summary),
                _ = reports.tick() => self.services.write_due_reports(),
                () = tick(&mut load) => report_load(self.services),
            }
        }
    }

    fn establish(&self, wanted: bool) {
        if self.services.door.order(wanted) {
            self.services.log.info("establishing tunnels", [("establish", wanted.into())]);
        }
    }

    /// On a thread of its own, since files may be large and disks slow.
    fn reload(&self, answer: Option<oneshot::Sender<Answer>>, done: mpsc::Sender<String>) {
        let log = self.services.log.clone();
        if let Err(error) = log.reopen() {
            // Lines go where they went.
            log.error("cannot open the log file anew", [("error", Field::local_error(&error))]);
        }
        let (reloader, services) = (self.reloader.clone(), self.services.clone());
        let reloading = tokio::task::spawn_blocking(move || {
            reloader.lock().unwrap_or_else(PoisonError::into_inner).reload(&services)
        });
        tokio::spawn(async move {
            let result = reloading.await.unwrap_or_else(|_| {
                let reason = "reloading failed by a bug, see server_panic in the log".to_owned();
                Answer::Refused { reason }
            });
            // Nobody keeps it once the server stops.
            let _ = done.send(reload::summary(&result)).await;
            tell(answer, result);
        });
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            seconds: self.began.elapsed().as_secs(),
            accepting: self.services.door.shut().is_none(),
            tunnels: u64::try_from(self.services.sessions.len()).unwrap_or(u64::MAX),
            listeners: self.listeners.clone(),
            last_reload: self.last_reload.clone(),
        }
    }
}

fn tell(who: Option<oneshot::Sender<Answer>>, answer: Answer) {
    if let Some(who) = who {
        // They may have hung up.
        let _ = who.send(answer);
    }
}

/// Ticks after each period, not at once.
fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

/// How many tunnels there are. What else the reference reports is not counted yet.
fn report_load(services: &Services) {
    let all = Field::object([("established_clients", services.sessions.len().into())]);
    let fields = [
        ("ALL", all),
        ("establish_tunnels", services.door.shut().is_none().into()),
        ("establish_tunnels_limited_count", services.door.take_refused_lately().into()),
        ("server_entry_tag", Field::text(services.own_tag())),
    ];
    services.log.event("server_load", fields);
}

fn runtime(log: &Logger) -> Result<Runtime, RunError> {
    let log = log.clone();
    // Of those that wait for the system.
    let on_start = move || panics::log_those_of_this_thread(&log);
    let built = Builder::new_current_thread().enable_all().on_thread_start(on_start).build();
    built.map_err(RunError::system("set up waiting for sockets and timers"))
}
