//! A server with many tunnels: idle, carrying a little, beside one that carries much, and while it reads its files anew.

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use super::super::contender::{Client, Contender, Server};
use super::super::figures::{
    ACTIVE_CPU, ACTIVE_P95, HELD, HELD_CPU, HELD_MEMORY, RELOAD_KEPT, RELOAD_STALL, SMALL_ALONE, SMALL_BESIDE,
};
use super::super::generator::{Generator, Share};
use super::super::origin::Wish;
use super::super::results::median;
use super::super::{Outcome, load, sys};
use super::Bench;

const OF: Contender = Contender::Ours;
const BUILD_UP: Duration = Duration::from_secs(600);
const LINE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(20);

const HELD_COUNT: u64 = 20_000;
/// What a process may hold beside tunnels.
const OTHER_FILES: u64 = 500;

const ACTIVE_COUNT: u64 = 2000;
const INTERACTIVE: u64 = 200;
const RELOAD_COUNT: u64 = 5000;
/// Of the rules that are reloaded.
const FILTERS: usize = 2000;
const WINDOWS: usize = 5;

/// As many idle tunnels as are wanted, on as many servers as it takes where a process may open only so many files.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn held(bench: &mut Bench) -> Outcome<()> {
    let count = bench.options.scaled(HELD_COUNT);
    let servers = count.div_ceil(files().saturating_sub(OTHER_FILES).max(1));
    let each = count / servers;
    let mut running = Vec::new();
    for _ in 0..servers {
        let server = bench.server(OF)?;
        generator(bench, &server, &["setup-times", "4"])?.number("took", LINE)?;
        running.push(server);
    }
    thread::sleep(SETTLE);
    let memory = |servers: &[Server]| servers.iter().map(|server| server.program().resident()).sum::<u64>();
    let cpu = |servers: &[Server]| servers.iter().map(|server| server.program().cpu()).sum::<f64>();
    let before = memory(&running);
    let mut loads = Vec::new();
    for server in &running {
        loads.push(generator(bench, server, &["idle-tunnels", &each.to_string()])?);
    }
    for load in &mut loads {
        load.ready(BUILD_UP)?;
    }
    thread::sleep(SETTLE);
    let grown = memory(&running).saturating_sub(before);
    let used = cpu(&running);
    thread::sleep(IDLE);
    let used = cpu(&running) - used;
    let kept = loads.iter_mut().map(|load| u64::from(load.program.is_running())).sum::<u64>() * each;
    let of_loads: u64 = loads.iter().map(|load| load.program.resident()).sum();
    bench.results.add(HELD, OF, kept as f64);
    bench.results.add(HELD_MEMORY, OF, grown as f64 / 1024.0 / count as f64);
    bench.results.add(HELD_CPU, OF, used * 100.0 / IDLE.as_secs_f64());
    bench.results.remark(
        HELD,
        OF,
        &format!("{servers} servers of {each}, a process may open {} files", files()),
    );
    bench.results.remark(HELD_MEMORY, OF, &format!("the load's are {} MiB", of_loads >> 20));
    Ok(())
}

/// Each tunnel sends and has back 1,600 bytes five times a second.
pub(super) fn active(bench: &mut Bench) -> Outcome<()> {
    let server = bench.server(OF)?;
    let count = bench.options.scaled(ACTIVE_COUNT).to_string();
    let mut load = generator(bench, &server, &["exchanges", &count, "1600", "200", "2000"])?;
    let without = load.times("without", BUILD_UP)?.p95;
    load.ready(BUILD_UP)?;
    let (start, used) = (sys::now(), server.program().cpu());
    for _ in 0..WINDOWS {
        let with = load.times("window", LINE)?;
        bench.results.add(ACTIVE_P95, OF, with.p95 - without);
        bench.results.remark(ACTIVE_P95, OF, &format!("{:.1} ms, {without:.1} without", with.p95));
    }
    let used = server.program().cpu() - used;
    bench.results.add(ACTIVE_CPU, OF, used / start.elapsed().as_secs_f64());
    Ok(())
}

/// Small exchanges, alone and beside a client that takes all that it gets.
pub(super) fn fairness(bench: &mut Bench) -> Outcome<()> {
    let server = bench.server(OF)?;
    let client = server.client(&bench.peers, server.address())?;
    // It stands for one elsewhere, which takes none of this machine's time from the others.
    let mut renice = Command::new("renice");
    renice.args(["-n", "15", "-g"]).arg(client.program.process().to_string());
    renice.output()?;
    // Where the bench runs before all others, it does not.
    let mut demote = Command::new("chrt");
    demote.args(["-o", "-a", "-p", "0"]).arg(client.program.process().to_string());
    demote.output()?;
    let count = bench.options.scaled(INTERACTIVE).to_string();
    let mut load = generator(bench, &server, &["exchanges", &count, "64", "100", "2000"])?;
    load.ready(BUILD_UP)?;
    let mut alone = Vec::new();
    for _ in 0..WINDOWS {
        alone.push(load.times("window", LINE)?.p95);
    }
    let (beside, megabytes) = beside_bulk(bench, &client, &mut load)?;
    bench.results.add(SMALL_ALONE, OF, median(&alone).unwrap_or_default());
    bench.results.add(SMALL_BESIDE, OF, median(&beside).unwrap_or_default());
    bench.results.remark(SMALL_BESIDE, OF, &format!("the bulk client took {megabytes:.0} MB/s"));
    Ok(())
}

fn beside_bulk(bench: &Bench, client: &Client, load: &mut Generator) -> Outcome<(Vec<f64>, f64)> {
    let mut flow = load::flow(client.front, bench.load.origin.address)?;
    flow.write_all(&Wish::Source(1 << 40).encode())?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let bulk = scope.spawn(|| {
            let (start, mut taken) = (sys::now(), 0);
            while !over.load(Ordering::Relaxed) {
                match sys::discard(&flow, sys::CHUNK) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => taken += count as u64,
                }
            }
            super::megabytes(taken, start.elapsed())
        });
        // The window in which it began is of neither.
        let beside = load.times("window", LINE).and_then(|_| {
            (0..WINDOWS).map(|_| Ok(load.times("window", LINE)?.p95)).collect::<Outcome<Vec<f64>>>()
        });
        over.store(true, Ordering::Relaxed);
        Ok((beside?, bulk.join().unwrap_or_default()))
    })
}

/// The longest exchange while the server reads its files anew, of some tunnels among many.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn reload(bench: &mut Bench) -> Outcome<()> {
    let server = bench.server(OF)?;
    let count = bench.options.scaled(RELOAD_COUNT);
    let mut idle = generator(bench, &server, &["idle-tunnels", &count.to_string()])?;
    idle.ready(BUILD_UP)?;
    let mut busy = generator(bench, &server, &["exchanges", "50", "64", "20", "1000"])?;
    busy.ready(LINE)?;
    let mut without = Vec::new();
    for _ in 0..WINDOWS {
        without.push(busy.times("window", LINE)?.most);
    }
    for number in 0..bench.options.few() {
        server.generated()?.write_filtered_rules(changed(number))?;
        server.program().signal(libc::SIGUSR1);
        let with = [busy.times("window", LINE)?.most, busy.times("window", LINE)?.most];
        bench.results.add(RELOAD_STALL, OF, with.into_iter().fold(0.0, f64::max));
    }
    let without = median(&without).unwrap_or_default();
    bench.results.remark(RELOAD_STALL, OF, &format!("{without:.1} in a window without"));
    let kept = if idle.program.is_running() && busy.program.is_running() { count } else { 0 };
    bench.results.add(RELOAD_KEPT, OF, kept as f64);
    Ok(())
}

/// Other rules each time, for clients of many providers.
fn changed(number: usize) -> serde_json::Value {
    let rule = |provider: usize| {
        serde_json::json!({
            "Filter": { "Regions": ["XX"], "ISPs": [format!("Provider {provider}")] },
            "Rules": { "MaxTCPPortForwardCount": 100 + number },
        })
    };
    (0..FILTERS).map(rule).collect()
}

fn generator(bench: &Bench, server: &Server, words: &[&str]) -> Outcome<Generator> {
    let (verb, words) = words.split_first().ok_or("a load has a verb")?;
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Generator::start(&bench.peers.many, server.generated()?, Share::Fair, verb, &words)
}

/// How many files a process may open.
fn files() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(1024)
}
