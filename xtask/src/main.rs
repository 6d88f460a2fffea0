//! The repository's own tools, run as `cargo xtask VERB`. No product code, and nothing the product depends on.

mod long;
mod tidy;
mod tree;

use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask VERB

verbs:
  tidy                         check the rules that the compiler and clippy do not know
  long [SECONDS] [TARGET..]    give the fuzz targets to libFuzzer, each for so long (600)";

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
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(USAGE.into()),
    }
}
