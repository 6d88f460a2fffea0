//! The short form of `cargo xtask faults`, with the programs that are built beside this test. A whole run of all tests builds them; where
//! one is missing nothing can be tried, and the test says so.

use std::path::Path;
use std::process::Command;

#[test]
fn what_holds_on_every_machine_holds_here() {
    let xtask = Path::new(env!("CARGO_BIN_EXE_xtask"));
    let folder = xtask.parent().unwrap();
    for program in ["psiphond", "ConsoleClient", "culvert-bench"] {
        if !folder.join(program).is_file() {
            println!("not tried: {program} is not built; `cargo test --workspace` builds it");
            return;
        }
    }
    let faults =
        Command::new(xtask).args(["faults", "--short"]).env("CULVERT_PROGRAMS_DIR", folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(faults.status.success(), "{}\n{}", text(&faults.stderr), text(&faults.stdout));
}
