//! Flows of which it is known what the detectors must make of them: a detector that never fires, or always does, is noticed.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;

use super::capture::{Capture, Recorded};
use super::chance::Chance;
use super::findings::Findings;
use super::pages::{self, noise};
use super::tunnels;
use crate::bench::contender::{Contender, Server, wait_listening};
use crate::bench::folder::{Folder, free_port};
use crate::bench::peers::Peers;
use crate::bench::program::Program;
use crate::bench::{Outcome, START};

/// One of them.
pub(super) struct Control {
    pub(super) name: &'static str,
    /// Raises so many flows. `None`: its programs are not here.
    pub(super) raise: fn(&Peers, usize) -> Outcome<Option<Vec<Recorded>>>,
    /// What must come out: a figure, and whether it is to be high.
    pub(super) expected: &'static [(Figure, Expected)],
}

/// What is looked at in the findings.
pub(super) type Figure = (&'static str, fn(&Findings) -> f64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// In most flows.
    Fires,
    /// In none, or next to none.
    Silent,
}

use Expected::{Fires, Silent};

const ENCRYPTED: Figure = ("fully encrypted", |findings| findings.fully_encrypted);
const INSIDE: Figure = ("TLS inside", |findings| findings.inside_25);
const SIZES: Figure = ("fixed sizes", |findings| findings.sizes.first().map_or(0.0, |size| size.share));
const BROWSER: Figure = ("ClientHello of a browser", |findings| findings.hello_browser);
const OTHER: Figure = ("ClientHello of no browser", |findings| findings.hello_other);
const QUIC: Figure = ("QUIC version 1", |findings| findings.quic);

/// All.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "noise",
        raise: |_, count| noise_flows(count).map(Some),
        expected: &[
            (ENCRYPTED, Fires),
            (INSIDE, Silent),
            (SIZES, Silent),
            (OTHER, Silent),
            (BROWSER, Silent),
        ],
    },
    Control {
        name: "TLS inside noise, one to one",
        raise: |_, count| relayed_tls(count).map(Some),
        expected: &[(ENCRYPTED, Fires), (INSIDE, Fires), (SIZES, Silent)],
    },
    Control {
        name: "HTTP",
        raise: |_, count| http(count).map(Some),
        expected: &[(ENCRYPTED, Silent), (INSIDE, Silent), (SIZES, Fires), (OTHER, Silent)],
    },
    Control {
        name: "HTTPS (curl, openssl)",
        raise: |_, count| https(count),
        expected: &[(ENCRYPTED, Silent), (INSIDE, Silent), (OTHER, Fires), (BROWSER, Silent)],
    },
    Control {
        name: "Chromium's ClientHello",
        raise: |_, count| browser_hellos(count).map(Some),
        expected: &[(ENCRYPTED, Silent), (BROWSER, Fires), (OTHER, Silent)],
    },
    Control {
        name: "OpenSSH",
        raise: openssh,
        expected: &[(ENCRYPTED, Silent), (INSIDE, Silent), (SIZES, Fires), (OTHER, Silent)],
    },
    Control {
        name: "QUIC Initials",
        raise: |_, count| datagrams(count, &[0xC3, 0, 0, 0, 1, 8]).map(Some),
        expected: &[(QUIC, Fires)],
    },
    Control {
        name: "datagrams of noise",
        raise: |_, count| datagrams(count, &[]).map(Some),
        expected: &[(QUIC, Silent)],
    },
];

impl Expected {
    /// Whether a share is what it has to be.
    pub(super) fn is_met(self, share: f64) -> bool {
        match self {
            Fires => share >= 0.5,
            Silent => share <= 0.1,
        }
    }
}

/// So many connections to a server of our own; each end does one thing.
fn connections(
    count: usize,
    serve: fn(TcpStream) -> io::Result<()>,
    talk: fn(&mut TcpStream, &mut Chance) -> io::Result<()>,
) -> Outcome<Vec<Recorded>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().take(count).flatten() {
            // What goes wrong is noticed by the client.
            let _ = serve(stream);
        }
    });
    let capture = Capture::start(address.port())?;
    for number in 0..count {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        talk(&mut stream, &mut Chance::from(number as u64))?;
    }
    Ok(capture.finish())
}

fn noise_flows(count: usize) -> Outcome<Vec<Recorded>> {
    connections(count, discard, |stream, chance| {
        let len = chance.between(100, 1400);
        stream.write_all(&noise(chance, len))
    })
}

/// A proxy that keeps every size, which is what the model was made against.
fn relayed_tls(count: usize) -> Outcome<Vec<Recorded>> {
    connections(count, pages::serve, pages::visit)
}

fn http(count: usize) -> Outcome<Vec<Recorded>> {
    let serve = |mut stream: TcpStream| {
        let mut request = [0; 2048];
        while stream.read(&mut request)? > 0 {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello")?;
        }
        Ok(())
    };
    connections(count, serve, |stream, _| {
        for page in ["/", "/style.css", "/image.png"] {
            let request =
                format!("GET {page} HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Mozilla/5.0\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            let mut answer = [0; 2048];
            let _ = stream.read(&mut answer)?;
        }
        Ok(())
    })
}

fn browser_hellos(count: usize) -> Outcome<Vec<Recorded>> {
    connections(count, discard, |stream, chance| stream.write_all(&chromium_hello(chance)))
}

/// The lists of Chromium 120, whose JA4 is published (t13d1516h2_8daaf6152771_02713d6af862).
fn chromium_hello(chance: &mut Chance) -> Vec<u8> {
    const SUITES: [u16; 15] = [
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d,
        0x2f, 0x35,
    ];
    const EXTENSIONS: [u16; 16] =
        [0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0x0d, 5, 0x23, 0x12, 0x2b, 0xff01, 0x0b, 0x0a, 0xfe0d];
    const SIGNATURES: [u16; 8] = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
    let list =
        |numbers: &[u16]| with_length(&numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>());
    let extensions: Vec<u8> = EXTENSIONS
        .into_iter()
        .flat_map(|kind| {
            let body = match kind {
                0x0d => list(&SIGNATURES),
                0x10 => with_length(b"\x02h2\x08http/1.1"),
                0x2b => vec![4, 3, 4, 3, 3],
                0 => with_length(b"\x00\x00\x0bexample.org"),
                _ => Vec::new(),
            };
            [&kind.to_be_bytes()[..], &with_length(&body)].concat()
        })
        .collect();
    let hello = [
        &[3, 3][..],
        &noise(chance, 32),
        &[32],
        &noise(chance, 32),
        &list(&SUITES),
        &[1, 0],
        &with_length(&extensions),
    ]
    .concat();
    let message = [&[1, 0][..], &with_length(&hello)].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

/// After two bytes of its length.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes()[..], bytes].concat()
}

fn discard(mut stream: TcpStream) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

fn https(count: usize) -> Outcome<Option<Vec<Recorded>>> {
    let there =
        |name: &str| Command::new(name).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there("openssl").is_err() || there("curl").is_err() {
        return Ok(None);
    }
    let folder = Folder::new()?;
    let path = |name: &str| folder.path().join(name);
    let mut request = Command::new("openssl");
    request.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=example.org", "-keyout"]);
    request.arg(path("key")).arg("-out").arg(path("certificate"));
    Program::start("openssl req", &mut request)?.wait_success(START)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut serve = Command::new("openssl");
    serve.args(["s_server", "-quiet", "-www", "-accept", &address.to_string(), "-key"]);
    serve.arg(path("key")).arg("-cert").arg(path("certificate"));
    let _server = Program::start("openssl s_server", &mut serve)?;
    wait_listening(address)?;
    let capture = Capture::start(address.port())?;
    for _ in 0..count {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "10", "-o", "/dev/null", &format!("https://{address}/")]);
        Program::start("curl", &mut curl)?.wait_success(START)?;
    }
    Ok(Some(capture.finish()))
}

/// Pages through OpenSSH's own proxy.
fn openssh(peers: &Peers, count: usize) -> Outcome<Option<Vec<Recorded>>> {
    if peers.openssh.is_none() {
        return Ok(None);
    }
    let site = pages::start_site()?;
    let server = Server::start(Contender::OpenSsh, peers, site)?;
    let capture = Capture::start(server.address().port())?;
    for number in 0..count {
        let client = server.client(peers, server.address())?;
        tunnels::visit(client.front, site, &mut Chance::from(number as u64))?;
    }
    Ok(Some(capture.finish()))
}

fn datagrams(count: usize, start: &[u8]) -> Outcome<Vec<Recorded>> {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = server.local_addr()?;
    let capture = Capture::start(address.port())?;
    for number in 0..count {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut bytes = noise(&mut Chance::from(number as u64), 1200);
        if let Some(head) = bytes.get_mut(..start.len()) {
            head.copy_from_slice(start);
        }
        client.send_to(&bytes, address)?;
        let mut received = [0; 2048];
        let (_, from) = server.recv_from(&mut received)?;
        server.send_to(&[1; 100], from)?;
    }
    Ok(capture.finish())
}
