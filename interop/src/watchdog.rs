//! Sees to it that no program outlives the harness, however that ends. A destructor does not run when the harness is killed, and the
//! programs are in process groups of their own, so a small shell process holds the list of groups and kills what is left of it when
//! its input, whose other end only the harness has, comes to its end.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = "
trap '' INT TERM HUP
groups=' '
while read -r verb group; do
    case $verb in
        add) groups=\"$groups$group \" ;;
        end) groups=\"${groups%% $group *} ${groups#* $group }\" ;;
    esac
done
for group in $groups; do kill -s KILL -- -$group; done";

/// Puts a process group on the list.
pub(crate) fn add(group: u32) {
    tell(&format!("add {group}\n"));
}

/// Takes a process group that has been put on the list off it again, before its number can be used anew.
pub(crate) fn end(group: u32) {
    tell(&format!("end {group}\n"));
}

fn tell(line: &str) {
    static INPUT: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    if let Some(input) = INPUT.get_or_init(|| start().map(Mutex::new)) {
        // Without a watchdog the destructors still do, unless the harness is killed.
        let _ = input.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

fn start() -> Option<ChildStdin> {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()?.stdin.take()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Child;
    use std::time::Duration;

    use super::*;
    use crate::clock::poll;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    #[test]
    fn kills_what_is_on_the_list_at_the_end_and_nothing_else() {
        let (mut listed, mut taken_off) = (sleeper(), sleeper());
        let mut input = start().unwrap();
        for line in [
            format!("add {}", taken_off.id()),
            format!("add {}", listed.id()),
            format!("end {}", taken_off.id()),
        ] {
            writeln!(input, "{line}").unwrap();
        }
        drop(input);
        let status = poll(Duration::from_secs(20), || listed.try_wait().unwrap())
            .expect("the listed group was not killed");
        assert_eq!(status.signal(), Some(9));
        assert!(taken_off.try_wait().unwrap().is_none(), "a group off the list was killed");
        taken_off.kill().unwrap();
        taken_off.wait().unwrap();
    }
}
