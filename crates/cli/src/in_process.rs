//! A server and a client as parts of this process, each on a thread of its own, for programs that try a tunnel out:
//! `culvert quickstart` and the check at the end of `psiphond generate`. Not their configurations.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use culvert_client::config::Config;
use culvert_client::data_dir::{DataDir, DataDirError};
use culvert_client::notice::{Detail, DialDetails, Emitted, Notice, Notices, Sink};
use culvert_client::{Client, Surroundings};
use culvert_server::config::ServerConfig;
use culvert_server::log::Logger;
use culvert_transport::OsNetwork;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Notices that wait to be looked at; further ones are lost.
const MOST_WAITING: usize = 1024;
/// How long a part gets to end once it is told to.
const STOP: Duration = Duration::from_secs(5);

/// Why a part does not run (any more).
#[derive(Debug, thiserror::Error)]
pub enum PartError<E: std::error::Error + 'static> {
    /// It said so itself.
    #[error(transparent)]
    Ended(E),
    /// A bug.
    #[error("it ended without a reason")]
    Unasked,
    /// The host.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// Why a client does not run (any more).
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Run(#[from] culvert_client::RunError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The host.
    #[error("cannot set up waiting for sockets and timers: {0}")]
    Runtime(#[source] io::Error),
}

/// Something that runs on its own thread until it is stopped or dropped.
struct Part<E> {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), E>>,
}

impl<E: std::error::Error + Send + 'static> Part<E> {
    fn start<W>(name: &str, work: W) -> Result<Self, PartError<E>>
    where
        W: FnOnce(oneshot::Receiver<()>) -> Result<(), E> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        // Nobody may be waiting for the end any more.
        let work = move || drop(ending.send(work(stopped)));
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(PartError::Thread)?;
        Ok(Self { stop, ended })
    }

    /// Why it ended, once it has. To be called until it answers, and not again.
    async fn failure(&mut self) -> PartError<E> {
        match (&mut self.ended).await {
            Ok(Err(error)) => PartError::Ended(error),
            // An end that nobody asked for, or a panic.
            Ok(Ok(())) | Err(_) => PartError::Unasked,
        }
    }

    async fn stop(self) {
        drop(self.stop);
        // What does not end in time ends with the process; what has told its end has ended.
        if !self.ended.is_terminated() {
            let _ = timeout(STOP, self.ended).await;
        }
    }
}

/// A server that runs in this process.
pub struct LocalServer(Part<culvert_server::RunError>);

impl LocalServer {
    /// Starts the server and waits until it listens.
    pub async fn start(
        config: ServerConfig,
        log: Logger,
    ) -> Result<Self, PartError<culvert_server::RunError>> {
        let (listening, listens) = oneshot::channel();
        let mut part = Part::start("server", move |stop| {
            let listening = || {
                let _ = listening.send(());
            };
            culvert_server::run_until(config, &log, listening, async { drop(stop.await) })
        })?;
        match listens.await {
            Ok(()) => Ok(Self(part)),
            // It has ended: it alone could have said that it listens.
            Err(_) => Err(part.failure().await),
        }
    }

    /// Stops it and waits for the end, though not for long.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// A client that runs in this process.
pub struct LocalClient {
    part: Part<ClientError>,
    events: mpsc::Receiver<Emitted>,
    seen: Tunnel,
}

/// What a client said about itself and its tunnel.
#[derive(Debug, Clone, Default)]
pub struct Tunnel {
    pub socks_port: u16,
    pub http_port: u16,
    /// `None` until a tunnel is up.
    pub details: Option<Box<DialDetails>>,
}

impl LocalClient {
    /// Starts the client. It also writes its notices to `sinks`.
    pub fn start(config: Config, mut sinks: Vec<Sink>) -> Result<Self, PartError<ClientError>> {
        let (sender, events) = mpsc::channel(MOST_WAITING);
        sinks.push(Sink::Channel(sender));
        let notices = Notices::new(sinks);
        notices.show(Detail::NetworkDiagnostic, config.notices.topics.clone());
        let part = Part::start("client", move |stop| run_client(config, notices, stop))?;
        Ok(Self { part, events, seen: Tunnel::default() })
    }

    /// Waits until a tunnel carries flows.
    pub async fn tunnel(&mut self) -> Result<Tunnel, PartError<ClientError>> {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                failure = self.part.failure() => return Err(failure),
            };
            match event.map(|event| event.notice) {
                None => return Err(self.part.failure().await),
                Some(Notice::ListeningSocksProxyPort { port }) => self.seen.socks_port = port,
                Some(Notice::ListeningHttpProxyPort { port }) => self.seen.http_port = port,
                Some(Notice::ConnectedServer(details)) => self.seen.details = Some(details),
                Some(Notice::Tunnels { count: 1.. }) => return Ok(self.seen.clone()),
                Some(_) => {}
            }
        }
    }

    /// The last thing that the client complained about and nobody has looked at.
    pub fn last_complaint(&mut self) -> Option<String> {
        let mut last = None;
        while let Ok(event) = self.events.try_recv() {
            match event.notice {
                Notice::Info { message }
                | Notice::Warning { message }
                | Notice::Error { message }
                | Notice::LocalProxyError { message } => last = Some(message.to_string()),
                Notice::ServerAlert { reason, subject, .. } => {
                    last = Some(format!("the server refused: {reason} {subject}"));
                }
                _ => {}
            }
        }
        last
    }

    /// Stops it and waits for the end, though not for long.
    pub async fn stop(self) {
        self.part.stop().await;
    }
}

fn run_client(config: Config, notices: Notices, stop: oneshot::Receiver<()>) -> Result<(), ClientError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    let data_dir = DataDir::open(config.data_root_directory.as_deref())?.data_dir;
    let surroundings = Surroundings::new(data_dir, notices, Arc::new(OsNetwork));
    let result = runtime.block_on(async {
        let (client, events) = Client::start(config, surroundings);
        // The caller has a sink of its own.
        drop(events);
        client.run_until(async { drop(stop.await) }).await
    });
    runtime.shutdown_background();
    Ok(result?)
}
