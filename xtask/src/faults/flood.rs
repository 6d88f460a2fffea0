//! Connections that say nothing, as many as there can be, and garbage beside them.

use std::thread;
use std::time::Duration;

use super::table::{Bound, Figure};
use super::{BUILD_UP, Harness, LINE, Outcome, cpu_share, kib};
use crate::bench::generator::{Generator, Share};
use crate::bench::psiphon::{Generated, Setup};
use crate::bench::{proc, sys};

/// Silent connections, from two processes, since each may have only so many.
const SILENT: u32 = 20_000;
const GARBAGE: u32 = 1000;
/// Tunnels that are set up one after the other.
const SETUPS: usize = 100;
const SETTLE: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let server = harness.server(&Setup::default())?;
    let setups = harness.options.scaled(SETUPS, 10);
    let idle = harness.setup_p95(&server, setups)?;
    let (memory, files) = (server.program.resident(), proc::descriptors(server.program.process()));
    let silent = harness.options.scaled(SILENT, 2000) / 2;
    let words = ["silent", &silent.to_string()];
    let mut first = harness.generator(&server, Share::Rest, &words)?;
    let mut second = harness.generator(&server, Share::Rest, &words)?;
    let held = most_held(&server, &mut [&mut first, &mut second])?.saturating_sub(files);
    let grown = kib(server.program.resident().saturating_sub(memory));
    let quiet = harness.setup_p95(&server, setups)?;
    let printed = server.program.printed();
    let mut garbage = harness.generator(&server, Share::Rest, &["garbage", &GARBAGE.to_string()])?;
    garbage.ready(LINE)?;
    thread::sleep(SETTLE);
    let flooded = harness.setup_p95(&server, setups)?;
    let cpu = cpu_share(&server.program, MEASURED);
    let mut rates = Vec::new();
    while let Ok(rate) = garbage.number("made", Duration::ZERO) {
        rates.push(rate);
    }
    let rate = crate::bench::results::median(&rates).unwrap_or_default();
    let printed = kib(server.program.printed() - printed);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let held = held.max(1) as f64;
    harness.found(
        Figure::timed("half-open: memory", grown / held, "KiB each", Bound::AtMost(4.0))
            .remark(format!("{held} of {} at a time", 2 * silent)),
    );
    let remark = |p95: f64| format!("p95 {p95:.1} ms, idle {idle:.1} ms");
    harness.found(
        Figure::timed("half-open: setup p95", quiet / idle, "x idle", Bound::AtMost(2.0))
            .remark(remark(quiet)),
    );
    harness.found(
        Figure::timed("half-open and garbage: setup p95", flooded / idle, "x idle", Bound::AtMost(2.0))
            .remark(remark(flooded)),
    );
    harness.found(
        Figure::timed("half-open and garbage: CPU", cpu, "% of a core", Bound::Told)
            .remark(format!("{rate} a second")),
    );
    harness.found(Figure::exact("half-open and garbage: log", printed, "KiB", Bound::AtMost(1024.0)));
    Ok(())
}

/// How many files the server has open at most until both loads are built up and have been so for a while: who was sent away takes memory
/// that is not given back at once.
fn most_held(server: &Generated, loads: &mut [&mut Generator]) -> Outcome<usize> {
    let process = server.program.process();
    let mut most = 0;
    let mut sample = |time: Duration| {
        thread::sleep(time);
        most = proc::descriptors(process).max(most);
    };
    let deadline = sys::now() + BUILD_UP;
    for load in loads {
        while load.ready(Duration::ZERO).is_err() {
            if sys::now() > deadline || !load.program.is_running() {
                return Err("the silent do not get in".into());
            }
            sample(Duration::from_millis(20));
        }
    }
    sample(SETTLE);
    Ok(most)
}
