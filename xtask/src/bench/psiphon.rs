//! Servers and clients that speak the tunnel's own protocol, ours and the reference's alike: made the way a user makes them, by
//! `generate`, a few settings, `run`, and a client config.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::folder::{Folder, free_port};
use super::program::Program;
use super::{Outcome, START, sys};

/// A tunnel protocol, and the member of server entries that has its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    /// On the wire.
    pub(crate) name: &'static str,
    /// In entries.
    pub(crate) port: &'static str,
    /// Whether it is over UDP.
    pub(crate) datagrams: bool,
}

/// What is measured unless something else is said.
pub(crate) const OSSH: Protocol = Protocol { name: "OSSH", port: "sshObfuscatedPort", datagrams: false };

/// A generated server of one protocol.
pub(crate) struct Generated {
    /// Running.
    pub(crate) program: Program,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// For what.
    pub(crate) protocol: Protocol,
    /// The fields of its entry.
    entry: Map<String, Value>,
    /// What is behind the entry's address without a relay.
    folder: Folder,
    path: PathBuf,
}

/// How a server is made, where that is not as usual.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Members of its config.
    pub(crate) config: Value,
    /// Members of the rules for everybody.
    pub(crate) rules: Value,
    /// A shell's script that prepares its surroundings and ends with `exec "$@"`; run in its folder.
    pub(crate) surroundings: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self { config: json!({}), rules: json!({}), surroundings: String::new() }
    }
}

impl Generated {
    /// Generates and starts one.
    pub(crate) fn start(program: &Path, protocol: Protocol) -> Outcome<Self> {
        Self::start_in(program, protocol, &Setup::default())
    }

    /// The same with a setup.
    pub(crate) fn start_in(program: &Path, protocol: Protocol, setup: &Setup) -> Outcome<Self> {
        let folder = Folder::new()?;
        let port = free_port();
        let mut generate = Command::new(program);
        generate.current_dir(folder.path());
        generate.args([
            "-ipaddress",
            "127.0.0.1",
            "-protocol",
            &format!("{}:{port}", protocol.name),
            "generate",
        ]);
        Program::start("psiphond generate", &mut generate)?.wait_success(START)?;
        let config = folder.path().join("psiphond.config");
        merge(&config, "", json!({ "AllowBogons": true }))?;
        merge(&config, "", setup.config.clone())?;
        let usual = json!({
            "MaxTCPPortForwardCount": 2000,
            "MaxTCPDialingPortForwardCount": 0,
            "IdleTCPPortForwardTimeoutMilliseconds": 300_000,
        });
        let rules = folder.path().join("psiphond-traffic-rules.config");
        merge(&rules, "/DefaultRules", usual)?;
        merge(&rules, "/DefaultRules", setup.rules.clone())?;
        let entry = decode(&fs::read_to_string(folder.path().join("server-entry.dat"))?)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let running = run(program, folder.path(), &setup.surroundings)?;
        let server = Self { program: running, address, protocol, entry, folder, path: program.to_owned() };
        server.wait_bound()?;
        Ok(server)
    }

    /// Kills it and starts it again, with all its files.
    pub(crate) fn restart(&mut self, surroundings: &str) -> Outcome<()> {
        self.program.signal(libc::SIGKILL);
        self.program.wait_code(START)?;
        self.program = run(&self.path, self.folder.path(), surroundings)?;
        self.wait_bound()
    }

    /// Writes its rules anew, with these for certain clients. It has to be told.
    pub(crate) fn write_filtered_rules(&self, filtered: Value) -> Outcome<()> {
        merge(
            &self.folder.path().join("psiphond-traffic-rules.config"),
            "",
            json!({ "FilteredRules": filtered }),
        )
    }

    fn wait_bound(&self) -> Outcome<()> {
        match self.protocol.datagrams {
            true => wait_bound(self.address),
            false => super::contender::wait_listening(self.address),
        }
    }

    /// Its entry as clients take it, with `at` as the place to dial.
    pub(crate) fn entry(&self, at: SocketAddr) -> String {
        let mut entry = self.entry.clone();
        entry.insert(self.protocol.port.into(), at.port().into());
        encode(NOWHERE, &entry)
    }
}

fn run(program: &Path, folder: &Path, surroundings: &str) -> Outcome<Program> {
    let mut command = match surroundings {
        "" => Command::new(program),
        surroundings => {
            let mut shell = Command::new("sh");
            shell.args(["-c", surroundings, "sh"]).arg(program);
            shell
        }
    };
    Program::start("psiphond run", command.current_dir(folder).arg("run"))
}

impl Generated {
    /// Its entry as one of many, with another address and port.
    pub(crate) fn entry_elsewhere(&self, at: SocketAddr) -> String {
        let mut entry = self.entry.clone();
        // It would be the same for all of them.
        entry.remove("tag");
        entry.insert("ipAddress".into(), at.ip().to_string().into());
        entry.insert(self.protocol.port.into(), at.port().into());
        encode(&at.ip().to_string(), &entry)
    }
}

/// The server of nobody.
const NOWHERE: &str = "0";

fn encode(address: &str, entry: &Map<String, Value>) -> String {
    let text = format!("{address} 0 0 0 {}", Value::Object(entry.clone()));
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A client with its tunnel up.
pub(crate) struct Connected {
    /// Running.
    pub(crate) program: Program,
    /// Its SOCKS proxy.
    pub(crate) socks: SocketAddr,
    /// When it said that the tunnel is usable.
    pub(crate) since: SystemTime,
    /// The cipher, where it tells.
    pub(crate) cipher: Option<String>,
    /// Where its files are.
    pub(crate) folder: Folder,
}

/// Waits until somebody has the UDP port.
fn wait_bound(address: SocketAddr) -> Outcome<()> {
    let deadline = sys::now() + START;
    while UdpSocket::bind(address).is_ok() {
        if sys::now() > deadline {
            return Err(format!("nobody has the UDP port {}", address.port()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// How a client dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// As it does for its users.
    AsUsual,
    /// With whatever cipher is drawn, and no prefix, so that the draw can be read on the way.
    AnyCipher,
    /// With a member of its config set to a list of one text.
    Only(&'static str, &'static str),
}

/// Starts a client and waits for its tunnel.
pub(crate) fn connect(program: &Path, entry: &str, protocol: Protocol, dial: Dial) -> Outcome<Connected> {
    let folder = Folder::new()?;
    let mut config = json!({
        "PropagationChannelId": "FFFFFFFFFFFFFFFF",
        "SponsorId": "FFFFFFFFFFFFFFFF",
        "LocalSocksProxyPort": 0,
        "LocalHttpProxyPort": 0,
        "LimitTunnelProtocols": [protocol.name],
        "DisableRemoteServerListFetcher": true,
        "DisableReplay": true,
        "EmitDiagnosticNotices": true,
        "EmitDiagnosticNetworkParameters": true,
        "TargetServerEntry": entry,
        "DataRootDirectory": folder.path().to_string_lossy(),
    });
    match dial {
        Dial::AsUsual => {}
        Dial::AnyCipher => {
            config["OSSHPrefixProbability"] = 0.0.into();
            // Ours prefers AES-GCM otherwise; the reference ignores the key.
            config["SSHAnyCipher"] = true.into();
        }
        Dial::Only(key, value) => config[key] = json!([value]),
    }
    fs::write(folder.path().join("client.config"), config.to_string())?;
    let mut command = Command::new(program);
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut program =
        Program::start(&name, command.current_dir(folder.path()).args(["-config", "client.config"]))?;
    let port = |line: &str| u16::try_from(number(line, "ListeningSocksProxyPort", "port")?).ok();
    let (_, port) = program.wait_line("SOCKS port", START, port)?;
    let up = |line: &str| (number(line, "Tunnels", "count")? == 1).then_some(());
    let (since, ()) = program.wait_line("tunnel", START, up)?;
    let told = |line: &str| Some(notice(line, "ConnectedServer")?["SSHCipher"].as_str()?.to_owned());
    let cipher = program.wait_line("cipher", Duration::ZERO, told).ok().map(|(_, cipher)| cipher);
    Ok(Connected { program, socks: SocketAddr::from(([127, 0, 0, 1], port)), since, cipher, folder })
}

/// How many tunnels a client says that it has.
pub(crate) fn tunnels(line: &str) -> Option<u64> {
    number(line, "Tunnels", "count")
}

/// A client that chooses among the entries of its store, and how long after its start things were there.
pub(crate) struct Chosen {
    /// Running.
    pub(crate) program: Program,
    /// Its local proxies listened.
    pub(crate) proxies: Duration,
    /// Its tunnel was up.
    pub(crate) tunnel: Duration,
}

/// How long a client may look for a server that works.
const SEARCH: Duration = Duration::from_secs(90);

/// Starts a client with the store that the folder has, to which the entries of `list` are added, and waits for its tunnel.
pub(crate) fn choose(program: &Path, folder: &Path, list: Option<&Path>) -> Outcome<Chosen> {
    let config = json!({
        "PropagationChannelId": "FFFFFFFFFFFFFFFF",
        "SponsorId": "FFFFFFFFFFFFFFFF",
        "LocalSocksProxyPort": 0,
        "LocalHttpProxyPort": 0,
        "DisableRemoteServerListFetcher": true,
        "EmitDiagnosticNotices": true,
        "NetworkID": "WIFI-bench",
        "DataRootDirectory": folder.to_string_lossy(),
    });
    fs::write(folder.join("client.config"), config.to_string())?;
    let mut command = Command::new(program);
    command.current_dir(folder).args(["-config", "client.config"]);
    if let Some(list) = list {
        command.arg("-serverList").arg(list);
    }
    let start = SystemTime::now();
    let mut program = Program::start("client", &mut command)?;
    let port = |line: &str| number(line, "ListeningHttpProxyPort", "port");
    let (proxies, _) = program.wait_line("HTTP port", SEARCH, port)?;
    let tunnel = wait_tunnels(&mut program, 1, SEARCH)?;
    Ok(Chosen { program, proxies: proxies.duration_since(start)?, tunnel: tunnel.duration_since(start)? })
}

/// Waits until the client says anew that it has so many tunnels; when it said so.
pub(crate) fn wait_tunnels(program: &mut Program, count: u64, limit: Duration) -> Outcome<SystemTime> {
    let has = |line: &str| (number(line, "Tunnels", "count")? == count).then_some(());
    Ok(program.next_line("notice of tunnels", limit, has)?.0)
}

fn notice(line: &str, kind: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    (value["noticeType"] == kind).then(|| value["data"].take())
}

fn number(line: &str, kind: &str, field: &str) -> Option<u64> {
    notice(line, kind)?[field].as_u64()
}

fn decode(hex: &str) -> Outcome<Map<String, Value>> {
    let hex = hex.trim();
    let digits = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(digits).collect();
    let text = String::from_utf8(bytes.ok_or("the server entry is not hex")?)?;
    let start = text.find('{').ok_or("the server entry has no JSON")?;
    Ok(serde_json::from_str(text.get(start..).unwrap_or_default())?)
}

fn merge(file: &Path, pointer: &str, changes: Value) -> Outcome<()> {
    let mut whole: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let (Some(place), Value::Object(changes)) =
        (whole.pointer_mut(pointer).and_then(Value::as_object_mut), changes)
    else {
        return Err(format!("{} has no object at {pointer:?}", file.display()).into());
    };
    place.extend(changes);
    fs::write(file, serde_json::to_string_pretty(&whole)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_whatever_the_legacy_words() {
        let hex: String = "1 2 3 4 {\"tag\":\"x\"}".bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(decode(&format!("{hex}\n")).unwrap()["tag"], "x");
        assert!(decode("zz").is_err());
        assert!(decode("00").is_err());
    }

    #[test]
    fn only_the_notice_asked_for_is_read() {
        let line = r#"{"noticeType":"Tunnels","timestamp":"t","data":{"count":1}}"#;
        assert_eq!(number(line, "Tunnels", "count"), Some(1));
        assert_eq!(number(line, "Other", "count"), None);
        assert_eq!(number("text", "Tunnels", "count"), None);
    }
}
