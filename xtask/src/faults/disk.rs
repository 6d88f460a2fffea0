//! No room on the disk: state and log on a small file system of their own, which is filled and emptied.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome};
use crate::bench::generator::Share;
use crate::bench::psiphon::{Generated, Setup};

const TUNNELS: u32 = 4;
const SETUPS: usize = 10;
const REST: Duration = Duration::from_secs(2);
/// A file system of 256 KiB that only this program sees, over a folder that everybody does.
const MOUNT: &str =
    r#"mkdir -p small; exec unshare -m sh -c 'mount -t tmpfs -o size=256k none small && exec "$@"' sh "$@""#;
/// The same, full from the start.
const MOUNT_FULL: &str = r#"exec unshare -m sh -c 'mount -t tmpfs -o size=256k none small && { head -c 1m /dev/zero > small/fill || :; } 2>&1 && exec "$@"' sh "$@""#;

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let config = json!({ "StateDirectory": "small", "LogFilename": "small/log" });
    let setup = Setup { config, surroundings: MOUNT.to_owned(), ..Setup::default() };
    let mut server = match harness.server(&setup) {
        Ok(server) => server,
        Err(error) if error.to_string().contains("unshare") => {
            harness.table.leave_out("disk", &format!("no file system can be made: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut tunnels = harness.exchanges(&server, TUNNELS, 1000)?;
    fill(&small(&server).join("fill"))?;
    let during = setups(harness, &server)?;
    let alive = tunnels.times("window", LINE).is_ok() && tunnels.program.is_running();
    let log = |server: &Generated| fs::metadata(small(server).join("log")).map_or(0, |file| file.len());
    let before = log(&server);
    fs::remove_file(small(&server).join("fill"))?;
    setups(harness, &server)?;
    thread::sleep(REST);
    let logs_again = log(&server) > before;
    drop(tunnels);
    server.restart(MOUNT_FULL)?;
    let from_full = setups(harness, &server)?;
    let wanted = f64::from(u32::try_from(SETUPS)?);
    harness.found(Figure::exact("full disk: new tunnels", during, "of 10", Bound::AtLeast(wanted)));
    let alive = if alive { 4.0 } else { 0.0 };
    harness.found(Figure::exact("full disk: tunnels from before", alive, "alive of 4", Bound::AtLeast(4.0)));
    let again = if logs_again { 1.0 } else { 0.0 };
    harness.found(Figure::exact(
        "full disk: log goes on when there is room",
        again,
        "of 1",
        Bound::AtLeast(1.0),
    ));
    harness.found(Figure::exact(
        "started on a full disk: tunnels",
        from_full,
        "of 10",
        Bound::AtLeast(wanted),
    ));
    Ok(())
}

/// As the server sees it.
fn small(server: &Generated) -> PathBuf {
    Path::new("/proc").join(server.program.process().to_string()).join("cwd/small")
}

fn fill(file: &Path) -> Outcome<()> {
    let mut file = File::create(file)?;
    while file.write_all(&[0; 1024]).is_ok() {}
    // The last bytes too.
    while file.write_all(&[0]).is_ok() {}
    Ok(())
}

/// How many of some tunnels came up.
fn setups(harness: &Harness, server: &Generated) -> Outcome<f64> {
    let mut generator = harness.generator(server, Share::Fair, &["setup-times", &SETUPS.to_string()])?;
    let mut made = 0.0;
    while made < f64::from(u32::try_from(SETUPS)?) && generator.number("took", LINE).is_ok() {
        made += 1.0;
    }
    Ok(made)
}
