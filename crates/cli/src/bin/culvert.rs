//! The program with verbs. They are described in `culvert_cli::culvert`.

use std::process::ExitCode;

use culvert_cli::hardening::protect_memory;

fn main() -> ExitCode {
    // Where it is not granted there is nothing else to do.
    let _ = protect_memory();
    culvert_cli::culvert::main(std::env::args_os().skip(1))
}
