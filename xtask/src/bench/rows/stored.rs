//! A client that has been used before: what its store helps, and what very many stored servers cost.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use super::super::contender::{Contender, Server};
use super::super::figures::{
    Figure, IMPORT, PROXIES, REPLAY_ALONE, REPLAY_DEAD, STORED_CPU, STORED_RESIDENT, STORED_WAKE_UPS,
};
use super::super::folder::Folder;
use super::super::program::Program;
use super::super::psiphon;
use super::super::{Outcome, proc, sys};
use super::Bench;

const CONTENDERS: [Contender; 2] = [Contender::Ours, Contender::ReferenceToOurs];
const DEAD: u32 = 1000;
const STARTS: u64 = 15;
const STORED: u64 = 100_000;
/// For a client to write down what it has learned, and to come to rest.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(120);

/// The next start with the server that served last, alone and beside dead ones.
pub(super) fn replay(bench: &mut Bench) -> Outcome<()> {
    for contender in bench.present(&CONTENDERS) {
        let server = bench.server(contender)?;
        for (figure, dead) in [(REPLAY_ALONE, 0), (REPLAY_DEAD, DEAD)] {
            next_starts(bench, &server, figure, dead)?;
        }
    }
    Ok(())
}

fn next_starts(bench: &mut Bench, server: &Server, figure: Figure, dead: u32) -> Outcome<()> {
    let folder = Folder::new()?;
    serve_once(bench, server, folder.path())?;
    if dead > 0 {
        let first = Ipv4Addr::new(127, 1, 0, 1);
        let list = list(server, folder.path(), (0..dead).map(|number| after(first, number)))?;
        let program = bench.client_program(server.contender);
        let chosen = psiphon::choose(program, folder.path(), Some(&list))?;
        rest_and_stop(chosen.program)?;
    }
    for _ in 0..bench.options.scaled(STARTS).max(2) {
        let chosen = psiphon::choose(bench.client_program(server.contender), folder.path(), None)?;
        bench.results.add(figure, server.contender, chosen.tunnel.as_secs_f64() * 1e3);
        if dead == 0 {
            bench.results.add(PROXIES, server.contender, chosen.proxies.as_secs_f64() * 1e3);
        }
        rest_and_stop(chosen.program)?;
    }
    Ok(())
}

/// Very many stored servers, one of which lives.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn many(bench: &mut Bench) -> Outcome<()> {
    let of = Contender::Ours;
    let server = bench.server(of)?;
    let folder = Folder::new()?;
    serve_once(bench, &server, folder.path())?;
    let count = u32::try_from(bench.options.scaled(STORED))?;
    // Never dialed: the one that served last comes first.
    let first = Ipv4Addr::new(127, 2, 0, 1);
    let list = list(&server, folder.path(), (0..count).map(|number| after(first, number)))?;
    let start = sys::now();
    let culvert = bench.peers.ours.client.with_file_name("culvert");
    let mut import = Command::new(culvert);
    import.args(["servers", "import"]).arg(&list).arg("--dataRootDirectory").arg(folder.path());
    Program::start("import", &mut import)?.wait_success(LIMIT)?;
    bench.results.add(IMPORT, of, start.elapsed().as_secs_f64());
    let chosen = psiphon::choose(bench.client_program(of), folder.path(), None)?;
    thread::sleep(SETTLE);
    let process = chosen.program.process();
    bench.results.add(STORED_RESIDENT, of, chosen.program.resident() as f64 / 1e6);
    let (cpu, switches) = (chosen.program.cpu(), proc::switches(process));
    thread::sleep(IDLE);
    let seconds = IDLE.as_secs_f64();
    let woken = (proc::switches(process) - switches) as f64;
    bench.results.add(STORED_WAKE_UPS, of, woken / seconds);
    bench.results.add(STORED_CPU, of, (chosen.program.cpu() - cpu) * 100.0 / seconds);
    bench.results.remark(STORED_RESIDENT, of, &format!("{count} stored"));
    rest_and_stop(chosen.program)
}

/// A first start, after which the server is known to serve.
fn serve_once(bench: &Bench, server: &Server, folder: &Path) -> Outcome<()> {
    let list = folder.join("first");
    fs::write(&list, server.generated()?.entry_elsewhere(server.address()))?;
    let chosen = psiphon::choose(bench.client_program(server.contender), folder, Some(&list))?;
    rest_and_stop(chosen.program)
}

fn rest_and_stop(mut client: Program) -> Outcome<()> {
    thread::sleep(SETTLE / 3);
    client.signal(libc::SIGTERM);
    client.wait_code(LIMIT)?;
    Ok(())
}

/// A file of entries of servers that are not there.
fn list(
    server: &Server,
    folder: &Path,
    addresses: impl Iterator<Item = Ipv4Addr>,
) -> Outcome<std::path::PathBuf> {
    let generated = server.generated()?;
    let mut lines = String::new();
    for address in addresses {
        let at = SocketAddr::from((address, server.address().port()));
        writeln!(lines, "{}", generated.entry_elsewhere(at))?;
    }
    let file = folder.join("list");
    fs::write(&file, lines)?;
    Ok(file)
}

fn after(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}
