//! Peers slower than anybody: strangers of a byte a second, and applications that do not read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, SystemTime};

use super::table::{Bound, Figure};
use super::{BUILD_UP, Harness, LINE, Outcome, kib};
use crate::bench::generator::Share;
use crate::bench::load::{self, Front};
use crate::bench::origin::Wish;
use crate::bench::psiphon::{self, Dial, Generated, OSSH, Protocol, Setup};
use crate::bench::{results, sys};

const STRANGERS: u32 = 1000;
const CLIENTS: usize = 30;
/// Strangers that a deadline ends are gone by then.
const PATIENCE: Duration = Duration::from_secs(40);

const READERS: usize = 200;
const TRIES: usize = 30;
const SETTLE: Duration = Duration::from_secs(3);

/// The transports with a head that somebody can be slow with, and what the figures are called.
const SLOW: [(Protocol, &str, &str, (&str, Bound)); 2] = [
    (
        Protocol { name: "UNFRONTED-MEEK-OSSH", port: "meekServerPort", datagrams: false },
        "http",
        "slow heads on meek: start p95",
        ("slow heads on meek: ended", Bound::AtLeast(1000.0)),
    ),
    (
        Protocol { name: "TLS-OSSH", port: "tlsOSSHPort", datagrams: false },
        "tls",
        "slow heads on TLS: start p95",
        // Held in silence, as every stranger is who may be about to prove to be a client.
        ("slow heads on TLS: ended", Bound::Told),
    ),
];

pub(super) fn strangers(harness: &mut Harness) -> Outcome<()> {
    let clients = harness.options.scaled(CLIENTS, 5);
    for (protocol, head, started, (ended, bound)) in SLOW {
        let server = Generated::start_in(&harness.peers.ours.server, protocol, &Setup::default())?;
        let idle = start_p95(harness, &server, clients)?;
        let mut slow = harness.generator(&server, Share::Rest, &["slow", &STRANGERS.to_string(), head])?;
        slow.ready(BUILD_UP)?;
        let begin = sys::now();
        let beside = start_p95(harness, &server, clients)?;
        let mut gone = 0.0;
        while gone < f64::from(STRANGERS) && begin.elapsed() < PATIENCE {
            gone = slow.number("ended", LINE)?;
        }
        harness.found(
            Figure::timed(started, beside / idle, "x idle", Bound::AtMost(2.0))
                .remark(format!("p95 {beside:.0} ms, idle {idle:.0} ms")),
        );
        harness.found(
            Figure::timed(ended, gone, "of 1000", bound)
                .remark(format!("after {:.0} s", begin.elapsed().as_secs_f64())),
        );
    }
    Ok(())
}

/// From starting a client to its tunnel, in milliseconds.
fn start_p95(harness: &Harness, server: &Generated, count: usize) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = SystemTime::now();
        let entry = server.entry(server.address);
        let connected = psiphon::connect(&harness.peers.ours.client, &entry, server.protocol, Dial::AsUsual)?;
        times.push(connected.since.duration_since(start)?.as_secs_f64() * 1e3);
    }
    results::quantile(&times, 0.95).ok_or_else(|| "no clients".into())
}

pub(super) fn readers(harness: &mut Harness) -> Outcome<()> {
    let server = harness.server(&Setup::default())?;
    let entry = server.entry(server.address);
    let client = psiphon::connect(&harness.peers.ours.client, &entry, OSSH, Dial::AsUsual)?;
    let front = Front::Socks(client.socks);
    let tries = harness.options.scaled(TRIES, 10);
    let before = first_byte(harness, front, tries)?;
    let (of_server, of_client) = (server.program.resident(), client.program.resident());
    let mut stalled: Vec<TcpStream> = Vec::new();
    for _ in 0..READERS {
        let mut flow = load::flow(front, harness.load.origin.address)?;
        flow.write_all(&Wish::Source(1 << 40).encode())?;
        stalled.push(flow);
    }
    thread::sleep(SETTLE);
    let beside = first_byte(harness, front, tries)?;
    let grown = |now: u64, before: u64| kib(now.saturating_sub(before)) / 1024.0;
    let of_server = grown(server.program.resident(), of_server);
    let of_client = grown(client.program.resident(), of_client);
    harness.found(Figure::timed("200 stalled flows: server", of_server, "MiB", Bound::AtMost(16.0)));
    harness.found(Figure::timed("200 stalled flows: client", of_client, "MiB", Bound::AtMost(64.0)));
    harness.found(
        Figure::timed(
            "200 stalled flows: first byte of another",
            beside - before,
            "ms later",
            Bound::AtMost(50.0),
        )
        .remark(format!("p95 {beside:.1} ms, {before:.1} ms before")),
    );
    drop(stalled);
    Ok(())
}

/// How long the first byte of a new flow takes, in milliseconds.
fn first_byte(harness: &Harness, front: Front, tries: usize) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..tries {
        let start = sys::now();
        let mut flow = load::flow(front, harness.load.origin.address)?;
        flow.write_all(&Wish::Source(1).encode())?;
        flow.read_exact(&mut [0])?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    results::quantile(&times, 0.95).ok_or_else(|| "no flows".into())
}
