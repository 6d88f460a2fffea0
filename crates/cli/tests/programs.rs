//! What the programs print and how they exit, for command lines that need no network beyond loopback.

#![expect(clippy::unwrap_used, reason = "all of it is a test")]

mod operator;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A working directory of its own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("culvert-programs-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn run(&self, program: &str, arguments: &str) -> (i32, String, String) {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).current_dir(&self.0).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn psiphond(&self, arguments: &str) -> (i32, String, String) {
        self.run(env!("CARGO_BIN_EXE_psiphond"), arguments)
    }

    fn culvert(&self, arguments: &str) -> (i32, String, String) {
        self.run(env!("CARGO_BIN_EXE_culvert"), arguments)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn generate_dials_what_it_made_and_check_and_entry_understand_it() {
    let folder = Folder::new("generate");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let generate = format!("-ipaddress 127.0.0.1 -protocol OSSH:{port} generate");
    let (code, out, err) = folder.psiphond(&generate);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "", "psiphond: self-check passed: a client connected over OSSH\n")
    );
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 5);

    let (code, out, _) = folder.culvert("check psiphond.config server-entry.dat psiphond-osl.config");
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "psiphond.config: server configuration, no problems\nserver-entry.dat: server entries, no problems\n\
             psiphond-osl.config: server list configuration, no problems\n"
        )
    );
    let (code, shown, _) = folder.culvert("entry show server-entry.dat");
    assert!(code == 0 && shown.contains(&format!("protocols  OSSH on port {port}\n")), "{shown}");
    assert!(shown.contains("  sshPassword") && shown.contains("[hidden, 64 characters]"), "{shown}");
    let line = fs::read_to_string(folder.0.join("server-entry.dat")).unwrap();
    assert_eq!(folder.culvert(&format!("entry show {line}")).1, shown);

    // The port is in use: the files are made all the same, and the reason is given.
    let _held = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (code, out, err) = folder.psiphond(&generate);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.starts_with("psiphond: self-check skipped: cannot listen for OSSH on "), "{err}");
}

#[test]
fn check_has_an_exit_code_for_each_kind_of_mistake() {
    let folder = Folder::new("check");
    fs::write(folder.0.join("good"), "{\"PropagationChannelId\": \"1\", \"SponsorId\": \"2\"}").unwrap();
    fs::write(folder.0.join("bad"), "{\"PropagationChannelId\": \"1\",\n \"SponsrId\": \"2\"}").unwrap();
    fs::write(folder.0.join("entry"), "3020").unwrap();
    for (files, code, words) in [
        ("good", 0, "good: client configuration, no problems\n"),
        ("good bad", 78, "bad:2:2: SponsrId: unknown key (did you mean SponsorId?)\n"),
        ("entry", 65, "entry:1:1: not a server entry: it has 1 of the 4 spaces that come before its JSON\n"),
        ("entry bad good", 78, "good: client configuration, no problems\n"),
        ("missing good", 65, "missing: cannot be read: "),
        ("--kind tactics good", 78, "good:1:2: PropagationChannelId: unknown setting\n"),
    ] {
        let (exit, out, err) = folder.culvert(&format!("check {files}"));
        assert!(exit == code && out.contains(words) && err.is_empty(), "{files}: {exit}\n{out}{err}");
    }
}

#[test]
fn help_goes_to_those_who_ask_and_advice_to_those_who_err() {
    let folder = Folder::new("help");
    for asked in ["help", "--help", "-h"] {
        let (code, out, err) = folder.culvert(asked);
        assert!(code == 0 && out.contains("\n  quickstart  ") && err.is_empty(), "{asked}: {out}{err}");
    }
    assert_eq!(folder.culvert("help check").1, folder.culvert("check --help").1);
    assert_eq!(folder.culvert("version").1, folder.culvert("--version").1);
    let (code, out, err) = folder.culvert("quickstrat");
    let expected = "culvert: unknown verb \"quickstrat\" (did you mean quickstart?): use one of quickstart, check, \
                    entry, servers, plans, replay, parameters, schema, version, help\nculvert: try culvert help\n";
    assert_eq!((code, out.as_str(), err.as_str()), (64, "", expected));
    for program in [env!("CARGO_BIN_EXE_psiphond"), env!("CARGO_BIN_EXE_ConsoleClient")] {
        let (code, out, err) = folder.run(program, "-help");
        assert!(code == 0 && out.is_empty() && err.contains("\nExit status: "), "{err}");
    }
}
