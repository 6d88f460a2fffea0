//! The server is killed, at any moment, again and again, while tunnels come and go.

use std::thread;
use std::time::Duration;

use super::table::{Bound, Figure};
use super::{Harness, LINE, Outcome};
use crate::bench::generator::Share;
use crate::bench::psiphon::Setup;
use crate::bench::sys;

const CYCLES: u32 = 200;
/// Kills come at so many different moments after a start, this far apart.
const MOMENTS: u32 = 50;
const STEP: Duration = Duration::from_millis(3);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let mut server = harness.server(&Setup::default())?;
    let cycles = harness.options.scaled(CYCLES, 3);
    let _visitors = harness.generator(&server, Share::Rest, &["churn", "20"])?;
    let (mut served, mut slowest) = (0, Duration::ZERO);
    for cycle in 0..cycles {
        // A number that has no factor in common with how many there are reaches all of them.
        thread::sleep(STEP * (cycle * 17 % MOMENTS));
        let start = sys::now();
        server.restart("")?;
        slowest = slowest.max(start.elapsed());
        let mut client = harness.generator(&server, Share::Fair, &["setup-times", "1"])?;
        match client.number("took", LINE) {
            Ok(_) => served += 1,
            Err(error) => eprintln!("   {error}"),
        }
    }
    harness.found(
        Figure::exact("kill -9: starts that serve", served.into(), "", Bound::AtLeast(cycles.into()))
            .remark(format!("of {cycles}")),
    );
    let slowest = slowest.as_secs_f64();
    harness.found(Figure::timed("kill -9: slowest start", slowest, "s", Bound::AtMost(2.0)));
    Ok(())
}
