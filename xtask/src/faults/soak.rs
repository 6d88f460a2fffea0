//! A long time: tunnels that stay and exchange a little, tunnels that come and go, and what the server has grown by meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome, kib};
use crate::bench::folder::free_port;
use crate::bench::generator::Share;
use crate::bench::proc;
use crate::bench::psiphon::{Generated, Setup};
use crate::bench::sys;

const TUNNELS: u32 = 50;
/// Each second.
const COME_AND_GO: u32 = 5;
const SAMPLE: Duration = Duration::from_secs(5);
/// One sample of so many is told while it goes on.
const TOLD: usize = 12;
/// Until what is set up once is there, as a part of the whole: what is measured comes after it.
const WARM_UP: u32 = 6;
/// For those who went to be gone.
const REST: Duration = Duration::from_secs(5);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let whole = Duration::from_secs(60) * harness.options.scaled(harness.options.minutes, 1);
    let figures = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = json!({ "MetricsAddress": figures.to_string() });
    let server = harness.server(&Setup { config, ..Setup::default() })?;
    let mut tunnels = harness.exchanges(&server, TUNNELS, 1000)?;
    thread::sleep(REST);
    let before = Counts::of(&server, figures)?;
    let mut visitors = harness.generator(&server, Share::Fair, &["churn", &COME_AND_GO.to_string()])?;
    visitors.ready(LINE)?;
    let samples = samples(&server, whole);
    let mut served = 0.0;
    while let Ok(counted) = visitors.number("served", Duration::ZERO) {
        served = counted;
    }
    visitors.program.signal(libc::SIGTERM);
    drop(visitors);
    thread::sleep(REST);
    let after = Counts::of(&server, figures)?;
    let alive = tunnels.times("window", LINE).is_ok() && tunnels.program.is_running();
    let (slope, mean) = slope(&samples).ok_or("too short to tell a slope")?;
    let minutes = whole.as_secs() / 60;
    harness.found(
        Figure::timed("soak: memory", slope * 100.0 / mean, "% an hour", Bound::AtMost(0.5))
            .remark(format!("{minutes} minutes, {served} came and went, {mean:.0} KiB")),
    );
    let alive = if alive { TUNNELS } else { 0 };
    harness.found(Figure::exact(
        "soak: tunnels that stay",
        alive.into(),
        "alive of 50",
        Bound::AtLeast(50.0),
    ));
    for (name, before, after) in [
        ("soak: descriptors", before.descriptors, after.descriptors),
        ("soak: threads", before.threads, after.threads),
        ("soak: tasks", before.tasks, after.tasks),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let more = after as f64 - before as f64;
        let remark = format!("{before} before, {after} after");
        harness.found(Figure::exact(name, more, "more", Bound::AtMost(1.0)).remark(remark));
    }
    Ok(())
}

/// Resident KiB at times in hours, from when what is set up once is there.
fn samples(server: &Generated, whole: Duration) -> Vec<(f64, f64)> {
    let start = sys::now();
    let mut samples = Vec::new();
    for number in 1.. {
        thread::sleep(SAMPLE);
        let (time, resident) = (start.elapsed(), kib(server.program.resident()));
        if time >= whole {
            break;
        }
        if number % TOLD == 0 {
            eprintln!("   after {} s {resident:.0} KiB", time.as_secs());
        }
        if time > whole / WARM_UP {
            samples.push((time.as_secs_f64() / 3600.0, resident));
        }
    }
    samples
}

struct Counts {
    descriptors: usize,
    threads: usize,
    tasks: usize,
}

impl Counts {
    fn of(server: &Generated, figures: SocketAddr) -> Outcome<Self> {
        let process = server.program.process();
        let tasks = tasks(figures)?;
        Ok(Self { descriptors: proc::descriptors(process), threads: proc::threads(process), tasks })
    }
}

/// How many the server says are alive.
fn tasks(figures: SocketAddr) -> Outcome<usize> {
    let mut stream = TcpStream::connect(figures)?;
    stream.set_read_timeout(Some(LINE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {figures}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let tasks = answer.lines().find_map(|line| line.strip_prefix("culvert_tasks "));
    Ok(tasks.ok_or("the server does not say how many tasks are alive")?.parse()?)
}

/// The line that fits best: what it rises in each unit, and the mean.
fn slope(samples: &[(f64, f64)]) -> Option<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let count = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |sum, sample| (sum.0 + sample.0, sum.1 + sample.1));
    let (x, y) = (x / count, y / count);
    let (mut over, mut under) = (0.0, 0.0);
    for sample in samples {
        over += (sample.0 - x) * (sample.1 - y);
        under += (sample.0 - x) * (sample.0 - x);
    }
    (under > 0.0).then(|| (over / under, y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_its_own() {
        let samples: Vec<_> = (0..10).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x))).collect();
        let (rise, mean) = slope(&samples).unwrap();
        assert!((rise - 2.0).abs() < 1e-9 && (mean - 12.0).abs() < 1e-9);
        assert!(slope(&[]).is_none() && slope(&[(1.0, 1.0)]).is_none());
    }
}
