//! One client that takes all it can get, beside others that want little: what they lose by it. The limits are those of a server that somebody
//! shares: they hold for each client, so that nobody has more than a part.

use std::time::Duration;

use serde_json::json;

use super::table::{Bound, Figure};
use super::{BUILD_UP, Harness, LINE, Outcome};
use crate::bench::generator::{Generator, Share};
use crate::bench::psiphon::{Generated, Setup};
use crate::bench::results::median;

/// Clients that are measured. Each sends and has back as much as a call does.
const OTHERS: u32 = 20;
const BYTES: u32 = 4096;
/// Milliseconds.
const PERIOD: u32 = 50;
const WINDOW: u32 = 1000;
const WINDOW_SHORT: u32 = 300;
const WINDOWS: usize = 5;
/// What is lost, in percent. A machine that tests something else at the same time loses some by that alone.
const MOST_LOST: f64 = 10.0;
const MOST_LOST_SHORT: f64 = 50.0;

/// What is taken, by how many at once, and what the figures are called.
const KINDS: [(&str, u32, [&str; 2]); 5] = [
    ("flows", 512, ["abuse of flows: others lose", "abuse of flows: p95 of others"]),
    ("dials", 512, ["abuse of dials: others lose", "abuse of dials: p95 of others"]),
    ("datagrams", 1, ["abuse of datagrams: others lose", "abuse of datagrams: p95 of others"]),
    ("queries", 1, ["abuse of DNS: others lose", "abuse of DNS: p95 of others"]),
    ("bytes", 4, ["abuse of bytes: others lose", "abuse of bytes: p95 of others"]),
];

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let rules = json!({
        "MaxTCPPortForwardCount": 64,
        "MaxTCPDialingPortForwardCount": 16,
        "MaxUDPPortForwardCount": 32,
        "DialTCPPortForwardTimeoutMilliseconds": 10_000,
        "RateLimits": { "ReadBytesPerSecond": 1_000_000, "WriteBytesPerSecond": 1_000_000 },
    });
    let server = harness.server(&Setup { rules, ..Setup::default() })?;
    let window = harness.options.scaled(WINDOW, WINDOW_SHORT);
    let words = [OTHERS, BYTES, PERIOD, window].map(|number| number.to_string());
    let words: Vec<&str> = ["exchanges"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let mut others = harness.generator(&server, Share::Fair, &words)?;
    others.ready(BUILD_UP)?;
    let mut alone = served(harness, &mut others)?;
    for (want, tasks, names) in KINDS {
        let words = ["abuse", &tasks.to_string(), want];
        let mut abuser = harness.generator(&server, Share::Rest, &words)?;
        abuser.ready(LINE)?;
        let cpu = server.program.cpu();
        let beside = served(harness, &mut others)?;
        let cpu = server.program.cpu() - cpu;
        let tried = abuser.number("tried", LINE)?;
        found(
            harness,
            names,
            [alone, beside],
            &format!("{tried:.0} tries a second, server's CPU {cpu:.1} s"),
        );
        drop(abuser);
        if !harness.options.short {
            wait_quiet(&server, &mut others)?;
            alone = served(harness, &mut others)?;
        }
    }
    Ok(())
}

/// Exchanges in a window, and the 95th percentile of their times in milliseconds.
#[derive(Clone, Copy)]
struct Served {
    count: f64,
    p95: f64,
}

/// What the others have: the window in the middle of some.
fn served(harness: &Harness, others: &mut Generator) -> Outcome<Served> {
    // The one in which something began is of neither.
    while others.times("window", Duration::ZERO).is_ok() {}
    others.times("window", LINE)?;
    let (mut counts, mut p95s) = (Vec::new(), Vec::new());
    for _ in 0..harness.options.scaled(WINDOWS, 2) {
        let window = others.times("window", LINE)?;
        counts.push(window.count);
        p95s.push(window.p95);
    }
    let middle = |numbers: &[f64]| median(numbers).ok_or("no windows");
    Ok(Served { count: middle(&counts)?, p95: middle(&p95s)? })
}

/// The abuser has gone, and what it left behind must not be counted with the next one.
fn wait_quiet(server: &Generated, others: &mut Generator) -> Outcome<()> {
    let mut before = f64::MAX;
    for _ in 0..10 {
        let used = server.program.cpu();
        others.times("window", LINE)?;
        let used = server.program.cpu() - used;
        if used > before * 0.8 {
            break;
        }
        before = used;
    }
    Ok(())
}

fn found(harness: &mut Harness, [lose, p95]: [&'static str; 2], [alone, beside]: [Served; 2], remark: &str) {
    let lost = (1.0 - beside.count / alone.count.max(1.0)) * 100.0;
    let figure = match harness.options.short {
        true => Figure::exact(lose, lost, "%", Bound::AtMost(MOST_LOST_SHORT)),
        false => Figure::timed(lose, lost, "%", Bound::AtMost(MOST_LOST)),
    };
    harness.found(
        figure
            .remark(format!("{:.0} exchanges in a window, {:.0} alone; {remark}", beside.count, alone.count)),
    );
    let figure = Figure::timed(p95, beside.p95, "ms", Bound::Told);
    harness.found(figure.remark(format!("{:.2} ms alone", alone.p95)));
}
