//! The server program. Its command line is described in `culvert_cli::psiphond`.

use std::process::ExitCode;

use culvert_cli::psiphond::{self, Actions, Exit, Failure};

fn main() -> ExitCode {
    let actions = Actions {
        run: |_config, _log| {
            Err(Failure { exit: Exit::Unavailable, message: "serving is not built yet".into() })
        },
        selfcheck: |_generated, _options| Ok(()),
    };
    psiphond::main(std::env::args_os().skip(1), &actions)
}
