//! What the server is told to do while it runs, and by whom: signals, the control socket, or a program that embeds it.

use std::io;
use std::pin::Pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::control::Answer;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Stop,
    Establish(bool),
    Reload,
    Snapshot,
    Status,
}

/// A command and who waits for what came of it; nobody does for a signal.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) command: Command,
    pub(crate) answer: Option<oneshot::Sender<Answer>>,
}

/// Where commands come from.
pub(crate) trait Orders {
    async fn next(&mut self) -> Command;
}

/// All that may tell the server what to do.
pub(crate) struct Commanders<O> {
    pub(crate) orders: O,
    /// From the control socket.
    pub(crate) asked: mpsc::Receiver<Order>,
}

impl<O: Orders> Commanders<O> {
    pub(crate) async fn next(&mut self) -> Order {
        tokio::select! {
            command = self.orders.next() => Order { command, answer: None },
            Some(order) = self.asked.recv() => order,
        }
    }

    /// Returns when told to stop; everything else is too late.
    pub(crate) async fn told_to_stop(&mut self) {
        while self.next().await.command != Command::Stop {}
    }
}

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    pause: Signal,
    resume: Signal,
    hang_up: Signal,
    reload: Signal,
    snapshot: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            pause: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resume: signal(SignalKind::from_raw(libc::SIGCONT))?,
            hang_up: signal(SignalKind::hangup())?,
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
            _ = self.hang_up.recv() => Command::Reload,
            _ = self.reload.recv() => Command::Reload,
            _ = self.snapshot.recv() => Command::Snapshot,
        }
    }
}

/// The one command of an embedding program; `None` once it was given.
pub(crate) struct Until<F>(pub(crate) Option<Pin<Box<F>>>);

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
