//! What a prober can observe of the whole server, over loopback sockets: that all probes look alike. No byte, no reset, one time of the
//! end, whatever was sent, however it was sent, and whether or not it was worth a look.

pub(crate) mod kinds;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::kinds::{Probe, kinds};
use crate::server::{Plan, SOON, Server, connect_from};

/// How long strangers are kept.
const HOLD: Duration = Duration::from_secs(4);
/// How much later the end may be seen, for a machine that has other things to do.
const LATE: Duration = Duration::from_secs(3);

/// How a probe is sent.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// At once, and then nothing.
    Whole,
    /// At once, and then the end of this direction.
    HalfClosed,
    /// A byte at a time.
    Dribbled,
    /// In two parts, the second after the first was looked at.
    Split,
}

/// Sends a probe and checks all that can be seen from outside.
async fn probe(server: SocketAddr, source: Ipv4Addr, (name, bytes): Probe, manner: Manner) {
    let began = Instant::now();
    let stream = connect_from(source, server).await;
    let what = format!("{name}, {} bytes, {manner:?}", bytes.len());
    let (reading, writing) = stream.into_split();
    let sending = tokio::spawn(send(writing, bytes, manner));
    let end = end(reading, &what).await - began;
    let sent = sending.await.unwrap();
    match manner {
        Manner::HalfClosed => assert!(end < LATE, "{what}: kept for {end:?} after the end"),
        _ => {
            assert!(end >= HOLD, "{what}: sent away after {end:?}");
            assert!(end < HOLD + LATE, "{what}: kept for {end:?}");
        }
    }
    drop(sent);
}

/// Waits for the end, which must be one without a reset and without a byte before it.
async fn end(mut reading: OwnedReadHalf, what: &str) -> Instant {
    let mut answer = [0; 64];
    match timeout(HOLD + LATE, reading.read(&mut answer)).await {
        Ok(Ok(0)) => Instant::now(),
        Ok(Ok(count)) => panic!("{what}: answered with {count} bytes"),
        Ok(Err(error)) => panic!("{what}: {error}"),
        Err(_) => panic!("{what}: no end"),
    }
}

/// The half is given back, since dropping it would end the direction.
async fn send(mut writing: OwnedWriteHalf, bytes: Vec<u8>, manner: Manner) -> OwnedWriteHalf {
    let result = async {
        match manner {
            Manner::Whole => writing.write_all(&bytes).await,
            Manner::HalfClosed => {
                writing.write_all(&bytes).await?;
                writing.shutdown().await
            }
            Manner::Dribbled => {
                for byte in bytes.iter().take(100) {
                    writing.write_all(&[*byte]).await?;
                    sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            }
            Manner::Split => {
                let (first, second) = bytes.split_at(bytes.len() / 2);
                writing.write_all(first).await?;
                sleep(HOLD / 4).await;
                writing.write_all(second).await
            }
        }
    };
    result.await.unwrap();
    writing
}

fn noise() -> impl FnMut(usize) -> Vec<u8> {
    let mut prng = Prng::new(&Seed::from_bytes([0x42; 32]));
    move |length| prng.bytes(length)
}

async fn server(name: &str) -> Server {
    Server::start(name, |config| config.ssh.handshakes.probe_hold = Some(HOLD)).await
}

/// What a client sends first, after it was let in with it.
async fn recorded(server: &Server) -> Vec<u8> {
    let mut flight = Vec::new();
    Plan::default().connection(server).poll_transmit(&mut flight, Instant::now().into_std());
    let mut stream = TcpStream::connect(server.ossh).await.unwrap();
    stream.write_all(&flight).await.unwrap();
    let mut answer = [0];
    let count = timeout(SOON, stream.read(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(count, 1, "the first use is answered");
    flight
}

/// An address of its own for each: no budget is used up.
fn own_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + u32::try_from(number).unwrap())
}

const SHARED: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

async fn all_ended(mut probes: JoinSet<()>) {
    while let Some(ended) = probes.join_next().await {
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
}

#[tokio::test]
async fn all_kinds_of_probe_look_alike() {
    let mut server = server("kinds").await;
    let kinds = kinds(&mut noise(), &recorded(&server).await);
    assert!(kinds.len() >= 150, "{}", kinds.len());
    let mut probes = JoinSet::new();
    let mut number = 0;
    for manner in [Manner::Whole, Manner::HalfClosed, Manner::Dribbled, Manner::Split] {
        for kind in &kinds {
            // The system resets connections that wait too long to be accepted.
            sleep(Duration::from_millis(2)).await;
            number += 1;
            probes.spawn(probe(server.ossh, own_address(number), kind.clone(), manner));
            // From one address it is soon too much, which must not show.
            if matches!(manner, Manner::Whole | Manner::HalfClosed) {
                probes.spawn(probe(server.ossh, SHARED, kind.clone(), manner));
            }
        }
    }
    all_ended(probes).await;
    Plan::default().tunnel(&server).await;
    server.stop().await;
    let events = server.events("irregular_tunnel");
    assert!(
        (2..=8).contains(&events.len()),
        "a flood is one line of each kind, and one with its count: {events:?}"
    );
}

#[tokio::test]
async fn probes_of_all_lengths_look_alike() {
    let server = server("lengths").await;
    let mut noise = noise();
    let powers = (9..=17).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
    // Around the limits of a reader: what it keeps, and how far it looks for a prefix's end.
    let limits = [8192 + 24, 16_384 - 24, 16_384 + 24, 65_536 + 23, 65_536 + 24, 65_536 + 25, 1 << 20];
    let lengths = (1..=300).chain(powers).chain(limits);
    let mut probes = JoinSet::new();
    for (number, length) in lengths.enumerate() {
        sleep(Duration::from_millis(4)).await;
        let kind = ("noise".to_owned(), noise(length));
        probes.spawn(probe(server.ossh, own_address(number), kind.clone(), Manner::Whole));
        probes.spawn(probe(server.ossh, SHARED, kind.clone(), Manner::Whole));
        probes.spawn(probe(server.ossh, own_address(number), kind, Manner::HalfClosed));
    }
    all_ended(probes).await;
    Plan::default().tunnel(&server).await;
}

/// Garbage without end: as much as comes back at once, and in between connections that stay.
async fn flood(server: SocketAddr, source: Ipv4Addr) {
    let mut noise = noise();
    let mut staying = VecDeque::new();
    loop {
        for _ in 0..20 {
            let mut stream = connect_from(source, server).await;
            stream.write_all(&noise(512)).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }
        let mut stream = connect_from(source, server).await;
        stream.write_all(&noise(512)).await.unwrap();
        staying.push_back(stream);
        if staying.len() > 1000 {
            staying.pop_front();
        }
    }
}

#[tokio::test]
async fn a_flood_keeps_no_client_out() {
    let server = Server::start("flood", |_| {}).await;
    let flooding: Vec<_> = (0..8).map(|_| tokio::spawn(flood(server.ossh, SHARED))).collect();
    // Until its budget is used up.
    sleep(Duration::from_secs(2)).await;
    let elsewhere = Plan { session: 1, source: own_address(1), ..Plan::default() };
    let prefixed = Plan { session: 2, source: SHARED, prefixed: true, ..Plan::default() };
    for plan in [elsewhere, prefixed] {
        // At the first attempt, and within the time that a client has.
        plan.tunnel(&server).await;
    }
    // From the flood's own address and with nothing to tell it from the flood, an attempt may find the line full, and is
    // then never looked at: the next one has its chance.
    let beside = Plan { session: 3, source: SHARED, ..Plan::default() };
    let mut attempts = 0;
    while timeout(Duration::from_secs(4), beside.tunnel(&server)).await.is_err() {
        attempts += 1;
        assert!(attempts < 20, "a client beside a flood got in at none of {attempts} attempts");
    }
    assert!(flooding.iter().all(|flood| !flood.is_finished()), "the flood ended by itself");
    flooding.iter().for_each(tokio::task::JoinHandle::abort);
}
