//! The programs across a middlebox in network namespaces. The harness is the module of that name in the crate `culvert-interop`; it is started from
//! here because only a test of this package is given freshly built programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    match culvert_interop::Programs::new(env!("CARGO_BIN_EXE_ConsoleClient"), env!("CARGO_BIN_EXE_psiphond"))
    {
        Ok(programs) => culvert_interop::namespaces::run(&programs),
        Err(missing) => {
            eprintln!("{missing}");
            ExitCode::FAILURE
        }
    }
}
