//! Little memory: a server in a control group that has less than what tunnels and strangers want.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome};
use crate::bench::generator::Share;
use crate::bench::psiphon::Setup;
use crate::bench::{proc, sys};

const LIMIT: u64 = 96 << 20;
const TUNNELS: u32 = 4;
/// For a server that has room again to see it.
const RESUME: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(20);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let group = match Group::new() {
        Ok(group) => group,
        Err(error) => {
            harness.table.leave_out("memory", &format!("no control group can be made: {error}"));
            return Ok(());
        }
    };
    let path = group.0.display();
    let surroundings = format!("echo $$ > {path}/cgroup.procs; exec \"$@\"");
    let mut server = harness.server(&Setup { surroundings, ..Setup::default() })?;
    let mut tunnels = harness.exchanges(&server, TUNNELS, 1000)?;
    let load = [
        harness.generator(&server, Share::Rest, &["silent", "10000"])?,
        harness.generator(&server, Share::Rest, &["silent", "9000"])?,
        harness.generator(&server, Share::Rest, &["press", "6000"])?,
    ];
    thread::sleep(harness.options.scaled(SETTLE * 3, SETTLE));
    let running = server.program.is_running();
    let files = proc::descriptors(server.program.process());
    let alive = running && tunnels.times("window", LINE).is_ok() && tunnels.program.is_running();
    drop(load);
    let start = sys::now();
    let mut served = false;
    // Each try ends with the first tunnel or the first refusal.
    while running && !served && start.elapsed() < RESUME {
        let mut next = harness.generator(&server, Share::Fair, &["setup-times", "1"])?;
        served = next.number("took", LINE).is_ok();
    }
    let resumed = start.elapsed().as_secs_f64();
    let limit =
        format!("{} MiB for 19,000 strangers and 6,000 tunnels, of which {files} were there", LIMIT >> 20);
    let one = |held: bool| if held { 1.0 } else { 0.0 };
    harness.found(
        Figure::exact("little memory: server", one(running), "alive", Bound::AtLeast(1.0)).remark(limit),
    );
    harness.found(Figure::exact(
        "little memory: tunnels from before",
        if alive { 4.0 } else { 0.0 },
        "alive of 4",
        Bound::AtLeast(4.0),
    ));
    harness.found(
        Figure::exact("little memory: served after", one(served), "of 1", Bound::AtLeast(1.0))
            .remark(format!("after {resumed:.1} s")),
    );
    Ok(())
}

/// A control group with the limit; removed when it is empty.
struct Group(PathBuf);

impl Group {
    fn new() -> std::io::Result<Self> {
        let name = format!("culvert-faults-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let (parent, file) = match first.is_dir() {
            true => (first, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let group = Self(parent.join(name));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join(file), LIMIT.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that still has a process stays until the machine is started again.
        let _ = fs::remove_dir(&self.0);
    }
}
