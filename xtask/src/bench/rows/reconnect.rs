//! The tunnel is gone: the server was restarted, or nothing comes through any more while an application waits.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use super::super::Outcome;
use super::super::contender::{Contender, forwarder};
use super::super::figures::{BLACKHOLE, RECONNECT};
use super::super::load;
use super::super::origin::Wish;
use super::super::psiphon::wait_tunnels;
use super::Bench;

const CONTENDERS: [Contender; 2] = [Contender::Ours, Contender::ReferenceToOurs];
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// The reference notices late.
const LIMIT: Duration = Duration::from_secs(180);

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for contender in bench.present(&CONTENDERS) {
        let runs = if contender == Contender::Ours { bench.options.runs } else { 1 };
        for _ in 0..runs {
            for (figure, outcome) in
                [(RECONNECT, closed(bench, contender)), (BLACKHOLE, blocked(bench, contender))]
            {
                match outcome {
                    Ok(time) => bench.results.add(figure, contender, time.as_secs_f64()),
                    Err(error) => {
                        bench.results.fail(format!("{}, {}: {error}", figure.title, contender.name()));
                    }
                }
            }
        }
    }
    Ok(())
}

/// The server is killed, and started again.
fn closed(bench: &Bench, contender: Contender) -> Outcome<Duration> {
    let mut server = bench.server(contender)?;
    let mut client = server.client(&bench.peers, server.address())?;
    // What was said until now has been seen.
    wait_tunnels(&mut client.program, 1, Duration::ZERO).or_else(|_| Ok::<_, String>(SystemTime::now()))?;
    let start = SystemTime::now();
    server.generated_mut()?.restart("")?;
    wait_after(&mut client.program, start)
}

/// The way is blocked while a flow waits for an answer. It is opened again when the client has noticed.
fn blocked(bench: &Bench, contender: Contender) -> Outcome<Duration> {
    let server = bench.server(contender)?;
    let (relay, address) = forwarder("bench-delay", server.address(), Some(ROUND_TRIP))?;
    let mut client = server.client(&bench.peers, address)?;
    let mut flow = load::flow(client.front, bench.load.origin.address)?;
    flow.write_all(&Wish::Echo.encode())?;
    flow.write_all(&[7])?;
    flow.read_exact(&mut [0])?;
    let start = SystemTime::now();
    relay.signal(libc::SIGSTOP);
    flow.write_all(&[7])?;
    wait_tunnels(&mut client.program, 0, LIMIT)?;
    relay.signal(libc::SIGCONT);
    wait_after(&mut client.program, start)
}

/// Until a tunnel came up after this.
fn wait_after(client: &mut super::super::program::Program, start: SystemTime) -> Outcome<Duration> {
    loop {
        if let Ok(after) = wait_tunnels(client, 1, LIMIT)?.duration_since(start) {
            return Ok(after);
        }
    }
}
