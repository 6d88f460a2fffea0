//! The server is killed and comes back while many clients have tunnels: how soon they have them again, and how many at once.

use std::time::{Duration, SystemTime};

use super::table::{Bound, Figure};
use super::{Harness, Outcome};
use crate::bench::program::Program;
use crate::bench::psiphon::{self, Dial, OSSH, Setup};
use crate::bench::results;

const CLIENTS: usize = 200;
/// For the last one.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let mut server = harness.server(&Setup::default())?;
    let count = harness.options.scaled(CLIENTS, 3);
    let mut clients = Vec::new();
    for _ in 0..count {
        let entry = server.entry(server.address);
        clients.push(psiphon::connect(&harness.peers.ours.client, &entry, OSSH, Dial::AsUsual)?);
    }
    let killed = SystemTime::now();
    server.restart("")?;
    let back = SystemTime::now();
    let mut times = Vec::new();
    for client in &mut clients {
        let Some(at) = up_after(&mut client.program, killed) else { continue };
        // Who was quicker than this program is back at once.
        times.push(at.duration_since(back).unwrap_or_default().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let (served, wanted, most) = (times.len() as f64, count as f64, most_in_a_second(&times) as f64);
    let p95 = results::quantile(&times, 0.95).ok_or("nobody came back")?;
    harness.found(Figure::exact("restart: clients that are back", served, "", Bound::AtLeast(wanted)));
    harness.found(Figure::timed("restart: back, p95", p95, "s", Bound::AtMost(10.0)));
    harness.found(Figure::timed("restart: back in one second, at most", most, "", Bound::Told));
    Ok(())
}

/// When a client has a tunnel that it had not before.
fn up_after(client: &mut Program, killed: SystemTime) -> Option<SystemTime> {
    let up = |line: &str| psiphon::tunnels(line).filter(|count| *count == 1).map(drop);
    loop {
        let (at, ()) = client.next_line("tunnel", PATIENCE, up).ok()?;
        if at > killed {
            return Some(at);
        }
    }
}

/// The most that are within a second of each other.
fn most_in_a_second(times: &[f64]) -> usize {
    let within = |first: &f64| times.iter().filter(|time| (*first..*first + 1.0).contains(*time)).count();
    times.iter().map(within).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_anywhere() {
        assert_eq!(most_in_a_second(&[0.1, 0.9, 1.0, 1.8, 3.0]), 3);
        assert_eq!(most_in_a_second(&[]), 0);
    }
}
