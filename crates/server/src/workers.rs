//! The threads that serve tunnels, one for each core, each with a runtime of its own that never moves its tasks to another.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::listen::{Accepting, Bound, PortLost};
use crate::log::{Aggregated, Logger};
use crate::panics;
use crate::pulse::{Answering, Pulse};
use crate::run::{RunError, runtime};
use crate::services::Services;
use crate::session::Stopping;

/// How long tunnels get to end.
const STOP: Duration = Duration::from_millis(4500);

/// All of them.
pub(crate) struct Workers {
    pulse: Pulse,
    ends: Vec<oneshot::Receiver<()>>,
}

impl Workers {
    /// Starts them. They accept from these ports until the server stops.
    pub(crate) fn start(
        ports: &[Bound],
        services: &Arc<Services>,
        errors: &Arc<Aggregated>,
        stopping: &Stopping,
        lost: &mpsc::Sender<PortLost>,
    ) -> Result<Self, RunError> {
        let mut workers = Self { pulse: Pulse::default(), ends: Vec::new() };
        for number in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            // Each thread has its own: dropping the last one ends it.
            let (serving, served) = mpsc::channel(1);
            let (services, errors) = (services.clone(), errors.clone());
            let (stopping, lost) = (stopping.clone(), lost.clone());
            let accepting = Accepting { services, errors, stopping, serving, lost };
            let shared: io::Result<Vec<_>> = ports.iter().map(|port| port.share(number)).collect();
            let shared = shared.map_err(RunError::system("share a port between threads"))?;
            let pulse = workers.pulse.thread();
            workers.ends.push(worker(shared.into_iter().flatten().collect(), accepting, pulse, served)?);
        }
        Ok(workers)
    }

    /// Whether they live.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Returns when all that they serve has ended, or has had its time.
    pub(crate) async fn ended(self, log: &Logger) {
        let ended = async {
            for worker in self.ends {
                // An error is a thread that ended otherwise.
                let _ = worker.await;
            }
        };
        if timeout(STOP, ended).await.is_err() {
            log.warning("some tunnels did not end in time", []);
        }
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
        panics::count_those_of_this_thread(&accepting.services.figures);
        runtime.block_on(async {
            tokio::spawn(pulse.run());
            let services = accepting.services.clone();
            services.figures.runs_on(Handle::current());
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
