//! Runs the known-answer cases of `data/`, or of the folder that `CULVERT_VECTORS` names. A relative name counts from the
//! repository's root, not from this package, where cargo starts tests.
//!
//! `cargo test --workspace vectors` runs them all; filters, `--list`, `--ignored` and `--exact` work as usual.

use std::path::Path;
use std::process::ExitCode;

use culvert_vectors::collect::{Folder, trials};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = match std::env::var_os("CULVERT_VECTORS") {
        Some(given) => Folder::Given(package.parent().unwrap_or(package).join(given)),
        None => Folder::Own(package.join("data")),
    };
    match trials(&folder) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("no known-answer cases: {error}");
            ExitCode::FAILURE
        }
    }
}
