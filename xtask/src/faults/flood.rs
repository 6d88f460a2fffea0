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
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let held_count = held.max(1) as f64;
    harness.found(
        Figure::timed("half-open: memory", grown / held_count, "KiB each", Bound::AtMost(4.0))
            .remark(format!("{held} of {} at a time", 2 * silent)),
    );
    harness.found(
        Figure::timed("half-open: setup p95", quiet / idle, "x idle", Bound::AtMost(2.0))
            .remark(format!("p95 {quiet:.1} ms, idle {idle:.1} ms")),
    );
    garbage(harness, &server, idle, Garbage::FROM_FEW)?;
    garbage(harness, &server, idle, Garbage::FROM_EVERYWHERE)
}

/// Where garbage comes from, and what its figures are called.
struct Garbage {
    addresses: u32,
    setup: (&'static str, Bound),
    cpu: &'static str,
    log: &'static str,
}

impl Garbage {
    /// Each comes again and again.
    const FROM_FEW: Self = Self {
        addresses: 250,
        setup: ("half-open and garbage from 250 addresses: setup p95", Bound::AtMost(2.0)),
        cpu: "half-open and garbage from 250 addresses: CPU",
        log: "half-open and garbage from 250 addresses: log",
    };
    /// Almost each is new, so that nothing is known against it: there is no more than one share for the new to compete for.
    const FROM_EVERYWHERE: Self = Self {
        addresses: 4_000_000,
        setup: ("half-open and garbage from ever new addresses: setup p95", Bound::Told),
        cpu: "half-open and garbage from ever new addresses: CPU",
        log: "half-open and garbage from ever new addresses: log",
    };
}

fn garbage(harness: &mut Harness, server: &Generated, idle: f64, from: Garbage) -> Outcome<()> {
    let setups = harness.options.scaled(SETUPS, 10);
    let printed = server.program.printed();
    let words = ["garbage", &GARBAGE.to_string(), &from.addresses.to_string()];
    let mut load = harness.generator(server, Share::Rest, &words)?;
    load.ready(LINE)?;
    thread::sleep(SETTLE);
    let flooded = harness.setup_p95(server, setups)?;
    let cpu = cpu_share(&server.program, MEASURED);
    let mut rates = Vec::new();
    while let Ok(rate) = load.number("made", Duration::ZERO) {
        rates.push(rate);
    }
    let rate = crate::bench::results::median(&rates).unwrap_or_default();
    let printed = kib(server.program.printed() - printed);
    let (setup, bound) = from.setup;
    let remark = format!("p95 {flooded:.1} ms, idle {idle:.1} ms");
    harness.found(Figure::timed(setup, flooded / idle, "x idle", bound).remark(remark));
    let remark = format!("{rate} a second");
    harness.found(Figure::timed(from.cpu, cpu, "% of a core", Bound::Told).remark(remark));
    harness.found(Figure::exact(from.log, printed, "KiB", Bound::AtMost(1024.0)));
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
