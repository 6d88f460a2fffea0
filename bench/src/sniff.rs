//! A forwarder that knows the keyword and says what the connection's key exchange agreed on, for clients that draw their algorithms at
//! random and do not tell. Connections must begin with no prefix.
//!
//! Source: RFC 4253 sections 4.2, 6 and 7.1; PROTOCOL.md 2.3 and 2.7.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use culvert_obfuscation::{Keyword, PreambleReader};
use culvert_ssh::Role;
use culvert_ssh::kexinit::{KexInit, negotiate};

use crate::Outcome;

const BUFFER: usize = 256 * 1024;
/// Both sides' KEXINITs lie within so many bytes, preamble and padding included.
const WATCHED: usize = 64 * 1024;

/// Forwards for ever. The first line says where it listens; each connection adds `cipher UP DOWN`.
pub(crate) fn run(server: SocketAddr, keyword: &Keyword) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    for client in listener.incoming() {
        let client = client?;
        let server = TcpStream::connect(server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (seen, parts) = channel();
        let directions = [
            (client.try_clone()?, server.try_clone()?, seen.clone(), Side::Client),
            (server, client, seen, Side::Server),
        ];
        for (from, to, seen, side) in directions {
            thread::spawn(move || copy(from, to, &seen, side));
        }
        let keyword = keyword.clone();
        thread::spawn(move || {
            let mut watched = Watched::default();
            while let Ok((side, part)) = parts.recv() {
                match side {
                    Side::Client => watched.up.extend(part),
                    Side::Server => watched.down.extend(part),
                }
                if let Some((up, down)) = watched.ciphers(&keyword) {
                    println!("cipher {up} {down}");
                    return;
                }
            }
        });
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

fn copy(mut from: TcpStream, mut to: TcpStream, seen: &Sender<(Side, Vec<u8>)>, side: Side) {
    let mut buffer = vec![0; BUFFER];
    let mut watched = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let part = buffer.get(..count).unwrap_or_default();
        if watched < WATCHED {
            watched += count;
            // Nobody listens any more once the ciphers are known.
            let _ = seen.send((side, part.to_vec()));
        }
        if to.write_all(part).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[derive(Default)]
struct Watched {
    up: Vec<u8>,
    down: Vec<u8>,
}

impl Watched {
    /// The ciphers from and to the client, once both KEXINITs are there.
    fn ciphers(&self, keyword: &Keyword) -> Option<(&'static str, &'static str)> {
        let mut reader = PreambleReader::without_prefix(keyword.clone());
        let (used, preamble) = reader.push(&self.up).ok()?;
        let mut preamble = preamble?;
        let mut up = self.up.get(used..)?.to_vec();
        let mut down = self.down.clone();
        preamble.from_client.apply(&mut up);
        preamble.to_client.apply(&mut down);
        let agreed = negotiate(Role::Client, &kexinit(&up)?, &kexinit(&down)?).ok()?;
        Some((agreed.cipher_c2s.wire_name(), agreed.cipher_s2c.wire_name()))
    }
}

/// The KEXINIT behind the identification line.
fn kexinit(stream: &[u8]) -> Option<KexInit> {
    let mut rest = stream;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, after) = rest.split_at_checked(end)?;
        rest = after.get(2..)?;
        if line.starts_with(b"SSH-") {
            break;
        }
    }
    let (length, rest) = rest.split_first_chunk()?;
    let packet = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let (padding, payload) = packet.split_first()?;
    KexInit::decode(payload.get(..payload.len().checked_sub(usize::from(*padding))?)?).ok()
}
