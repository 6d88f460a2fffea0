//! How long a client takes to find the servers that work among those that do not, and to come back when its tunnel is lost: real
//! sockets on loopback addresses, our own server, and others that accept connections and stay mute. Prints what it measures, which is
//! a figure only in a release build on a quiet machine; what is asserted leaves room for others.

#![expect(clippy::unwrap_used, reason = "a test fails by them")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use culvert_cli::in_process::LocalServer;
use culvert_client::data_dir::DataDir;
use culvert_client::notice::{Notice, Notices};
use culvert_client::store::{Replace, Store};
use culvert_client::{Client, Events, Surroundings};
use culvert_protocol::ServerEntry;
use culvert_protocol::server_entry::EntrySource;
use culvert_server::config::Strictness;
use culvert_server::generate::{FileNames, Listeners, Options, generate};
use culvert_server::log::{Level, Logger, Origin};
use culvert_transport::OsNetwork;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(60);
/// The figures of the twenty servers are of so many starts.
const STARTS: usize = 30;

/// A server that answers at every loopback address, and how to reach it.
struct Served {
    server: LocalServer,
    port: u16,
    entry: ServerEntry,
    folder: PathBuf,
}

impl Served {
    async fn start(name: &str) -> Self {
        let options = Options {
            address: Ipv4Addr::LOCALHOST.into(),
            listeners: Listeners::parse(["OSSH:1"]).unwrap(),
            log_file: None,
            files: FileNames::default(),
        };
        let generated = generate(&options).unwrap();
        let file = Path::new("psiphond.config");
        let text = generated.text(file).unwrap();
        let mut config = culvert_server::config::parse(file, text, Strictness::Run).unwrap().value;
        config.listeners[0].address = (Ipv4Addr::UNSPECIFIED, 0).into();
        let folder = std::env::temp_dir().join(format!("culvert-establish-{name}-{}", std::process::id()));
        config.state_directory = folder.join("server");
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let server = LocalServer::start(config, log).await.unwrap();
        let lines = captured.text();
        let running = lines.lines().find(|line| line.contains("\"running\"")).unwrap();
        let running: serde_json::Value = serde_json::from_str(running).unwrap();
        let at: SocketAddr = running["localAddress"].as_str().unwrap().parse().unwrap();
        let entry = generated.entry.clone();
        Self { server, port: at.port(), entry, folder }
    }

    /// The entry of a server at another loopback address.
    fn entry_at(&self, last: u8, port: u16) -> ServerEntry {
        let mut fields = self.entry.clone().into_fields();
        fields.set("ipAddress", address(last).to_string());
        fields.set("webServerSecret", format!("secret {last}"));
        fields.remove("tag");
        fields.set("sshObfuscatedPort", port);
        fields.try_into().unwrap()
    }

    async fn stop(self) {
        self.server.stop().await;
        drop(std::fs::remove_dir_all(self.folder));
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 7, 7, last).into()
}

/// Accepts connections and says nothing.
async fn mute(last: u8, tasks: &mut JoinSet<()>) -> u16 {
    let listener = TcpListener::bind((address(last), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut held = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            held.spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {}
            });
        }
    });
    port
}

fn put(store: &Store, entry: &ServerEntry) {
    store.put(entry, &EntrySource::Embedded, Replace::Always).unwrap();
}

fn client(folder: &Path, store: &Store) -> (Client, Events) {
    std::fs::create_dir_all(folder).unwrap();
    let text = r#"{"PropagationChannelId": "00000000000000AA", "SponsorId": "00000000000000BB",
        "DisableLocalSocksProxy": true, "DisableLocalHTTPProxy": true}"#;
    let config = culvert_client::config::parse("client.config", text).unwrap().config;
    let data_dir = DataDir::open(Some(folder)).unwrap().data_dir;
    let surroundings = Surroundings {
        store: store.clone(),
        ..Surroundings::new(data_dir, Notices::silent(), Arc::new(OsNetwork))
    };
    Client::start(config, surroundings)
}

async fn tunnel(events: &mut Events) -> Duration {
    let started = Instant::now();
    let up =
        async { while !matches!(events.next().await.unwrap().notice, Notice::Tunnels { count: 1.. }) {} };
    timeout(SOON, up).await.unwrap();
    started.elapsed()
}

fn middle(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn of_twenty_servers_seventeen_are_mute() {
    let served = Served::start("mute").await;
    let mut tasks = JoinSet::new();
    let store = Store::in_memory();
    for last in 1..=3 {
        put(&store, &served.entry_at(last, served.port));
    }
    for last in 4..=20 {
        let port = mute(last, &mut tasks).await;
        put(&store, &served.entry_at(last, port));
    }
    let mut times = Vec::new();
    for _ in 0..STARTS {
        // What was learned by a start must not help the next.
        store.clear_affinity("UNKNOWN");
        let (client, mut events) = client(&served.folder.join("client"), &store);
        times.push(tunnel(&mut events).await);
        client.stop().await.unwrap();
    }
    let median = middle(&mut times);
    let worst = *times.last().unwrap();
    println!("20 servers, 17 mute, {STARTS} starts: median {median:.3?}, worst {worst:.3?}");
    served.stop().await;
    assert!(median <= Duration::from_secs(1), "{times:?}");
    assert!(worst <= Duration::from_secs(5), "{times:?}");
}

#[tokio::test]
async fn the_server_that_served_last_comes_first_beside_a_thousand() {
    let served = Served::start("thousand").await;
    let store = Store::in_memory();
    put(&store, &served.entry_at(1, served.port));
    let folder = served.folder.join("client");
    let mut alone = Vec::new();
    let mut beside = Vec::new();
    for times in [&mut alone, &mut beside] {
        for _ in 0..10 {
            let (client, mut events) = client(&folder, &store);
            times.push(tunnel(&mut events).await);
            client.stop().await.unwrap();
        }
        for number in 0..1000_u16 {
            let mut fields = served.entry_at(2, 9).into_fields();
            fields.set("ipAddress", format!("198.18.{}.{}", number / 250, number % 250));
            put(&store, &fields.try_into().unwrap());
        }
    }
    let (alone, beside) = (middle(&mut alone), middle(&mut beside));
    println!("alone {alone:.3?}, beside 1000 dead {beside:.3?}");
    served.stop().await;
    // The rest is the machine's.
    // One that is dead would take longer than this by itself.
    assert!(beside <= alone * 2 + Duration::from_millis(200), "{beside:?} after {alone:?}");
}
