//! Round trips: from dialing to a usable tunnel, and for a small request in it. At 200 ms what is computed meanwhile hardly counts.

use std::io::{Read, Write};
use std::time::{Duration, UNIX_EPOCH};

use super::super::contender::{Contender, Server, forwarder};
use super::super::figures::{SMALL_GET, USABLE};
use super::super::origin::Wish;
use super::super::{Outcome, load, sys};
use super::Bench;

const CONTENDERS: [Contender; 5] = [
    Contender::Ours,
    Contender::OursToReference,
    Contender::ReferenceToOurs,
    Contender::Reference,
    Contender::Shadowsocks,
];
const ROUND_TRIP: Duration = Duration::from_millis(200);
/// Bytes of the small answer.
const ANSWER: usize = 600;

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    let servers = bench.servers(&CONTENDERS);
    for _ in 0..bench.options.runs {
        for server in &servers {
            let of = server.contender;
            match once(bench, server, "bench-delay") {
                Ok((usable, get)) => {
                    if let Some(usable) = usable {
                        bench.results.add(USABLE, of, usable);
                    }
                    bench.results.add(SMALL_GET, of, get);
                }
                Err(error) => bench.results.fail(format!("round trips, {}: {error}", of.name())),
            }
        }
    }
    Ok(())
}

/// Through the delaying forwarder `verb`: to a usable tunnel, where the client tells of one, and for a small request.
pub(super) fn once(bench: &Bench, server: &Server, verb: &str) -> Outcome<(Option<f64>, f64)> {
    let (mut relay, at) = forwarder(verb, server.address(), Some(ROUND_TRIP))?;
    let client = server.client(&bench.peers, at)?;
    let usable = match client.since {
        Some(since) => {
            // The first connection: attempts that failed before the one that held are part of the wait.
            let accepted = |line: &str| line.strip_prefix("accepted ")?.parse().ok();
            let (_, dialed) = relay.wait_line("connection", Duration::from_secs(1), accepted)?;
            let took = since.duration_since(UNIX_EPOCH)?.saturating_sub(Duration::from_micros(dialed));
            Some(took.as_secs_f64() / ROUND_TRIP.as_secs_f64())
        }
        None => None,
    };
    // Whatever the client still says after it has told that the tunnel is up.
    std::thread::sleep(ROUND_TRIP * 2);
    let start = sys::now();
    let mut flow = load::flow(client.front, bench.load.origin.address)?;
    flow.write_all(&Wish::Source(ANSWER as u64).encode())?;
    flow.read_exact(&mut [0; ANSWER])?;
    Ok((usable, start.elapsed().as_secs_f64() / ROUND_TRIP.as_secs_f64()))
}
