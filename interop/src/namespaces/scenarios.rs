//! What happens in the namespaces, and what must come of it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::middlebox::{Blackhole, Block, Outcome, Rules, Verdict, Way, by_port};
use super::packet::Carrier;
use super::world::{Home, Ports, World};
use crate::clock;
use crate::failure::Failure;
use crate::process::Journal;
use crate::programs::Programs;

/// What a scenario does.
pub(super) type Run = Box<dyn Fn(&Programs, &Journal) -> Outcome + Send>;

/// One scenario.
pub(super) struct Scenario {
    /// Its name.
    pub(super) name: String,
    /// Why it does not run now, if so.
    pub(super) left_out: Option<String>,
    /// It.
    pub(super) run: Run,
}

/// Runs of the scenario of the only open protocol, and when many are asked for.
const RUNS: u64 = 5;
const MANY_RUNS: u64 = 50;
/// Fresh starts among mute servers, and when many are asked for.
const STARTS: usize = 3;
const MANY_STARTS: usize = 30;
/// Repeats what failed.
const SEED: &str = "CULVERT_NAMESPACES_SEED";
/// Time for a tunnel in whatever circumstances.
const TUNNEL: Duration = Duration::from_secs(150);
/// More than the least time of a tunnel whose plan is used again.
const PROVES: Duration = Duration::from_millis(1500);
/// Half of the round trip that figures are for.
const HALF: Duration = Duration::from_millis(50);
const FRONTED: (&str, u16) = ("FRONTED-MEEK-OSSH", 443);
/// What some censors answer.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 10, 34, 36);
/// And others.
const MUTE: Ipv4Addr = Ipv4Addr::new(45, 0, 8, 1);
const MEEK: [&str; 3] =
    ["UNFRONTED-MEEK-OSSH", "UNFRONTED-MEEK-HTTPS-OSSH", "UNFRONTED-MEEK-SESSION-TICKET-OSSH"];

/// All of them.
pub(super) fn all(is_long: bool) -> Vec<Scenario> {
    let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
    let runs = if is_long { MANY_RUNS } else { RUNS };
    let starts = if is_long { MANY_STARTS } else { STARTS };
    let first = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()) % 1_000_000 * 100
    });
    let mut all = vec![
        scenario("page_at_100_ms", page_at_100_ms),
        scenario("page_with_loss", page_with_loss),
        scenario("loss_one_way", loss_one_way),
        scenario("datagrams_dropped", datagrams_dropped),
        scenario("reset_on_server_name", reset_on_server_name),
        scenario("blackhole_with_a_flow_waiting", blackhole_with_a_flow_waiting),
        scenario("another_address", another_address),
        scenario("another_device", another_device),
        scenario("names_answered_with_what_is_nowhere", |programs, journal| {
            lies(programs, journal, NOWHERE, &[FRONTED])
        }),
        scenario("names_answered_with_another_server", |programs, journal| {
            lies(programs, journal, MUTE, &[FRONTED, ("OSSH", 5001)])
        }),
        Scenario {
            name: "twenty_servers_of_which_17_mute".to_owned(),
            left_out: None,
            run: Box::new(move |programs, journal| mute_servers(programs, journal, starts)),
        },
    ];
    all.extend((0..runs).map(|run| {
        let seed = first + run;
        Scenario {
            name: format!("only_one_protocol_passes_{run:02}"),
            left_out: None,
            run: Box::new(move |programs, journal| {
                only_one_protocol_passes(programs, journal, seed).map_err(|failure| {
                    Failure::mismatch(format!("{SEED}={seed}"), "a tunnel each time", failure)
                })
            }),
        }
    }));
    all
}

fn scenario(name: &str, run: fn(&Programs, &Journal) -> Outcome) -> Scenario {
    Scenario { name: name.to_owned(), left_out: None, run: Box::new(run) }
}

/// A tunnel and a page, with the times that they take.
fn reaches(world: &World, rules: Rules) -> Outcome {
    world.middlebox.change(|now| *now = rules);
    let home = Home::new()?;
    let mut client = world.client(&home, json!({}))?;
    let arrival = client.tunnel(TUNNEL)?;
    let page = world.page(&client)?;
    let [up, down] = world.middlebox.seen();
    println!(
        "tunnel {:?} by {} (tried {:?}), page {page:?}; packets {up} up, {down} down",
        arrival.time, arrival.protocol, arrival.tried
    );
    client.stop()
}

fn page_at_100_ms(programs: &Programs, journal: &Journal) -> Outcome {
    let world = World::new(programs, journal, &Ports::with_meek(MEEK[1]), 1)?;
    reaches(&world, Rules { delay: HALF, ..Rules::default() })
}

/// Two packets of a hundred, both ways.
fn page_with_loss(programs: &Programs, journal: &Journal) -> Outcome {
    let world = World::new(programs, journal, &Ports::with_meek(MEEK[1]), 7)?;
    reaches(&world, Rules { delay: HALF, loss: [20, 20], ..Rules::default() })
}

/// A tenth of what the server sends, and nothing of what the client does.
fn loss_one_way(programs: &Programs, journal: &Journal) -> Outcome {
    let world = World::new(programs, journal, &Ports::with_meek(MEEK[1]), 11)?;
    reaches(&world, Rules { delay: HALF / 5, loss: [0, 100], ..Rules::default() })
}

fn datagrams_dropped(programs: &Programs, journal: &Journal) -> Outcome {
    let world = World::new(programs, journal, &Ports(vec![("QUIC-OSSH", 5004), ("TLS-OSSH", 5003)]), 1)?;
    let judge = Box::new(|_: Way, packet: &super::packet::Packet<'_>, _: u32| match packet.carrier {
        Carrier::Udp => Verdict::Lose,
        Carrier::Tcp(_) => Verdict::Pass,
    });
    reaches(&world, Rules { judge, ..Rules::default() })
}

/// Every ClientHello that names a server is answered by a reset.
fn reset_on_server_name(programs: &Programs, journal: &Journal) -> Outcome {
    let ports = Ports(vec![("TLS-OSSH", 5003), (MEEK[1], 5005), ("OSSH", 5001)]);
    let world = World::new(programs, journal, &ports, 1)?;
    let judge = Box::new(|way: Way, packet: &super::packet::Packet<'_>, _: u32| {
        let names = way == Way::Up && packet.server_name().is_some();
        if names { Verdict::Reset } else { Verdict::Pass }
    });
    reaches(&world, Rules { judge, ..Rules::default() })
}

/// What was is swallowed in the middle of a tunnel; what is new passes. A flow waits for it.
fn blackhole_with_a_flow_waiting(programs: &Programs, journal: &Journal) -> Outcome {
    let world = World::new(programs, journal, &Ports(vec![("OSSH", 5001), ("TLS-OSSH", 5003)]), 1)?;
    world.middlebox.change(|rules| rules.delay = HALF);
    let home = Home::new()?;
    let mut client = world.client(&home, json!({}))?;
    client.tunnel(TUNNEL)?;
    world.page(&client)?;
    world.middlebox.change(|rules| rules.blackhole = Some(Blackhole::Old));
    let start = clock::now();
    // The first may go down with the tunnel: an application asks again.
    let mut asked = 0;
    while clock::now() - start < Duration::from_secs(90) {
        asked += 1;
        if world.page(&client).is_ok() {
            break;
        }
    }
    let after = clock::now() - start;
    println!("page {after:?} after the blackhole began, asked for {asked} times");
    within(after, Duration::from_secs(20), "page after a blackhole")?;
    client.stop()
}

/// Fails if what was awaited took too long.
fn within(took: Duration, limit: Duration, awaited: &str) -> Outcome {
    if took > limit {
        return Err(Failure::Timeout { awaited: format!("{awaited}: it took {took:?}"), limit });
    }
    Ok(())
}

/// The client's device gets another address, as when another network is joined.
fn another_address(programs: &Programs, journal: &Journal) -> Outcome {
    let mut world = World::new(programs, journal, &Ports(vec![("OSSH", 5001), ("TLS-OSSH", 5003)]), 1)?;
    world.middlebox.change(|rules| rules.delay = HALF);
    let home = Home::new()?;
    let mut client = world.client(&home, json!({}))?;
    client.tunnel(TUNNEL)?;
    world.page(&client)?;
    world.roam()?;
    let noticed = client.lost(Duration::from_secs(60))?;
    let again = client.tunnel(TUNNEL)?;
    let page = world.page(&client)?;
    println!("noticed {noticed:?} after the change; by {} again, page {page:?}", again.protocol);
    within(noticed, Duration::from_secs(2), "notice of another address")?;
    client.stop()?;
    if world.server_runs() { Ok(()) } else { Err(Failure::mismatch("psiphond", "running", "ended")) }
}

/// The client's device goes down, and another is the way out.
fn another_device(programs: &Programs, journal: &Journal) -> Outcome {
    let world = World::new(programs, journal, &Ports(vec![("OSSH", 5001), ("TLS-OSSH", 5003)]), 1)?;
    world.middlebox.change(|rules| rules.delay = HALF);
    let home = Home::new()?;
    let mut client = world.client(&home, json!({}))?;
    client.tunnel(TUNNEL)?;
    world.page(&client)?;
    world.change_device()?;
    let noticed = client.lost(Duration::from_secs(60))?;
    let again = client.tunnel(TUNNEL)?;
    let page = world.page(&client)?;
    println!("noticed {noticed:?} after the change; by {} again, page {page:?}", again.protocol);
    within(noticed, Duration::from_secs(2), "notice of another device")?;
    client.stop()
}

/// A server behind a name. Before the answer to every question for it comes one that lies.
fn lies(programs: &Programs, journal: &Journal, lie: Ipv4Addr, ports: &[(&'static str, u16)]) -> Outcome {
    let mut world = World::new(programs, journal, &Ports(ports.to_vec()), 1)?;
    let settings = world.name_front()?;
    let lies = Arc::new(AtomicU32::new(0));
    let told = lies.clone();
    world.middlebox.change(|rules| {
        rules.delay = HALF;
        rules.judge = Box::new(move |way, packet, _| {
            let asks = way == Way::Up && packet.carrier == Carrier::Udp && packet.to.port() == 53;
            match (asks, *packet.to.ip() == MUTE) {
                (true, _) => {
                    told.fetch_add(1, Ordering::Relaxed);
                    Verdict::Lie(lie)
                }
                // Whatever is there says nothing.
                (false, true) => Verdict::Lose,
                (false, false) => Verdict::Pass,
            }
        });
    });
    let home = Home::new()?;
    let mut client = world.client(&home, settings)?;
    let arrival = client.tunnel(TUNNEL)?;
    let page = world.page(&client)?;
    let lies = lies.load(Ordering::Relaxed);
    println!(
        "{lies} lies; tunnel {:?} by {} (tried {:?}), page {page:?}",
        arrival.time, arrival.protocol, arrival.tried
    );
    client.stop()?;
    if lies > 0 { Ok(()) } else { Err(Failure::mismatch("lies", "some", lies)) }
}

/// One server serves, two refuse, seventeen accept and say nothing: the times of fresh starts with a round trip of 100 ms.
fn mute_servers(programs: &Programs, journal: &Journal, starts: usize) -> Outcome {
    let world = World::new(programs, journal, &Ports(vec![("OSSH", 5001), ("TLS-OSSH", 5003)]), 1)?;
    world.middlebox.change(|rules| rules.delay = HALF);
    let list = world.among(17, 2)?;
    let mut times = Vec::new();
    for _ in 0..starts {
        let mut client = world.client_of_list(&Home::new()?, &list)?;
        times.push(client.tunnel(TUNNEL)?.time);
        client.stop()?;
    }
    times.sort_unstable();
    let (median, worst) = (times.get(starts / 2), times.last());
    println!("{starts} starts: median {median:?}, worst {worst:?}");
    // Builds for tests on a busy machine are slow; the figure is of a release.
    let limit = Duration::from_secs(8);
    match worst {
        Some(worst) if *worst <= limit => Ok(()),
        _ => Err(Failure::Timeout { awaited: format!("tunnel among mute servers: {times:?}"), limit }),
    }
}

/// All protocols are blocked but one, each in its own way; a client finds the one, and its next start goes straight there.
fn only_one_protocol_passes(programs: &Programs, journal: &Journal, seed: u64) -> Outcome {
    // The seed's digits decide: neighbours differ in all of them.
    let mut left = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
    let mut draw = |count: usize| {
        let count = u64::try_from(count).unwrap_or(1);
        let drawn = left % count;
        left = (left / count).wrapping_mul(0x5851_F42D_4C95_7F2D) >> 8;
        usize::try_from(drawn).unwrap_or(0)
    };
    let ports = Ports::with_meek(MEEK[draw(MEEK.len())]);
    let (open, _) = ports.0[draw(ports.0.len())];
    let world = World::new(programs, journal, &ports, seed)?;
    let blocks = ports.block_all_but(open, || Block::ALL[draw(Block::ALL.len())]);
    let described = format!("{open} passes, {blocks:?}");
    world.middlebox.change(|rules| {
        *rules = Rules { delay: HALF / 5, judge: by_port(blocks), ..Rules::default() };
    });
    let home = Home::new()?;
    let mut client = world.client(&home, json!({}))?;
    let first = client.tunnel(TUNNEL)?;
    // A plan has proved itself, and is kept, when its tunnel is so old.
    let up = clock::now();
    while clock::now() - up < PROVES {
        world.page(&client)?;
    }
    client.stop()?;
    let mut client = world.client(&home, json!({}))?;
    let second = client.tunnel(TUNNEL)?;
    world.page(&client)?;
    client.stop()?;
    println!(
        "{described}: first {:?} after {:?}; second {:?} after {:?}",
        first.time, first.tried, second.time, second.tried
    );
    if second.tried == [open] {
        return Ok(());
    }
    let what = format!("{described}: what the second start tries");
    Err(Failure::mismatch(what, open, format_args!("{:?}", second.tried)))
}
