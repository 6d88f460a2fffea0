//! The server program. Its command line is described in `culvert_cli::psiphond`.

use std::process::ExitCode;

use culvert_cli::exit::Failure;
use culvert_cli::hardening::protect_memory;
use culvert_cli::psiphond::{self, Actions};
use culvert_cli::selfcheck::selfcheck;

fn main() -> ExitCode {
    // Where it is not granted there is nothing else to do.
    let _ = protect_memory();
    let actions =
        Actions { run: |config, log| culvert_server::run(config, &log).map_err(Failure::from), selfcheck };
    psiphond::main(std::env::args_os().skip(1), &actions)
}
