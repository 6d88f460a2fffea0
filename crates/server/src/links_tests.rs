//! Whoever may write in a folder of the server's may put links there: nothing that the server writes goes where they lead.

use std::path::Path;
use std::time::SystemTime;

use culvert_interop::links::{Links, tries};
use culvert_obfuscation::{ReplayMode, SeedHistoryLimits};

use crate::control::socket::ControlSocket;
use crate::generate::files::write_all;
use crate::log::{Keeping, Level, LogTarget, Logger, Origin, Rotation};
use crate::scratch::Scratch;
use crate::seed_store::SeedStore;
use crate::{snapshot, state_directory};

/// Runs `write` in a folder where these names become links.
fn with_links(purpose: &str, names: &[&str], write: impl Fn(&Path, u32)) {
    let scratch = Scratch::new(purpose);
    let folder = scratch.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let links = Links::start(&folder, names).unwrap();
    (0..tries()).for_each(|number| write(&folder, number));
    links.stop();
}

#[test]
fn the_log_goes_nowhere_else() {
    with_links("links-log", &["log", "log.1", "log.2"], |folder, _| {
        let target = LogTarget::File { path: folder.join("log"), create_mode: 0o600 };
        let keeping = Keeping { rotation: Some(Rotation { bytes: 200, kept: 2 }), stops_server: false };
        // A log that cannot be opened is what the links bring about.
        let Ok(log) = Logger::open(target, keeping, Level::Info, Origin::default()) else { return };
        for _ in 0..5 {
            log.info("a line", []);
            let _ = log.reopen();
        }
    });
}

#[test]
fn state_goes_nowhere_else() {
    let names = ["lock", "ossh-seeds", "ossh-seeds.new", "ossh-seeds.unreadable"];
    let (log, _) = Logger::captured(Level::Error, Origin::default());
    let limits = SeedHistoryLimits::default();
    with_links("links-state", &names, |folder, number| {
        let _ = state_directory::prepare(folder);
        let now = SystemTime::now();
        let store = SeedStore::open(folder, limits, now, log.clone());
        let peer = std::net::Ipv4Addr::LOCALHOST.into();
        let mut seed = [0; 16];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let _ = store.add(ReplayMode::Strict, &seed, peer, now);
    });
}

#[test]
fn snapshots_keys_and_the_control_socket_go_nowhere_else() {
    with_links("links-files", &["metrics.txt", "metrics.txt.new", "key", "control"], |folder, _| {
        let _ = snapshot::write(&folder.join("metrics.txt"), b"figures");
        let _ = write_all(&[(&folder.join("key"), b"key")]);
        drop(ControlSocket::bind(&folder.join("control")));
    });
}
