//! A server and its clients in fresh folders, made the way a user makes them: `generate`, edit, `run`, and a client config.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::{Deadline, poll};
use crate::entry::Entry;
use crate::failure::{Doing, Failure};
use crate::front::{self, Front, Offers};
use crate::lines::Cursor;
use crate::notices::Notice;
use crate::origin::Origin;
use crate::ports;
use crate::process::{Journal, Process, Signal};
use crate::programs::{Pairing, Programs};
use crate::relay::Relay;

/// How long a program may take to start, a tunnel to come up, and a program to stop.
pub(crate) const START: Duration = Duration::from_secs(20);
pub(crate) const TUNNEL: Duration = Duration::from_secs(30);
pub(crate) const STOP: Duration = Duration::from_secs(10);

const RULES: &str = "psiphond-traffic-rules.config";

/// The tunnel protocols that are paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Plain SSH.
    Ssh,
    /// Obfuscated SSH.
    Ossh,
    /// Obfuscated SSH in a Shadowsocks stream.
    Shadowsocks,
    /// Obfuscated SSH in TLS.
    Tls,
    /// Obfuscated SSH over QUIC.
    Quic,
    /// Obfuscated SSH in HTTP.
    Meek,
    /// Obfuscated SSH in HTTPS.
    MeekHttps,
    /// Obfuscated SSH in HTTPS that begins with a ticket made from a secret.
    MeekTicket,
    /// Obfuscated SSH in HTTPS to a front that offers HTTP/2.
    Fronted,
    /// The same, with one that does not.
    FrontedHttp1,
    /// Obfuscated SSH in HTTP to a front.
    FrontedHttp,
}

impl Protocol {
    /// All.
    pub(crate) const ALL: [Self; 11] = [
        Self::Ossh,
        Self::Ssh,
        Self::Shadowsocks,
        Self::Tls,
        Self::Quic,
        Self::Meek,
        Self::MeekHttps,
        Self::MeekTicket,
        Self::Fronted,
        Self::FrontedHttp1,
        Self::FrontedHttp,
    ];

    /// Its name in configs and entries.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ssh => "SSH",
            Self::Ossh => "OSSH",
            Self::Shadowsocks => "SHADOWSOCKS-OSSH",
            Self::Tls => "TLS-OSSH",
            Self::Quic => "QUIC-OSSH",
            Self::Meek => "UNFRONTED-MEEK-OSSH",
            Self::MeekHttps => "UNFRONTED-MEEK-HTTPS-OSSH",
            Self::MeekTicket => "UNFRONTED-MEEK-SESSION-TICKET-OSSH",
            Self::Fronted | Self::FrontedHttp1 => "FRONTED-MEEK-OSSH",
            Self::FrontedHttp => "FRONTED-MEEK-HTTP-OSSH",
        }
    }

    /// Its name in names of cases.
    pub(crate) fn label(self) -> &'static str {
        if self == Self::FrontedHttp1 { "FRONTED-MEEK-OSSH-over-HTTP1" } else { self.name() }
    }

    /// Those that are requests and responses.
    pub(crate) fn is_meek(self) -> bool {
        matches!(self, Self::Meek | Self::MeekHttps | Self::MeekTicket) || self.is_fronted()
    }

    /// Those with a front between client and server.
    pub(crate) fn is_fronted(self) -> bool {
        matches!(self, Self::Fronted | Self::FrontedHttp1 | Self::FrontedHttp)
    }

    /// Whether a server for another protocol also serves it: entries have room for one kind of meek, and fronts for HTTP are in
    /// addition to one for HTTPS.
    fn fits_beside(self, other: Self) -> bool {
        !self.is_meek() || self == other || (self == Self::Fronted && other == Self::FrontedHttp)
    }

    pub(crate) fn port_field(self) -> &'static str {
        match self {
            Self::Ssh => "sshPort",
            Self::Ossh => "sshObfuscatedPort",
            Self::Shadowsocks => "sshShadowsocksPort",
            Self::Tls => "tlsOSSHPort",
            Self::Quic => "sshObfuscatedQUICPort",
            Self::Meek | Self::MeekHttps | Self::MeekTicket => "meekServerPort",
            // Fronts have their ports by convention.
            Self::Fronted | Self::FrontedHttp1 | Self::FrontedHttp => "",
        }
    }
}

/// What a case runs with.
pub(crate) struct Setting {
    /// The programs there are.
    pub(crate) programs: Programs,
    /// Whose of them take part.
    pub(crate) pairing: Pairing,
    /// The protocol the clients are limited to.
    pub(crate) protocol: Protocol,
    /// The destinations.
    pub(crate) origin: Origin,
    /// Whether the long variant is wanted.
    pub(crate) long: bool,
    /// Collects the programs' output.
    pub(crate) journal: Journal,
}

/// Changes to what `generate` wrote.
#[derive(Default)]
pub(crate) struct ServerEdits {
    /// Members of `psiphond.config`.
    pub(crate) config: Map<String, Value>,
    /// Members of `DefaultRules` in the traffic rules.
    pub(crate) rules: Map<String, Value>,
    /// Members of `Parameters` in the default tactics.
    pub(crate) tactics: Map<String, Value>,
}

/// The members of a literal object.
pub(crate) fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Setting {
    /// Generates and starts a server that serves all protocols that fit together and lets flows go to loopback destinations.
    pub(crate) fn server(&self, edits: ServerEdits) -> Result<Server, Failure> {
        let program = self.programs.server(self.pairing.server).to_owned();
        let folder = Folder::new()?;
        let fits = |protocol: &Protocol| protocol.fits_beside(self.protocol);
        let ports: Vec<_> =
            Protocol::ALL.into_iter().filter(fits).map(|protocol| (protocol, ports::free())).collect();
        let mut generate = Command::new(&program);
        generate.current_dir(&folder.0).args(["-ipaddress", "127.0.0.1"]);
        for (protocol, port) in &ports {
            generate.args(["-protocol", &format!("{}:{port}", protocol.name())]);
        }
        generate.arg("generate");
        let mut process = Process::start(&self.journal, "psiphond generate", &mut generate)?;
        let status = process.wait_exit(START)?;
        if !status.success() {
            return Err(Failure::mismatch("psiphond generate", "exit code 0", status));
        }
        edit_files(&folder.0, edits)?;
        let hex = fs::read_to_string(folder.0.join("server-entry.dat")).doing("read server-entry.dat")?;
        let mut entry = Entry::decode(&hex)?;
        let front = self.front(&folder.0, &ports)?;
        if let Some(front) = &front {
            entry.set("meekFrontingAddresses", vec![front.address.to_string()]);
            entry.set("meekFrontingHosts", vec![front::HOST]);
            // The server hands out its own copy, which is to say the same.
            let file = folder.0.join("psiphond.config");
            let config = fs::read_to_string(&file).doing("read psiphond.config")?;
            fs::write(&file, config.replace(hex.trim(), &entry.encode())).doing("write psiphond.config")?;
        }
        let journal = self.journal.clone();
        let mut server = Server { program, journal, folder, ports, entry, process: None, _front: front };
        server.start()?;
        Ok(server)
    }

    /// What stands before a server on these ports, where something does.
    fn front(&self, folder: &Path, ports: &[(Protocol, u16)]) -> Result<Option<Front>, Failure> {
        let offers = if self.protocol == Protocol::FrontedHttp1 { Offers::Http1 } else { Offers::Http2 };
        let https = ports.iter().find(|(protocol, _)| protocol.name() == Protocol::Fronted.name());
        https
            .map(|(_, port)| {
                let server = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                Front::start(&self.journal, folder, server, offers)
            })
            .transpose()
    }

    /// A server as `generate` makes it, apart from what every case needs.
    pub(crate) fn plain_server(&self) -> Result<Server, Failure> {
        self.server(ServerEdits::default())
    }

    /// A client config for a server, not started yet.
    pub(crate) fn plan(&self, server: &Server) -> ClientPlan {
        let config = members(json!({
            "PropagationChannelId": "FFFFFFFFFFFFFFFF",
            "SponsorId": "FFFFFFFFFFFFFFFF",
            "LocalSocksProxyPort": 0,
            "LocalHttpProxyPort": 0,
            "LimitTunnelProtocols": [self.protocol.name()],
            "DisableRemoteServerListFetcher": true,
            "DisableReplay": true,
            "EmitDiagnosticNotices": true,
            "EmitDiagnosticNetworkParameters": true,
        }));
        ClientPlan { entry: server.entry.clone(), config }
    }

    /// Starts a client and waits for its proxies, not for its tunnel.
    pub(crate) fn launch(&self, plan: &ClientPlan) -> Result<Client, Failure> {
        let folder = Folder::new()?;
        let plan = plan.clone().with("TargetServerEntry", plan.entry.encode());
        let mut client = self.launch_in(&folder, &plan, &[])?;
        client._folder = Some(folder);
        Ok(client)
    }

    /// The same in a folder that was used before, or will be, and with a list of servers.
    pub(crate) fn launch_in(
        &self,
        folder: &Folder,
        plan: &ClientPlan,
        list: &[Entry],
    ) -> Result<Client, Failure> {
        let mut config = plan.config.clone();
        config.insert("DataRootDirectory".into(), folder.0.to_string_lossy().into());
        write_json(&folder.0.join("client.config"), &Value::Object(config))?;
        let mut command = Command::new(self.programs.client(self.pairing.client));
        command.current_dir(&folder.0).args(["-config", "client.config"]);
        if !list.is_empty() {
            let lines: String = list.iter().map(|entry| entry.encode() + "\n").collect();
            fs::write(folder.0.join("servers"), lines).doing("write a list of servers")?;
            command.args(["-serverList", "servers"]);
        }
        let process = Process::start(&self.journal, "ConsoleClient", &mut command)?;
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut client =
            Client { process, cursor: Cursor::default(), socks: nowhere, http: nowhere, _folder: None };
        client.socks = client.wait_port("ListeningSocksProxyPort")?;
        client.http = client.wait_port("ListeningHttpProxyPort")?;
        Ok(client)
    }

    /// Starts a client and waits for its tunnel.
    pub(crate) fn connect(&self, plan: &ClientPlan) -> Result<Client, Failure> {
        let mut client = self.launch(plan)?;
        client.wait_tunnels(1, TUNNEL)?;
        Ok(client)
    }

    /// A plain server with a connected client.
    pub(crate) fn pair(&self) -> Result<(Server, Client), Failure> {
        let server = self.plain_server()?;
        let client = self.connect(&self.plan(&server))?;
        Ok((server, client))
    }
}

/// A generated server.
pub(crate) struct Server {
    // First, so that it is gone before its folder is.
    process: Option<Process>,
    _front: Option<Front>,
    folder: Folder,
    program: PathBuf,
    journal: Journal,
    ports: Vec<(Protocol, u16)>,
    entry: Entry,
}

impl Server {
    /// Starts it and waits until it listens on all ports.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder.0).arg("run");
        let mut process = Process::start(&self.journal, "psiphond run", &mut command)?;
        let deadline = Deadline::after(START);
        // That of fronts for HTTP is the one for HTTPS: nothing need listen on its own.
        let ports = self.ports.iter().copied().filter(|(protocol, _)| *protocol != Protocol::FrontedHttp);
        for (protocol, port) in ports {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let awaited = format!("listener on port {port}");
            let listening = poll(deadline.left().unwrap_or_default(), || {
                if !process.is_running() {
                    return Some(false);
                }
                match protocol {
                    // Whoever cannot have the port finds it taken.
                    Protocol::Quic => UdpSocket::bind(address).err().map(|_| true),
                    _ => TcpStream::connect(address).ok().map(|_| true),
                }
            });
            match listening {
                Some(true) => {}
                Some(false) => {
                    let status = process.wait_exit(STOP).ok();
                    return Err(Failure::Ended { program: "psiphond run".into(), status, awaited });
                }
                None => return Err(Failure::Timeout { awaited, limit: START }),
            }
        }
        self.process = Some(process);
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<ExitStatus, Failure> {
        let mut process = self.process.take().ok_or_else(not_running)?;
        process.signal(signal)?;
        process.wait_exit(STOP)
    }

    /// Changes members of `DefaultRules` and has the running server read them.
    pub(crate) fn reload_rules(&self, changes: Map<String, Value>) -> Result<(), Failure> {
        merge(&self.folder.0.join(RULES), "/DefaultRules", changes)?;
        self.process()?.signal(Signal::Reload)
    }

    /// The running process.
    pub(crate) fn process(&self) -> Result<&Process, Failure> {
        self.process.as_ref().ok_or_else(not_running)
    }

    /// The running process, to wait on.
    pub(crate) fn process_mut(&mut self) -> Result<&mut Process, Failure> {
        self.process.as_mut().ok_or_else(not_running)
    }

    /// Where it listens for a protocol.
    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        let port = self.ports.iter().find(|(other, _)| *other == protocol).map_or(0, |(_, port)| *port);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Its entry as generated.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// A client config and the entry that goes into it.
#[derive(Clone)]
pub(crate) struct ClientPlan {
    /// The server entry, free to be spoilt.
    pub(crate) entry: Entry,
    /// The other members of the config.
    pub(crate) config: Map<String, Value>,
}

impl ClientPlan {
    /// Sets a member of the config.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// Sends the client through a relay.
    pub(crate) fn via(mut self, protocol: Protocol, relay: &Relay) -> Self {
        self.entry.set(protocol.port_field(), relay.port());
        self
    }

    /// No prefix, so that the wire begins with the plain preamble.
    pub(crate) fn without_prefix(self) -> Self {
        self.with("OSSHPrefixProbability", 0.0)
    }
}

/// A running client.
pub(crate) struct Client {
    process: Process,
    cursor: Cursor,
    /// Its SOCKS proxy.
    pub(crate) socks: SocketAddr,
    /// Its HTTP proxy.
    pub(crate) http: SocketAddr,
    _folder: Option<Folder>,
}

impl Client {
    /// Waits for a `Tunnels` notice with this count.
    pub(crate) fn wait_tunnels(&mut self, count: u64, limit: Duration) -> Result<(), Failure> {
        let awaited = format!("notice Tunnels {count}");
        self.wait_notice(&awaited, limit, |notice| {
            (notice.number("Tunnels", "count") == Some(count)).then_some(())
        })
    }

    /// Waits for a notice from which `pick` makes something, and moves past it.
    pub(crate) fn wait_notice<T>(
        &mut self,
        awaited: &str,
        limit: Duration,
        mut pick: impl FnMut(&Notice) -> Option<T>,
    ) -> Result<T, Failure> {
        let pick = |line: &str| pick(&Notice::parse(line)?);
        self.process.wait_line(&mut self.cursor, limit, awaited, pick)
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<ExitStatus, Failure> {
        self.process.signal(signal)?;
        self.process.wait_exit(STOP)
    }

    /// Its process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn wait_port(&mut self, kind: &str) -> Result<SocketAddr, Failure> {
        // The proxies may be announced in either order.
        let mut cursor = Cursor::default();
        let pick = |line: &str| u16::try_from(Notice::parse(line)?.number(kind, "port")?).ok();
        let port = self.process.wait_line(&mut cursor, START, &format!("notice {kind}"), pick)?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

/// A folder of its own, removed with its contents.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("culvert-pairings-{}-{number}", std::process::id()));
        fs::create_dir(&path).doing(format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn edit_files(folder: &Path, edits: ServerEdits) -> Result<(), Failure> {
    let mut config = members(json!({ "AllowBogons": true }));
    config.extend(edits.config);
    merge(&folder.join("psiphond.config"), "", config)?;
    let mut rules = members(json!({
        "MaxTCPPortForwardCount": 2000,
        "MaxTCPDialingPortForwardCount": 0,
        "IdleTCPPortForwardTimeoutMilliseconds": 300_000,
    }));
    rules.extend(edits.rules);
    merge(&folder.join(RULES), "/DefaultRules", rules)?;
    if edits.tactics.is_empty() {
        return Ok(());
    }
    let tactics = folder.join("psiphond-tactics.config");
    merge(&tactics, "/DefaultTactics", members(json!({ "Probability": 1.0, "Parameters": edits.tactics })))
}

/// Changes members of the object at a place in a JSON file.
pub(crate) fn merge(file: &Path, pointer: &str, changes: Map<String, Value>) -> Result<(), Failure> {
    let bad = |problem: String| Failure::BadFile { file: file.display().to_string(), problem };
    let text = fs::read_to_string(file).doing(format!("read {}", file.display()))?;
    let mut whole: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let place = whole.pointer_mut(pointer).and_then(Value::as_object_mut);
    place.ok_or_else(|| bad(format!("has no object at {pointer:?}")))?.extend(changes);
    write_json(file, &whole)
}

/// Writes a JSON file.
pub(crate) fn write_json(file: &Path, value: &Value) -> Result<(), Failure> {
    fs::write(file, format!("{value:#}\n")).doing(format!("write {}", file.display()))
}

fn not_running() -> Failure {
    Failure::mismatch("psiphond", "running", "stopped by the case itself")
}
