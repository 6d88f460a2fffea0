//! The programs are told to stop: in order within 5 s, a second time at once.

use std::time::{Duration, Instant};

use super::table::{Bound, Figure};
use super::{BUILD_UP, Harness, Outcome};
use crate::bench::generator::Share;
use crate::bench::program::Program;
use crate::bench::psiphon::{self, Dial, OSSH, Setup};
use crate::bench::sys;

const CYCLES: u32 = 100;
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(harness: &mut Harness) -> Outcome<()> {
    let cycles = harness.options.scaled(CYCLES, 2);
    let (mut servers, mut clients) = (Ends::default(), Ends::default());
    let setup = Setup::default();
    for _ in 0..cycles {
        let mut server = harness.server(&setup)?;
        let mut tunnels = harness.generator(&server, Share::Fair, &["idle-tunnels", "5"])?;
        tunnels.ready(BUILD_UP)?;
        let entry = server.entry(server.address);
        let mut client = psiphon::connect(&harness.peers.ours.client, &entry, OSSH, Dial::AsUsual)?;
        clients.stop(&mut client.program)?;
        servers.stop(&mut server.program)?;
    }
    let of = format!("of {cycles}");
    for (name, slowest, ends) in [
        ("stop: servers in order", "stop: slowest server", servers),
        ("stop: clients in order", "stop: slowest client", clients),
    ] {
        harness
            .found(Figure::exact(name, ends.orderly.into(), "", Bound::AtLeast(cycles.into())).remark(&of));
        let time = ends.slowest.as_secs_f64();
        harness.found(Figure::timed(slowest, time, "s", Bound::AtMost(5.0)));
    }
    twice(harness, &setup)
}

/// Told again, the server does not wait for anybody.
fn twice(harness: &mut Harness, setup: &Setup) -> Outcome<()> {
    let mut server = harness.server(setup)?;
    let _tunnels = harness.exchanges(&server, 5, 100)?;
    server.program.signal(libc::SIGTERM);
    let start = sys::now();
    server.program.signal(libc::SIGTERM);
    server.program.wait_code(LIMIT)?;
    let took = start.elapsed().as_secs_f64();
    harness.found(Figure::timed("stop: told twice", took, "s", Bound::AtMost(1.0)));
    Ok(())
}

#[derive(Default)]
struct Ends {
    orderly: u32,
    slowest: Duration,
}

impl Ends {
    fn stop(&mut self, program: &mut Program) -> Outcome<()> {
        let start: Instant = sys::now();
        program.signal(libc::SIGTERM);
        match program.wait_code(LIMIT)? {
            Some(0) => self.orderly += 1,
            code => eprintln!("   ended with {code:?}"),
        }
        self.slowest = self.slowest.max(start.elapsed());
        Ok(())
    }
}
