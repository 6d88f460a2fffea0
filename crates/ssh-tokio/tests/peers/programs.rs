//! The programs and the library of others, and how a tunnel between one and ours is made.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{env, fs};

use culvert_ssh::Negotiated;
use culvert_ssh::kexinit::Direction;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::library;
use crate::ours::{self, Exchanges, PASSWORD};
use crate::relay::relay;
use crate::traffic::{self, Dial};
use crate::{Fault, Outcome};

/// Small enough that two-way traffic fills them at once.
const SOCKET_BUFFER: usize = 64 * 1024;
pub(crate) const KEYS_OFTEN: u64 = 64 * 1024;

/// The other program and what it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenSshClient,
    OpenSshServer,
    DropbearClient,
    DropbearServer,
    /// A library, not a program.
    RusshClient,
    RusshServer,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::OpenSshClient,
        Self::OpenSshServer,
        Self::DropbearClient,
        Self::DropbearServer,
        Self::RusshClient,
        Self::RusshServer,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenSshClient => "openssh_client",
            Self::OpenSshServer => "openssh_server",
            Self::DropbearClient => "dropbear_client",
            Self::DropbearServer => "dropbear_server",
            Self::RusshClient => "russh_client",
            Self::RusshServer => "russh_server",
        }
    }

    /// Streams at a time: dropbear has a table of a fixed size, and refuses or ends beyond it.
    pub(crate) fn streams(self) -> usize {
        match self {
            Self::OpenSshClient | Self::OpenSshServer | Self::RusshClient | Self::RusshServer => 512,
            Self::DropbearClient | Self::DropbearServer => 50,
        }
    }

    fn is_dropbear(self) -> bool {
        matches!(self, Self::DropbearClient | Self::DropbearServer)
    }
}

/// Who asks for new keys, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rekey {
    Never,
    /// Both, every 64 KiB, where the other program can be told.
    Often,
}

/// One choice of algorithms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite {
    pub(crate) kex: &'static str,
    pub(crate) cipher: &'static str,
    /// Empty with an authenticated cipher.
    pub(crate) mac: &'static str,
}

const KEX: [&str; 7] = [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
];
const ALONE: [&str; 3] =
    ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"];
const WITH_MAC: [&str; 3] = ["aes128-ctr", "aes192-ctr", "aes256-ctr"];
const MACS: [&str; 4] =
    ["hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"];

impl Suite {
    pub(crate) fn usual(kind: Kind) -> Self {
        let cipher =
            if kind.is_dropbear() { "chacha20-poly1305@openssh.com" } else { "aes128-gcm@openssh.com" };
        Self { kex: KEX[0], cipher, mac: "" }
    }

    /// What the program has and ours has. Dropbear's server cannot be told: our client chooses.
    pub(crate) fn of(kind: Kind) -> Vec<Self> {
        let usual = Self::usual(kind);
        let of_kex = KEX.into_iter().map(|kex| Self { kex, ..usual });
        let of_alone = ALONE.into_iter().map(|cipher| Self { cipher, ..usual });
        let of_macs =
            WITH_MAC.into_iter().flat_map(|cipher| MACS.map(|mac| Self { kex: KEX[0], cipher, mac }));
        match kind {
            Kind::OpenSshClient | Kind::OpenSshServer => of_kex.chain(of_alone).chain(of_macs).collect(),
            Kind::RusshClient | Kind::RusshServer => {
                let hybrid = Self { kex: "mlkem768x25519-sha256", ..usual };
                of_kex.chain([hybrid]).chain(of_alone).chain(of_macs).collect()
            }
            Kind::DropbearClient => [
                usual,
                Self { cipher: "aes128-ctr", mac: "hmac-sha2-256", ..usual },
                Self { cipher: "aes256-ctr", mac: "hmac-sha2-256", ..usual },
            ]
            .into(),
            Kind::DropbearServer => vec![usual],
        }
    }

    pub(crate) fn name(&self) -> String {
        [self.kex, self.cipher, self.mac].join("+").trim_end_matches('+').to_owned()
    }

    /// Is this what was agreed on?
    pub(crate) fn fits(&self, negotiated: &Negotiated) -> bool {
        let kex = if self.kex == "curve25519-sha256@libssh.org" { KEX[0] } else { self.kex };
        negotiated.kex.wire_name() == kex
            && [Direction::ClientToServer, Direction::ServerToClient].into_iter().all(|direction| {
                let suite = negotiated.suite(direction);
                suite.cipher.wire_name() == self.cipher
                    && suite.mac.map_or("", |mac| mac.wire_name()) == self.mac
            })
    }
}

/// Where the programs are.
pub(crate) struct Programs {
    compiler: bool,
}

impl Programs {
    pub(crate) fn find() -> Self {
        Self { compiler: find("cc").is_some() }
    }

    /// Why tests with a program cannot run here.
    pub(crate) fn missing(&self, kind: Kind) -> Option<String> {
        let needed: &[&str] = match kind {
            Kind::OpenSshClient => &["ssh"],
            Kind::OpenSshServer => &["sshd", "ssh-keygen"],
            Kind::DropbearClient => &["dbclient"],
            Kind::DropbearServer => &["dropbear", "dropbearkey"],
            Kind::RusshClient | Kind::RusshServer => &[],
        };
        if let Some(program) = needed.iter().find(|program| find(program).is_none()) {
            return Some(format!("{program} is not installed"));
        }
        match kind {
            Kind::OpenSshServer | Kind::DropbearServer if !self.compiler => {
                Some("cc is not installed".to_owned())
            }
            Kind::OpenSshServer if !Path::new("/run/sshd").exists() => {
                Some("sshd needs /run/sshd".to_owned())
            }
            _ => None,
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| program.into()))
}

/// A tunnel between a program and ours.
pub(crate) struct Link {
    pub(crate) dial: Dial,
    exchanges: Exchanges,
    /// None for a library.
    program: Option<Child>,
}

impl Link {
    pub(crate) fn negotiated(&self) -> Result<Negotiated, Fault> {
        self.exchanges.all().first().copied().ok_or_else(|| "no keys were exchanged".into())
    }

    pub(crate) fn exchanges(&self) -> usize {
        self.exchanges.all().len()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(program) = &mut self.program {
            // It may have ended by itself.
            drop(program.kill());
            drop(program.wait());
        }
    }
}

/// A file of this run; the folder is the build's own.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}-{name}", std::process::id()))
}

fn user() -> Result<String, Fault> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A listener whose connections have small buffers.
fn listen() -> Result<TcpListener, Fault> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(64)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// Both ends of a connection with small buffers: who connected, and who accepted.
async fn joined() -> Result<(TcpStream, TcpStream), Fault> {
    let listener = listen()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BUFFER as u32)?;
    socket.set_send_buffer_size(SOCKET_BUFFER as u32)?;
    let (near, far) = tokio::join!(socket.connect(listener.local_addr()?), listener.accept());
    Ok((near?, far?.0))
}

pub(crate) async fn connect(
    kind: Kind,
    suite: &Suite,
    rekey: Rekey,
    delay: Option<Duration>,
) -> Result<Link, Fault> {
    let target = traffic::destination().await?;
    match kind {
        Kind::OpenSshClient | Kind::DropbearClient => {
            let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
            let forward = format!("{free}:{target}");
            client(kind, suite, rekey, delay, &["-L", &forward], Dial::Port(free), free).await
        }
        Kind::OpenSshServer | Kind::DropbearServer => server(kind, suite, rekey, delay, target).await,
        Kind::RusshClient | Kind::RusshServer => with_library(kind, suite, rekey, delay, target).await,
    }
}

/// Both ends in this process, over a socket all the same.
async fn with_library(
    kind: Kind,
    suite: &Suite,
    rekey: Rekey,
    delay: Option<Duration>,
    target: SocketAddr,
) -> Result<Link, Fault> {
    let (theirs, ours) = joined().await?;
    let ours = delayed(ours, delay);
    let exchanges = Exchanges::default();
    let rekey_bytes = (rekey == Rekey::Often).then_some(KEYS_OFTEN);
    let dial = if kind == Kind::RusshClient {
        ours::serve(ours, "somebody".to_owned(), rekey_bytes, exchanges.clone());
        Dial::Library(Arc::new(library::connect(theirs, suite, rekey).await?), target)
    } else {
        let suite = *suite;
        tokio::spawn(async move {
            // It ends with an error when the test drops its end.
            drop(library::serve(theirs, &suite, rekey).await);
        });
        let key = ours::host_key().public_blob().to_vec();
        let handle = ours::connect(ours, "somebody".to_owned(), key, rekey_bytes, exchanges.clone()).await?;
        Dial::Tunnel(handle, target)
    };
    Ok(Link { dial, exchanges, program: None })
}

/// OpenSSH's client as a SOCKS proxy.
pub(crate) async fn dynamic() -> Result<Link, Fault> {
    let target = traffic::destination().await?;
    let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let kind = Kind::OpenSshClient;
    let address = free.to_string();
    let dial = Dial::Socks(free, target);
    client(kind, &Suite::usual(kind), Rekey::Never, None, &["-D", &address], dial, free).await
}

/// Their client, our server.
#[expect(clippy::too_many_arguments, reason = "all of them differ between callers")]
async fn client(
    kind: Kind,
    suite: &Suite,
    rekey: Rekey,
    delay: Option<Duration>,
    forward: &[&str],
    dial: Dial,
    port: SocketAddr,
) -> Result<Link, Fault> {
    let listener = listen()?;
    let address = listener.local_addr()?;
    let exchanges = Exchanges::default();
    let rekey_bytes = (rekey == Rekey::Often).then_some(KEYS_OFTEN);
    let counted = exchanges.clone();
    tokio::spawn(async move {
        if let Ok((stream, _)) = listener.accept().await {
            ours::serve(delayed(stream, delay), "somebody".to_owned(), rekey_bytes, counted);
        }
    });
    let mut command = if kind == Kind::OpenSshClient {
        openssh_client(suite, rekey, address)?
    } else {
        dropbear_client(suite, address)
    };
    let mut program = command.args(forward).arg("somebody@127.0.0.1").spawn()?;
    // The port is there when login is over.
    loop {
        if TcpStream::connect(port).await.is_ok() {
            break;
        }
        if let Some(status) = program.try_wait()? {
            return Err(format!("{} ended: {status}", kind.name()).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Link { dial, exchanges, program: Some(program) })
}

fn openssh_client(suite: &Suite, rekey: Rekey, address: SocketAddr) -> Result<Command, Fault> {
    let known = file(&format!("known-{}", address.port()));
    let key = data_encoding::BASE64.encode(ours::host_key().public_blob());
    fs::write(&known, format!("[127.0.0.1]:{} ssh-rsa {key}\n", address.port()))?;
    let mut command = command("ssh");
    command.args(["-F", "none", "-N", "-a", "-x", "-p", &address.port().to_string()]);
    let options = [
        format!("KexAlgorithms={}", suite.kex),
        format!("Ciphers={}", suite.cipher),
        format!("MACs={}", if suite.mac.is_empty() { MACS[0] } else { suite.mac }),
        format!("UserKnownHostsFile={}", known.display()),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "HostKeyAlgorithms=rsa-sha2-512,rsa-sha2-256".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "PreferredAuthentications=password".to_owned(),
        "NumberOfPasswordPrompts=1".to_owned(),
        "ExitOnForwardFailure=yes".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("RekeyLimit={}", if rekey == Rekey::Often { "64K" } else { "default" }),
    ];
    for option in options {
        command.arg("-o").arg(option);
    }
    command.env("SSH_ASKPASS", asker()?).env("SSH_ASKPASS_REQUIRE", "force").env_remove("SSH_AUTH_SOCK");
    command.stdin(Stdio::null());
    Ok(command)
}

fn dropbear_client(suite: &Suite, address: SocketAddr) -> Command {
    let mut command = command("dbclient");
    command.args(["-N", "-y", "-y", "-p", &address.port().to_string(), "-c", suite.cipher]);
    if !suite.mac.is_empty() {
        command.args(["-m", suite.mac]);
    }
    command.env("DROPBEAR_PASSWORD", PASSWORD).env("HOME", env!("CARGO_TARGET_TMPDIR"));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// A program that says the password.
fn asker() -> Result<&'static Path, Fault> {
    static ASKER: OnceLock<PathBuf> = OnceLock::new();
    made_once(&ASKER, "ask", |path| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(path, format!("#!/bin/sh\necho {PASSWORD}\n"))?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o700))?)
    })
}

/// Their server, our client.
async fn server(
    kind: Kind,
    suite: &Suite,
    rekey: Rekey,
    delay: Option<Duration>,
    target: SocketAddr,
) -> Result<Link, Fault> {
    let (theirs, ours) = joined().await?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    let theirs = OwnedFd::from(theirs);
    let (mut command, host_key) = match kind {
        Kind::DropbearServer => dropbear_server()?,
        _ => openssh_server(suite, rekey)?,
    };
    let program = command
        .env("LD_PRELOAD", shadow()?)
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        .stderr(Stdio::null())
        .spawn()?;
    // Closes our copies of its socket.
    drop(command);
    let exchanges = Exchanges::default();
    let rekey_bytes = (rekey == Rekey::Often).then_some(KEYS_OFTEN);
    let handle =
        ours::connect(delayed(ours, delay), user()?, host_key, rekey_bytes, exchanges.clone()).await?;
    Ok(Link { dial: Dial::Tunnel(handle, target), exchanges, program: Some(program) })
}

fn openssh_server(suite: &Suite, rekey: Rekey) -> Result<(Command, Vec<u8>), Fault> {
    static KEY: OnceLock<PathBuf> = OnceLock::new();
    let key = made_once(&KEY, "sshd-key", |path| {
        let mut keygen = command("ssh-keygen");
        done(keygen.args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"]).arg(path))
    })?;
    let public = fs::read_to_string(key.with_extension("pub"))?;
    let mut command = command("sshd");
    command.args(["-i", "-f", "/dev/null", "-h"]).arg(key);
    let options = [
        format!("KexAlgorithms={}", suite.kex),
        format!("Ciphers={}", suite.cipher),
        format!("MACs={}", if suite.mac.is_empty() { MACS[0] } else { suite.mac }),
        "PasswordAuthentication=yes".to_owned(),
        "PermitRootLogin=yes".to_owned(),
        "UsePAM=no".to_owned(),
        "UseDNS=no".to_owned(),
        "PidFile=none".to_owned(),
        format!("RekeyLimit={}", if rekey == Rekey::Often { "64K" } else { "default" }),
    ];
    for option in options {
        command.arg("-o").arg(option);
    }
    Ok((command, blob(&public)?))
}

fn dropbear_server() -> Result<(Command, Vec<u8>), Fault> {
    static KEY: OnceLock<PathBuf> = OnceLock::new();
    let key = made_once(&KEY, "dropbear-key", |path| {
        done(
            command("dropbearkey")
                .args(["-t", "rsa", "-s", "2048", "-f"])
                .arg(path)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
    })?;
    let public = command("dropbearkey").arg("-y").arg("-f").arg(key).output()?;
    let mut command = command("dropbear");
    command.args(["-i", "-r"]).arg(key);
    Ok((command, blob(&String::from_utf8(public.stdout)?)?))
}

/// The blob of the `ssh-rsa` line in a text.
fn blob(text: &str) -> Result<Vec<u8>, Fault> {
    let line = text.lines().find_map(|line| line.strip_prefix("ssh-rsa ")).ok_or("no RSA key")?;
    let word = line.split_whitespace().next().unwrap_or_default();
    Ok(data_encoding::BASE64.decode(word.as_bytes())?)
}

/// A library that, loaded into a server, gives every user of the machine the password of these tests and leaves the machine as it is.
fn shadow() -> Result<&'static Path, Fault> {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    made_once(&LIBRARY, "shadow.so", |path| {
        let source = file("shadow.c");
        fs::write(&source, include_str!("shadow.c"))?;
        done(command("cc").args(["-shared", "-fPIC", "-o"]).arg(path).arg(&source))
    })
}

fn made_once(
    cell: &'static OnceLock<PathBuf>,
    name: &str,
    make: impl FnOnce(&Path) -> Outcome,
) -> Result<&'static Path, Fault> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = cell.get() {
        return Ok(path);
    }
    let path = file(name);
    make(&path)?;
    Ok(cell.get_or_init(|| path))
}

fn done(command: &mut Command) -> Outcome {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// The stream, or one that leads to it over a slow path.
fn delayed(stream: TcpStream, delay: Option<Duration>) -> Box<dyn traffic::Stream> {
    let Some(delay) = delay else { return Box::new(stream) };
    let (near, far) = tokio::io::duplex(SOCKET_BUFFER);
    tokio::spawn(relay(far, stream, delay));
    Box::new(near)
}
