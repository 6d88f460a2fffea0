//! No descriptors left: a server that may open 64 files, and more connections than that.

use std::thread;
use std::time::Duration;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome, cpu_share};
use crate::bench::generator::Share;
use crate::bench::psiphon::Setup;
use crate::bench::{proc, sys};

const FILES: usize = 64;
/// Tunnels from before, a file each for tunnel and flow.
const TUNNELS: u32 = 4;
/// So few free ones that somebody waits for one.
const NEARLY_ALL: usize = FILES - 4;
const EXHAUSTED: Duration = Duration::from_secs(30);
/// A load gives up attempts after 60 s, and its end would be counted.
const MEASURED: Duration = Duration::from_secs(40);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let setup = Setup { surroundings: format!("ulimit -n {FILES}; exec \"$@\""), ..Setup::default() };
    let server = harness.server(&setup)?;
    let mut tunnels = harness.exchanges(&server, TUNNELS, 1000)?;
    let silent = harness.generator(&server, Share::Rest, &["silent", "200"])?;
    let hogs = harness.generator(&server, Share::Rest, &["idle-tunnels", "100"])?;
    let deadline = sys::now() + EXHAUSTED;
    let mut most = 0;
    while most < NEARLY_ALL && sys::now() < deadline {
        thread::sleep(Duration::from_millis(100));
        most = most.max(proc::descriptors(server.program.process()));
    }
    let lines = server.program.lines();
    let measured = harness.options.scaled(MEASURED, Duration::from_secs(3));
    let cpu = cpu_share(&server.program, measured);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let lines =
        (server.program.lines() - lines) as f64 * harness.options.scaled(60.0 / measured.as_secs_f64(), 1.0);
    let start = sys::now();
    drop((silent, hogs));
    let mut next = harness.generator(&server, Share::Fair, &["setup-times", "1"])?;
    next.number("took", LINE)?;
    let resumed = start.elapsed().as_secs_f64();
    let alive =
        if tunnels.times("window", LINE).is_ok() && tunnels.program.is_running() { TUNNELS } else { 0 };
    let held = format!("{most} of {FILES} files open");
    harness.found(Figure::timed("no descriptors: CPU", cpu, "% of a core", Bound::AtMost(5.0)).remark(held));
    harness.found(Figure::exact("no descriptors: log lines", lines, "a minute", Bound::AtMost(10.0)));
    harness.found(Figure::timed("no descriptors: to resume", resumed, "s", Bound::AtMost(2.0)));
    harness.found(Figure::exact(
        "no descriptors: tunnels from before",
        alive.into(),
        "alive of 4",
        Bound::AtLeast(TUNNELS.into()),
    ));
    Ok(())
}
