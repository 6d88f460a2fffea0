//! A fresh start with twenty servers stored, of which seventeen accept and stay mute, two refuse and one lives.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::super::Outcome;
use super::super::contender::{Contender, Server, forwarder};
use super::super::figures::{FAR_MEDIAN, FAR_WORST, Figure, NEAR_MEDIAN, NEAR_WORST};
use super::super::folder::{Folder, free_port};
use super::super::psiphon;
use super::super::results::median;
use super::Bench;

const CONTENDERS: [Contender; 2] = [Contender::Ours, Contender::ReferenceToOurs];
const MUTE: u8 = 17;
const REFUSING: u8 = 2;
const STARTS: u64 = 30;
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Connections to mute servers that are kept; more than one start makes.
const KEPT: usize = 64;

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    let mute = mute()?;
    for contender in bench.present(&CONTENDERS) {
        let server = bench.server(contender)?;
        starts(bench, &server, &mute, (server.address(), NEAR_MEDIAN, NEAR_WORST))?;
        let (relay, address) = forwarder("bench-delay", server.address(), Some(ROUND_TRIP))?;
        starts(bench, &server, &mute, (address, FAR_MEDIAN, FAR_WORST))?;
        drop(relay);
        for figure in [FAR_MEDIAN, FAR_WORST] {
            bench.results.remark(figure, contender, "connecting itself is instant, as to the mute");
        }
    }
    Ok(())
}

fn starts(
    bench: &mut Bench,
    server: &Server,
    mute: &[SocketAddr],
    (live, middle, worst): (SocketAddr, Figure, Figure),
) -> Outcome<()> {
    let generated = server.generated()?;
    let refusing = (1..=REFUSING).map(|number| SocketAddr::from(([127, 0, 2, number], live.port())));
    let all = [live].into_iter().chain(mute.iter().copied()).chain(refusing);
    let lines: Vec<String> = all.map(|address| generated.entry_elsewhere(address)).collect();
    let mut times = Vec::new();
    for _ in 0..bench.options.scaled(STARTS).max(2) {
        let folder = Folder::new()?;
        let list = folder.path().join("list");
        fs::write(&list, lines.join("\n"))?;
        let chosen = psiphon::choose(bench.client_program(server.contender), folder.path(), Some(&list))?;
        times.push(chosen.tunnel.as_secs_f64());
    }
    bench.results.add(middle, server.contender, median(&times).unwrap_or_default());
    bench.results.add(worst, server.contender, times.iter().copied().fold(0.0, f64::max));
    bench.results.remark(middle, server.contender, &format!("{} starts", times.len()));
    Ok(())
}

/// Addresses that accept and say nothing.
fn mute() -> Outcome<Vec<SocketAddr>> {
    let port = free_port();
    let mut addresses = Vec::new();
    for number in 1..=MUTE {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 1, number), port))?;
        addresses.push(listener.local_addr()?);
        thread::spawn(move || {
            let mut kept = std::collections::VecDeque::new();
            for stream in listener.incoming().flatten() {
                kept.push_back(stream);
                if kept.len() > KEPT {
                    kept.pop_front();
                }
            }
        });
    }
    Ok(addresses)
}
