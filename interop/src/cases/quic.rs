//! QUIC: its looks, its datagrams on bad networks, and what strangers get from its port.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::lifecycle::fetch;
use super::traffic::{download, in_parallel, upload};
use super::{Applies, Case, Note, Protocols, case};
use crate::clock;
use crate::datagrams::DatagramRelay;
use crate::failure::{Doing, Failure, expect_eq};
use crate::pattern::Pattern;
use crate::process::Signal;
use crate::scenario::{ClientPlan, Server, Setting};

pub(super) const CASES: &[Case] = &[
    case("quic_versions", versions).over(Protocols::OnlyQuic),
    case("quic_gigabyte", gigabyte).over(Protocols::OnlyQuic),
    case("quic_loss", loss).over(Protocols::OnlyQuic),
    case("quic_other_address", other_address).over(Protocols::OnlyQuic).only(Applies::OurServer),
    case("quic_nonce_transform", nonce_transform).over(Protocols::OnlyQuic),
    case("quic_probes", probes).over(Protocols::OnlyQuic),
    case("quic_replay", replay).over(Protocols::OnlyQuic),
    case("quic_replay_after_restart", replay_after_restart)
        .over(Protocols::OnlyQuic)
        .only(Applies::OurServer),
];

const VERSIONS: [&str; 4] = ["QUICv1", "RANDOMIZED-QUICv1", "OBFUSCATED-QUICv1", "DECOY-QUICv1"];
const HIDDEN: &str = "OBFUSCATED-QUICv1";
const PLAIN: &str = "QUICv1";
const MEGABYTE: u64 = 1_000_000;
/// How long a probe waits for a datagram.
const WAIT: Duration = Duration::from_secs(2);

fn limited(plan: ClientPlan, version: &str) -> ClientPlan {
    plan.with("LimitQUICVersions", vec![version])
}

fn versions(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    for version in VERSIONS {
        let client = setting.connect(&limited(setting.plan(&server), version))?;
        fetch(setting, &client)?;
        download(client.socks, setting.origin.bulk, 2 * MEGABYTE)?;
        upload(client.socks, setting.origin.bulk, 2 * MEGABYTE)?;
    }
    Ok(Note::new())
}

/// 1 GB in the one stream of a connection.
fn gigabyte(setting: &Setting) -> Result<Note, Failure> {
    let megabytes = if setting.long { 1000 } else { 50 };
    let server = setting.plain_server()?;
    let mut notes = Vec::new();
    for version in [PLAIN, HIDDEN] {
        let client = setting.connect(&limited(setting.plan(&server), version))?;
        let start = clock::now();
        download(client.socks, setting.origin.bulk, megabytes * MEGABYTE)?;
        let speed = megabytes as f64 / (clock::now() - start).as_secs_f64();
        notes.push(format!("{version} {speed:.0} MB/s"));
    }
    Ok(format!("{megabytes} MB down: {}", notes.join(", ")))
}

fn relayed(
    setting: &Setting,
    server: &Server,
    version: &str,
) -> Result<(DatagramRelay, ClientPlan), Failure> {
    let relay = DatagramRelay::start(server.address(setting.protocol)).doing("start the relay")?;
    let mut plan = limited(setting.plan(server), version);
    plan.entry.set(setting.protocol.port_field(), relay.port());
    Ok((relay, plan))
}

/// Every fiftieth datagram is lost.
fn loss(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let (relay, plan) = relayed(setting, &server, HIDDEN)?;
    let client = setting.connect(&plan)?;
    relay.lose_one_in(50);
    let (bulk, start) = (setting.origin.bulk, clock::now());
    download(client.socks, bulk, 5 * MEGABYTE)?;
    upload(client.socks, bulk, 5 * MEGABYTE)?;
    Ok(format!("5 MB each way in {:.2} s", (clock::now() - start).as_secs_f64()))
}

/// A tunnel goes on when the client's address changes under it.
fn other_address(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    for version in [PLAIN, HIDDEN] {
        let (relay, plan) = relayed(setting, &server, version)?;
        let mut client = setting.connect(&plan)?;
        fetch(setting, &client)?;
        relay.change_address().doing("change the address")?;
        fetch(setting, &client)?;
        download(client.socks, setting.origin.bulk, 5 * MEGABYTE)?;
        let lost = client.wait_tunnels(0, Duration::from_millis(100));
        expect_eq("whether the tunnel was lost", false, lost.is_ok())?;
    }
    Ok(Note::new())
}

fn nonce_transform(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let (relay, plan) = relayed(setting, &server, HIDDEN)?;
    let plan = plan
        .with("ObfuscatedQUICNonceTransformSpecs", serde_json::json!({ "mark": [["^.{4}", "c0de"]] }))
        .with("ObfuscatedQUICNonceTransformScopedSpecNames", serde_json::json!({ "": ["mark"] }))
        .with("ObfuscatedQUICNonceTransformProbability", 1.0);
    let client = setting.connect(&plan)?;
    fetch(setting, &client)?;
    let sent = relay.first_datagrams();
    let marked = sent.iter().filter(|datagram| datagram.starts_with(&[0xC0, 0xDE])).count();
    expect_eq("datagrams with the mark", sent.len(), marked)?;
    Ok(Note::new())
}

/// Sends datagrams from a port of its own; the size of the first that comes back.
fn answered(server: SocketAddr, datagrams: &[Vec<u8>]) -> Result<Option<usize>, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).doing("bind a port")?;
    socket.set_read_timeout(Some(WAIT)).doing("set a timeout")?;
    for datagram in datagrams {
        socket.send_to(datagram, server).doing("send a probe")?;
    }
    Ok(socket.recv(&mut [0; 2000]).ok())
}

fn no_answer(server: SocketAddr, kind: &str, datagrams: &[Vec<u8>]) -> Result<(), Failure> {
    expect_eq(format!("bytes that answered the {kind} probe"), None, answered(server, datagrams)?)
}

/// Datagrams of strangers: of every form that another server would answer.
fn probes(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let client = setting.connect(&setting.plan(&server))?;
    let kinds = kinds().doing("make probes")?;
    let count = kinds.len();
    let address = server.address(setting.protocol);
    in_parallel(kinds, |(kind, datagram)| no_answer(address, &kind, &[datagram]))?;
    fetch(setting, &client)?;
    Ok(format!("{count} kinds"))
}

fn kinds() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let noise = |length: usize, seed: u64| {
        let mut bytes = Vec::new();
        Pattern::new(seed).write(length as u64, &mut bytes).map(|_| bytes)
    };
    let mut kinds = Vec::new();
    for length in [1, 2, 5, 12, 13, 14, 21, 43, 100, 500, 1199, 1200, 1252, 1280, 1293, 1400, 1452] {
        kinds.push((format!("noise of {length}"), noise(length, length as u64)?));
        kinds.push((format!("zeros of {length}"), vec![0; length]));
        kinds.push((format!("ones of {length}"), vec![0xFF; length]));
    }
    // RFC 9000 section 17.2: long headers of several versions and types; unknown versions ask for a negotiation.
    for version in [0u32, 1, 2, 0x6B33_43CF, 0xFF00_001D, 0x0A1A_2A3A, 0x5130_3433, 0xFFFF_FFFF] {
        for first in [0xC0u8, 0xC3, 0xD0, 0xE3, 0xF0, 0x80] {
            for length in [60, 1200] {
                let mut packet = vec![first];
                packet.extend(version.to_be_bytes());
                packet.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
                packet.extend([0x44, 0x80]);
                packet.extend(noise(length, u64::from(first))?);
                kinds.push((format!("first byte {first:x}, version {version:x}, {length}"), packet));
            }
        }
    }
    // Short headers, which an unknown connection's peer answers with a reset.
    for first in [0x40u8, 0x43, 0x5F, 0x60, 0x7F] {
        for length in [22, 40, 43, 100, 1200] {
            let mut packet = noise(length, 7)?;
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            kinds.push((format!("first byte {first:x}, {length}"), packet));
        }
    }
    kinds.push((
        "DNS".into(),
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01".to_vec(),
    ));
    kinds.push(("NTP".into(), [&[0x1B][..], &[0; 47]].concat()));
    kinds.push(("STUN".into(), b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl".to_vec()));
    kinds.push(("SIP".into(), b"OPTIONS sip:a@b SIP/2.0\r\n\r\n".to_vec()));
    kinds.push(("HTTP".into(), b"GET / HTTP/1.1\r\n\r\n".to_vec()));
    kinds.push(("CHLO".into(), [&[0; 29][..], b"CHLO", &[0; 1300]].concat()));
    Ok(kinds)
}

/// A recorded beginning from another port; later packets, too, and when the connection is over.
fn replay(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let address = server.address(setting.protocol);
    for version in [PLAIN, HIDDEN] {
        let (recorded, client) = recorded(setting, &server, version)?;
        no_answer(address, "replay during the connection", &recorded)?;
        in_parallel(recorded.clone(), |datagram| no_answer(address, "replayed datagram", &[datagram]))?;
        drop(client);
        no_answer(address, "replay after the connection", &recorded)?;
        in_parallel(recorded, |datagram| no_answer(address, "datagram replayed later", &[datagram]))?;
    }
    Ok(Note::new())
}

fn recorded(
    setting: &Setting,
    server: &Server,
    version: &str,
) -> Result<(Vec<Vec<u8>>, crate::scenario::Client), Failure> {
    let (relay, plan) = relayed(setting, server, version)?;
    let client = setting.connect(&plan)?;
    fetch(setting, &client)?;
    Ok((relay.first_datagrams(), client))
}

fn replay_after_restart(setting: &Setting) -> Result<Note, Failure> {
    let mut server = setting.plain_server()?;
    let mut all = Vec::new();
    for signal in [Signal::Terminate, Signal::Kill] {
        for version in [PLAIN, HIDDEN] {
            all.push(recorded(setting, &server, version)?.0);
        }
        server.stop(signal)?;
        server.start()?;
        let address = server.address(setting.protocol);
        in_parallel(all.clone(), |datagrams| no_answer(address, "replay", &datagrams))?;
    }
    let client = setting.connect(&setting.plan(&server))?;
    fetch(setting, &client)?;
    Ok(Note::new())
}
