//! CPU per byte on loopback: 1 and 16 streams, down and up.

use super::super::Outcome;
use super::super::contender::Contender;
use super::super::figures::BULK;
use super::{Bench, cpu_during, megabytes, per_gigabyte};

const CONTENDERS: [Contender; 6] = [
    Contender::Ours,
    Contender::Shadowsocks,
    Contender::Shadowsocks2022,
    Contender::OpenSsh,
    Contender::Splice,
    Contender::Reference,
];
/// Through each contender, in each repetition of each shape; a quarter through the slow ones.
const BYTES: u64 = 800_000_000;

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    let pairs = bench.pairs(&CONTENDERS);
    for run in 0..bench.options.runs {
        for (way, streams, figure) in BULK {
            for (server, client) in &pairs {
                let of = server.contender;
                let bytes = bench.options.scaled(if of.is_slow() { BYTES / 4 } else { BYTES });
                let programs = [&client.program, server.program()];
                let moved = cpu_during(&programs, || bench.load.bulk(client.front, way, streams, bytes));
                match moved {
                    (cpu, Ok(time)) => {
                        let (cost, speed) = (per_gigabyte(cpu, bytes), megabytes(bytes, time));
                        bench.results.add_transfer(figure, of, cost, speed);
                    }
                    (_, Err(error)) => {
                        bench.results.fail(format!("{}, {}, run {run}: {error}", figure.title, of.name()));
                    }
                }
                let splice = (of == Contender::Splice).then_some("pipes of 64 KiB; with 1 MiB about half");
                if let Some(remark) = client.cipher.as_deref().or(splice) {
                    bench.results.remark(figure, of, remark);
                }
            }
        }
    }
    Ok(())
}
