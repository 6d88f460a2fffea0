//! Where orders are carried out while the server runs, and where reports are written from time to time.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::config::FiguresConfig;
use crate::control::{Answer, Listening, Status};
use crate::figures::ReloadOutcome;
use crate::figures::load::{LoadReporter, Occasion};
use crate::log::Field;
use crate::orders::{Command, Commanders, Order, Orders};
use crate::panics;
use crate::reload::{self, SharedReloader};
use crate::run::RunError;
use crate::service_manager::ServiceManager;
use crate::services::Services;
use crate::snapshot;

/// How often reports that were gathered are looked at.
const REPORTS: Duration = Duration::from_secs(60);

/// Who carries them out.
pub(crate) struct Desk<'s> {
    services: &'s Arc<Services>,
    reloader: SharedReloader,
    listeners: Vec<Listening>,
    began: Instant,
    last_reload: Option<(Instant, String)>,
    manager: ServiceManager,
    load: LoadReporter,
    snapshots: Option<PathBuf>,
}

impl<'s> Desk<'s> {
    pub(crate) fn new(
        services: &'s Arc<Services>,
        reloader: SharedReloader,
        listeners: Vec<Listening>,
        figures: &FiguresConfig,
        manager: ServiceManager,
    ) -> Self {
        let (load, snapshots) = (LoadReporter::new(figures), figures.snapshots.clone());
        let began = Instant::now();
        Self { services, reloader, listeners, began, last_reload: None, manager, load, snapshots }
    }

    /// Carries out commands and writes reports until the server shall stop; an error is why that is not in order.
    pub(crate) async fn until_told_to_stop(
        &mut self,
        commanders: &mut Commanders<impl Orders>,
        load_period: Option<Duration>,
    ) -> Result<(), RunError> {
        self.manager.ready(&self.summary());
        let mut reports = every(REPORTS);
        let mut load = load_period.map(every);
        let mut destinations = self.services.egress.destination_bytes.period().map(every);
        // One at a time is enough: who asks meanwhile waits for the next.
        let (reloaded, mut reloads) = mpsc::channel(1);
        loop {
            tokio::select! {
                Order { command, answer } = commanders.next() => {
                    match command {
                        Command::Stop => {
                            tell(answer, Answer::Done);
                            return Ok(());
                        }
                        Command::Reload => {
                            self.reload(answer, reloaded.clone());
                            continue;
                        }
                        Command::Establish(wanted) => self.establish(wanted),
                        Command::Snapshot => {
                            self.load.report(self.services, Occasion::Asked);
                            snapshot::take(self.services, self.snapshots.as_deref());
                        }
                        Command::Status => {
                            tell(answer, Answer::Status(self.status()));
                            continue;
                        }
                    }
                    tell(answer, Answer::Done);
                }
                Some(summary) = reloads.recv() => self.last_reload = Some((Instant::now(), summary)),
                () = self.services.log.broken() => return Err(RunError::LogLost),
                _ = reports.tick() => {
                    self.services.write_due_reports();
                    self.manager.status(&self.summary());
                }
                () = tick(&mut destinations) => self.services.egress.destination_bytes.write_all(),
                () = tick(&mut load) => self.load.report(self.services, Occasion::Period),
            }
        }
    }

    fn establish(&self, wanted: bool) {
        if self.services.door.order(wanted) {
            self.services.log.info("establishing tunnels", [("establish", wanted.into())]);
            self.manager.status(&self.summary());
        }
    }

    /// On a thread of its own, since files may be large and disks slow.
    fn reload(&self, answer: Option<oneshot::Sender<Answer>>, done: mpsc::Sender<String>) {
        let log = self.services.log.clone();
        if let Err(error) = log.reopen() {
            // Lines go where they went.
            log.error("cannot open the log file anew", [("error", Field::local_error(&error))]);
        }
        let (manager, ready, figures) = (self.manager, self.summary(), self.services.figures.clone());
        manager.reloading();
        let (reloader, services) = (self.reloader.clone(), self.services.clone());
        let (finished, finish) = oneshot::channel();
        let of_thread = log.clone();
        // Not one of the runtime's, which panics where the system has no more threads.
        let started = thread::Builder::new().name("reload".into()).spawn(move || {
            panics::log_those_of_this_thread(&of_thread);
            // Nobody waits once the server stops.
            let _ = finished.send(reloader.lock().unwrap_or_else(PoisonError::into_inner).reload(&services));
        });
        tokio::spawn(async move {
            let result = match started {
                Ok(_) => finish.await.unwrap_or_else(|_| Answer::Refused {
                    reason: "reloading failed by a bug, see server_panic in the log".to_owned(),
                }),
                Err(error) => {
                    log.error("cannot start a thread to reload", [("error", Field::local_error(&error))]);
                    let problem =
                        format!("no thread can be started to read the files: {error}; nothing was changed");
                    Answer::NotReloaded { problems: vec![problem] }
                }
            };
            let applied = matches!(result, Answer::Reloaded(_));
            figures.reloaded(if applied { ReloadOutcome::Applied } else { ReloadOutcome::Refused });
            manager.ready(&ready);
            // Nobody keeps it once the server stops.
            let _ = done.send(reload::summary(&result)).await;
            tell(answer, result);
        });
    }

    /// For the service manager and whoever asks it.
    fn summary(&self) -> String {
        format!("{}, {} tunnels", self.services.readiness().text(), self.services.sessions.len())
    }

    fn status(&self) -> Status {
        let shut = self.services.door.shut();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            seconds: self.began.elapsed().as_secs(),
            accepting: shut.is_none(),
            turned_away_for: shut.map(|why| why.for_people().to_owned()),
            tunnels: u64::try_from(self.services.sessions.len()).unwrap_or(u64::MAX),
            listeners: self.listeners.clone(),
            last_reload: self.last_reload.as_ref().map(|(_, summary)| summary.clone()),
            last_reload_seconds: self.last_reload.as_ref().map(|(when, _)| when.elapsed().as_secs()),
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
