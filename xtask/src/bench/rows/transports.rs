//! What each transport adds to the obfuscated stream: speed and CPU of one stream on loopback, round trips until a tunnel is usable, and CPU
//! for garbage.

use std::time::Duration;

use super::super::Outcome;
use super::super::carried::{CARRIED, Carried};
use super::super::contender::{Contender, Server};
use super::super::load::{Most, Way};
use super::{Bench, cpu_during, many, megabytes, per_gigabyte, round_trips};

const CONTENDERS: [Contender; 4] =
    [Contender::Ours, Contender::OursToReference, Contender::ReferenceToOurs, Contender::Reference];
const BYTES: u64 = 400_000_000;
/// Who has not moved them by then is stopped, which leaves the speed what it is.
const LIMIT: Duration = Duration::from_secs(3);
/// Connections, or datagrams, of noise.
const PROBES: u64 = 2000;

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for carried in CARRIED {
        eprintln!("   {}", carried.protocol.name);
        let servers = servers(bench, &carried);
        for _ in 0..bench.options.few() {
            for server in &servers {
                for (what, outcome) in [
                    ("transfer", transfer(bench, server, &carried)),
                    ("round trips", round_trip(bench, server, &carried)),
                    ("probes", probes(bench, server, &carried)),
                ] {
                    if let Err(error) = outcome {
                        let (protocol, of) = (carried.protocol.name, server.contender.name());
                        bench.results.fail(format!("{protocol}, {of}, {what}: {error}"));
                    }
                }
            }
        }
    }
    Ok(())
}

fn servers(bench: &mut Bench, carried: &Carried) -> Vec<Server> {
    let mut servers = Vec::new();
    for contender in bench.present(&CONTENDERS) {
        match Server::tunnel(contender, &bench.peers, carried.protocol) {
            Ok(server) => servers.push(server),
            Err(error) => {
                let (protocol, of) = (carried.protocol.name, contender.name());
                bench.results.fail(format!("{protocol}, server of {of}: {error}"));
            }
        }
    }
    servers
}

fn transfer(bench: &mut Bench, server: &Server, carried: &Carried) -> Outcome<()> {
    let client = match server.contender {
        Contender::Ours => bench.gcm_client(server)?,
        // Whatever is drawn: waiting for the cipher would take longer than the transfer.
        _ => server.client(&bench.peers, server.address())?,
    };
    let most = Most { bytes: bench.options.scaled(BYTES), time: LIMIT };
    let of = server.contender;
    for way in Way::BOTH {
        let programs = [&client.program, server.program()];
        let (cpu, moved) = cpu_during(&programs, || bench.load.within(client.front, way, most));
        let (bytes, time) = moved?;
        let figure = if way == Way::Down { carried.down } else { carried.up };
        bench.results.add(figure, of, megabytes(bytes, time));
        if way == Way::Down {
            bench.results.add(carried.cost, of, per_gigabyte(cpu, bytes));
            if let Some(cipher) = &client.cipher {
                bench.results.remark(carried.cost, of, cipher);
            }
        }
    }
    Ok(())
}

fn round_trip(bench: &mut Bench, server: &Server, carried: &Carried) -> Outcome<()> {
    let verb = if carried.protocol.datagrams { "bench-delay-datagrams" } else { "bench-delay" };
    let (usable, _) = round_trips::once(bench, server, verb)?;
    if let Some(usable) = usable {
        bench.results.add(carried.usable, server.contender, usable);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn probes(bench: &mut Bench, server: &Server, carried: &Carried) -> Outcome<()> {
    // Once for each server, whoever's client it is for.
    if !matches!(server.contender, Contender::Ours | Contender::Reference) {
        return Ok(());
    }
    let verb = if carried.protocol.datagrams { "datagram-flood" } else { "probe-flood" };
    let count = bench.options.scaled(PROBES);
    let (cpu, done) = cpu_during(&[server.program()], || {
        let (mut load, _folder) = many::many(bench, server, verb, count)?;
        load.wait_success(many::LIMIT)
    });
    done?;
    bench.results.add(carried.probe, server.contender, cpu * 1e3 / count as f64);
    Ok(())
}
