//! A client as a host program sees it: started with a typed config, it tells typed events, opens flows, and stops when asked
//! to. Several can run in one process: nothing here is global.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::controller::{self, RunError, Surroundings};
use crate::controls::Controls;
use crate::flow::{Destination, FlowOpener, FlowStream, OpenFailure};
use crate::notice::Emitted;

/// Events that may wait to be looked at; further ones are lost.
const MOST_WAITING: usize = 1024;

/// A client that runs. Dropping it stops it without a word.
pub struct Client {
    controls: Controls,
    opener: Opener,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), RunError>>,
}

enum Opener {
    Coming(oneshot::Receiver<FlowOpener>),
    Here(FlowOpener),
    /// The client has ended before it could open anything.
    Never,
}

/// What a client tells, in order.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Emitted>);

impl Events {
    /// The next event; `None` when the client is gone and all were told. If nobody looks, only the first ones are kept.
    pub async fn next(&mut self) -> Option<Emitted> {
        self.0.recv().await
    }

    /// The next event, if one waits.
    pub fn try_next(&mut self) -> Option<Emitted> {
        self.0.try_recv().ok()
    }
}

impl Client {
    /// Starts a client in the runtime of the caller. What is told is also written to the sinks of `surroundings`.
    pub fn start(config: Config, surroundings: Surroundings) -> (Self, Events) {
        let events = Events(surroundings.notices.subscribe(MOST_WAITING));
        let controls = surroundings.controls.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (opening, opener) = oneshot::channel();
        let stopped = async {
            // Dropping the sender stops as well.
            let _ = stopped.await;
        };
        let ended = tokio::spawn(controller::run(config, surroundings, opening, stopped));
        (Self { controls, opener: Opener::Coming(opener), stop: Some(stop), ended }, events)
    }

    /// What the host may tell it.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// Opens a flow through a tunnel, waiting for one if none is up.
    pub async fn open(&mut self, destination: Destination) -> Result<FlowStream, OpenFailure> {
        if let Opener::Coming(coming) = &mut self.opener {
            self.opener = coming.await.map_or(Opener::Never, Opener::Here);
        }
        match &self.opener {
            Opener::Here(opener) => opener.open(destination).await,
            Opener::Coming(_) | Opener::Never => Err(OpenFailure::Stopping),
        }
    }

    /// Completes when the client has ended by itself, and says why. To be called until it completes, and not again.
    pub async fn failed(&mut self) -> RunError {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => RunError::Unasked,
        }
    }

    /// Stops it: what is queued leaves, tunnels are closed.
    pub async fn stop(mut self) -> Result<(), RunError> {
        drop(self.stop.take());
        match (&mut self.ended).await {
            Ok(result) => result,
            Err(_) => Err(RunError::Unasked),
        }
    }

    /// Runs until `stop` completes, or until the client cannot go on.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        tokio::select! {
            () = stop => self.stop().await,
            error = self.failed() => Err(error),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Told to stop before, it has its time to end.
        if self.stop.is_some() {
            self.ended.abort();
        }
    }
}
