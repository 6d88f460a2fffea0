//! What the process is like at one moment, for whoever wants to know why it uses so much: asked for with SIGUSR2. One line of the log
//! always; where a folder is set for it, files beside it: threads and their processor time, memory by kind, all figures. They hold no
//! address of anybody. Each snapshot takes the place of the last.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::figures::load::runtime_fields;
use crate::log::Field;
use crate::services::Services;

/// Writes it all. Blocks for as long as a small file takes.
pub(crate) fn take(services: &Services, folder: Option<&Path>) {
    let runtime = runtime_fields(services);
    let fields = runtime.iter().map(|(name, value)| (name.as_str(), Field::parameter(value.clone())));
    services.log.info("runtime_metrics", fields);
    let Some(folder) = folder else { return };
    if let Err(error) = write_all(services, runtime, folder) {
        services.log.error("cannot write the snapshot", [("error", Field::local_error(&error))]);
    }
}

fn write_all(services: &Services, runtime: Map<String, Json>, folder: &Path) -> io::Result<()> {
    let snapshot = json!({
        "runtime": runtime,
        "tunnels": services.sessions.len(),
        "threads": threads(),
        "readiness": services.readiness().text(),
    });
    let mut text = serde_json::to_string_pretty(&snapshot)?;
    text.push('\n');
    write(&folder.join("snapshot.json"), text.as_bytes())?;
    write(&folder.join("metrics.txt"), services.figures.open_metrics().as_bytes())?;
    // Sums only; what is mapped where is nobody's business.
    let memory = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let sums: Vec<&str> = memory.lines().skip(1).collect();
    write(&folder.join("memory.txt"), format!("{}\n", sums.join("\n")).as_bytes())
}

/// Name, processor time in seconds and state of each thread. Source: proc(5).
fn threads() -> Vec<Json> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut threads: Vec<_> = tasks
        .filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
            let seconds = (ticks(11)? + ticks(12)?) / 100.0;
            let id = task.file_name().to_string_lossy().parse::<u64>().ok()?;
            Some((id, json!({ "id": id, "name": name, "state": fields.first(), "cpu_seconds": seconds })))
        })
        .collect();
    threads.sort_by_key(|(id, _)| *id);
    threads.into_iter().map(|(_, thread)| thread).collect()
}

/// For the owner alone, and whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    fs::rename(&fresh, path)
}
