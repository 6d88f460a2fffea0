//! Many flows at once through a SOCKS proxy to an echo of this process: what the way through adds to a small exchange, beside
//! the same exchanges without it, and how much larger the client's process becomes.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Outcome;
use crate::exchanges::echo;

/// Exchanges of each flow, and the time from one to the next.
const EXCHANGES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes of one exchange, each way.
const LENGTH: usize = 64;
/// For the client to have come to rest.
const REST: Duration = Duration::from_millis(500);

/// Measures and prints.
pub(crate) async fn run(proxy: SocketAddr, count: usize, process: u32) -> Outcome<()> {
    if !proxy.ip().is_loopback() {
        return Err("this is for proxies on loopback addresses only".into());
    }
    let echo = echo().await?;
    let mut direct = Vec::new();
    for _ in 0..count {
        direct.push(TcpStream::connect(echo).await?);
    }
    let without = exchanges(direct).await?;
    let before = resident(process)?;
    let mut flows = Vec::new();
    for _ in 0..count {
        flows.push(through(proxy, echo).await?);
    }
    sleep(REST).await;
    let opened = resident(process)?;
    let with = exchanges(flows).await?;
    let after = resident(process)?;
    let each = |now: u64| now.saturating_sub(before) / 1024 / count.max(1) as u64;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    for (name, share) in [("median", 50), ("p95", 95), ("p99", 99)] {
        let (with, without) = (ms(percentile(&with, share)), ms(percentile(&without, share)));
        println!(
            "{name}: {with:.2} ms through the proxy, {without:.2} ms without, {:.2} ms added",
            with - without
        );
    }
    println!("memory: {} KiB each when open, {} KiB each after use", each(opened), each(after));
    Ok(())
}

/// RFC 1928.
async fn through(proxy: SocketAddr, to: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    let mut request = vec![5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1];
    request.extend(to.port().to_be_bytes());
    stream.write_all(&request).await?;
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).await?;
    if reply[3] != 0 {
        return Err(format!("the proxy refused a flow with code {}", reply[3]).into());
    }
    Ok(stream)
}

/// Exchanges of all flows, spread evenly over time; how long each took, in order of length.
async fn exchanges(flows: Vec<TcpStream>) -> Outcome<Vec<Duration>> {
    let count = u32::try_from(flows.len())?.max(1);
    let begin = Instant::now() + REST;
    let mut running = JoinSet::new();
    for (flow, index) in flows.into_iter().zip(0u32..) {
        running.spawn(one(flow, begin + PERIOD * index / count));
    }
    let mut times = Vec::new();
    while let Some(done) = running.join_next().await {
        times.extend(done??);
    }
    times.sort_unstable();
    Ok(times)
}

async fn one(mut flow: TcpStream, begin: Instant) -> std::io::Result<Vec<Duration>> {
    flow.set_nodelay(true)?;
    let mut times = Vec::new();
    for number in 0..EXCHANGES {
        sleep_until(begin + PERIOD * number).await;
        let start = Instant::now();
        flow.write_all(&[7; LENGTH]).await?;
        flow.read_exact(&mut [0; LENGTH]).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

fn percentile(times: &[Duration], share: usize) -> Duration {
    times.get(times.len() * share / 100).or(times.last()).copied().unwrap_or_default()
}

/// proc_pid_status(5).
fn resident(process: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no such process")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
