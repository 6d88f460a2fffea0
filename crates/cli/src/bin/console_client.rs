//! The client program. Its start is described in `culvert_cli::console_client`.

use std::process::ExitCode;

use culvert_cli::console_client;
use culvert_cli::hardening::protect_memory;

fn main() -> ExitCode {
    // Where it is not granted there is nothing else to do.
    let _ = protect_memory();
    console_client::main(std::env::args_os().skip(1), console_client::run)
}
