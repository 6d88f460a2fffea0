//! The client program. Its start is described in `culvert_cli::console_client`.

use std::process::ExitCode;

use culvert_cli::console_client;

fn main() -> ExitCode {
    console_client::main(std::env::args_os().skip(1), console_client::run)
}
