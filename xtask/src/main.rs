//! The repository's own tools, run as `cargo xtask VERB`. No product code, and nothing the product depends on.

mod bench;
mod detect;
mod faults;
mod instructions;
mod long;
mod tidy;
mod tree;

use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask VERB

verbs:
  tidy                         check the rules that the compiler and clippy do not know
  long [SECONDS] [TARGET..]    give the fuzz targets to libFuzzer, each for so long (600)
  instructions [--update]      count the instructions of the hot paths and compare them to bench/instructions.txt
  bench [--only ROW] [--runs N] [--quick]
                               measure our programs against others; a whole run writes bench/RESULTS.md
  faults [--short] [--only FAULT] [--minutes N]
                               what our programs do when something is exhausted, flooded, slow, full or killed
  detect [--flows N] [--only PROTOCOL] [--ours] [--keep FOLDER]
                               what the detectors of censors make of flows of each protocol";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    match words {
        ["tidy"] => tidy::run(),
        ["long", rest @ ..] => long::run(rest),
        ["instructions", rest @ ..] => instructions::run(rest),
        ["detect", rest @ ..] => detect::run(rest),
        ["faults", rest @ ..] => faults::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["bench-relay" | "bench-delay" | "bench-delay-datagrams", ..] => bench::run_forwarder(words),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(USAGE.into()),
    }
}
