//! A client's namespace, a server's, the box between, and a page to fetch beside the server.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::middlebox::{Block, Middlebox};
use super::namespace::Namespace;
use super::packet;
use crate::clock::{self, poll};
use crate::entry::Entry;
use crate::failure::{Doing, Failure};
use crate::lines::Cursor;
use crate::notices::Notice;
use crate::process::{Journal, Process, Signal};
use crate::programs::{Maker, Programs};
use crate::proxies::{Target, fetch_page, socks5};
use crate::scenario::{Folder, START, STOP, members, merge, write_json};

/// Addresses that look like those of the Internet, because what is bogus is refused here and there.
pub(super) const CLIENT: &str = "45.0.1.2";
const OTHER_CLIENT: &str = "45.0.2.2";
const SERVER: &str = "45.0.9.1";
/// How long a page may take.
const PAGE: Duration = Duration::from_secs(60);

/// The protocols that one server serves, and their ports.
#[derive(Clone, Debug)]
pub(super) struct Ports(pub(super) Vec<(&'static str, u16)>);

impl Ports {
    /// All that fit on one server, with this kind of meek.
    pub(super) fn with_meek(meek: &'static str) -> Self {
        Self(vec![
            ("OSSH", 5001),
            ("SHADOWSOCKS-OSSH", 5002),
            ("TLS-OSSH", 5003),
            ("QUIC-OSSH", 5004),
            (meek, 5005),
        ])
    }

    /// Blocks all but one.
    pub(super) fn block_all_but(&self, open: &str, mut how: impl FnMut() -> Block) -> Vec<(u16, Block)> {
        self.0.iter().filter(|(name, _)| *name != open).map(|(_, port)| (*port, how())).collect()
    }
}

/// All of it.
pub(super) struct World {
    // First, so that the programs are gone before their folders are.
    server: Process,
    pub(super) entry: Entry,
    pub(super) inside: Namespace,
    outside: Namespace,
    pub(super) middlebox: Middlebox,
    page: SocketAddr,
    ports: Vec<(&'static str, u16)>,
    programs: Programs,
    journal: Journal,
    _folder: Folder,
}

/// A client in the client's namespace.
pub(super) struct Client {
    process: Process,
    cursor: Cursor,
    started: Instant,
    socks: SocketAddr,
}

/// A client's folder, which outlives it.
pub(super) struct Home(Folder);

impl Home {
    /// An empty one.
    pub(super) fn new() -> Result<Self, Failure> {
        Folder::new().map(Self)
    }
}

/// What a tunnel took.
#[derive(Debug)]
pub(super) struct Arrival {
    /// From the start of the program.
    pub(super) time: Duration,
    /// The protocols that were tried, in the order of their beginning.
    pub(super) tried: Vec<String>,
    /// The one that the tunnel has.
    pub(super) protocol: String,
}

impl World {
    /// Starts a server with these protocols; the box lets everything pass.
    pub(super) fn new(
        programs: &Programs,
        journal: &Journal,
        ports: &Ports,
        seed: u64,
    ) -> Result<Self, Failure> {
        let (inside, outside) = (Namespace::new("client")?, Namespace::new("server")?);
        inside.address(CLIENT)?;
        outside.address(SERVER)?;
        let ends = |namespace: &Namespace| Ok::<_, Failure>([namespace.packets()?, namespace.packets()?]);
        let middlebox = Middlebox::between(ends(&inside)?, ends(&outside)?, seed);
        let folder = Folder::new()?;
        let page = outside.run(serve_page)?.doing("serve a page")?;
        let server = start_server(programs, journal, ports, (&outside, &folder.0))?;
        let hex = fs::read_to_string(folder.0.join("server-entry.dat")).doing("read server-entry.dat")?;
        Ok(Self {
            server,
            entry: Entry::decode(&hex)?,
            inside,
            outside,
            middlebox,
            page,
            ports: ports.0.clone(),
            programs: programs.clone(),
            journal: journal.clone(),
            _folder: folder,
        })
    }

    /// Starts a client at home that knows the server, with more in its config.
    pub(super) fn client(&self, home: &Home, more: Value) -> Result<Client, Failure> {
        let mut config = members(json!({ "TargetServerEntry": self.entry.encode() }));
        config.extend(members(more));
        self.start_client(home, config, &[])
    }

    /// Starts a client at home that has a list of servers.
    pub(super) fn client_of_list(&self, home: &Home, list: &[Entry]) -> Result<Client, Failure> {
        let lines: Vec<String> = list.iter().map(Entry::encode).collect();
        let file = home.0.0.join("list");
        fs::write(file, lines.join("\n")).doing("write the list of servers")?;
        self.start_client(home, Map::new(), &["-serverList", "list"])
    }

    /// The server among others, of which most accept connections and say nothing, and the others refuse them.
    pub(super) fn among(&self, mute: u8, refusing: u8) -> Result<Vec<Entry>, Failure> {
        let ports: Vec<u16> = self.ports.iter().map(|(_, port)| *port).collect();
        let mut list = vec![self.entry.clone()];
        for number in 1..=mute + refusing {
            let address = Ipv4Addr::new(45, 0, 8, number);
            self.outside.address_beside(address)?;
            if number <= mute {
                let ports = ports.clone();
                let listening = self.outside.run(move || {
                    // Their system accepts: connections wait in a queue, for nothing.
                    let listeners: io::Result<Vec<TcpListener>> =
                        ports.iter().map(|port| TcpListener::bind((address, *port))).collect();
                    listeners.map(std::mem::forget)
                })?;
                listening.doing("listen without a word")?;
            }
            let mut entry = self.entry.clone();
            entry.set("ipAddress", address.to_string());
            entry.set("tag", format!("tag-of-{number}"));
            list.push(entry);
        }
        Ok(list)
    }

    fn start_client(
        &self,
        home: &Home,
        more: Map<String, Value>,
        arguments: &[&str],
    ) -> Result<Client, Failure> {
        let mut config: Map<String, Value> = members(json!({
            "PropagationChannelId": "FFFFFFFFFFFFFFFF",
            "SponsorId": "FFFFFFFFFFFFFFFF",
            "LocalSocksProxyPort": 0,
            "LocalHttpProxyPort": 0,
            "DisableRemoteServerListFetcher": true,
            "EmitDiagnosticNotices": true,
            "EmitDiagnosticNetworkParameters": true,
            "NetworkID": "WIFI-namespace",
            "DataRootDirectory": home.0.0.to_string_lossy(),
        }));
        config.extend(more);
        let folder = home.0.0.clone();
        write_json(&folder.join("client.config"), &Value::Object(config))?;
        let mut command = Command::new(self.programs.client(Maker::Ours));
        command.current_dir(&folder).args(["-config", "client.config"]).args(arguments);
        let journal = self.journal.clone();
        let started = clock::now();
        let process = self.inside.run(move || Process::start(&journal, "ConsoleClient", &mut command))??;
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut client = Client { process, cursor: Cursor::default(), started, socks: nowhere };
        let mut cursor = Cursor::default();
        let pick =
            |line: &str| u16::try_from(Notice::parse(line)?.number("ListeningSocksProxyPort", "port")?).ok();
        let port = client.process.wait_line(&mut cursor, START, "notice ListeningSocksProxyPort", pick)?;
        client.socks = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(client)
    }

    /// Fetches the page through a client; how long that took.
    pub(super) fn page(&self, client: &Client) -> Result<Duration, Failure> {
        let (socks, target) = (client.socks, Target::address(self.page));
        let start = clock::now();
        self.inside.run(move || fetch_page(socks5(socks, &target)?))??;
        Ok(clock::now() - start)
    }

    /// The client's device gets another address and loses the one it had.
    pub(super) fn roam(&self) -> Result<(), Failure> {
        self.inside.address(OTHER_CLIENT)?;
        self.inside.lose_address(CLIENT)
    }

    /// The client joins another network by another device, and its old one goes down.
    pub(super) fn change_device(&self) -> Result<(), Failure> {
        let address = OTHER_CLIENT.parse().unwrap_or(Ipv4Addr::LOCALHOST);
        self.middlebox.join(self.inside.change_device(OTHER_CLIENT)?, address);
        Ok(())
    }

    /// The server's address is only known by a name, which a server of names beside it knows. What a client's config must say for that.
    pub(super) fn name_front(&mut self) -> Result<Value, Failure> {
        self.entry.set("meekFrontingAddresses", vec!["cdn.example.org"]);
        self.entry.set("meekFrontingHosts", vec!["front.example.org"]);
        self.outside.run(serve_names)?.doing("serve names")?;
        Ok(json!({
            "DNSResolverAlternateServers": [SERVER],
            "DNSResolverPreferAlternateServerProbability": 1.0,
            "DNSResolverPreferredAlternateServers": [SERVER],
            "InitialLimitTunnelProtocols": ["FRONTED-MEEK-OSSH"],
            "InitialLimitTunnelProtocolsCandidateCount": 1,
        }))
    }

    /// Whether the server still runs.
    pub(super) fn server_runs(&mut self) -> bool {
        self.server.is_running()
    }
}

impl Client {
    /// Waits for the next tunnel.
    pub(super) fn tunnel(&mut self, limit: Duration) -> Result<Arrival, Failure> {
        let (mut tried, mut protocol) = (Vec::new(), String::new());
        let pick = |line: &str| {
            let notice = Notice::parse(line)?;
            let of = |notice: &Notice| Some(notice.data.get("protocol")?.as_str()?.to_owned());
            match notice.kind.as_str() {
                "ConnectingServer" => tried.extend(of(&notice)),
                "ConnectedServer" => protocol = of(&notice).unwrap_or_default(),
                _ => {}
            }
            (notice.number("Tunnels", "count")? > 0).then_some(())
        };
        self.process.wait_line(&mut self.cursor, limit, "tunnel", pick)?;
        Ok(Arrival { time: clock::now() - self.started, tried, protocol })
    }

    /// Waits for the tunnel to be given up.
    pub(super) fn lost(&mut self, limit: Duration) -> Result<Duration, Failure> {
        let start = clock::now();
        let pick = |line: &str| (Notice::parse(line)?.number("Tunnels", "count")? == 0).then_some(());
        self.process.wait_line(&mut self.cursor, limit, "end of the tunnel", pick)?;
        Ok(clock::now() - start)
    }

    /// Asks it to end.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.process.signal(Signal::Terminate)?;
        self.process.wait_exit(STOP).map(drop)
    }
}

fn start_server(
    programs: &Programs,
    journal: &Journal,
    ports: &Ports,
    (namespace, folder): (&Namespace, &Path),
) -> Result<Process, Failure> {
    let program = programs.server(Maker::Ours).to_owned();
    let mut generate = Command::new(&program);
    generate.current_dir(folder).args(["-ipaddress", SERVER]);
    for (protocol, port) in &ports.0 {
        generate.args(["-protocol", &format!("{protocol}:{port}")]);
    }
    generate.arg("generate");
    let status = Process::start(journal, "psiphond generate", &mut generate)?.wait_exit(START)?;
    if !status.success() {
        return Err(Failure::mismatch("psiphond generate", "exit code 0", status));
    }
    merge(&folder.join("psiphond.config"), "", members(json!({ "AllowBogons": true })))?;
    let mut command = Command::new(&program);
    command.current_dir(folder).arg("run");
    let journal = journal.clone();
    let mut process = namespace.run(move || Process::start(&journal, "psiphond run", &mut command))??;
    // Its listeners are made in one go.
    let first = ports.0.iter().find(|(name, _)| *name != "QUIC-OSSH").map_or(0, |(_, port)| *port);
    let address = SocketAddr::from((SERVER.parse().unwrap_or(Ipv4Addr::LOCALHOST), first));
    let up = poll(START, || {
        if !process.is_running() {
            return Some(false);
        }
        let connected =
            namespace.run(move || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
        connected.unwrap_or(false).then_some(true)
    });
    match up {
        Some(true) => Ok(process),
        _ => Err(Failure::Timeout { awaited: format!("listener on port {first}"), limit: START }),
    }
}

/// Answers every request with the harness's page. Called in the server's namespace.
fn serve_page() -> io::Result<SocketAddr> {
    let address = SERVER.parse().map_err(io::Error::other)?;
    let listener = TcpListener::bind(SocketAddr::new(address, 80))?;
    let local = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(local)
}

/// Says of every name that it is the server's. Called in the server's namespace.
fn serve_names() -> io::Result<()> {
    let address: Ipv4Addr = SERVER.parse().map_err(io::Error::other)?;
    let socket = UdpSocket::bind((address, 53))?;
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let answer = packet::answer(question.get(..length).unwrap_or_default(), address);
            let _ = answer.map(|answer| socket.send_to(&answer, from));
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PAGE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let page = crate::origin::PAGE;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
    stream.write_all(format!("{head}{page}").as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    reader.read(&mut [0]).map(drop)
}
