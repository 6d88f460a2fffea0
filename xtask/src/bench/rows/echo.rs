//! Latency of a small flow beside four downloads, on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::super::contender::{Client, Contender};
use super::super::figures::{ECHO_P50, ECHO_P99};
use super::super::origin::Wish;
use super::super::results::quantile;
use super::super::{Outcome, load, sys};
use super::Bench;

const CONTENDERS: [Contender; 4] =
    [Contender::Ours, Contender::Shadowsocks, Contender::OpenSsh, Contender::Reference];
const BULK_STREAMS: usize = 4;
const LENGTH: Duration = Duration::from_millis(2500);
/// Until the bulk flows go at full speed.
const WARM_UP: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(2);
const MESSAGE: usize = 64;

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    let pairs = bench.pairs(&CONTENDERS);
    for _ in 0..bench.options.runs {
        for (server, client) in &pairs {
            match once(bench, client) {
                Ok(times) => {
                    for (figure, part) in [(ECHO_P50, 0.5), (ECHO_P99, 0.99)] {
                        if let Some(value) = quantile(&times, part) {
                            bench.results.add(figure, server.contender, value);
                        }
                    }
                }
                Err(error) => bench.results.fail(format!("echo, {}: {error}", server.contender.name())),
            }
        }
    }
    Ok(())
}

/// Milliseconds of each round trip.
fn once(bench: &Bench, client: &Client) -> Outcome<Vec<f64>> {
    let origin = bench.load.origin.address;
    let mut flows = Vec::new();
    for _ in 0..BULK_STREAMS {
        let mut flow = load::flow(client.front, origin)?;
        flow.write_all(&Wish::Source(1 << 40).encode())?;
        flows.push(flow);
    }
    let over = AtomicBool::new(false);
    let drain = |flow| {
        while !over.load(Ordering::Relaxed) {
            if !sys::discard(flow, sys::CHUNK).is_ok_and(|count| count > 0) {
                break;
            }
        }
    };
    thread::scope(|scope| {
        for flow in &flows {
            scope.spawn(move || drain(flow));
        }
        let times = echo(client, origin, if bench.options.quick { LENGTH / 4 } else { LENGTH });
        over.store(true, Ordering::Relaxed);
        for flow in &flows {
            let _ = flow.shutdown(Shutdown::Both);
        }
        times
    })
}

fn echo(client: &Client, origin: SocketAddr, length: Duration) -> Outcome<Vec<f64>> {
    thread::sleep(WARM_UP);
    let mut flow = load::flow(client.front, origin)?;
    flow.write_all(&Wish::Echo.encode())?;
    let mut times = Vec::new();
    let end = sys::now() + length;
    let mut message = [7; MESSAGE];
    while sys::now() < end {
        let start = sys::now();
        flow.write_all(&message)?;
        flow.read_exact(&mut message)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        thread::sleep(PAUSE);
    }
    Ok(times)
}
