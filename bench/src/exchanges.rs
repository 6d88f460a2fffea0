//! Small exchanges at a steady pace, one flow in each of many tunnels, to an echo of this process: how long they take, beside the same
//! without a tunnel.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use culvert_protocol::ServerEntry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::Outcome;
use crate::tunnels;

/// From everything being open to the first exchange.
const REST: Duration = Duration::from_millis(500);
/// Bytes that the echo reads at a time.
const READ: usize = 16 << 10;

/// What each flow does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes each way.
    pub(crate) length: usize,
    /// From one exchange to the next.
    pub(crate) period: Duration,
    /// Times are told for so long at once.
    pub(crate) window: Duration,
}

/// Prints for ever, after each window, how long the exchanges in it took: first a window without tunnels, then those through them.
/// A tunnel or flow that ends is an error.
pub(crate) async fn run(entry: ServerEntry, server: SocketAddr, count: usize, pace: Pace) -> Outcome<()> {
    let echo = echo().await?;
    let mut direct = Vec::new();
    for _ in 0..count {
        let stream = TcpStream::connect(echo).await?;
        stream.set_nodelay(true)?;
        direct.push(stream);
    }
    let (tell, told) = channel();
    let flows = start(direct, pace, &tell);
    sleep(REST + pace.window).await;
    for flow in flows {
        flow.abort();
    }
    println!("without {}", summary(&told));
    let tunnels = tunnels::all(entry, server, count, |tunnel| async move { Some(tunnel) }).await?;
    let mut flows = Vec::new();
    for tunnel in &tunnels {
        flows.push(tunnel.flow(echo).await?);
    }
    let flows = start(flows, pace, &tell);
    println!("ready");
    sleep(REST).await;
    // What came in the first moments is of no window.
    summary(&told);
    loop {
        sleep(pace.window).await;
        if flows.iter().any(tokio::task::JoinHandle::is_finished) {
            return Err("a flow has ended".into());
        }
        println!("window {}", summary(&told));
    }
}

/// An echo for as long as this process runs.
pub(crate) async fn echo() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Fails only when the other end has gone, which ends this just as well.
                let _ = stream.set_nodelay(true);
                let mut bytes = [0; READ];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(bytes.get(..count).unwrap_or_default()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Flows whose exchanges are spread evenly over the period.
fn start<S>(flows: Vec<S>, pace: Pace, tell: &Sender<Duration>) -> Vec<tokio::task::JoinHandle<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let count = u32::try_from(flows.len()).unwrap_or(u32::MAX).max(1);
    let begin = Instant::now() + REST;
    let numbered = flows.into_iter().zip(0u32..);
    let spawn = |(flow, number)| {
        let begin = begin + pace.period * number / count;
        let tell = tell.clone();
        tokio::spawn(async move {
            // Its end is seen by whoever started it.
            let _ = one(flow, pace, begin, &tell).await;
        })
    };
    numbered.map(spawn).collect()
}

async fn one<S>(mut flow: S, pace: Pace, begin: Instant, tell: &Sender<Duration>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sent = vec![7; pace.length];
    let mut back = vec![0; pace.length];
    for number in 0.. {
        let due = begin + pace.period * number;
        let waits = Instant::now() < due;
        sleep_until(due).await;
        // One that waited for its predecessor was slow too. What the timer adds is not counted.
        let began = if waits { Instant::now() } else { due };
        flow.write_all(&sent).await?;
        flow.read_exact(&mut back).await?;
        let _ = tell.send(began.elapsed());
    }
    Ok(())
}

/// `count median p95 p99 most`, in milliseconds, of what was told since the last time.
fn summary(told: &Receiver<Duration>) -> String {
    let mut times: Vec<Duration> = told.try_iter().collect();
    times.sort_unstable();
    let at = |share: usize| {
        let time = times.get(times.len() * share / 100).or(times.last()).copied().unwrap_or_default();
        format!("{:.3}", time.as_secs_f64() * 1e3)
    };
    format!("{} {} {} {} {}", times.len(), at(50), at(95), at(99), at(100))
}
