//! A server and a client in this process, with a tunnel between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_cli::in_process::{LocalClient, LocalServer, Tunnel};
use culvert_server::config::Strictness;
use culvert_server::generate::{FileNames, Listeners, Options, generate};
use culvert_server::log::{Level, Logger, Origin};
use libtest_mimic::Failed;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);

/// The pair. Its folder goes with it.
pub(crate) struct Pair {
    runtime: Runtime,
    client: Option<LocalClient>,
    server: Option<LocalServer>,
    tunnel: Tunnel,
    figures: SocketAddr,
    folder: PathBuf,
}

impl Pair {
    /// Starts both and waits for the tunnel; `edit` is added to the client's config.
    pub(crate) fn start(name: &str, edit: &str) -> Result<Self, Failed> {
        let folder = std::env::temp_dir().join(format!("culvert-applications-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("client"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let figures = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (server, client, tunnel) = runtime.block_on(async {
            // Given up at once, for the server to take.
            let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
            let options = Options {
                address: "127.0.0.1".parse().unwrap(),
                listeners: Listeners::parse([format!("OSSH:{port}").as_str()]).unwrap(),
                log_file: None,
                files: FileNames::default(),
            };
            let generated = generate(&options).unwrap();
            let file = Path::new("psiphond.config");
            let text = generated.text(file).unwrap();
            let mut config = culvert_server::config::parse(file, text, Strictness::Run).unwrap().value;
            config.egress.allow_bogons = true;
            config.figures.address = Some(figures);
            config.state_directory = folder.join("server");
            let (log, _captured) = Logger::captured(Level::Info, Origin::default());
            let server = LocalServer::start(config, log).await.map_err(|error| error.to_string())?;
            let text = format!(
                r#"{{"PropagationChannelId":"00000000000000AA","SponsorId":"00000000000000BB",
                "DataRootDirectory":{:?},"TargetServerEntry":"{}"{edit}}}"#,
                folder.join("client"),
                generated.entry.encode()
            );
            let config = culvert_client::config::parse("client.config", &text).unwrap().config;
            let mut client = LocalClient::start(config, Vec::new()).map_err(|error| error.to_string())?;
            let tunnel = timeout(SOON, client.tunnel()).await?.map_err(|error| error.to_string())?;
            Ok::<_, Failed>((server, client, tunnel))
        })?;
        Ok(Self { runtime, client: Some(client), server: Some(server), tunnel, figures, folder })
    }

    pub(crate) fn socks(&self) -> String {
        format!("127.0.0.1:{}", self.tunnel.socks_port)
    }

    pub(crate) fn http(&self) -> String {
        format!("127.0.0.1:{}", self.tunnel.http_port)
    }

    /// Where the server gives its figures.
    pub(crate) fn figures(&self) -> SocketAddr {
        self.figures
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs something beside the pair.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let (client, server) = (self.client.take(), self.server.take());
        self.runtime.block_on(async {
            if let Some(client) = client {
                client.stop().await;
            }
            if let Some(server) = server {
                server.stop().await;
            }
        });
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
