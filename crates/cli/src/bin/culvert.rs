//! The program with verbs. They are described in `culvert_cli::culvert`.

use std::process::ExitCode;

fn main() -> ExitCode {
    culvert_cli::culvert::main(std::env::args_os().skip(1))
}
