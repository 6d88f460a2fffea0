//! A server in this process on ports of its own, and clients made of the SSH crates alone.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use culvert_obfuscation::{
    ClientPreamble, GeneratedPrefix, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan, PrefixName,
    PrefixPlan, Seed, ServerSeedLabel,
};
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_server::config::{self, ServerConfig, Strictness};
use culvert_server::generate::{FileNames, Listeners, Options, generate};
use culvert_server::log::{Captured, Level, Logger, Origin};
use culvert_server::{RunError, run_until};
use culvert_ssh::direct_tcpip::DirectTcpip;
use culvert_ssh::kex::{EphemeralKeys, FreshKeys};
use culvert_ssh::{Algorithms, ClientConfig, ClientObfuscation, Connection, Ident, Limits};
use culvert_ssh_tokio::{ChannelStream, Handle, Incoming, OpenFailure, Session};
use data_encoding::BASE64;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// More than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const HANDSHAKE: &str = r#"{"propagation_channel_id":"AABBCCDDEEFF0011","sponsor_id":"1122334455667788","client_version":"42","client_platform":"Windows","relay_protocol":"OSSH"}"#;

pub(crate) struct Server {
    pub(crate) ossh: SocketAddr,
    pub(crate) ssh: SocketAddr,
    entry: ServerEntry,
    log: Captured,
    logger: Logger,
    state: std::path::PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Server {
    /// Starts a server that lets flows go to this machine; `edit` changes what was generated.
    pub(crate) async fn start(name: &str, edit: impl FnOnce(&mut ServerConfig)) -> Self {
        let file = Path::new("psiphond.config");
        let options = Options {
            address: "127.0.0.1".parse().unwrap(),
            listeners: Listeners::parse(["OSSH:1", "SSH:2"]).unwrap(),
            log_file: None,
            files: FileNames::default(),
        };
        let generated = generate(&options).unwrap();
        let text = generated.text(file).unwrap();
        let mut config = config::parse(file, text, Strictness::Run).unwrap().value;
        for listener in &mut config.listeners {
            listener.address.set_port(0);
        }
        config.egress.allow_bogons = true;
        config.state_directory = std::env::temp_dir().join(format!("culvert-{name}-{}", std::process::id()));
        edit(&mut config);
        let state = config.state_directory.clone();
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let logger = log.clone();
        let (stop, stopped) = oneshot::channel();
        let (running, up) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let stopped = async { drop(stopped.await) };
            run_until(config, &log, || running.send(()).unwrap(), stopped)
        });
        timeout(SOON, up).await.unwrap().unwrap();
        let at = |protocol| address_of(&captured, protocol);
        let (ossh, ssh) = (at(TunnelProtocol::OSSH), at(TunnelProtocol::SSH));
        Self {
            ossh,
            ssh,
            entry: generated.entry,
            log: captured,
            logger,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// One that runs elsewhere, for clients.
    pub(crate) fn elsewhere(entry: ServerEntry, ossh: SocketAddr, ssh: SocketAddr) -> Self {
        let (logger, log) = Logger::captured(Level::Error, Origin::default());
        Self { ossh, ssh, entry, log, logger, state: "elsewhere".into(), stop: None, thread: None }
    }

    /// Where a protocol is listened for that the config was told of.
    pub(crate) fn address(&self, protocol: TunnelProtocol) -> SocketAddr {
        address_of(&self.log, protocol)
    }

    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.log.text();
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event_name"] == name).collect()
    }

    /// Stops and waits for the end; then every tunnel has been reported.
    pub(crate) async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap().unwrap();
        }
    }

    /// Which lines are written from now on.
    pub(crate) fn set_level(&self, level: Level) {
        self.logger.set_level(level);
    }

    pub(crate) fn lines(&self) -> String {
        self.log.text()
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.entry.text(member).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if self.state != Path::new("elsewhere") {
            let _ = std::fs::remove_dir_all(&self.state);
        }
    }
}

fn address_of(log: &Captured, protocol: TunnelProtocol) -> SocketAddr {
    let text = log.text();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(|line| line["msg"] == "running" && line["tunnelProtocol"] == protocol.name());
    line.unwrap()["localAddress"].as_str().unwrap().parse().unwrap()
}

/// What a client does differently from others.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) obfuscated: bool,
    pub(crate) session: u16,
    pub(crate) capabilities: &'static [&'static str],
    pub(crate) password: Option<&'static str>,
    /// Whether the preamble has a prefix.
    pub(crate) prefixed: bool,
    /// Where connections come from.
    pub(crate) source: Ipv4Addr,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            obfuscated: true,
            session: 1,
            capabilities: &["server-requests"],
            password: None,
            prefixed: false,
            source: Ipv4Addr::LOCALHOST,
        }
    }
}

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) handle: Handle,
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// A connection from one of this machine's addresses.
pub(crate) async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_nodelay(true).unwrap();
    socket.bind(SocketAddr::new(source.into(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

fn prefix() -> PrefixPlan {
    let bytes = b"GET /index.html HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec();
    let length = bytes.len();
    PrefixPlan {
        name: PrefixName::new("HTTP").unwrap(),
        prefix: GeneratedPrefix::new(bytes, length).unwrap(),
        split: None,
    }
}

impl Plan {
    /// The client's end of the connection, before anything is sent.
    pub(crate) fn connection(&self, server: &Server) -> Connection {
        self.connection_of(server, ObfuscatorSeed::from_bytes(random()), Box::new(FreshKeys))
    }

    /// The same with what is drawn otherwise.
    pub(crate) fn connection_of(
        &self,
        server: &Server,
        obfuscator_seed: ObfuscatorSeed,
        keys: Box<dyn EphemeralKeys + Send>,
    ) -> Connection {
        let seed = Seed::from_bytes(random());
        let key = server.text("sshObfuscatedKey");
        let keyword = Keyword::new(key);
        let padding_seed = seed.derive("padding");
        let plan = PreamblePlan {
            obfuscator_seed,
            padding_seed: padding_seed.clone(),
            padding: PaddingRange::default(),
            prefix: self.prefixed.then(prefix),
        };
        let predicted = Seed::for_server(key.as_bytes(), ServerSeedLabel::KeyExchange);
        let password = serde_json::json!({
            "SessionId": format!("{:032x}", self.session),
            "SshPassword": self.password.unwrap_or_else(|| server.text("sshPassword")),
            "ClientCapabilities": self.capabilities,
        });
        let config = ClientConfig {
            ident: Ident::local("SSH-2.0-OpenSSH_8.1").unwrap(),
            algorithms: Algorithms {
                no_encrypt_then_mac: self.obfuscated,
                seed: Some(seed.derive("lists")),
                peer_seed: (!self.obfuscated).then_some(predicted),
                server: culvert_ssh::ServerKind::Any,
            },
            host_key: BASE64.decode(server.text("sshHostKey").as_bytes()).unwrap(),
            user: server.text("sshUsername").into(),
            password: password.to_string().into_bytes().into(),
            obfuscation: self.obfuscated.then(|| ClientObfuscation {
                preamble: ClientPreamble::new(&keyword, &plan),
                padding_seed,
                keyword: keyword.clone(),
            }),
            limits: Limits::default(),
            seed,
        };
        Connection::client(config, keys)
    }

    /// Connects and logs in. `None`: the server refused.
    pub(crate) async fn connect(&self, server: &Server) -> Option<Client> {
        let address = if self.obfuscated { server.ossh } else { server.ssh };
        let stream = connect_from(self.source, address).await;
        self.log_in(self.connection(server), stream).await
    }

    /// Logs in over a stream. `None`: the server refused.
    pub(crate) async fn log_in<S>(&self, connection: Connection, stream: S) -> Option<Client>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut session, driver) = culvert_ssh_tokio::run(connection, stream);
        tokio::spawn(driver);
        let logged_in = async {
            while let Some(incoming) = session.next().await {
                if matches!(incoming, Incoming::Authenticated { .. }) {
                    return true;
                }
            }
            false
        };
        let logged_in = timeout(SOON, logged_in).await.expect("a login takes no longer");
        logged_in.then(|| Client { handle: session.handle(), session })
    }

    /// Connects, logs in and makes the handshake.
    pub(crate) async fn tunnel(&self, server: &Server) -> Client {
        let client = self.connect(server).await.expect("the login is right");
        client.ask("psiphon-handshake", HANDSHAKE).await.expect("the handshake is right");
        client
    }
}

impl Client {
    /// Asks; `None` is a refusal or the tunnel's end.
    pub(crate) async fn ask(&self, name: &str, body: &str) -> Option<Vec<u8>> {
        let reply = timeout(SOON, self.handle.request(name, body.as_bytes())).await.expect("an answer");
        reply.ok()?.ok()
    }

    /// Opens a flow; an error is the server's text.
    pub(crate) async fn flow(&self, to: SocketAddr) -> Result<ChannelStream, String> {
        self.flow_to(&to.ip().to_string(), to.port()).await
    }

    pub(crate) async fn flow_to(&self, host: &str, port: u16) -> Result<ChannelStream, String> {
        self.flow_with(host, port, b"").await
    }

    /// Opens a flow that begins with `first_bytes`.
    pub(crate) async fn flow_with(
        &self,
        host: &str,
        port: u16,
        first_bytes: &[u8],
    ) -> Result<ChannelStream, String> {
        let open = DirectTcpip { host: host.as_bytes(), port: port.into(), first_bytes };
        self.open("direct-tcpip", &open.encode()).await
    }

    pub(crate) async fn open(&self, kind: &str, payload: &[u8]) -> Result<ChannelStream, String> {
        let opened = timeout(SOON, self.handle.open(kind, payload)).await.expect("an answer");
        opened.map_err(|failure| match failure {
            OpenFailure::Refused { reason: 1, description } => String::from_utf8(description).unwrap(),
            other => panic!("{other}"),
        })
    }

    /// The next request of the server.
    pub(crate) async fn asked(&mut self) -> (String, String) {
        loop {
            match timeout(SOON, self.session.next()).await.expect("a request").expect("a tunnel") {
                Incoming::Request(request) => {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    return (text(&request.name), text(&request.payload));
                }
                Incoming::Channel(_) => panic!("servers open no channels"),
                _ => {}
            }
        }
    }

    /// Waits for the tunnel's end.
    pub(crate) async fn ended(&mut self) {
        let end = async { while self.session.next().await.is_some() {} };
        timeout(SOON, end).await.expect("the tunnel ends");
    }
}
