//! What watches a server, and what it leaves for people: a service manager, snapshots, and a log that must go on.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use tokio::time::Instant;

use serde_json::{Value, json};

use super::{Running, SOON, generated};

/// A socket that plays systemd, and what it was told.
struct Manager {
    socket: UnixDatagram,
    told: VecDeque<String>,
}

impl Manager {
    /// Waits for a message with this line; those before it are dropped, but for signs of life.
    fn wait_for(&mut self, line: &str) -> String {
        let began = Instant::now();
        self.told.clear();
        loop {
            assert!(began.elapsed() < SOON, "{line} was not told");
            let mut message = [0; 4096];
            let Ok(length) = self.socket.recv(&mut message) else { continue };
            let text = String::from_utf8(message[..length].to_vec()).unwrap();
            if text.lines().any(|told| told == line || (line.ends_with('=') && told.starts_with(line))) {
                return text;
            }
            self.told.push_back(text);
        }
    }
}

#[test]
fn a_service_manager_is_told() {
    let (folder, _) = generated("manager", "OSSH", |_| {});
    let socket = UnixDatagram::bind(folder.0.join("notify")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    let mut manager = Manager { socket, told: VecDeque::new() };
    let path = folder.0.join("notify");
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let mut server = Running::start_in(&folder, "077", &environment);
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("STATUS=ready, 0 tunnels\n"), "{ready}");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    server.signal("HUP");
    let reloading = manager.wait_for("RELOADING=1");
    let now = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(now.parse::<u64>().unwrap() > 0);
    manager.wait_for("READY=1");
    server.signal("TSTP");
    assert!(manager.wait_for("STATUS=").contains("STATUS=paused, "));
    server.signal("CONT");
    assert!(manager.wait_for("STATUS=").contains("STATUS=ready, "));
    server.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(server.end(), 0);
}

#[test]
fn a_snapshot_is_taken_on_demand() {
    let (folder, _) = generated("snapshot", "OSSH", |config| {
        config["ProcessProfileOutputDirectory"] = json!("profiles");
    });
    fs::create_dir(folder.0.join("profiles")).unwrap();
    let server = Running::start(&folder, "000");
    server.signal("USR2");
    server.wait_for("\"runtime_metrics\"");
    server.wait_for("\"server_load\"");
    let began = Instant::now();
    // The last to be written.
    while !folder.0.join("profiles/memory.txt").exists() {
        assert!(began.elapsed() < SOON, "no snapshot");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for name in ["snapshot.json", "metrics.txt", "memory.txt"] {
        let mode = fs::metadata(folder.0.join("profiles").join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let text = fs::read_to_string(folder.0.join("profiles/snapshot.json")).unwrap();
    let snapshot: Value = serde_json::from_str(&text).unwrap();
    let threads = snapshot["threads"].as_array().unwrap();
    assert!(threads.iter().any(|thread| thread["name"] == "tunnels"), "{text}");
    assert!(snapshot["runtime"]["heap_alloc"].as_u64().unwrap() > 1 << 16, "{text}");
    let memory = fs::read_to_string(folder.0.join("profiles/memory.txt")).unwrap();
    assert!(memory.contains("Rss:"), "{memory}");
}

#[test]
fn a_log_that_is_moved_is_begun_anew_without_being_told() {
    let (folder, _) = generated("log-moved", "OSSH", |_| {});
    let server = Running::start(&folder, "077");
    fs::rename(folder.0.join("psiphond.log"), folder.0.join("psiphond.log.1")).unwrap();
    let began = Instant::now();
    while !server.log().contains("\"server_load\"") {
        assert!(began.elapsed() < SOON, "nothing is written under the old name");
        server.signal("USR2");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(!server.log().contains("\"startup\""));
}

#[test]
fn a_full_disk_costs_lines_unless_they_are_worth_more_than_the_server() {
    let (folder, _) = generated("full", "OSSH", |config| config["LogFilename"] = json!("/dev/full"));
    let mut server = Running::spawn(&folder, "077", &[]);
    let began = Instant::now();
    while folder.psiphond("status").0 != 0 {
        assert!(began.elapsed() < SOON, "it does not run");
    }
    server.signal("TERM");
    assert_eq!(server.end(), 0);
    let (folder, _) = generated("full-stop", "OSSH", |config| {
        config["LogFilename"] = json!("/dev/full");
        config["SkipPanickingLogWriter"] = json!(false);
    });
    let (code, _, err) = folder.psiphond("run");
    assert!(code == 74 && err.contains("the log cannot be written"), "{code}: {err}");
}
