//! One stream over a round trip of 100 ms, on a fresh tunnel each time, so that the way to full speed counts.

use std::time::Duration;

use super::super::Outcome;
use super::super::contender::{Contender, Server, forwarder};
use super::super::figures::{FAR_DOWN, FAR_UP};
use super::super::load::{Most, Way};
use super::{Bench, megabytes};

const CONTENDERS: [Contender; 5] = [
    Contender::Ours,
    Contender::OursToReference,
    Contender::Shadowsocks,
    Contender::OpenSsh,
    Contender::Reference,
];
const ROUND_TRIP: Duration = Duration::from_millis(100);
const BYTES: u64 = 2_000_000_000;
/// Who has not moved them by then is stopped, which leaves the speed what it is.
const LIMIT: Duration = Duration::from_secs(11);

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    let servers = bench.servers(&CONTENDERS);
    for _ in 0..bench.options.few() {
        for server in &servers {
            for way in Way::BOTH {
                // The reference's server takes uploads at its own pace, which is not ours to change.
                if way == Way::Up && server.contender.is_slow() {
                    continue;
                }
                let (figure, of) = (if way == Way::Down { FAR_DOWN } else { FAR_UP }, server.contender);
                match once(bench, server, way) {
                    Ok((bytes, time)) => {
                        bench.results.add(figure, of, megabytes(bytes, time));
                        if bytes < bench.options.scaled(BYTES) {
                            bench.results.remark(figure, of, &format!("stopped after {} s", time.as_secs()));
                        }
                    }
                    Err(error) => bench.results.fail(format!("{}, {}: {error}", figure.title, of.name())),
                }
            }
        }
    }
    Ok(())
}

fn once(bench: &Bench, server: &Server, way: Way) -> Outcome<(u64, Duration)> {
    let (_relay, at) = forwarder("bench-delay", server.address(), Some(ROUND_TRIP))?;
    let client = server.client(&bench.peers, at)?;
    let most = Most { bytes: bench.options.scaled(BYTES), time: LIMIT };
    Ok(bench.load.within(client.front, way, most)?)
}
