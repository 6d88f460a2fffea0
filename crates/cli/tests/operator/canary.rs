//! The same of both programs, as they run: keys, destinations and names are in the files that must have them, and nowhere else.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;

use culvert_interop::memory::{self, Needle};

use super::*;

const DESTINATION: Ipv4Addr = Ipv4Addr::new(127, 55, 44, 33);
const NAME: &str = "canary-name.invalid";
const PATH: &str = "/canary-path";

/// Answers every request.
fn site() -> u16 {
    let listener = TcpListener::bind((DESTINATION, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    port
}

/// The answer of the client's HTTP proxy; nothing until it is there.
fn through(proxy: u16, url: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", proxy)) else { return String::new() };
    let _ = stream.set_read_timeout(Some(SOON));
    let _ = write!(stream, "GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// All files below a folder, but those named.
fn files(folder: &Path, but: &[&str], found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files(&path, but, found);
        } else if path.is_file() && !but.contains(&name.as_str()) {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
}

/// What the system shows of a process to its user.
fn shown(child: &Child, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for name in ["cmdline", "environ", "comm"] {
        let path = PathBuf::from(format!("/proc/{}/{name}", child.id()));
        // Not even to that one where it may not be dumped.
        let bytes = fs::read(&path).unwrap_or_default();
        found.push((path, bytes));
    }
}

fn destination_text() -> String {
    DESTINATION.to_string()
}

/// Waits until nothing of this is in a process's memory, in which there is what it uses: so it is where somebody with a core would look.
fn forgets(child: &Child, past: &[Needle], used: &[Needle]) {
    let began = Instant::now();
    loop {
        let memory = match memory::of(child.id()) {
            Ok(memory) => memory,
            Err(error) => {
                // Which is what it is for, but for those who may look into any process.
                println!("not tried: the memory of {} cannot be read: {error}", child.id());
                return;
            }
        };
        assert!(!memory::find(&memory, used).is_empty(), "what is in use is not in memory");
        let found = memory::find(&memory, past);
        if found.is_empty() {
            return;
        }
        assert!(began.elapsed() < SOON, "still there: {found:#?}");
        sleep(Duration::from_millis(500));
    }
}

#[test]
fn keys_and_destinations_are_where_they_must_be_and_nowhere_else() {
    let mut secrets = Vec::new();
    let (folder, _) = generated("canary", "OSSH", |config| {
        config["AllowBogons"] = json!(true);
        for key in ["SSHPassword", "ObfuscatedSSHKey"] {
            secrets.push(config[key].as_str().unwrap().to_owned());
        }
        let pem = config["SSHPrivateKey"].as_str().unwrap();
        secrets.push(pem.lines().nth(1).unwrap().to_owned());
    });
    let mut server = Running::start(&folder, "022");
    let entry = fs::read_to_string(folder.0.join("server-entry.dat")).unwrap();
    // Generated for another address, so that nothing was tried out.
    let entry = text_of(&entry).replace("192.0.2.1", "127.0.0.1");
    let entry: String = entry.bytes().map(|byte| format!("{byte:02x}")).collect();
    let proxy = free_port();
    let config = json!({
        "PropagationChannelId": "00000000000000AA", "SponsorId": "00000000000000BB", "LocalHttpProxyPort": proxy,
        "DisableLocalSocksProxy": true, "DataRootDirectory": "client", "TargetServerEntry": entry,
        "EmitDiagnosticNotices": true, "EmitDiagnosticNetworkParameters": true,
    });
    fs::create_dir(folder.0.join("client")).unwrap();
    fs::write(folder.0.join("client.config"), config.to_string()).unwrap();
    let notices = fs::File::create(folder.0.join("notices")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ConsoleClient"));
    command.args(["-config", "client.config"]).current_dir(&folder.0).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(notices);
    let mut client = command.spawn().unwrap();
    let url = format!("http://{DESTINATION}:{}{PATH}", site());
    let began = Instant::now();
    while !through(proxy, &url).ends_with("ok") {
        assert!(began.elapsed() < SOON, "{}", fs::read_to_string(folder.0.join("notices")).unwrap());
        sleep(Duration::from_millis(100));
    }
    assert!(!through(proxy, &format!("http://{NAME}{PATH}")).ends_with("ok"));
    let mut found = Vec::new();
    shown(&client, &mut found);
    shown(&server.child, &mut found);
    let visited = [destination_text(), NAME.to_owned(), PATH.to_owned()];
    let visited: Vec<_> =
        visited.iter().map(|text| Needle::new("where the user went", text.as_str())).collect();
    let own: Vec<_> = secrets.iter().map(|secret| Needle::new("a key", secret.as_str())).collect();
    // The flows are over, the tunnel is not.
    forgets(&client, &visited, &own[..1]);
    // Its end writes what is left to be written.
    let terminated = Command::new("kill").args(["-s", "TERM", &client.id().to_string()]).status();
    assert!(terminated.unwrap().success());
    client.wait().unwrap();
    let mut never: Vec<_> = visited;
    never.push(Needle::new("the host key's text", secrets[2].as_str()));
    forgets(&server.child, &never, &own[..1]);
    server.signal("TERM");
    assert_eq!(server.end(), 0);
    let log = fs::read_to_string(folder.0.join("psiphond.log")).unwrap();
    assert!(log.contains("server_tunnel"), "{log}");
    let names = ["psiphond.config", "client.config", "server-entry.dat"];
    files(&folder.0, &names, &mut found);
    are_nowhere(&found, &secrets, &folder.0.join("client"));
}

/// Entries of servers have what a client needs, and are in its store.
fn are_nowhere(found: &[(PathBuf, Vec<u8>)], secrets: &[String], store: &Path) {
    let destination = destination_text();
    for (path, bytes) in found {
        let has = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        for needle in [destination.as_str(), NAME, "canary-path"] {
            assert!(!has(needle), "{needle} is in {}", path.display());
        }
        let is_store = path.starts_with(store);
        for secret in secrets.iter().filter(|_| !is_store) {
            assert!(!has(secret), "a key is in {}", path.display());
        }
    }
}

/// The text of an entry, which is in hexadecimal.
fn text_of(hex: &str) -> String {
    let digits: Vec<u8> =
        hex.trim().chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| char::from(pair[0] << 4 | pair[1])).collect()
}
