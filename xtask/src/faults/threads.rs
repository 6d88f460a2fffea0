//! No more threads: a server in a control group that may have none beside those that it has, and is told to reload, which takes one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome};
use crate::bench::psiphon::Setup;

const TUNNELS: u32 = 4;

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let group = match Group::new() {
        Ok(group) => group,
        Err(error) => {
            harness.table.leave_out("threads", &format!("no control group can be made: {error}"));
            return Ok(());
        }
    };
    let surroundings = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.0.display());
    let mut server = harness.server(&Setup { surroundings, ..Setup::default() })?;
    let mut tunnels = harness.exchanges(&server, TUNNELS, 1000)?;
    group.limit("1")?;
    server.program.signal(libc::SIGHUP);
    let says = |line: &str| line.contains("cannot start a thread to reload").then_some(());
    let told = server.program.next_line("a reload without a thread", LINE, says).is_ok();
    let alive = server.program.is_running() && tunnels.times("window", LINE).is_ok();
    let served = harness.setup_p95(&server, 3).is_ok();
    group.limit("max")?;
    server.program.signal(libc::SIGHUP);
    let says = |line: &str| line.contains("reload success").then_some(());
    let again = server.program.next_line("a reload", Duration::from_secs(30), says).is_ok();
    for (name, held) in [
        ("no threads: a reload says so", told),
        ("no threads: tunnels from before go on", alive),
        ("no threads: new tunnels", served),
        ("no threads: reloads when there are some", again),
    ] {
        let held = if held { 1.0 } else { 0.0 };
        harness.found(Figure::exact(name, held, "of 1", Bound::AtLeast(1.0)));
    }
    Ok(())
}

/// A control group that counts threads; removed when it is empty.
struct Group(PathBuf);

impl Group {
    fn new() -> std::io::Result<Self> {
        let name = format!("culvert-threads-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/pids");
        let parent = if first.is_dir() { first } else { Path::new("/sys/fs/cgroup") };
        let group = Self(parent.join(name));
        fs::create_dir(&group.0)?;
        group.limit("max")?;
        Ok(group)
    }

    fn limit(&self, most: &str) -> std::io::Result<()> {
        fs::write(self.0.join("pids.max"), most)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that still has a process stays until the machine is started again.
        let _ = fs::remove_dir(&self.0);
    }
}
