//! `cargo xtask bench`: our programs against others of their kind and against the goals, in one interleaved run on loopback.
//!
//! All contenders have the same shape: load, client, tunnel over TCP, server, origin. The load and the origin are threads of this program
//! that move bytes without touching them; what is counted is the CPU time of exactly the client and the server. Peers that are not
//! installed are reported as absent.

pub(crate) mod carried;
pub(crate) mod contender;
mod delay;
mod delay_datagrams;
mod figures;
pub(crate) mod folder;
pub(crate) mod generator;
pub(crate) mod load;
mod options;
pub(crate) mod origin;
pub(crate) mod peers;
pub(crate) mod proc;
pub(crate) mod program;
pub(crate) mod psiphon;
mod relay;
mod report;
pub(crate) mod results;
mod rows;
pub(crate) mod sys;

use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use crate::tree;
use load::Load;
use options::Options;
use origin::Origin;
use peers::{Peers, Profile};
use report::Facts;
use results::Results;
use rows::Bench;

/// What went wrong, in words.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long a program may take to be ready.
pub(crate) const START: Duration = Duration::from_secs(20);
/// After so long something hangs, and everything is ended.
const WHOLE: Duration = Duration::from_secs(60 * 60);

/// The forwarders that the bench starts as processes of their own.
pub(crate) fn run_forwarder(words: &[&str]) -> Outcome<ExitCode> {
    match words {
        ["bench-relay", listen, to] => relay::run(listen, to)?,
        ["bench-delay", listen, to, milliseconds] => delay::run(listen, to, milliseconds)?,
        ["bench-delay-datagrams", listen, to, milliseconds] => {
            delay_datagrams::run(listen, to, milliseconds)?;
        }
        _ => {
            return Err(
                "usage: bench-relay LISTEN TO, or bench-delay[-datagrams] LISTEN TO MILLISECONDS".into()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the bench, prints its report, and writes it down if it is whole.
pub(crate) fn run(words: &[&str]) -> Outcome<ExitCode> {
    let options = Options::parse(words)?;
    sys::raise_file_limit();
    sys::end_all_on_signals();
    thread::spawn(|| {
        thread::sleep(WHOLE);
        eprintln!("bench: not done after {} s", WHOLE.as_secs());
        sys::end_all();
        std::process::exit(1);
    });
    let peers = Peers::find(Profile::Release)?;
    let load_before = proc::load_average();
    let load = Load { origin: Origin::start()?, file: sys::memory_file()? };
    let start = sys::now();
    let mut bench = Bench { peers, options, load, results: Results::default() };
    for row in bench.options.rows.clone() {
        let start = sys::now();
        eprintln!("== {}", row.name());
        bench.row(row);
        eprintln!("   {} s", start.elapsed().as_secs());
    }
    let facts =
        Facts { date: today(), runs: bench.options.runs, load_before, seconds: start.elapsed().as_secs() };
    let folder = tree::root().join("bench");
    let notes = fs::read_to_string(folder.join("notes.md")).unwrap_or_default();
    let report = report::write(&bench.results, &bench.peers, &notes, &facts);
    println!("{report}");
    if bench.options.is_whole() {
        fs::write(folder.join("RESULTS.md"), report)?;
    }
    Ok(if bench.results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The day.
pub(crate) fn today() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output.map_or_else(|_| "unknown".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
