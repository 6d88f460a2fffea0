//! What somebody who runs a server meets: mistakes with an exit code and the command that helps, files that nobody else can read, and
//! commands to the running server.

mod watched;

mod canary;

use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Folder;

/// More than anything here takes.
const SOON: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65534;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder with a generated configuration, which `edit` has changed.
fn generated(name: &str, protocol: &str, edit: impl FnOnce(&mut Value)) -> (Folder, u16) {
    let folder = Folder::new(name);
    let port = free_port();
    // With an address that it does not have, nothing is tried out, which takes long.
    let (code, _, err) = folder.psiphond(&format!(
        "-ipaddress 192.0.2.1 -protocol {protocol}:{port} -logFilename psiphond.log generate"
    ));
    assert_eq!(code, 0, "{err}");
    let file = folder.0.join("psiphond.config");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["ServerIPAddress"] = json!("127.0.0.1");
    edit(&mut config);
    fs::write(&file, config.to_string()).unwrap();
    (folder, port)
}

/// A server that runs until it is told to stop, or the test fails.
struct Running<'f> {
    folder: &'f Folder,
    child: Child,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'f> Running<'f> {
    fn start(folder: &'f Folder, umask: &str) -> Self {
        Self::start_in(folder, umask, &[])
    }

    /// With additions to its environment.
    fn start_in(folder: &'f Folder, umask: &str, environment: &[(&str, &str)]) -> Self {
        let running = Self::spawn(folder, umask, environment);
        running.wait_for("\"running\"");
        running
    }

    /// Without waiting for it: its log tells nothing.
    fn spawn(folder: &'f Folder, umask: &str, environment: &[(&str, &str)]) -> Self {
        let script = format!("umask {umask}; exec {} run", env!("CARGO_BIN_EXE_psiphond"));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(&folder.0).stdin(Stdio::null());
        command.envs(environment.iter().copied());
        Self { folder, child: command.spawn().unwrap() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("psiphond.log")).unwrap_or_default()
    }

    fn wait_for(&self, words: &str) {
        let began = Instant::now();
        while !self.log().contains(words) {
            assert!(began.elapsed() < SOON, "{words} is not in the log: {}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Its exit code, once it has ended.
    fn end(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(began.elapsed() < SOON, "it does not end");
            sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_running_server_is_asked_reloaded_and_stopped() {
    let (folder, port) = generated("asked", "OSSH", |config| config["Unknwon"] = json!(1));
    let mut server = Running::start(&folder, "000");
    let (code, out, err) = folder.psiphond("status");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("tunnels      0 up, new ones are accepted\n"), "{out}");
    assert!(out.contains(&format!("listens for  OSSH on 127.0.0.1:{port}\n")), "{out}");

    let rules = folder.0.join("psiphond-traffic-rules.config");
    let text = fs::read_to_string(&rules).unwrap();
    let (code, out, _) = folder.psiphond("reload");
    assert!(code == 0 && out.contains("traffic rules: as before"), "{code}: {out}");
    let idle = |time: i32| format!("\"IdleTCPPortForwardTimeoutMilliseconds\": {time}");
    let changed = text.replace(&idle(30_000), &idle(30_001));
    assert_ne!(changed, text);
    fs::write(&rules, &changed).unwrap();
    let (code, out, _) = folder.psiphond("reload");
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("traffic rules: changed, 1 row "), "{out}");
    let said = "\n  DefaultRules.IdleTCPPortForwardTimeoutMilliseconds: 30000 is now 30001\n";
    assert!(out.contains(said), "{out}");

    fs::write(&rules, changed.replace(&idle(30_001), &idle(-1))).unwrap();
    let (code, out, err) = folder.psiphond("reload");
    assert_eq!((code, out.as_str()), (78, ""), "{err}");
    assert!(err.contains("psiphond-traffic-rules.config:") && err.contains("-1 is out of range"), "{err}");
    assert!(err.contains("nothing was changed"), "{err}");
    let (_, out, _) = folder.psiphond("-json status");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert!(status["last_reload"].as_str().unwrap().starts_with("failed, nothing was changed: "), "{out}");

    fs::write(&rules, &text).unwrap();
    let file = folder.0.join("psiphond.config");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["SSHPassword"] = json!("another");
    fs::write(&file, config.to_string()).unwrap();
    let reloads = |log: &str| log.matches("\"reload success\"").count();
    let before = reloads(&server.log());
    server.signal("HUP");
    server.wait_for("changed settings need a restart");
    assert!(server.log().contains("\"settings\":\"SSHPassword\""));
    assert!(reloads(&server.log()) > before);

    fs::rename(folder.0.join("psiphond.log"), folder.0.join("old")).unwrap();
    server.signal("USR1");
    server.wait_for("\"reload success\"");
    assert_eq!(folder.psiphond("pause").0, 0);
    assert!(folder.psiphond("status").1.contains("new ones are turned away"));
    assert_eq!(folder.psiphond("resume").0, 0);
    let (code, out, err) = folder.psiphond("stop");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "stopped\n", ""));
    assert_eq!(server.end(), 0);
    let (code, _, err) = folder.psiphond("status");
    assert!(code == 69 && err.contains("no server answers at psiphond-state/control"), "{code}: {err}");
}

#[test]
fn nobody_else_can_read_what_it_writes_whatever_the_umask() {
    for umask in ["000", "077"] {
        let (folder, _) = generated(&format!("umask-{umask}"), "OSSH", |_| {});
        let mut server = Running::start(&folder, umask);
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
        let state = folder.0.join("psiphond-state");
        assert_eq!(mode(&state), 0o700);
        let mut files: Vec<PathBuf> =
            fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "{files:?}");
        files.push(folder.0.join("psiphond.log"));
        for file in &files {
            assert_eq!(mode(file), 0o600, "{} under umask {umask}", file.display());
        }
        server.signal("TERM");
        assert_eq!(server.end(), 0);
    }
}

#[test]
fn mistakes_have_an_exit_code_and_the_command_that_helps() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _busy = TcpListener::bind(("127.0.0.1", busy)).unwrap();
    let busy_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let busy_udp_port = busy_udp.local_addr().unwrap().port();
    let on = |port: u16| move |config: &mut Value| config["TunnelProtocolPorts"] = json!({"OSSH": port});
    let fails = |name: &str, protocol: &str, edit: &dyn Fn(&mut Value), code: i32, words: &str| {
        let (folder, _) = generated(name, protocol, edit);
        fs::write(folder.0.join("file"), "").unwrap();
        let (exit, _, err) = folder.psiphond("run");
        assert!(exit == code && err.contains(words), "{name}: {exit}\n{err}");
    };
    fails("busy", "OSSH", &on(busy), 69, &format!("ss -ltnp 'sport = :{busy}'"));
    let udp = |config: &mut Value| config["TunnelProtocolPorts"] = json!({"QUIC-OSSH": busy_udp_port});
    fails("busy-udp", "QUIC-OSSH", &udp, 69, &format!("ss -lunp 'sport = :{busy_udp_port}'"));
    fails(
        "state",
        "OSSH",
        &|config| config["StateDirectory"] = json!("file/state"),
        73,
        "something else has that name: name a folder with StateDirectory",
    );
    fails("log", "OSSH", &|config| config["LogFilename"] = json!("none/log"), 73, "mkdir -p none");
    fails(
        "control",
        "OSSH",
        &|config| config["ControlSocket"] = json!("file"),
        73,
        "set ControlSocket to another path",
    );
    let misspelt = |config: &mut Value| config["TunnelProtocolPorts"] = json!({"OSH": 1});
    fails("protocol", "OSSH", &misspelt, 78, "\"OSH\" is not a tunnel protocol (did you mean SSH?)");

    fails(
        "rules-missing",
        "OSSH",
        &|config| config["TrafficRulesFilename"] = json!("none.config"),
        78,
        ": TrafficRulesFilename: none.config cannot be read: No such file",
    );
    let port_as_text = |config: &mut Value| config["TunnelProtocolPorts"] = json!({"OSSH": "9999"});
    fails(
        "port",
        "OSSH",
        &port_as_text,
        78,
        "TunnelProtocolPorts.OSSH: must be a whole number, not a string",
    );

    let (folder, _) = generated("readable", "OSSH", |_| {});
    for mode in [0o640, 0o644] {
        fs::set_permissions(folder.0.join("psiphond.config"), Permissions::from_mode(mode)).unwrap();
        let (exit, _, err) = folder.psiphond("run");
        assert!(exit == 78 && err.contains("run chmod 600 psiphond.config"), "{exit}\n{err}");
    }
    fs::write(folder.0.join("psiphond.config"), "{\n \"ServerIPAddress\": 1,}").unwrap();
    let (exit, _, err) = folder.psiphond("run");
    assert!(exit == 78 && err.contains("psiphond.config:2:23: is not valid JSON"), "{exit}\n{err}");
    assert!(err.contains("nothing was started: mend what is named"), "{err}");
    fs::remove_file(folder.0.join("psiphond.config")).unwrap();
    let (exit, _, err) = folder.psiphond("run");
    assert!(exit == 78 && err.contains("name it with -config FILE, or make one with"), "{exit}\n{err}");
}

/// Runs the server as nobody; the reason why that cannot be had here is an error.
fn run_as_nobody(folder: &Folder) -> Result<(i32, String), String> {
    let program = folder.0.join("psiphond");
    fs::copy(env!("CARGO_BIN_EXE_psiphond"), &program).map_err(|error| error.to_string())?;
    for path in [&folder.0, &program, &folder.0.join("psiphond.config")] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
    }
    for data in ["psiphond-traffic-rules.config", "psiphond-osl.config", "psiphond-tactics.config"] {
        let path = folder.0.join(data);
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
    }
    let mut command = Command::new(&program);
    command.arg("run").current_dir(&folder.0).stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    let output = command.output().map_err(|error| format!("cannot run as nobody: {error}"))?;
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code().unwrap_or(-1), err))
}

#[test]
fn what_needs_rights_says_which() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("not tried: only root can run a program as another user");
        return;
    }
    let free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let low_ports_are_free = free.trim() == "0";
    for (name, code, words) in [
        ("low-port", 77, "setcap cap_net_bind_service=+ep "),
        ("no-state", 73, "install -d -o 65534 -m 0700 /nobody-may/state"),
        ("no-log", 73, "name a file in a folder of this user's"),
    ] {
        if name == "low-port" && low_ports_are_free {
            println!("not tried: anyone may bind any port here");
            continue;
        }
        let (folder, _) = generated(name, "OSSH", |config| match name {
            "low-port" => config["TunnelProtocolPorts"] = json!({"OSSH": 987}),
            "no-state" => config["StateDirectory"] = json!("/nobody-may/state"),
            _ => config["LogFilename"] = json!("/psiphond-test.log"),
        });
        match run_as_nobody(&folder) {
            Ok((exit, err)) => assert!(exit == code && err.contains(words), "{name}: {exit}\n{err}"),
            Err(reason) => println!("not tried: {reason}"),
        }
    }
}

#[test]
fn no_core_is_written_and_nobody_looks_into_its_memory() {
    let (folder, _) = generated("core", "OSSH", |_| {});
    let server = Running::start(&folder, "022");
    let of_server = |name: &str| PathBuf::from(format!("/proc/{}/{name}", server.child.id()));
    let limits = fs::read_to_string(of_server("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // What may not be dumped belongs to root, whoever runs it.
    assert_eq!(fs::metadata(of_server("mem")).unwrap().uid(), 0);
}
