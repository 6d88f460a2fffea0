//! A client and a server in this process, over sockets of the loopback address; and what the gate makes of strangers.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culvert_obfuscation::Seed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::cids::Cids;
use super::draws::Draws;
use super::gate::Gate;
use super::initial::test_packets::{crypto, hello_start, initial};
use super::*;
use crate::tls::{MESSAGE_LEN, NONCE_LEN, PassthroughKey};
use crate::{Endpoint, Listen, OsNetwork, Remote, Stream};

const KEY: &str = "the key";
const SOON: Duration = Duration::from_secs(20);

/// Admits each proof once, and counts.
#[derive(Clone, Default)]
struct Once(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    proofs: Vec<[u8; MESSAGE_LEN]>,
    refused: Vec<Refused>,
}

impl Admission for Once {
    fn admit(&self, proof: &[u8; MESSAGE_LEN], _: Remote) -> bool {
        let mut seen = self.0.lock().unwrap();
        let new = !seen.proofs.contains(proof);
        seen.proofs.push(*proof);
        new
    }

    fn refused(&self, why: Refused) {
        self.0.lock().unwrap().refused.push(why);
    }
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

fn listen() -> (QuicListen, SocketAddr, Once) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let admission = Once::default();
    let server = QuicServer::new("example.org").unwrap();
    let listener = QuicListen::from_std(socket, &server, KEY, Box::new(admission.clone())).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address, admission)
}

fn plan(server: SocketAddr, version: Version, key: &str) -> Plan {
    Plan {
        server: Endpoint::Address(server),
        version,
        key: KeyText::new(key),
        server_name: "example.org".into(),
        seed: Seed::from_bytes([5; 32]),
        nonce_transform: None,
    }
}

/// Sends back what it gets, until the peer ends its direction.
async fn echo(mut stream: Stream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        stream.write_all(&buffer[..count]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn all_looks_carry_a_stream() {
    let (mut listener, address, _) = listen();
    tokio::spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            tokio::spawn(echo(accepted.stream));
        }
    });
    for version in [Version::Plain, Version::Randomized, Version::Hidden, Version::Decoy] {
        let dialed = dial(&plan(address, version, KEY), &OsNetwork).await.unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut read, mut write) = tokio::io::split(dialed.stream);
        let (expected, mut received) = (sent.clone(), Vec::new());
        let writing = tokio::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        });
        timeout(SOON, read.read_to_end(&mut received)).await.unwrap().unwrap();
        writing.await.unwrap();
        assert!(received == expected, "{version:?}: {} bytes came back", received.len());
    }
}

#[tokio::test]
async fn another_key_gets_no_answer() {
    let (_listener, address, admission) = listen();
    for version in [Version::Plain, Version::Hidden] {
        let plan = plan(address, version, "another key");
        let dialing = dial(&plan, &OsNetwork);
        assert!(timeout(Duration::from_millis(1500), dialing).await.is_err(), "{version:?}");
    }
    let seen = admission.0.lock().unwrap();
    assert!(seen.proofs.is_empty() && seen.refused.contains(&Refused::Forged));
    assert!(seen.refused.contains(&Refused::Garbage));
}

#[tokio::test]
async fn the_end_of_a_stream_is_seen_and_its_last_bytes_arrive() {
    let (mut listener, address, _) = listen();
    let mut dialed = dial(&plan(address, Version::Hidden, KEY), &OsNetwork).await.unwrap();
    dialed.stream.write_all(b"hello").await.unwrap();
    let mut accepted = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let last = vec![7; 300_000];
    accepted.stream.write_all(&last).await.unwrap();
    let ending = tokio::spawn(async move {
        accepted.stream.shutdown().await.unwrap();
        drop(accepted);
        timeout(SOON, listener.finish()).await.unwrap();
    });
    let mut received = Vec::new();
    timeout(SOON, dialed.stream.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received == last, "{} bytes", received.len());
    ending.await.unwrap();
    assert!(dialed.stream.write_all(b"more").await.is_err());
}

fn gate() -> (Gate, Once) {
    let admission = Once::default();
    (Gate::new(KEY, Cids::new().unwrap(), Box::new(admission.clone())), admission)
}

fn from(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn proof(nonce: u8) -> [u8; MESSAGE_LEN] {
    PassthroughKey::new(KEY, true).message([nonce; NONCE_LEN], now())
}

fn hidden(packet: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    Key::new(KEY).seal(packet, 3, &mut Draws::new(None, None), &mut datagram);
    datagram
}

/// Whether a datagram is let in, and how many with it.
fn enters(gate: &Gate, port: u16, datagram: &[u8]) -> (bool, usize) {
    let (mut datagram, mut late) = (datagram.to_vec(), VecDeque::new());
    (gate.receive(from(port), &mut datagram, Instant::now(), &mut late).is_some(), late.len())
}

const TO: [u8; 8] = [9; 8];

#[test]
fn a_proof_lets_in_once_but_for_what_is_sent_again() {
    let (gate, admission) = gate();
    let packet = initial(&crypto(0, &hello_start(proof(1))), &TO, 1200);
    for (port, datagram) in
        [(1, packet.clone()), (3, hidden(&initial(&crypto(0, &hello_start(proof(2))), &TO, 1200)))]
    {
        assert_eq!(enters(&gate, port, &datagram), (true, 0));
        assert_eq!(enters(&gate, port, &datagram), (true, 0), "sent again");
        assert_eq!(enters(&gate, port + 1, &datagram), (false, 0), "from another port");
        assert!(gate.admitted(from(port), &TO).is_some() && gate.admitted(from(port + 1), &TO).is_none());
        assert_eq!(gate.flow(from(port + 1)), None, "a stranger is kept");
    }
    assert_eq!(admission.0.lock().unwrap().refused, [Refused::Replayed; 2]);
    gate.close();
    let late = initial(&crypto(0, &hello_start(proof(3))), &TO, 1200);
    assert_eq!(enters(&gate, 7, &late), (false, 0));
    assert_eq!(enters(&gate, 1, &packet), (true, 0));
    assert!(!admission.0.lock().unwrap().proofs.contains(&proof(3)), "used up by a server that stops");
}

#[test]
fn a_hello_that_spans_datagrams_is_let_in_with_its_last_part() {
    let (gate, _) = gate();
    let hello = hello_start(proof(1));
    let part = |from: usize, to: usize| {
        hidden(&initial(&crypto(u8::try_from(from).unwrap(), &hello[from..to]), &TO, 1200))
    };
    assert_eq!(enters(&gate, 1, &part(20, hello.len())), (false, 0));
    assert_eq!(enters(&gate, 2, &part(0, 20)), (false, 0), "another client's");
    assert_eq!(enters(&gate, 1, &part(0, 20)), (true, 1));
}

#[test]
fn floods_of_partial_hellos_are_forgotten() {
    let (gate, _) = gate();
    let part = initial(&crypto(30, &[1; 4]), &TO, 1200);
    for port in 1..=500 {
        for _ in 0..5 {
            assert_eq!(enters(&gate, port, &part), (false, 0));
        }
    }
    let hello = hello_start(proof(1));
    let last = initial(&crypto(0, &hello), &TO, 1200);
    assert_eq!(enters(&gate, 1, &last), (true, 0), "what was held for it is long gone");
    assert_eq!(enters(&gate, 500, &last), (false, 0), "a replay");
}

#[test]
fn later_packets_pass_only_for_known_flows_and_our_identifiers() {
    let cids = Cids::new().unwrap();
    let gate = Gate::new(KEY, cids.clone(), Box::new(Once::default()));
    let own = quinn::ConnectionIdGenerator::generate_cid(&mut cids.clone());
    let short = |cid: &[u8]| [&[0x41], cid, &[7; 40]].concat();
    assert_eq!(enters(&gate, 1, &short(&TO)), (false, 0));
    assert_eq!(enters(&gate, 1, &hidden(&short(&TO))), (false, 0));
    assert_eq!(enters(&gate, 2, &short(&own)), (true, 0), "a plain client with another address");
    assert_eq!(enters(&gate, 3, &hidden(&short(&own))), (true, 0), "a hidden one");
    assert_eq!(enters(&gate, 3, &hidden(&short(&TO))), (true, 0), "for the library to look up");
    let next = initial(&crypto(0, &hello_start(proof(8))), &TO, 1200);
    assert_eq!(enters(&gate, 2, &hidden(&next)), (true, 0), "another client at a plain one's address");
    assert_eq!(gate.flow(from(2)), Some(wire::Flow::Hidden));
    assert_eq!(enters(&gate, 2, &initial(&crypto(0, &hello_start(proof(9))), &TO, 1200)), (true, 0));
    assert_eq!(gate.flow(from(2)), Some(wire::Flow::Plain));
    let other_version = [&[0xC3, 0, 0, 0, 2, 8][..], &TO, &[0; 1300]].concat();
    assert_eq!(enters(&gate, 2, &other_version), (false, 0));
    assert_eq!(enters(&gate, 3, &hidden(&other_version)), (false, 0));
}
