//! What somebody without the key gets from the obfuscated listener: nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::traffic::in_parallel;
use super::{Case, Note, Protocols, case};
use crate::failure::{Doing, Failure, expect_eq};
use crate::pattern::Pattern;
use crate::programs::Maker;
use crate::proxies::{self, Target};
use crate::relay::Relay;
use crate::scenario::Setting;

pub(super) const CASES: &[Case] = &[
    case("probes", probes).over(Protocols::OnlyOssh),
    case("replayed_preamble", replayed_preamble).over(Protocols::OnlyOssh),
];

/// How long a probe waits for a byte. Shorter than every server's own limit, so the connection must stay open as well.
const WAIT: Duration = Duration::from_secs(3);

fn probes(setting: &Setting) -> Result<Note, Failure> {
    let (server, client) = setting.pair()?;
    let noise = |length: u64| {
        let mut bytes = Vec::new();
        Pattern::new(length).write(length, &mut bytes).map(|_| bytes)
    };
    let kinds = vec![
        ("silence", Vec::new()),
        ("one byte", vec![0]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("23 bytes", vec![b'x'; 23]),
        ("garbage", noise(5_000).doing("make noise")?),
        ("much garbage", noise(300_000).doing("make noise")?),
    ];
    in_parallel(kinds, |(kind, bytes)| no_answer(setting, server.address(setting.protocol), kind, &bytes))?;
    proxies::fetch_page(proxies::socks5(client.socks, &Target::address(setting.origin.page))?)?;
    Ok(Note::new())
}

/// The recorded beginning of a good connection, sent again, is a probe like any other.
fn replayed_preamble(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
    let _client = setting.connect(&setting.plan(&server).without_prefix().via(setting.protocol, &relay))?;
    let seen = relay.seen().pop().ok_or_else(|| Failure::mismatch("relay", "a connection", "none"))?;
    no_answer(setting, server.address(setting.protocol), "replay", &seen.upstream)?;
    Ok(Note::new())
}

/// No byte comes back, and from our server no close and no reset either.
fn no_answer(setting: &Setting, address: SocketAddr, kind: &str, bytes: &[u8]) -> Result<(), Failure> {
    let mut stream = proxies::dial(address)?;
    stream.write_all(bytes).doing(format!("send the {kind} probe"))?;
    stream.set_read_timeout(Some(WAIT)).doing("set a timeout")?;
    let mut answer = [0; 64];
    match stream.read(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        Ok(0) if setting.pairing.server == Maker::Reference => Ok(()),
        Ok(count) => {
            expect_eq(format!("bytes that answered the {kind} probe, where 0 is a close"), None, Some(count))
        }
        Err(source) => Err(Failure::Io { doing: format!("wait on the {kind} probe"), source }),
    }
}
