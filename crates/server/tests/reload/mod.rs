//! Files that change while tunnels are up: what is read takes effect at once, what is wrong changes nothing, and nobody is dropped.

use std::path::PathBuf;

use culvert_server::control::{Answer, FileReport, Request, ask};
use tokio::io::AsyncWriteExt;

use crate::server::{Plan, Server};
use crate::{OPAQUE, echo_after_end, to_end};

/// A server with a file of traffic rules, and how it is told to reload.
pub(crate) struct Reloaded {
    pub(crate) server: Server,
    rules: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
}

impl Drop for Reloaded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Reloaded {
    pub(crate) async fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("culvert-{name}-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let rules = folder.join("rules");
        std::fs::write(&rules, r#"{"DefaultRules": {}}"#).unwrap();
        let mut socket = PathBuf::new();
        let server = Server::start(name, |config| {
            config.files.traffic_rules = Some(rules.clone());
            socket = config.default_control_socket();
        })
        .await;
        Self { server, rules, socket, folder }
    }

    async fn ask(&self, request: Request) -> Answer {
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

#[tokio::test]
async fn a_reload_is_seen_by_tunnels_that_are_up_and_drops_none() {
    let reloaded = Reloaded::start("reload").await;
    let origin = echo_after_end().await;
    let mut clients = Vec::new();
    for session in 0..20 {
        let client = Plan { session, ..Plan::default() }.tunnel(&reloaded.server).await;
        let flow = client.flow(origin).await.unwrap();
        clients.push((client, flow));
    }
    let blocking = format!(r#"{{"DefaultRules": {{"DisallowTCPPorts": [{}]}}}}"#, origin.port());
    let report = reloaded.reloaded(&blocking).await;
    assert_eq!((report.kind.as_str(), report.changed), ("traffic rules", true));
    assert_eq!(report.changes, ["DefaultRules.DisallowTCPPorts: set, 1 in the list"]);
    let first = Plan { session: 99, ..Plan::default() }.tunnel(&reloaded.server).await;
    assert_eq!(first.flow(origin).await.err().unwrap(), OPAQUE);
    for (_, flow) in &mut clients {
        // Flows that are up go on.
        flow.write_all(b"still there").await.unwrap();
        flow.shutdown().await.unwrap();
        assert_eq!(to_end(flow).await, b"still there");
    }
    let again = reloaded.reloaded(&blocking).await;
    assert!(!again.changed && again.changes.is_empty(), "{again:?}");
    assert!(reloaded.reloaded(r#"{"DefaultRules": {}}"#).await.changed);
    let newcomer = Plan { session: 98, ..Plan::default() }.tunnel(&reloaded.server).await;
    assert!(newcomer.flow(origin).await.is_ok());
    assert!(reloaded.server.events("server_tunnel").is_empty());
    let Answer::Status(status) = reloaded.ask(Request::Status).await else { panic!("no status") };
    assert_eq!((status.tunnels, status.accepting), (22, true));
    assert_eq!(status.last_reload.as_deref(), Some("changed: traffic rules"));
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
