//! A flood of connections by someone without the keyword: each sends noise long enough to be judged, ends, and waits until the server has too.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Outcome;
use crate::tunnel::random;

const AT_A_TIME: usize = 32;
const LENGTH: usize = 512;
/// A server may hold what it does not understand; this is long enough for one that ends when the peer does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes `count` such connections.
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
