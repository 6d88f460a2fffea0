//! `cargo xtask faults`: what our programs do when descriptors, memory, threads or the disk are exhausted, when strangers flood them, when peers are
//! slow, when the clock is odd, and when they are killed; and how they are after a long time. Prints one table, which a whole run writes to
//! `bench/FAULTS.md`, and fails if a figure is missed. Timed figures are those of the machine it runs on; the short form decides only by what holds on any machine.

mod abuse;
mod clock;
mod descriptors;
mod disk;
mod flood;
mod killed;
mod memory;
mod options;
mod restart;
mod slow;
mod soak;
mod stop;
mod table;
mod threads;

use std::process::ExitCode;
use std::time::Duration;
use std::{fs, thread};

use crate::bench::generator::{Generator, Share};
use crate::bench::load::Load;
use crate::bench::origin::Origin;
use crate::bench::peers::{Peers, Profile};
use crate::bench::psiphon::{Generated, OSSH, Setup};
use crate::bench::{Outcome, results, sys};
use crate::tree;
use options::{Fault, Options};
use table::{Figure, Table};

/// How long a load may take to build up.
const BUILD_UP: Duration = Duration::from_secs(300);
/// A line that comes by itself comes within this.
const LINE: Duration = Duration::from_secs(60);

/// What every fault works with.
struct Harness {
    peers: Peers,
    options: Options,
    load: Load,
    table: Table,
}

/// Tries the faults that are asked for.
pub(crate) fn run(words: &[&str]) -> Outcome<ExitCode> {
    let options = Options::parse(words)?;
    sys::raise_file_limit();
    sys::end_all_on_signals();
    let limit = options.limit();
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("faults: not done after {} s", limit.as_secs());
        sys::end_all();
        std::process::exit(1);
    });
    let peers = Peers::find(if options.short { Profile::Dev } else { Profile::Release })?;
    let load = Load { origin: Origin::start()?, file: sys::memory_file()? };
    let mut harness = Harness { peers, options, load, table: Table::default() };
    for fault in harness.options.faults.clone() {
        let start = sys::now();
        eprintln!("== {}", fault.name());
        if let Err(error) = harness.try_one(fault) {
            harness.table.fail(fault.name(), &error.to_string());
        }
        eprintln!("   {} s", start.elapsed().as_secs());
    }
    let text = harness.table.text();
    println!("{text}");
    if harness.options.is_whole() {
        let [day, ours] = [crate::bench::today(), crate::bench::peers::describe()];
        let head = format!("# Results of `cargo xtask faults`\n\nDate: {day}; ours: {ours}\n\n");
        fs::write(tree::root().join("bench/FAULTS.md"), head + &text)?;
    }
    Ok(if harness.table.is_held(harness.options.short) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Harness {
    fn try_one(&mut self, fault: Fault) -> Outcome<()> {
        match fault {
            Fault::Descriptors => descriptors::run(self),
            Fault::HalfOpen => flood::run(self),
            Fault::Abuse => abuse::run(self),
            Fault::Slow => slow::strangers(self),
            Fault::SlowReaders => slow::readers(self),
            Fault::Memory => memory::run(self),
            Fault::Threads => threads::run(self),
            Fault::Disk => disk::run(self),
            Fault::Clock => clock::run(self),
            Fault::Killed => killed::run(self),
            Fault::Restart => restart::run(self),
            Fault::Stop => stop::run(self),
            Fault::Soak => soak::run(self),
        }
    }

    /// Our server.
    fn server(&self, setup: &Setup) -> Outcome<Generated> {
        Generated::start_in(&self.peers.ours.server, OSSH, setup)
    }

    /// Load on it.
    fn generator(&self, server: &Generated, share: Share, words: &[&str]) -> Outcome<Generator> {
        let (verb, words) = words.split_first().ok_or("a load has a verb")?;
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Generator::start(&self.peers.many, server, share, verb, &words)
    }

    /// Tunnels with a small exchange each, some times a second, which go on until the generator is dropped.
    fn exchanges(&self, server: &Generated, tunnels: u32, period: u32) -> Outcome<Generator> {
        let words = ["exchanges", &tunnels.to_string(), "64", &period.to_string(), "1000"];
        let mut generator = self.generator(server, Share::Fair, &words)?;
        generator.ready(BUILD_UP)?;
        Ok(generator)
    }

    /// The 95th percentile of how long it takes to set up a tunnel, one after the other, in milliseconds.
    fn setup_p95(&self, server: &Generated, count: usize) -> Outcome<f64> {
        let mut generator = self.generator(server, Share::Fair, &["setup-times", &count.to_string()])?;
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(generator.number("took", LINE)?);
        }
        // The first one also starts the generator.
        times.remove(0);
        results::quantile(&times, 0.95).ok_or_else(|| "no tunnels".into())
    }

    /// Notes a figure.
    fn found(&mut self, figure: Figure) {
        eprintln!("   {}", figure.line());
        self.table.add(figure);
    }
}

/// Percent of one core that a program used during something.
fn cpu_share(program: &crate::bench::program::Program, time: Duration) -> f64 {
    let before = program.cpu();
    thread::sleep(time);
    (program.cpu() - before) * 100.0 / time.as_secs_f64()
}

/// KiB.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
