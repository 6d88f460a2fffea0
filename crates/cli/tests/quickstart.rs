//! `culvert quickstart` as a person runs it: a small one from start to end, and one that is interrupted.

#![expect(clippy::unwrap_used, reason = "all of it is a test")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A folder for everything that the program makes.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("culvert-quickstart-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn run(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_culvert"));
        command.arg("quickstart").args(arguments.split_whitespace());
        command.env("TMPDIR", &self.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn moves_data_over_each_protocol_and_leaves_nothing() {
    let temporary = Temporary::new("each");
    let output = temporary.run("--megabytes 2 --protocol all").output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(err, "");
    assert!(!out.contains(['\r', '\x1b']), "{out:?}");
    // What needs a CDN cannot be shown on one machine.
    let shown: Vec<_> = culvert_client::SPOKEN.into_iter().filter(|it| it.is_direct()).collect();
    for part in [
        "upload 100 %  2.0 of 2.0 MB",
        "download 100 %  2.0 of 2.0 MB",
        "bytes came through the SOCKS5 proxy",
        "bytes came through the HTTP proxy",
    ] {
        assert_eq!(out.matches(part).count(), shown.len(), "{part} in {out}");
    }
    for protocol in &shown {
        assert!(out.contains(&format!("\n  protocol      {protocol}\n")), "{protocol} in {out}");
    }
    for known in ["  key exchange  ", "  cipher        "] {
        let values: Vec<_> = out.lines().filter_map(|line| line.strip_prefix(known)).collect();
        assert!(values.len() == shown.len() && values.iter().all(|value| value.contains('-')), "{values:?}");
    }
    let (_, table) = out.split_once("\n  protocol ").unwrap();
    let (_, table) = table.split_once("detectors\n").unwrap();
    for protocol in &shown {
        let row = table.lines().find(|row| row.split_whitespace().next() == Some(protocol.name())).unwrap();
        assert!(row.contains(" notice"), "{row}");
    }
    assert_eq!(temporary.names(), Vec::<String>::new());
}

#[test]
fn keeps_its_folder_on_request_and_check_is_content_with_it() {
    let temporary = Temporary::new("keep");
    let output = temporary.run("--megabytes 1 --keep").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = temporary.names();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    let folder = temporary.0.join(name);
    let files = ["psiphond.config", "client-OSSH.config", "server-entry.dat"].map(|file| folder.join(file));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains(&format!("psiphond -config {} run", files[0].display())), "{out}");
    let check = Command::new(env!("CARGO_BIN_EXE_culvert")).arg("check").args(&files).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn an_interruption_stops_everything_and_leaves_nothing() {
    let temporary = Temporary::new("interrupted");
    let mut program = temporary.run("--megabytes 100000").spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("MB through the SOCKS5 proxy")));
    assert_eq!(temporary.names().len(), 1);
    interrupt(&program);
    let mut said = String::new();
    program.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(130));
    assert_eq!(said, "culvert: interrupted: everything was stopped\n");
    assert_eq!(temporary.names(), Vec::<String>::new());
}

#[test]
fn a_failure_names_step_reason_and_remedy() {
    let temporary = Temporary::new("failure");
    let output = temporary.run("").env("TMPDIR", temporary.0.join("missing")).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.starts_with("culvert: the step \"folder\" failed: cannot make a folder below "), "{err}");
    assert!(err.contains("missing: No such file") && err.contains("what to do: set TMPDIR"), "{err}");
    assert_eq!(output.status.code(), Some(73));
}

/// As Ctrl-C does.
fn interrupt(program: &Child) {
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", program.id())]).status().unwrap();
    assert!(sent.success());
}
