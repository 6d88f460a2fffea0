//! What somebody without the key gets from the obfuscated listener: nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use super::traffic::in_parallel;
use super::{Applies, Case, Note, Protocols, case};
use crate::failure::{Doing, Failure, expect_eq};
use crate::pattern::Pattern;
use crate::process::Signal;
use crate::programs::Maker;
use crate::proxies::{self, Target};
use crate::relay::Relay;
use crate::scenario::{ClientPlan, Server, Setting};

pub(super) const CASES: &[Case] = &[
    case("probes", probes).over(Protocols::OnlyOssh),
    case("tls_probes", probes).over(Protocols::OnlyTls).only(Applies::OurServer),
    // The reference resets such connections when they have sent 69 bytes.
    case("shadowsocks_probes", probes).over(Protocols::OnlyShadowsocks).only(Applies::OurServer),
    case("replayed_preamble", replayed_preamble).over(Protocols::Silent),
    case("replayed_hello", replayed_preamble).over(Protocols::OnlyTls).only(Applies::OurServer),
    case("replay_after_restart", replay_after_restart).over(Protocols::Obfuscated).only(Applies::OurServer),
    case("probes_are_held", probes_are_held).over(Protocols::Obfuscated).only(Applies::OurServer).when_long(),
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
    let recorded = record_preamble(setting, &server)?;
    no_answer(setting, server.address(setting.protocol), "replay", &recorded)?;
    Ok(Note::new())
}

/// What has been seen is remembered across a restart and a crash, and new clients get in after both.
fn replay_after_restart(setting: &Setting) -> Result<Note, Failure> {
    let mut server = setting.plain_server()?;
    let mut recorded = Vec::new();
    for signal in [Signal::Terminate, Signal::Kill] {
        for plan in [setting.plan(&server), setting.plan(&server).without_prefix()] {
            recorded.push(record(setting, &server, plan)?);
        }
        server.stop(signal)?;
        server.start()?;
        let address = server.address(setting.protocol);
        in_parallel(recorded.clone(), |bytes| no_answer(setting, address, "replay", &bytes))?;
    }
    let client = setting.connect(&setting.plan(&server))?;
    proxies::fetch_page(proxies::socks5(client.socks, &Target::address(setting.origin.page))?)?;
    Ok(Note::new())
}

fn record_preamble(setting: &Setting, server: &Server) -> Result<Vec<u8>, Failure> {
    record(setting, server, setting.plan(server))
}

/// What a client sends.
fn record(setting: &Setting, server: &Server, plan: ClientPlan) -> Result<Vec<u8>, Failure> {
    let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
    let _client = setting.connect(&plan.via(setting.protocol, &relay))?;
    let seen = relay.seen().pop();
    seen.map(|seen| seen.upstream).ok_or_else(|| Failure::mismatch("relay", "a connection", "none"))
}

/// Our server has no deadline of its own that a probe could measure: after the 30 s at which the reference closes, and after the 60 s
/// that would be the next round number, the connection still stands.
fn probes_are_held(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let kinds = vec![
        ("silence", Vec::new()),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("24 bytes", vec![b'x'; 24]),
    ];
    let address = server.address(setting.protocol);
    in_parallel(kinds, |(kind, bytes)| {
        silent_for(setting, address, (kind, &bytes), Duration::from_secs(65))
    })?;
    Ok(Note::new())
}

fn no_answer(setting: &Setting, address: SocketAddr, kind: &str, bytes: &[u8]) -> Result<(), Failure> {
    silent_for(setting, address, (kind, bytes), WAIT)
}

/// No byte comes back; from our server no close before ours, and then an orderly one.
fn silent_for(
    setting: &Setting,
    address: SocketAddr,
    (kind, bytes): (&str, &[u8]),
    wait: Duration,
) -> Result<(), Failure> {
    let mut stream = proxies::dial(address)?;
    stream.write_all(bytes).doing(format!("send the {kind} probe"))?;
    stream.set_read_timeout(Some(wait)).doing("set a timeout")?;
    let mut answer = [0; 64];
    match stream.read(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        Ok(0) if setting.pairing.server == Maker::Reference => return Ok(()),
        Ok(count) => {
            return expect_eq(
                format!("bytes that answered the {kind} probe, where 0 is a close"),
                None,
                Some(count),
            );
        }
        Err(source) => return Err(Failure::Io { doing: format!("wait on the {kind} probe"), source }),
    }
    if setting.pairing.server == Maker::Reference {
        return Ok(());
    }
    stream.shutdown(Shutdown::Write).doing(format!("end the {kind} probe"))?;
    let count = stream.read(&mut answer).doing(format!("wait for the end of the {kind} probe"))?;
    expect_eq(format!("bytes after the end of the {kind} probe"), 0, count)
}
