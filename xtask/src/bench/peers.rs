//! Where the programs are: ours, built here; the peers, looked for and never fetched.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Outcome;
use crate::tree;

/// The folder with the peers' programs, searched before PATH.
const PEERS: &str = "CULVERT_PEERS_DIR";
/// The folder with programs of ours that are built already; without it they are built.
const OURS: &str = "CULVERT_PROGRAMS_DIR";
/// The folder with the reference's programs.
const REFERENCE: &str = "CULVERT_REFERENCE_DIR";

/// Two programs of one make.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The client.
    pub(crate) client: PathBuf,
    /// The server.
    pub(crate) server: PathBuf,
}

/// How ours are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For what does not depend on speed.
    Dev,
    /// For speed.
    Release,
}

/// Everything that there is to run.
pub(crate) struct Peers {
    /// Ours.
    pub(crate) ours: Pair,
    /// Ours, for many tunnels from one program.
    pub(crate) many: PathBuf,
    /// The reference's.
    pub(crate) reference: Option<Pair>,
    /// `sslocal` and `ssserver`.
    pub(crate) shadowsocks: Option<Pair>,
    /// `ssh` and `sshd`.
    pub(crate) openssh: Option<Pair>,
    /// What each says of its version.
    pub(crate) versions: Vec<(&'static str, String)>,
}

impl Peers {
    /// Builds ours and looks for the others.
    pub(crate) fn find(profile: Profile) -> Outcome<Self> {
        let built = build(profile)?;
        let pair =
            |client: &str, server: &str| Some(Pair { client: search(client)?, server: search(server)? });
        let reference = env::var_os(REFERENCE)
            .map(PathBuf::from)
            .map(|folder| Pair { client: folder.join("ConsoleClient"), server: folder.join("psiphond") });
        let mut peers = Self {
            ours: Pair { client: built.join("ConsoleClient"), server: built.join("psiphond") },
            many: built.join("culvert-bench"),
            reference: reference.filter(|pair| pair.client.is_file() && pair.server.is_file()),
            shadowsocks: pair("sslocal", "ssserver"),
            openssh: pair("ssh", "sshd"),
            versions: Vec::new(),
        };
        peers.versions = peers.ask_versions();
        Ok(peers)
    }

    fn ask_versions(&self) -> Vec<(&'static str, String)> {
        let mut versions = vec![("ours", describe())];
        let absent = || "absent".to_owned();
        let asked = |pair: &Option<Pair>, flag: &str| {
            pair.as_ref().map_or_else(absent, |pair| first_line(Command::new(&pair.client).arg(flag)))
        };
        versions.push(("shadowsocks-rust", asked(&self.shadowsocks, "--version")));
        versions.push(("OpenSSH", asked(&self.openssh, "-V")));
        let reference = self.reference.as_ref().map_or_else(absent, reference_version);
        versions.push(("reference", reference));
        versions
    }
}

fn reference_version(pair: &Pair) -> String {
    let output = Command::new(&pair.client).arg("-v").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let revision = text.lines().find(|line| line.contains("Revision") && !line.ends_with(": "));
    revision.map_or_else(|| "present, says no version".to_owned(), |line| line.trim().to_owned())
}

/// Builds the programs, unless they are given; the folder they are in.
fn build(profile: Profile) -> Outcome<PathBuf> {
    if let Some(given) = env::var_os(OURS) {
        return Ok(PathBuf::from(given).canonicalize()?);
    }
    let (name, folder) = match profile {
        Profile::Dev => ("dev", "debug"),
        Profile::Release => ("release", "release"),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = tree::root();
    let status = Command::new(&cargo)
        .args(["build", "--profile", name, "--quiet", "-p", "culvert-cli", "-p", "culvert-bench"])
        .current_dir(&root)
        .status()?;
    if !status.success() {
        return Err("the programs do not build".into());
    }
    let output = Command::new(&cargo)
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(&root)
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(folder))
}

fn search(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let first = env::var_os(PEERS).map(PathBuf::from);
    let places = first.into_iter().chain(env::split_paths(&path)).chain([PathBuf::from("/usr/sbin")]);
    // sshd insists on being started by its whole path.
    places.map(|folder| folder.join(name)).find(|file| file.is_file())?.canonicalize().ok()
}

/// Which state of the repository this is.
pub(crate) fn describe() -> String {
    first_line(
        Command::new("git").args(["describe", "--always", "--dirty", "--tags"]).current_dir(tree::root()),
    )
}

/// The first line that a program prints, on either output.
fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "does not run".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("says nothing").trim().to_owned()
}
