//! A clock that is elsewhere, and a machine that slept: the clock that counts from its start is moved by a time namespace, and sleep is a
//! program that is stopped and goes on. The clock of the wall cannot be moved for one program alone; what depends on it takes the time as
//! an argument, and is tried where it is.

use std::thread;
use std::time::Duration;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome};
use crate::bench::generator::Share;
use crate::bench::psiphon::Setup;

/// A start long ago, and one that is yet to come as far as the system allows it.
const MOVED: [(&str, i64); 2] =
    [("clock 10 years on: tunnels", 315_360_000), ("clock back by a minute: tunnels", -60)];
const TUNNELS: u32 = 4;
const SETUPS: u32 = 10;
/// Longer than any reply is waited for at a keepalive.
const SLEEP: Duration = Duration::from_secs(30);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    for (name, seconds) in MOVED {
        let surroundings =
            format!("exec unshare -T -f --kill-child --monotonic {seconds} --boottime {seconds} -- \"$@\"");
        let server = match harness.server(&Setup { surroundings, ..Setup::default() }) {
            Ok(server) => server,
            Err(error) if error.to_string().contains("unshare") => {
                harness.table.leave_out(name, &error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut setups = harness.generator(&server, Share::Fair, &["setup-times", &SETUPS.to_string()])?;
        let mut made = 0;
        while made < SETUPS && setups.number("took", LINE).is_ok() {
            made += 1;
        }
        harness.found(Figure::exact(name, made.into(), "of 10", Bound::AtLeast(SETUPS.into())));
    }
    slept(harness)
}

fn slept(harness: &mut Harness) -> Outcome<()> {
    let server = harness.server(&Setup::default())?;
    let mut tunnels = harness.exchanges(&server, TUNNELS, 1000)?;
    server.program.signal(libc::SIGSTOP);
    thread::sleep(harness.options.scaled(SLEEP, Duration::from_secs(3)));
    server.program.signal(libc::SIGCONT);
    // Those of the sleep, and one that has only what came after it.
    let mut alive = true;
    for _ in 0..3 {
        alive = alive && tunnels.times("window", LINE).is_ok();
    }
    let alive = if alive && tunnels.program.is_running() { TUNNELS } else { 0 };
    harness.found(Figure::exact(
        "slept for 30 s: tunnels from before",
        alive.into(),
        "alive of 4",
        Bound::AtLeast(4.0),
    ));
    harness.setup_p95(&server, 5)?;
    Ok(())
}
