//! Connections by people without the keyword, all at once or kept, and what they can learn from when each ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use culvert_obfuscation::{
    ClientPreamble, Direction, Keystream, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan, Prng, Seed,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::Outcome;
use crate::tunnel::{connect_from, random};

const AT_A_TIME: usize = 32;
const LENGTH: usize = 512;
const FIRST_FLIGHT: usize = 1250;
/// A server may hold what it does not understand; this is long enough for one that ends when the peer does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes `count` connections of noise long enough to be judged; each ends, and waits until the server has too.
pub(crate) async fn flood(server: SocketAddr, count: usize) -> Outcome<()> {
    let mut under_way = JoinSet::new();
    for _ in 0..count {
        if under_way.len() >= AT_A_TIME
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
        let noise = random::<LENGTH>()?;
        under_way.spawn(async move { probe(server, &noise).await.map_err(|error| error.to_string()) });
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

async fn probe(server: SocketAddr, noise: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(noise).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    // A server that resets or holds the connection has judged it too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    Ok(())
}

/// Sends `count` datagrams of noise as long as a first flight, with a pause now and then so that none is lost to a full buffer.
pub(crate) async fn datagrams(server: SocketAddr, count: usize) -> Outcome<()> {
    for number in 0..count {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.send_to(&random::<FIRST_FLIGHT>()?, server).await?;
        if number % AT_A_TIME == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    }
    // Until the last is judged.
    sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// Makes `count` connections of noise, and keeps them until killed.
pub(crate) async fn keep(server: SocketAddr, count: usize) -> Outcome<()> {
    let mut kept = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&random::<LENGTH>()?).await?;
        kept.push(stream);
    }
    println!("ready");
    std::future::pending().await
}

/// Kinds of connection that come to nothing, in ways that cost a server different amounts of work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Noise, judged.
    WrongKey,
    /// Made with the keyword, but for the length of its padding.
    PaddingLength,
    /// A preamble that was accepted before.
    Replay,
    /// The same with one byte of the magic changed.
    Tampered,
    /// Noise from an address that has used up its budget.
    OverBudget,
}

impl Kind {
    const ALL: [(Self, &str); 5] = [
        (Self::WrongKey, "wrong key"),
        (Self::PaddingLength, "padding length"),
        (Self::Replay, "replay"),
        (Self::Tampered, "replay with a byte changed"),
        (Self::OverBudget, "over budget"),
    ];

    fn source(self) -> Ipv4Addr {
        match self {
            // An address each, so that the last alone is over its budget.
            Self::OverBudget => OFFENDER,
            other => Ipv4Addr::new(127, 0, 1, other as u8 + 1),
        }
    }
}

const OFFENDER: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
/// How often the offender adds to what keeps it over its budget: more often than that is refilled.
const OFFENCE: Duration = Duration::from_millis(15);
/// Enough for a budget and a line of those who wait.
const OFFENCES: usize = 300;

/// When a peer that sends one of these, and ends soon after, is answered with an end: from its last bytes to that of the server.
pub(crate) async fn reject_times(server: SocketAddr, keyword: &Keyword, count: usize) -> Outcome<()> {
    let flight = flight(keyword)?;
    expect_answer(server, &flight).await?;
    for _ in 0..OFFENCES {
        tokio::spawn(offend(server, random::<LENGTH>()?));
    }
    tokio::spawn(async move {
        let mut times = interval(OFFENCE);
        loop {
            times.tick().await;
            if let Ok(noise) = random::<LENGTH>() {
                tokio::spawn(offend(server, noise));
            }
        }
    });
    sleep(Duration::from_secs(5)).await;
    let mut taken = Kind::ALL.map(|(_, name)| (name, Vec::new()));
    let mut order = Order::new()?;
    for _ in 0..count {
        for index in order.next() {
            let Some((kind, _)) = Kind::ALL.get(index).copied() else { continue };
            let bytes = bytes(kind, keyword, &flight)?;
            // The end comes before, during or after a derivation.
            let time = end_after(server, kind, &bytes, order.pause() * 2).await?;
            add(&mut taken, index, time);
        }
    }
    report(taken);
    Ok(())
}

/// One connection that stays.
async fn offend(server: SocketAddr, noise: [u8; LENGTH]) {
    let held = async {
        let mut stream = connect_from(OFFENDER, server).await?;
        stream.write_all(&noise).await?;
        stream.read(&mut [0]).await
    };
    // However it ends, there are more.
    let _ = timeout(PATIENCE * 4, held).await;
}

/// A preamble of our client's, all of [`LENGTH`].
fn flight(keyword: &Keyword) -> Outcome<Vec<u8>> {
    let padding = LENGTH - ObfuscatorSeed::LEN - 8;
    let plan = PreamblePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes(random()?),
        padding_seed: Seed::from_bytes(random()?),
        padding: PaddingRange::new(Some(padding), Some(padding)),
        prefix: None,
    };
    Ok(ClientPreamble::new(keyword, &plan).bytes)
}

/// The first use of a flight, which is answered.
async fn expect_answer(server: SocketAddr, flight: &[u8]) -> Outcome<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(flight).await?;
    match timeout(PATIENCE, stream.read(&mut [0])).await?? {
        0 => Err("the server does not take this client's preamble".into()),
        _ => Ok(()),
    }
}

fn bytes(kind: Kind, keyword: &Keyword, flight: &[u8]) -> Outcome<Vec<u8>> {
    Ok(match kind {
        Kind::WrongKey | Kind::OverBudget => random::<LENGTH>()?.to_vec(),
        Kind::Replay => flight.to_vec(),
        Kind::Tampered => {
            let mut tampered = flight.to_vec();
            if let Some(byte) = tampered.get_mut(ObfuscatorSeed::LEN) {
                *byte ^= 1;
            }
            tampered
        }
        Kind::PaddingLength => {
            // PROTOCOL.md 2.1: the magic, and one more than the most.
            let seed: [u8; ObfuscatorSeed::LEN] = random()?;
            let mut hidden = [0x0b, 0xf5, 0xca, 0x7e, 0, 0, 0x20, 1];
            let seed_of_key = ObfuscatorSeed::from_bytes(seed);
            Keystream::derive(keyword, &seed_of_key, Direction::ClientToServer).apply(&mut hidden);
            let mut bytes = random::<LENGTH>()?.to_vec();
            for (to, from) in bytes.iter_mut().zip(seed.iter().chain(&hidden)) {
                *to = *from;
            }
            bytes
        }
    })
}

async fn end_after(server: SocketAddr, kind: Kind, bytes: &[u8], pause: Duration) -> Outcome<Duration> {
    let mut stream = connect_from(kind.source(), server).await?;
    let began = Instant::now();
    stream.write_all(bytes).await?;
    spin(pause).await;
    stream.shutdown().await?;
    match timeout(PATIENCE, stream.read(&mut [0])).await?? {
        0 => Ok(began.elapsed()),
        _ => Err("a stranger was answered".into()),
    }
}

/// When a server ends a connection that does not: for `ProbeHoldSeconds` of 1. Many at a time, kinds mixed.
pub(crate) async fn hold_times(server: SocketAddr, keyword: &Keyword, count: usize) -> Outcome<()> {
    let flight = flight(keyword)?;
    expect_answer(server, &flight).await?;
    let mut taken = Kind::ALL.map(|(_, name)| (name, Vec::new()));
    let mut order = Order::new()?;
    let mut under_way = JoinSet::new();
    for _ in 0..count {
        for index in order.next() {
            let Some((kind, _)) = Kind::ALL.get(index).copied() else { continue };
            while under_way.len() >= AT_A_TIME * 2 {
                gather(&mut under_way, &mut taken).await?;
            }
            let bytes = bytes(kind, keyword, &flight)?;
            // So that they do not end together, nor begin in step with the server's clock.
            sleep(Duration::from_millis(3)).await;
            spin(order.pause()).await;
            let began = Instant::now();
            let connected = connect_from(kind.source(), server).await?;
            under_way.spawn(async move { (index, held(connected, bytes, began).await) });
        }
    }
    while !under_way.is_empty() {
        gather(&mut under_way, &mut taken).await?;
    }
    report(taken);
    Ok(())
}

/// The times of each kind.
type Taken = [(&'static str, Vec<Duration>); Kind::ALL.len()];
type Held = (usize, std::io::Result<Duration>);

async fn held(mut stream: TcpStream, bytes: Vec<u8>, began: Instant) -> std::io::Result<Duration> {
    stream.write_all(&bytes).await?;
    match timeout(PATIENCE, stream.read(&mut [0])).await?? {
        0 => Ok(began.elapsed()),
        _ => Err(std::io::Error::other("a stranger was answered")),
    }
}

async fn gather(under_way: &mut JoinSet<Held>, taken: &mut Taken) -> Outcome<()> {
    if let Some(done) = under_way.join_next().await {
        let (index, time) = done?;
        add(taken, index, time?);
    }
    Ok(())
}

fn add(taken: &mut Taken, index: usize, time: Duration) {
    if let Some((_, times)) = taken.get_mut(index) {
        times.push(time);
    }
}

/// Kinds come in a new order each time, or one would feel what another does to the machine.
struct Order {
    prng: Prng,
    indices: [usize; Kind::ALL.len()],
}

impl Order {
    fn new() -> Outcome<Self> {
        Ok(Self {
            prng: Prng::new(&Seed::from_bytes(random()?)),
            indices: std::array::from_fn(|index| index),
        })
    }

    fn next(&mut self) -> [usize; Kind::ALL.len()] {
        self.prng.shuffle(&mut self.indices);
        self.indices
    }

    /// Up to a millisecond.
    fn pause(&mut self) -> Duration {
        Duration::from_micros(u64::from(self.prng.range_u32(0, 1000)))
    }
}

/// For times too short for timers.
async fn spin(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        tokio::task::yield_now().await;
    }
}

fn report(taken: Taken) {
    let mut medians = Vec::new();
    for (name, mut times) in taken {
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        println!("{name}: {} times, median {:?}, tenths {:?} to {:?}", times.len(), at(50), at(10), at(90));
        medians.push(at(50));
    }
    let least = medians.iter().min().copied().unwrap_or_default();
    let most = medians.iter().max().copied().unwrap_or_default();
    println!("largest difference of medians: {:?}", most.saturating_sub(least));
}
