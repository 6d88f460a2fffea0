//! What many connections cost the server: idle tunnels, fresh tunnels, and connections that are garbage. The load comes from
//! `culvert-bench`, one program with our client's half, so that both servers get the same.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::super::Outcome;
use super::super::contender::{Contender, Kind, Server};
use super::super::figures::{Figure, HELD_PROBE, IDLE_TUNNEL, PROBE, TUNNELS};
use super::super::folder::Folder;
use super::super::program::Program;
use super::{Bench, cpu_during};

const SERVERS: [Contender; 2] = [Contender::Ours, Contender::Reference];
pub(super) const LIMIT: Duration = Duration::from_secs(120);
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: u64 = 1000;
const FRESH: u64 = 300;
const PROBES: u64 = 2000;
const HELD: u64 = 4000;

/// Resident memory that each idle tunnel adds. A fresh server each time, because memory is rarely given back.
pub(super) fn memory(bench: &mut Bench) -> Outcome<()> {
    kept(bench, "idle-tunnels", IDLE, IDLE_TUNNEL)
}

fn kept(bench: &mut Bench, verb: &str, count: u64, figure: Figure) -> Outcome<()> {
    for contender in bench.present(&SERVERS) {
        let runs = if contender == Contender::Ours { bench.options.few() } else { 1 };
        for _ in 0..runs {
            let count = bench.options.scaled(count);
            match grown(bench, contender, verb, count) {
                Ok(each) => {
                    bench.results.add(figure, contender, each);
                    bench.results.remark(figure, contender, &format!("{count} at a time"));
                }
                Err(error) => bench.results.fail(format!("{verb}, {}: {error}", contender.name())),
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn grown(bench: &Bench, contender: Contender, verb: &str, count: u64) -> Outcome<f64> {
    let server = bench.server(contender)?;
    // The first bring what all share.
    let (mut first, _folder) = many(bench, &server, verb, 4)?;
    first.wait_line(verb, LIMIT, ready)?;
    thread::sleep(SETTLE);
    let before = server.program().resident();
    let (mut load, _folder) = many(bench, &server, verb, count)?;
    load.wait_line(verb, LIMIT, ready)?;
    thread::sleep(SETTLE);
    let grown = server.program().resident().saturating_sub(before);
    Ok(grown as f64 / 1024.0 / count as f64)
}

/// Tunnels that reach the handshake's answer, by the server's CPU.
pub(super) fn tunnels(bench: &mut Bench) -> Outcome<()> {
    repeat(bench, "tunnels-per-second", FRESH, |bench, contender, count, cpu| {
        bench.results.add(TUNNELS, contender, count / cpu.max(0.01));
        bench.results.remark(TUNNELS, contender, "default lists, which agree on mlkem768x25519-sha256");
    })
}

/// CPU of the server for each connection that is garbage, all from one address, and memory while they are kept.
pub(super) fn probes(bench: &mut Bench) -> Outcome<()> {
    kept(bench, "held-probes", HELD, HELD_PROBE)?;
    repeat(bench, "probe-flood", PROBES, |bench, contender, count, cpu| {
        bench.results.add(PROBE, contender, cpu * 1e3 / count);
    })
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn repeat(
    bench: &mut Bench,
    verb: &str,
    count: u64,
    add: impl Fn(&mut Bench, Contender, f64, f64),
) -> Outcome<()> {
    let count = bench.options.scaled(count);
    let servers = bench.servers(&SERVERS);
    for _ in 0..bench.options.few() {
        for server in &servers {
            let (cpu, done) = cpu_during(&[server.program()], || {
                let (mut load, _folder) = many(bench, server, verb, count)?;
                load.wait_success(LIMIT)
            });
            match done {
                Ok(()) => add(bench, server.contender, count as f64, cpu),
                Err(error) => bench.results.fail(format!("{verb}, {}: {error}", server.contender.name())),
            }
        }
    }
    Ok(())
}

/// Starts the load.
pub(super) fn many(bench: &Bench, server: &Server, verb: &str, count: u64) -> Outcome<(Program, Folder)> {
    let Kind::Psiphon(generated) = &server.kind else { return Err("not a tunnel server".into()) };
    let folder = Folder::new()?;
    let entry = folder.path().join("entry");
    fs::write(&entry, generated.entry(server.address()))?;
    let mut command = Command::new(&bench.peers.many);
    command.arg(verb).arg(&entry).arg(count.to_string()).arg(generated.protocol.port);
    Ok((Program::start(verb, &mut command)?, folder))
}

fn ready(line: &str) -> Option<()> {
    (line == "ready").then_some(())
}
