//! A CDN of one machine: nginx from the system's packages, between client and server, on a loopback address of its own and the ports
//! that fronts have. What it does not do is look at requests.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use data_encoding::BASE64;

use crate::clock::poll;
use crate::failure::{Doing, Failure};
use crate::process::{Journal, Process};
use crate::scenario::START;

const HTTPS: u16 = 443;
const HTTP: u16 = 80;

/// What requests ask it for.
pub(crate) const HOST: &str = "front.example";

/// A front that runs.
pub(crate) struct Front {
    _process: Process,
    /// Where it listens.
    pub(crate) address: Ipv4Addr,
}

/// The HTTP versions that it offers in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offers {
    /// 1.1.
    Http1,
    /// 2 as well.
    Http2,
}

/// Why there can be none, if so.
pub(crate) fn missing() -> Option<String> {
    let mut version = Command::new("nginx");
    version.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        return Some("there is no nginx".to_owned());
    }
    let address = next_address();
    let denied = |port: u16| TcpListener::bind((address, port)).err();
    denied(HTTP).or_else(|| denied(HTTPS)).map(|error| format!("a front's ports: {error}"))
}

/// A loopback address for each front, so that several can have the same ports.
fn next_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed).clamp(1, 254))
}

impl Front {
    /// Starts one in a folder, before a server on this machine.
    pub(crate) fn start(
        journal: &Journal,
        folder: &Path,
        server: SocketAddr,
        offers: Offers,
    ) -> Result<Self, Failure> {
        let address = next_address();
        let key = rcgen::generate_simple_self_signed([HOST.to_owned()])
            .map_err(|error| Failure::mismatch("certificate of the front", "one", error))?;
        let certificate = pem("CERTIFICATE", key.cert.der());
        fs::write(folder.join("front.pem"), certificate).doing("write the front's certificate")?;
        let key = pem("PRIVATE KEY", &key.signing_key.serialize_der());
        fs::write(folder.join("front.key"), key).doing("write the front's key")?;
        let config = folder.join("nginx.conf");
        fs::write(&config, text(folder, address, server, offers)).doing("write nginx.conf")?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&config).args(["-e", "stderr"]);
        let process = Process::start(journal, "nginx", &mut command)?;
        let listening = poll(START, || TcpStream::connect((address, HTTPS)).ok());
        listening.ok_or(Failure::Timeout { awaited: "listener of the front".into(), limit: START })?;
        Ok(Self { _process: process, address })
    }
}

/// RFC 7468 section 2; the length of lines is nobody's concern.
fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn text(folder: &Path, address: Ipv4Addr, server: SocketAddr, offers: Offers) -> String {
    let http2 = if offers == Offers::Http2 { " http2" } else { "" };
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
{temporary}    upstream server {{ server {server}; keepalive 8; }}
    server {{
        listen {address}:{HTTP};
        listen {address}:{HTTPS} ssl{http2};
        server_name {HOST};
        ssl_certificate {folder}/front.pem;
        ssl_certificate_key {folder}/front.key;
        location / {{
            proxy_pass https://server;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off;
        }}
    }}
}}
"
    )
}
