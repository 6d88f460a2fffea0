//! Crowds of connections that are no clients and do not mean to be: silent, garbage at a rate, or slower than anybody.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::Outcome;
use crate::tunnel::{connect_from, random, source};

/// As long as the least that a server can judge (PROTOCOL.md 2.1).
const GARBAGE: usize = 24;
/// The first of its addresses, none of which is a client's.
const GARBAGE_FROM: Ipv4Addr = Ipv4Addr::new(127, 128, 0, 1);
/// How long a connection of garbage stays.
const STAY: Duration = Duration::from_secs(1);
/// Garbage comes in so many batches a second.
const BATCHES: u32 = 100;
/// Connections under way at once when many are opened.
const AT_A_TIME: usize = 64;

/// Opens `count` connections that say nothing, says `ready`, and keeps them until killed.
pub(crate) async fn silent(server: SocketAddr, count: usize) -> Outcome<()> {
    let kept = open(server, count).await?;
    println!("ready");
    std::future::pending::<()>().await;
    drop(kept);
    Ok(())
}

/// Opens `rate` connections a second from so many addresses, each with 24 bytes of noise, until killed. Says `ready` when it begins, and
/// each second how many there were in it.
pub(crate) async fn garbage(server: SocketAddr, rate: usize, addresses: u32) -> Outcome<()> {
    let mut ticks = interval(Duration::from_secs(1) / BATCHES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let made = Arc::new(AtomicUsize::new(0));
    println!("ready");
    for number in 0usize.. {
        ticks.tick().await;
        if number % BATCHES as usize == 0 {
            println!("made {}", made.swap(0, Ordering::Relaxed));
        }
        for _ in 0..rate / BATCHES as usize {
            let (noise, made) = (random::<GARBAGE>()?, made.clone());
            let address = Ipv4Addr::from_bits(
                GARBAGE_FROM.to_bits() + u32::from_be_bytes(random()?) % addresses.max(1),
            );
            tokio::spawn(async move {
                // One that is refused is one less.
                if let Ok(mut stream) = connect_from(address, server).await
                    && stream.write_all(&noise).await.is_ok()
                {
                    made.fetch_add(1, Ordering::Relaxed);
                    let _ = timeout(STAY, stream.read(&mut [0])).await;
                }
            });
        }
    }
    Ok(())
}

/// What a head begins like that somebody is slow with: of an HTTP request, or of a ClientHello (RFC 8446 sections 4.1.2 and 5.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    Http,
    Tls,
}

impl Head {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Http => b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
            Self::Tls => &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        }
    }
}

/// Opens `count` connections that each send a byte a second of what begins like a head, says `ready`, and each second how many the server
/// has ended.
pub(crate) async fn slow(server: SocketAddr, count: usize, head: Head) -> Outcome<()> {
    let ended = Arc::new(AtomicUsize::new(0));
    for mut stream in open(server, count).await? {
        let ended = ended.clone();
        tokio::spawn(async move {
            for byte in head.bytes().iter().chain(std::iter::repeat(&b'a')) {
                let said = stream.write_all(&[*byte]).await;
                if said.is_err() || timeout(Duration::from_secs(1), stream.read(&mut [0])).await.is_ok() {
                    break;
                }
            }
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    println!("ready");
    loop {
        sleep(Duration::from_secs(1)).await;
        println!("ended {}", ended.load(Ordering::Relaxed));
    }
}

async fn open(server: SocketAddr, count: usize) -> Outcome<Vec<TcpStream>> {
    let mut kept = Vec::new();
    let mut under_way = JoinSet::new();
    for number in 0..count {
        if under_way.len() >= AT_A_TIME
            && let Some(opened) = under_way.join_next().await
        {
            kept.push(opened??);
        }
        under_way.spawn(connect_from(source(number), server));
    }
    while let Some(opened) = under_way.join_next().await {
        kept.push(opened??);
    }
    Ok(kept)
}
