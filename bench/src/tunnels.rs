//! Many tunnels: kept, or one after the other, as fast as they go or at a certain rate.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use culvert_protocol::ServerEntry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::Outcome;
use crate::exchanges::echo;
use crate::tunnel::Tunnel;

/// Attempts at a time: enough to keep a server busy, few enough for its limit on concurrent handshakes.
const AT_A_TIME: usize = 8;
/// After one that was refused.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes that the flow of a tunnel that comes and goes has back: small and large pages.
const SIZES: [usize; 4] = [1 << 10, 16 << 10, 200 << 10, 4 << 10];

/// Brings up `count` tunnels, says `ready`, and keeps them for ever.
pub(crate) async fn keep(entry: ServerEntry, server: SocketAddr, count: usize) -> Outcome<()> {
    let tunnels = all(entry, server, count, |tunnel| async move { Some(tunnel) }).await?;
    println!("ready");
    let mut held = JoinSet::new();
    for tunnel in tunnels {
        held.spawn(tunnel.hold());
    }
    match held.join_next().await {
        Some(_) => Err("a tunnel that should have stayed idle has ended".into()),
        None => Ok(()),
    }
}

/// Tries to bring up `count` tunnels, says `ready`, and keeps those that came up for ever, or for as long as the server does.
pub(crate) async fn press(entry: ServerEntry, server: SocketAddr, count: usize) -> Outcome<()> {
    let entry = Rc::new(entry);
    let local = LocalSet::new();
    local
        .run_until(async move {
            let mut trying = JoinSet::new();
            for first in 0..AT_A_TIME {
                let entry = entry.clone();
                trying.spawn_local(async move {
                    for number in (first..count).step_by(AT_A_TIME) {
                        match Tunnel::establish(&entry, server, number).await {
                            Ok(tunnel) => drop(tokio::spawn(tunnel.hold())),
                            Err(_) => sleep(PAUSE).await,
                        }
                    }
                });
            }
            while trying.join_next().await.is_some() {}
            println!("ready");
            std::future::pending::<()>().await;
        })
        .await;
    Ok(())
}

/// Brings up `count` tunnels and closes each as soon as its handshake is answered.
pub(crate) async fn come_and_go(entry: ServerEntry, server: SocketAddr, count: usize) -> Outcome<()> {
    let close = |tunnel: Tunnel| async move {
        tunnel.close().await;
        None::<()>
    };
    all(entry, server, count, close).await?;
    Ok(())
}

/// Brings up `count` tunnels one after the other, and prints how long each took, in milliseconds.
pub(crate) async fn setup_times(entry: ServerEntry, server: SocketAddr, count: usize) -> Outcome<()> {
    for number in 0..count {
        let began = Instant::now();
        let tunnel = Tunnel::establish(&entry, server, number).await?;
        println!("took {:.3}", began.elapsed().as_secs_f64() * 1e3);
        tunnel.close().await;
    }
    Ok(())
}

/// For ever `rate` tunnels a second that come, have an answer of their flow, and go. Says `ready` when it begins, and each second how
/// many were served and how many failed so far.
pub(crate) async fn churn(entry: ServerEntry, server: SocketAddr, rate: usize) -> Outcome<()> {
    let (entry, echo) = (Rc::new(entry), echo().await?);
    let local = LocalSet::new();
    local
        .run_until(async move {
            let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate.max(1))?);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut under_way = JoinSet::new();
            let (mut served, mut failed) = (0, 0);
            println!("ready");
            for number in 0.. {
                ticks.tick().await;
                let (entry, size) = (entry.clone(), SIZES.get(number % SIZES.len()).copied().unwrap_or(0));
                under_way.spawn_local(async move {
                    visit(&entry, server, (echo, size, number)).await.map_err(|error| error.to_string())
                });
                while let Some(done) = under_way.try_join_next() {
                    match done? {
                        Ok(()) => served += 1,
                        Err(error) => {
                            failed += 1;
                            eprintln!("failed: {error}");
                        }
                    }
                }
                if number % rate.max(1) == 0 {
                    println!("served {served} failed {failed}");
                }
            }
            Ok(())
        })
        .await
}

async fn visit(
    entry: &ServerEntry,
    server: SocketAddr,
    (echo, size, number): (SocketAddr, usize, usize),
) -> Outcome<()> {
    let tunnel = Tunnel::establish(entry, server, number).await?;
    let (mut from, mut to) = tokio::io::split(tunnel.flow(echo).await?);
    let sent = vec![7; size];
    let mut back = vec![0; size];
    tokio::try_join!(to.write_all(&sent), from.read_exact(&mut back))?;
    tunnel.close().await;
    Ok(())
}

/// Establishes so many, a few at a time; those that `then` gives back.
pub(crate) async fn all<F, T>(
    entry: ServerEntry,
    server: SocketAddr,
    count: usize,
    then: impl Fn(Tunnel) -> F + Copy + 'static,
) -> Outcome<Vec<T>>
where
    F: Future<Output = Option<T>>,
    T: 'static,
{
    let entry = Rc::new(entry);
    let local = LocalSet::new();
    local
        .run_until(async move {
            let mut under_way = JoinSet::new();
            let mut kept = Vec::new();
            for number in 0..count {
                if under_way.len() >= AT_A_TIME
                    && let Some(done) = under_way.join_next().await
                {
                    kept.extend(finished(done)?);
                }
                let entry = entry.clone();
                under_way.spawn_local(async move {
                    let tunnel =
                        Tunnel::establish(&entry, server, number).await.map_err(|error| error.to_string())?;
                    Ok(then(tunnel).await)
                });
            }
            while let Some(done) = under_way.join_next().await {
                kept.extend(finished(done)?);
            }
            Ok(kept)
        })
        .await
}

fn finished<T>(done: Result<Result<Option<T>, String>, tokio::task::JoinError>) -> Outcome<Option<T>> {
    Ok(done??)
}
