//! Keys, passwords and names are forgotten: the memory of a server in a process of its own is looked through for those of tunnels that
//! have ended, and for the texts that its keys came in. The server runs here as in the program, but for what would keep others from
//! looking.

mod transcript;

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use culvert_interop::memory::{self, Mapping, Needle};
use culvert_obfuscation::{Direction, Keyword, ObfuscatorSeed, derive_key};
use culvert_protocol::ServerEntry;
use culvert_server::config::{self, Strictness};
use culvert_server::generate::{FileNames, Generated, Listeners, Options, generate};
use culvert_ssh::kex::FreshKeys;
use culvert_transport::shadowsocks::{self, SaltPrefix};
use culvert_transport::{Endpoint, Network};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::server::{Client, HANDSHAKE, Plan, SOON, Server, connect_from, random};
use transcript::{Secrets, Transcript};

/// Where the child finds what it is to serve.
const FOLDER: &str = "CULVERT_SECRETS_FOLDER";
const TUNNELS: u16 = 8;
const NAME: &str = "canary-name.invalid";

/// A server in a process of its own, which ends with this.
struct Process {
    child: Child,
    folder: PathBuf,
    server: Server,
    shadowsocks: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server of the process that [`Process::start`] starts.
#[test]
#[ignore = "it is the other half of another test"]
fn served() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    culvert_ssh_tokio::give_back_what_is_freed();
    let file = Path::new(&folder).join("psiphond.config");
    let mut config = config::load(&file, Strictness::Run).unwrap().value;
    for listener in &mut config.listeners {
        listener.address.set_port(0);
    }
    let log = config.log.open().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(stop);
    });
    let stopped = async { drop(stopped.await) };
    culvert_server::run_until(config, &log, || eprintln!("running"), stopped).unwrap();
}

impl Process {
    fn start() -> (Self, Generated) {
        let folder = std::env::temp_dir().join(format!("culvert-secrets-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let options = Options {
            address: "127.0.0.1".parse().unwrap(),
            listeners: Listeners::parse(["OSSH:1", "SSH:2", "SHADOWSOCKS-OSSH:3"]).unwrap(),
            log_file: Some(folder.join("log")),
            files: FileNames::default(),
        };
        let generated = generate(&options).unwrap();
        let text = generated.text(Path::new("psiphond.config")).unwrap();
        let mut config: Value = serde_json::from_str(text).unwrap();
        config["AllowBogons"] = json!(true);
        config["StateDirectory"] = json!(folder.join("state"));
        for other in ["TrafficRulesFilename", "OSLConfigFilename", "TacticsConfigFilename"] {
            config.as_object_mut().unwrap().remove(other);
        }
        let file = folder.join("psiphond.config");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "secrets::served", "--ignored", "--nocapture"]).env(FOLDER, &folder);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "running\n");
        let log = std::fs::read_to_string(folder.join("log")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let at = |protocol: &str| {
            let line = lines.iter().find(|it| it["msg"] == "running" && it["tunnelProtocol"] == protocol);
            line.unwrap()["localAddress"].as_str().unwrap().parse().unwrap()
        };
        let entry: ServerEntry = generated.entry.clone();
        let server = Server::elsewhere(entry, at("OSSH"), at("SSH"));
        let shadowsocks = at("SHADOWSOCKS-OSSH");
        (Self { child, folder, server, shadowsocks }, generated)
    }

    fn memory(&self) -> Vec<Mapping> {
        memory::of(self.child.id()).unwrap()
    }

    /// Waits until nothing of this is there any more.
    async fn forgets(&self, needles: &[Needle], server_x25519: &[[u8; 32]]) {
        let began = Instant::now();
        loop {
            let memory = self.memory();
            let mut found = memory::find(&memory, needles);
            if found.is_empty() {
                // It takes long, and so it comes last.
                found = private_halves(&memory, server_x25519);
            }
            if found.is_empty() {
                return;
            }
            assert!(began.elapsed() < 4 * SOON, "{} are still there: {found:#?}", found.len());
            sleep(Duration::from_millis(500)).await;
        }
    }
}

/// The private keys in memory that belong to these public ones.
fn private_halves(memory: &[Mapping], public: &[[u8; 32]]) -> Vec<String> {
    let candidates = memory::keys_perhaps(memory).into_iter();
    let is_private = |bytes: &[u8; 32]| {
        let key = PrivateKey::from_private_key(&X25519, bytes).unwrap().compute_public_key().unwrap();
        public.iter().any(|public| key.as_ref() == public)
    };
    candidates.filter(is_private).map(|_| "a private key of an exchange".to_owned()).collect()
}

/// A tunnel whose secrets are known, with those.
async fn open_tunnel(server: &Server, number: u16) -> (Client, Secrets) {
    let plan = Plan { obfuscated: false, session: 0x4200 + number, ..Plan::default() };
    let transcript = Transcript::default();
    let connection =
        plan.connection_of(server, ObfuscatorSeed::from_bytes(random()), Box::new(transcript.clone()));
    let stream = transcript.over(connect_from(plan.source, server.ssh).await);
    let client = plan.log_in(connection, stream).await.unwrap();
    client.ask("psiphon-handshake", HANDSHAKE).await.unwrap();
    let mut secrets = transcript.secrets(number);
    secrets.needles.push(Needle::new("a session's name", format!("{:032x}", plan.session)));
    (client, secrets)
}

/// An obfuscated one, with the keys of its obfuscation: every other is inside Shadowsocks.
async fn open_obfuscated(process: &Process, number: u16) -> (Client, Vec<Needle>) {
    let server = &process.server;
    let plan = Plan { session: 0x4300 + number, ..Plan::default() };
    let seed = ObfuscatorSeed::from_bytes(random());
    let connection = plan.connection_of(server, seed, Box::new(FreshKeys));
    let transcript = Transcript::default();
    let key = shadowsocks::Key::from_password(server.text("sshShadowsocksKey"));
    let is_inside = number.is_multiple_of(2);
    let address = if is_inside { process.shadowsocks } else { server.ossh };
    let to = shadowsocks::Plan {
        server: Endpoint::Address(address),
        key: key.clone(),
        prefix: SaltPrefix::default(),
    };
    let stream = if is_inside {
        shadowsocks::dial(&to, &transcript).await.unwrap().stream
    } else {
        transcript.connect(&to.server).await.unwrap()
    };
    let client = plan.log_in(connection, stream).await.unwrap();
    client.ask("psiphon-handshake", HANDSHAKE).await.unwrap();
    let keyword = Keyword::new(server.text("sshObfuscatedKey"));
    let needle = |direction| {
        let key = derive_key(&keyword, &seed, direction);
        Needle::new(format!("RC4 key {direction:?}"), &key[..])
    };
    let mut needles = Vec::from([Direction::ClientToServer, Direction::ServerToClient].map(needle));
    if is_inside {
        needles.extend(transcript.shadowsocks_keys(&key));
    }
    (client, needles)
}

/// The texts that the server's own keys came in, and what those texts stand for.
fn texts_of(generated: &Generated) -> Vec<Needle> {
    let text = generated.text(Path::new("psiphond.config")).unwrap();
    let config: Value = serde_json::from_str(text).unwrap();
    let pem = config["SSHPrivateKey"].as_str().unwrap();
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64.decode(lines.concat().as_bytes()).unwrap();
    let mut needles: Vec<Needle> =
        lines.iter().map(|line| Needle::new("the host key's text", *line)).collect();
    // The modulus comes first, and is public.
    let private = der.chunks_exact(24).skip(der.len() / 24 / 3);
    needles.extend(private.map(|part| Needle::new("the host key's encoding", part)));
    needles
}

#[tokio::test]
async fn what_tunnels_had_is_forgotten_when_they_have_ended() {
    let (process, generated) = Process::start();
    if memory::of(process.child.id()).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        println!("not tried: this system lets nobody look into a process of their own");
        return;
    }
    let own = Needle::new("password", process.server.text("sshPassword"));
    let mut needles = Vec::new();
    let mut public = Vec::new();
    let mut tunnels = Vec::new();
    for number in 0..TUNNELS {
        let (client, secrets) = open_tunnel(&process.server, number).await;
        println!("tunnel {number}: {:?}", secrets.kex);
        needles.extend(secrets.needles);
        public.extend(secrets.server_x25519);
        tunnels.push(client);
        let (client, secrets) = open_obfuscated(&process, number).await;
        needles.extend(secrets);
        tunnels.push(client);
    }
    let content = format!("canary-content-{}", data_encoding::HEXLOWER.encode(&random::<16>()));
    let origin = crate::echo_after_end().await;
    for client in &tunnels {
        let mut flow = client.flow(origin).await.unwrap();
        flow.write_all(content.as_bytes()).await.unwrap();
        flow.shutdown().await.unwrap();
        assert_eq!(crate::to_end(&mut flow).await, content.as_bytes());
        assert!(client.flow_to(NAME, 443).await.is_err());
    }
    let memory = process.memory();
    // What is in use is found, or nothing would be.
    assert!(!memory::find(&memory, &[own]).is_empty(), "the server knows its password");
    let found = memory::find(&memory, &needles);
    for kind in ["key ClientToServer of tunnel", "Shadowsocks session key"] {
        assert!(found.iter().any(|it| it.contains(kind)), "tunnels that are up have keys: {found:?}");
    }
    needles.push(Needle::new("what went through", content));
    needles.push(Needle::new("where to", NAME));
    needles.extend(texts_of(&generated));
    drop(tunnels);
    process.forgets(&needles, &public).await;
}

#[test]
fn a_private_half_is_found() {
    let private: [u8; 32] = random();
    let key = PrivateKey::from_private_key(&X25519, &private).unwrap();
    let public: [u8; 32] = key.compute_public_key().unwrap().as_ref().try_into().unwrap();
    let mut bytes = vec![0; 64];
    bytes[16..48].copy_from_slice(&private);
    let memory = [Mapping { name: "some".into(), bytes }];
    assert_eq!(private_halves(&memory, &[public]).len(), 1);
    assert!(private_halves(&memory, &[random()]).is_empty());
}
