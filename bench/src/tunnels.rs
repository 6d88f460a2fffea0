//! Many tunnels: kept, or one after the other.

use std::net::SocketAddr;
use std::rc::Rc;

use culvert_protocol::ServerEntry;
use tokio::task::{JoinSet, LocalSet};

use crate::Outcome;
use crate::tunnel::Tunnel;

/// Attempts at a time: enough to keep a server busy, few enough for its limit on concurrent handshakes.
const AT_A_TIME: usize = 8;

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

/// Brings up `count` tunnels and closes each as soon as its handshake is answered.
pub(crate) async fn come_and_go(entry: ServerEntry, server: SocketAddr, count: usize) -> Outcome<()> {
    let close = |tunnel: Tunnel| async move {
        tunnel.close().await;
        None
    };
    all(entry, server, count, close).await?;
    Ok(())
}

/// Establishes so many, a few at a time; those that `then` gives back.
async fn all<F>(
    entry: ServerEntry,
    server: SocketAddr,
    count: usize,
    then: impl Fn(Tunnel) -> F + Copy + 'static,
) -> Outcome<Vec<Tunnel>>
where
    F: Future<Output = Option<Tunnel>>,
{
    let entry = Rc::new(entry);
    let local = LocalSet::new();
    local
        .run_until(async move {
            let mut under_way = JoinSet::new();
            let mut kept = Vec::new();
            for _ in 0..count {
                if under_way.len() >= AT_A_TIME
                    && let Some(done) = under_way.join_next().await
                {
                    kept.extend(finished(done)?);
                }
                let entry = entry.clone();
                under_way.spawn_local(async move {
                    let tunnel =
                        Tunnel::establish(&entry, server).await.map_err(|error| error.to_string())?;
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

fn finished(done: Result<Result<Option<Tunnel>, String>, tokio::task::JoinError>) -> Outcome<Option<Tunnel>> {
    Ok(done??)
}
