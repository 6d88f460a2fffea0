//! A long time: tunnels that stay and exchange a little, tunnels that come and go, and what the server has grown by meanwhile.

use std::thread;
use std::time::Duration;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome, kib};
use crate::bench::generator::Share;
use crate::bench::proc;
use crate::bench::psiphon::{Generated, Setup};
use crate::bench::sys;

const TUNNELS: u32 = 50;
/// Each second.
const COME_AND_GO: u32 = 5;
const SAMPLE: Duration = Duration::from_secs(5);
/// Until what is set up once is there, as a part of the whole: what is measured comes after it.
const WARM_UP: u32 = 6;
/// For those who went to be gone.
const REST: Duration = Duration::from_secs(5);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let whole = Duration::from_secs(60) * harness.options.scaled(harness.options.minutes, 1);
    let server = harness.server(&Setup::default())?;
    let mut tunnels = harness.exchanges(&server, TUNNELS, 1000)?;
    thread::sleep(REST);
    let before = Counts::of(&server);
    let mut visitors = harness.generator(&server, Share::Fair, &["churn", &COME_AND_GO.to_string()])?;
    visitors.ready(LINE)?;
    let start = sys::now();
    let mut samples = Vec::new();
    while start.elapsed() < whole {
        thread::sleep(SAMPLE);
        if start.elapsed() > whole / WARM_UP {
            samples.push((start.elapsed().as_secs_f64() / 3600.0, kib(server.program.resident())));
        }
    }
    let mut failed = 0.0;
    while let Ok(counted) = visitors.number("served", Duration::ZERO) {
        failed = counted;
    }
    let served = failed;
    visitors.program.signal(libc::SIGTERM);
    drop(visitors);
    thread::sleep(REST);
    let after = Counts::of(&server);
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
    ] {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let more = after as f64 - before as f64;
        let remark = format!("{before} before");
        harness.found(Figure::exact(name, more, "more", Bound::AtMost(1.0)).remark(remark));
    }
    Ok(())
}

struct Counts {
    descriptors: usize,
    threads: usize,
}

impl Counts {
    fn of(server: &Generated) -> Self {
        let process = server.program.process();
        Self { descriptors: proc::descriptors(process), threads: proc::threads(process) }
    }
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
