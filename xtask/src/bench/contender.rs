//! The contenders, all of one shape: a client program that takes flows, a server program that lets them out.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::folder::{Folder, free_port};
use super::load::Front;
use super::peers::{Pair, Peers};
use super::program::Program;
use super::psiphon::{self, Connected, Dial, Generated, Protocol};
use super::{Outcome, START, sys};

/// Whose client talks to whose server, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// Ours with ours, OSSH.
    Ours,
    /// Our client with the reference's server.
    OursToReference,
    /// The reference's client with our server.
    ReferenceToOurs,
    /// The reference's with its own.
    Reference,
    /// shadowsocks-rust, aes-128-gcm.
    Shadowsocks,
    /// shadowsocks-rust, 2022-blake3-aes-128-gcm.
    Shadowsocks2022,
    /// OpenSSH's dynamic forward, aes128-gcm.
    OpenSsh,
    /// No cryptography at all.
    Splice,
}

/// The two of them with shadowsocks' method and a key that fits it.
const GCM: (&str, &str) = ("aes-128-gcm", "of no importance");
const GCM_2022: (&str, &str) = ("2022-blake3-aes-128-gcm", "AAECAwQFBgcICQoLDA0ODw==");

impl Contender {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursToReference => "our client, reference's server",
            Self::ReferenceToOurs => "reference's client, our server",
            Self::Reference => "reference",
            Self::Shadowsocks => "ss aes-128-gcm",
            Self::Shadowsocks2022 => "ss 2022-blake3-aes-128-gcm",
            Self::OpenSsh => "OpenSSH aes128-gcm",
            Self::Splice => "splice relay",
        }
    }

    /// Whether its programs are here.
    pub(crate) fn is_there(self, peers: &Peers) -> bool {
        match self {
            Self::Ours | Self::Splice => true,
            Self::OursToReference | Self::ReferenceToOurs | Self::Reference => peers.reference.is_some(),
            Self::Shadowsocks | Self::Shadowsocks2022 => peers.shadowsocks.is_some(),
            Self::OpenSsh => peers.openssh.is_some(),
        }
    }

    /// Whether it reaches so little that it is measured with a quarter of the bytes.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::OursToReference | Self::ReferenceToOurs | Self::Reference)
    }
}

/// A contender's server.
pub(crate) struct Server {
    /// Which contender's.
    pub(crate) contender: Contender,
    /// Running.
    pub(crate) kind: Kind,
    folder: Option<Folder>,
}

/// What is needed of a server to reach it.
pub(crate) enum Kind {
    /// By its entry.
    Psiphon(Box<Generated>),
    /// By its address.
    Plain(Program, SocketAddr),
}

/// A contender's client, its way to the server open.
pub(crate) struct Client {
    /// Running.
    pub(crate) program: Program,
    /// Takes flows.
    pub(crate) front: Front,
    /// What a tunnel's own client told of it.
    pub(crate) cipher: Option<String>,
    /// When the tunnel was usable, where that is told.
    pub(crate) since: Option<std::time::SystemTime>,
    _folder: Option<Folder>,
}

impl Server {
    /// Starts one that is a tunnel's server.
    pub(crate) fn tunnel(contender: Contender, peers: &Peers, protocol: Protocol) -> Outcome<Self> {
        let program = match contender {
            Contender::Ours | Contender::ReferenceToOurs => &peers.ours.server,
            _ => &there(&peers.reference)?.server,
        };
        let kind = Kind::Psiphon(Box::new(Generated::start(program, protocol)?));
        Ok(Self { contender, kind, folder: None })
    }

    /// Starts it. The splice relay's lets out to `origin` only.
    pub(crate) fn start(contender: Contender, peers: &Peers, origin: SocketAddr) -> Outcome<Self> {
        let plain =
            |program, address| Ok(Self { contender, kind: Kind::Plain(program, address), folder: None });
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        match contender {
            Contender::Ours
            | Contender::ReferenceToOurs
            | Contender::Reference
            | Contender::OursToReference => Self::tunnel(contender, peers, psiphon::OSSH),
            Contender::Shadowsocks | Contender::Shadowsocks2022 => {
                let mut command = Command::new(&there(&peers.shadowsocks)?.server);
                let (method, key) = method(contender);
                command.args(["-s", &address.to_string(), "-m", method, "-k", key]);
                let program = Program::start("ssserver", &mut command)?;
                wait_listening(address)?;
                plain(program, address)
            }
            Contender::OpenSsh => {
                let folder = Folder::new()?;
                let program = start_sshd(&there(&peers.openssh)?.server, address, folder.path())?;
                Ok(Self { contender, kind: Kind::Plain(program, address), folder: Some(folder) })
            }
            Contender::Splice => {
                let (program, address) = forwarder("bench-relay", origin, None)?;
                plain(program, address)
            }
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.kind {
            Kind::Psiphon(generated) => generated.address,
            Kind::Plain(_, address) => *address,
        }
    }

    /// Where it is one of a tunnel.
    pub(crate) fn generated(&self) -> Outcome<&Generated> {
        match &self.kind {
            Kind::Psiphon(generated) => Ok(generated),
            Kind::Plain(..) => Err("not a tunnel server".into()),
        }
    }

    /// The same, to restart it.
    pub(crate) fn generated_mut(&mut self) -> Outcome<&mut Generated> {
        match &mut self.kind {
            Kind::Psiphon(generated) => Ok(generated),
            Kind::Plain(..) => Err("not a tunnel server".into()),
        }
    }

    /// Its process.
    pub(crate) fn program(&self) -> &Program {
        match &self.kind {
            Kind::Psiphon(generated) => &generated.program,
            Kind::Plain(program, _) => program,
        }
    }

    /// Starts a client that reaches the server at `at`, which may be a relay's address.
    pub(crate) fn client(&self, peers: &Peers, at: SocketAddr) -> Outcome<Client> {
        self.client_that(Dial::AsUsual, peers, at)
    }

    /// The same, dialing in a certain way where it is a tunnel's.
    pub(crate) fn client_that(&self, dial: Dial, peers: &Peers, at: SocketAddr) -> Outcome<Client> {
        match &self.kind {
            Kind::Psiphon(generated) => {
                let program = match self.contender {
                    Contender::Reference | Contender::ReferenceToOurs => &there(&peers.reference)?.client,
                    _ => &peers.ours.client,
                };
                Ok(psiphon::connect(program, &generated.entry(at), generated.protocol, dial)?.into())
            }
            Kind::Plain(..) => self.plain_client(peers, at),
        }
    }

    fn plain_client(&self, peers: &Peers, at: SocketAddr) -> Outcome<Client> {
        let local = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = match self.contender {
            Contender::Splice => {
                let (program, address) = forwarder("bench-relay", at, None)?;
                return Ok(Client::plain(program, Front::Direct(address)));
            }
            Contender::OpenSsh => {
                let folder = self.folder.as_ref().ok_or("sshd has no folder")?;
                ssh_command(&there(&peers.openssh)?.client, folder.path(), at, local)
            }
            _ => {
                let (method, key) = method(self.contender);
                let mut command = Command::new(&there(&peers.shadowsocks)?.client);
                command.args(["-b", &local.to_string(), "-s", &at.to_string(), "-m", method, "-k", key]);
                command
            }
        };
        let program = Program::start("client", &mut command)?;
        wait_listening(local)?;
        Ok(Client::plain(program, Front::Socks(local)))
    }
}

impl Client {
    fn plain(program: Program, front: Front) -> Self {
        Self { program, front, cipher: None, since: None, _folder: None }
    }
}

impl From<Connected> for Client {
    fn from(connected: Connected) -> Self {
        Self {
            front: Front::Socks(connected.socks),
            cipher: connected.cipher,
            since: Some(connected.since),
            program: connected.program,
            _folder: Some(connected.folder),
        }
    }
}

/// Starts one of this program's own forwarders; where it listens.
pub(crate) fn forwarder(
    verb: &str,
    to: SocketAddr,
    round_trip: Option<Duration>,
) -> Outcome<(Program, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([verb, "127.0.0.1:0", &to.to_string()]);
    command.args(round_trip.map(|time| time.as_millis().to_string()));
    let mut program = Program::start(verb, &mut command)?;
    let (_, address) =
        program.wait_line("address", START, |line| line.strip_prefix("listening ")?.parse().ok())?;
    Ok((program, address))
}

/// Waits until something listens there.
pub(crate) fn wait_listening(address: SocketAddr) -> Outcome<()> {
    let deadline = sys::now() + START;
    while TcpStream::connect(address).is_err() {
        if sys::now() > deadline {
            return Err(format!("nothing listens on port {}", address.port()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn there(pair: &Option<Pair>) -> Outcome<&Pair> {
    pair.as_ref().ok_or_else(|| "absent".into())
}

fn method(contender: Contender) -> (&'static str, &'static str) {
    if contender == Contender::Shadowsocks2022 { GCM_2022 } else { GCM }
}

fn start_sshd(sshd: &Path, address: SocketAddr, folder: &Path) -> Outcome<Program> {
    for name in ["host", "user"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(name));
        Program::start("ssh-keygen", &mut keygen)?.wait_success(START)?;
    }
    // sshd wants this folder when it is root; a service's start script makes it.
    let _ = fs::create_dir_all("/run/sshd");
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPasswordAuthentication no\nCiphers aes128-gcm@openssh.com\nLogLevel ERROR\n",
        path("host"),
        path("user.pub"),
    );
    fs::write(folder.join("sshd.config"), config)?;
    let mut command = Command::new(sshd);
    let program = Program::start("sshd", command.args(["-D", "-e", "-f"]).arg(folder.join("sshd.config")))?;
    wait_listening(address)?;
    Ok(program)
}

fn ssh_command(ssh: &Path, folder: &Path, at: SocketAddr, local: SocketAddr) -> Command {
    let mut command = Command::new(ssh);
    command.args(["-N", "-D", &local.to_string(), "-p", &at.port().to_string(), "-F", "none", "-i"]);
    command.arg(folder.join("user"));
    for option in [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "ExitOnForwardFailure=yes",
        "Ciphers=aes128-gcm@openssh.com",
        "LogLevel=ERROR",
    ] {
        command.args(["-o", option]);
    }
    command.arg(at.ip().to_string());
    command
}
