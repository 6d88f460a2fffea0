//! Very many flows at once through a client's SOCKS proxy.

use std::process::Command;
use std::time::Duration;

use super::super::Outcome;
use super::super::contender::{Contender, Server};
use super::super::figures::{FLOWS_MEMORY, FLOWS_P95};
use super::super::load::Front;
use super::super::program::Program;
use super::Bench;

const CONTENDERS: [Contender; 2] = [Contender::Ours, Contender::ReferenceToOurs];
const FLOWS: u64 = 1000;
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for contender in bench.present(&CONTENDERS) {
        for _ in 0..bench.options.few() {
            let server = bench.server(contender)?;
            if let Err(error) = once(bench, &server) {
                bench.results.fail(format!("proxy flows, {}: {error}", contender.name()));
            }
        }
    }
    Ok(())
}

fn once(bench: &mut Bench, server: &Server) -> Outcome<()> {
    let client = server.client(&bench.peers, server.address())?;
    let Front::Socks(proxy) = client.front else { return Err("no SOCKS proxy".into()) };
    let mut command = Command::new(&bench.peers.many);
    let count = bench.options.scaled(FLOWS);
    command.args(["proxy-flows", &proxy.to_string(), &count.to_string()]);
    command.arg(client.program.process().to_string());
    let mut flows = Program::start("proxy-flows", &mut command)?;
    let (_, added) = flows.wait_line("p95", LIMIT, |line| {
        line.strip_prefix("p95: ")?.rsplit_once(", ")?.1.strip_suffix(" ms added")?.parse().ok()
    })?;
    let (_, memory) = flows.wait_line("memory", LIMIT, |line| {
        line.strip_prefix("memory: ")?.rsplit_once(", ")?.1.split(' ').next()?.parse().ok()
    })?;
    bench.results.add(FLOWS_P95, server.contender, added);
    bench.results.add(FLOWS_MEMORY, server.contender, memory);
    Ok(())
}
