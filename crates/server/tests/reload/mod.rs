//! Files that change while tunnels are up: what is read takes effect at once, what is wrong changes nothing, and nobody is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_server::config::{ServerConfig, Strictness, traffic_rules};
use culvert_server::control::{Answer, FileReport, Request, ask};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::figures::{figures, port as figures_port, value};
use crate::server::{Plan, SOON, Server};
use crate::{OPAQUE, echo_after_end, to_end};

/// Flows may be idle for as long as a test takes on a slow machine.
const ALLOWING: &str =
    r#"{"DefaultRules": {"IdleTCPPortForwardTimeoutMilliseconds": 600000, "DisallowTCPPorts": null}}"#;

/// A server with a file of traffic rules, and how it is told to reload.
pub(crate) struct Reloaded {
    pub(crate) server: Server,
    rules: PathBuf,
    socket: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Drop for Reloaded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Reloaded {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, |_, _| {}).await
    }

    /// With other settings, and files in this folder.
    pub(crate) async fn start_with(name: &str, edit: impl FnOnce(&mut ServerConfig, &Path)) -> Self {
        let folder = std::env::temp_dir().join(format!("culvert-{name}-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let rules = folder.join("rules");
        std::fs::write(&rules, ALLOWING).unwrap();
        let mut socket = PathBuf::new();
        let server = Server::start(name, |config| {
            config.files.traffic_rules = Some(rules.clone());
            config.traffic_rules = traffic_rules::load(&rules, Strictness::Run).unwrap().value;
            socket = config.default_control_socket();
            config.figures.address = Some("127.0.0.1:0".parse().unwrap());
            edit(config, &folder);
        })
        .await;
        Self { server, rules, socket, folder }
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        let socket = self.socket.clone();
        tokio::task::spawn_blocking(move || ask(&socket, request)).await.unwrap().unwrap()
    }

    pub(crate) async fn reload(&self, rules: &str) -> Answer {
        std::fs::write(&self.rules, rules).unwrap();
        self.ask(Request::Reload).await
    }

    /// What became of the one file that is named.
    pub(crate) async fn reloaded(&self, rules: &str) -> FileReport {
        match self.reload(rules).await {
            Answer::Reloaded(reloaded) => reloaded.files.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// What happens until it is so. Tunnels learn of rules by themselves, so it may take a moment.
pub(crate) async fn until(so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !so().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, waiting).await.expect("it is so in time");
}

/// Connections that are none, one after the other, until dropped.
fn garbage(to: SocketAddr) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut held = std::collections::VecDeque::new();
        for number in 0u64.. {
            if let Ok(mut stream) = TcpStream::connect(to).await {
                let _ = stream.write_all(&[0x5a; 24]).await;
                held.push_back(stream);
            }
            if number >= 200 {
                held.pop_front();
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
}

/// 500 tunnels with `CULVERT_RELOAD_LONG`.
#[tokio::test]
async fn a_reload_is_seen_by_tunnels_that_are_up_and_drops_none() {
    let tunnels: u16 = if std::env::var_os("CULVERT_RELOAD_LONG").is_some() { 500 } else { 20 };
    let reloaded = Reloaded::start("reload").await;
    let flood = garbage(reloaded.server.ossh);
    let origin = echo_after_end().await;
    let mut clients = Vec::new();
    for session in 0..tunnels {
        // Not where the garbage comes from: who shares an address with it shares its place in the line.
        let [high, low] = session.to_be_bytes();
        let source = Ipv4Addr::new(127, 1 + high, low, 1);
        let client = Plan { session, source, ..Plan::default() }.tunnel(&reloaded.server).await;
        let flow = client.flow(origin).await.unwrap();
        clients.push((client, flow));
    }
    let blocking = ALLOWING.replace("null", &format!("[{}]", origin.port()));
    let report = reloaded.reloaded(&blocking).await;
    assert_eq!((report.kind.as_str(), report.changed), ("traffic rules", true));
    assert_eq!(report.changes, ["DefaultRules.DisallowTCPPorts: set, 1 in the list"]);
    for (client, flow) in &mut clients {
        until(async || client.flow(origin).await.is_err()).await;
        assert_eq!(client.flow(origin).await.err().unwrap(), OPAQUE);
        // It leads to where none may lead any more.
        assert_eq!(to_end(flow).await, b"");
    }
    let counted = figures(figures_port(&reloaded.server)).await;
    let by_rules = value(&counted, "culvert_flows_refused_total{kind=\"tcp\",reason=\"rules\"}");
    assert!(by_rules >= f64::from(2 * tunnels), "{by_rules}");
    assert!((value(&counted, "culvert_reloads_total{outcome=\"applied\"}") - 1.0).abs() < 1e-9);
    let again = reloaded.reloaded(&blocking).await;
    assert!(!again.changed && again.changes.is_empty(), "{again:?}");
    assert!(reloaded.reloaded(ALLOWING).await.changed);
    for (client, flow) in &mut clients {
        until(async || client.flow(origin).await.is_ok()).await;
        *flow = client.flow(origin).await.unwrap();
    }
    // What leads elsewhere goes on.
    let elsewhere = ALLOWING.replace("null", "[1]");
    assert!(reloaded.reloaded(&elsewhere).await.changed);
    for (_, flow) in &mut clients {
        flow.write_all(b"still there").await.unwrap();
        flow.shutdown().await.unwrap();
        assert_eq!(to_end(flow).await, b"still there");
    }
    flood.abort();
    assert!(reloaded.server.events("server_tunnel").is_empty());
    let Answer::Status(status) = reloaded.ask(Request::Status).await else { panic!("no status") };
    assert_eq!((status.tunnels, status.accepting), (u64::from(tunnels), true));
    assert_eq!(status.last_reload.as_deref(), Some("changed: traffic rules"));
    let lines = reloaded.server.lines();
    assert!(lines.contains("\"changes\":\"DefaultRules.DisallowTCPPorts: set, 1 in the list\""));
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_is_named_with_its_place() {
    let reloaded = Reloaded::start("reload-wrong").await;
    let origin = echo_after_end().await;
    let client = Plan::default().tunnel(&reloaded.server).await;
    let file = reloaded.rules.display().to_string();
    for (rules, problem) in [
        (
            "{\"DefaultRules\": {\n \"DisallowTCPPorts\": [443, 0]}}",
            ":2:28: DefaultRules.DisallowTCPPorts[1]: must be a port",
        ),
        ("{\"DefaultRules\": {}", ":1:19: is not valid JSON"),
        (
            "{\"DefaultRules\": {\"DisalowTCPPorts\": [443]}}",
            ":1:19: DefaultRules.DisalowTCPPorts: unknown setting (did you mean DisallowTCPPorts?)",
        ),
    ] {
        let Answer::NotReloaded { problems } = reloaded.reload(rules).await else { panic!("{rules}") };
        assert!(problems[0].starts_with(&format!("{file}{problem}")), "{problems:?}");
        assert!(client.flow(origin).await.is_ok());
    }
    std::fs::remove_file(&reloaded.rules).unwrap();
    let Answer::NotReloaded { problems } = reloaded.ask(Request::Reload).await else { panic!("no file") };
    assert!(problems[0].contains("cannot be read"), "{problems:?}");
    assert!(client.flow(origin).await.is_ok());
    let lines = reloaded.server.lines();
    assert_eq!(lines.matches("\"reload failed\"").count(), 4);
    assert!(lines.contains("DisallowTCPPorts?"));
}

#[tokio::test]
async fn all_files_are_read_again_or_none() {
    let reloaded = Reloaded::start_with("reload-two", |config, folder| {
        let list = folder.join("list");
        std::fs::write(&list, "192.0.2.1,source,subject\n").unwrap();
        config.files.blocklist = Some(list);
    })
    .await;
    let origin = echo_after_end().await;
    let client = Plan::default().tunnel(&reloaded.server).await;
    let blocking = format!("{{\"DefaultRules\": {{\"DisallowTCPPorts\": [{}]}}}}", origin.port());
    let list = reloaded.folder.join("list");
    std::fs::write(&list, "192.0.2.1,source\n").unwrap();
    let Answer::NotReloaded { problems } = reloaded.reload(&blocking).await else { panic!("a broken list") };
    assert!(problems[0].starts_with(&format!("{}:1", list.display())), "{problems:?}");
    assert!(client.flow(origin).await.is_ok(), "rules that are in order wait for the rest");
    std::fs::write(&list, "192.0.2.1,source,subject\n").unwrap();
    let Answer::Reloaded(answer) = reloaded.ask(Request::Reload).await else { panic!("not reloaded") };
    assert_eq!(answer.files.iter().map(|file| file.changed).collect::<Vec<_>>(), [true, false]);
    until(async || client.flow(origin).await.is_err()).await;
    // Another file under the name, as long as the first and as old by what it says.
    let modified = std::fs::metadata(&reloaded.rules).unwrap().modified().unwrap();
    let other = reloaded.folder.join("other");
    let another = origin.port().checked_add(1).unwrap_or(1024);
    let allowing = blocking.replace(&origin.port().to_string(), &format!("{another:05}"));
    std::fs::write(&other, &allowing).unwrap();
    let file = std::fs::File::options().write(true).open(&other).unwrap();
    file.set_modified(modified).unwrap();
    std::fs::rename(other, &reloaded.rules).unwrap();
    assert!(matches!(reloaded.ask(Request::Reload).await, Answer::Reloaded(_)));
    until(async || client.flow(origin).await.is_ok()).await;
}

/// Who writes files while the server starts must not find later that it has never read them.
#[tokio::test]
async fn a_file_that_was_replaced_during_the_start_is_read_by_the_first_reload() {
    let origin = echo_after_end().await;
    let reloaded = Reloaded::start_with("reload-early", |config, _| {
        let rules = format!("{{\"DefaultRules\": {{\"DisallowTCPPorts\": [{}]}}}}", origin.port());
        std::fs::write(config.files.traffic_rules.as_ref().unwrap(), rules).unwrap();
    })
    .await;
    let client = Plan::default().tunnel(&reloaded.server).await;
    assert!(client.flow(origin).await.is_ok());
    assert!(matches!(reloaded.ask(Request::Reload).await, Answer::Reloaded(_)));
    until(async || client.flow(origin).await.is_err()).await;
}

#[tokio::test]
async fn a_server_is_paused_resumed_and_stopped() {
    let mut reloaded = Reloaded::start("control-stop").await;
    assert_eq!(reloaded.ask(Request::Pause).await, Answer::Done);
    let Answer::Status(status) = reloaded.ask(Request::Status).await else { panic!("no status") };
    assert!(!status.accepting);
    assert!(Plan::default().connect(&reloaded.server).await.is_none());
    assert_eq!(reloaded.ask(Request::Resume).await, Answer::Done);
    let mut client = Plan::default().tunnel(&reloaded.server).await;
    assert_eq!(reloaded.ask(Request::Stop).await, Answer::Done);
    client.ended().await;
    reloaded.server.stop().await;
    assert!(!reloaded.socket.exists());
}
