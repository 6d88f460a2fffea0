//! What the client itself takes: resident memory with an idle tunnel, and the stripped binary.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use super::super::Outcome;
use super::super::contender::Contender;
use super::super::figures::{BINARY, RESIDENT};
use super::super::folder::Folder;
use super::Bench;

const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    let contenders = bench.present(&[Contender::Ours, Contender::Reference]);
    for contender in &contenders {
        let size = stripped(bench.client_program(*contender))?;
        bench.results.add(BINARY, *contender, size);
    }
    let servers = bench.servers(&contenders);
    for _ in 0..bench.options.few() {
        for server in &servers {
            let client = server.client(&bench.peers, server.address())?;
            thread::sleep(SETTLE);
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let resident = client.program.resident() as f64 / 1e6;
            bench.results.add(RESIDENT, server.contender, resident);
        }
    }
    Ok(())
}

/// Size without symbols, in MB.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn stripped(program: &Path) -> Outcome<f64> {
    let folder = Folder::new()?;
    let copy = folder.path().join("copy");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(program).status()?;
    if !status.success() {
        return Err("strip failed".into());
    }
    Ok(fs::metadata(copy)?.len() as f64 / 1e6)
}
