//! The server as a whole: bind, announce, serve on one single-threaded runtime for each core, obey signals, stop in
//! order. A tunnel lives on one thread: that measured faster than moving it between threads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::config::ServerConfig;
use crate::listen::{Accepting, BindError, Bound, bind_all, fields};
use crate::log::{Aggregated, Field, Level, Logger};
use crate::open_files;
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
            Self::Services(_) => return false,
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
    on_this_thread(async {
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
    on_this_thread(serve(config, log, Until(Some(Box::pin(stop))), running))
}

fn on_this_thread(serving: impl Future<Output = Result<(), RunError>>) -> Result<(), RunError> {
    let runtime = runtime()?;
    let result = runtime.block_on(serving);
    // Nothing of worth runs here any more, but for look-ups that nobody waits for.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: ServerConfig,
    log: &Logger,
    mut orders: impl Orders,
    running: impl FnOnce(),
) -> Result<(), RunError> {
    log.info("startup", [("version", env!("CARGO_PKG_VERSION").into())]);
    let load_period = config.log.load_period;
    let bound = bind_all(&config.listeners)?;
    let services = Arc::new(Services::new(config, log)?);
    for port in &bound {
        log.info("listening", fields(port));
    }
    let (stop, stopping) = watch::channel(false);
    let errors = Aggregated::new(log.clone(), Level::Error, "accept failed", ACCEPT_ERRORS);
    let errors = Arc::new(errors);
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
            served,
        )?);
    }
    for port in &bound {
        log.info("running", fields(port));
    }
    running();
    until_told_to_stop(&mut orders, load_period, &services).await;
    log.info("shutdown by system", []);
    stop.send_replace(true);
    tokio::select! {
        () = all_ended(workers, log) => {}
        () = told_to_stop(&mut orders) => log.warning("stopping at once", []),
    }
    for port in &bound {
        log.info("stopped", fields(port));
    }
    services.write_all_reports();
    errors.write_all();
    Ok(())
}

/// A thread with its own runtime, which accepts from these ports. Sends when all that it served has ended.
fn worker(
    ports: Vec<Bound>,
    accepting: Accepting,
    mut served: mpsc::Receiver<()>,
) -> Result<oneshot::Receiver<()>, RunError> {
    let runtime = runtime()?;
    let (ended, end) = oneshot::channel();
    let work = move || {
        runtime.block_on(async {
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

async fn until_told_to_stop(orders: &mut impl Orders, load_period: Option<Duration>, services: &Services) {
    let log = &services.log;
    let mut reports = every(REPORTS);
    let mut load = load_period.map(every);
    loop {
        tokio::select! {
            command = orders.next() => match command {
                Command::Stop => return,
                Command::Establish(wanted) => {
                    if services.door.order(wanted) {
                        log.info("establishing tunnels", [("establish", wanted.into())]);
                    }
                }
                Command::Reload => log.warning("not reloadable yet: restart to apply changed files", []),
                Command::Snapshot => report_load(services),
            },
            _ = reports.tick() => services.write_due_reports(),
            () = tick(&mut load) => report_load(services),
        }
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

/// Where commands come from.
trait Orders {
    async fn next(&mut self) -> Command;
}

/// What a signal asks for.
enum Command {
    Stop,
    Establish(bool),
    Reload,
    Snapshot,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    pause: Signal,
    resume: Signal,
    reload: Signal,
    snapshot: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            pause: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resume: signal(SignalKind::from_raw(libc::SIGCONT))?,
            reload: signal(SignalKind::user_defined1())?,
            snapshot: signal(SignalKind::user_defined2())?,
        })
    }
}

impl Orders for Signals {
    async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.terminate.recv() => Command::Stop,
            _ = self.interrupt.recv() => Command::Stop,
            _ = self.pause.recv() => Command::Establish(false),
            _ = self.resume.recv() => Command::Establish(true),
            _ = self.reload.recv() => Command::Reload,
            _ = self.snapshot.recv() => Command::Snapshot,
        }
    }
}

/// The one command of an embedding program; `None` once it was given.
struct Until<F>(Option<Pin<Box<F>>>);

impl<F: Future<Output = ()>> Orders for Until<F> {
    async fn next(&mut self) -> Command {
        match &mut self.0 {
            Some(stop) => stop.await,
            None => std::future::pending().await,
        }
        self.0 = None;
        Command::Stop
    }
}

async fn told_to_stop(orders: &mut impl Orders) {
    while !matches!(orders.next().await, Command::Stop) {}
}

fn runtime() -> Result<Runtime, RunError> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(RunError::system("set up waiting for sockets and timers"))
}
