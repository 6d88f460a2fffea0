//! Traffic rules as a user meets them: how fast a tunnel is, how many flows it holds and for how long, and what they may reach.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::traffic::{download, in_parallel, upload};
use super::{Applies, Case, Note, Protocols, case};
use crate::clock;
use crate::failure::{Failure, expect_eq};
use crate::programs::Maker;
use crate::proxies::{self, Answer, Target};
use crate::scenario::{Client, Server, ServerEdits, Setting, members};

pub(super) const CASES: &[Case] = &[
    case("rule_rates", rates).only(Applies::OurServer).over(Protocols::OnlyOssh),
    case("rule_free_bytes", free_bytes).over(Protocols::OnlyOssh),
    case("rule_flow_cap", flow_cap).over(Protocols::OnlyOssh),
    case("rule_idle", idle).over(Protocols::OnlyOssh),
    case("rule_reload", reload).over(Protocols::OnlyOssh),
];

/// Long enough for anything here on a slow machine.
const SOON: Duration = Duration::from_secs(30);

/// Bytes in a second, from the client and to it.
const RATES: [u64; 2] = [400_000, 800_000];

fn with_rules(setting: &Setting, rules: Map<String, Value>) -> Result<(Server, Client), Failure> {
    let server = setting.server(ServerEdits { rules, ..ServerEdits::default() })?;
    let client = setting.connect(&setting.plan(&server))?;
    Ok((server, client))
}

/// Both directions are as fast as they may be, and the client is told how fast that is.
fn rates(setting: &Setting) -> Result<Note, Failure> {
    let rules = json!({ "RateLimits": { "ReadBytesPerSecond": RATES[0], "WriteBytesPerSecond": RATES[1] } });
    let server = setting.server(ServerEdits { rules: members(rules), ..ServerEdits::default() })?;
    let mut client = setting.launch(&setting.plan(&server))?;
    let told = client.wait_notice("notice TrafficRateLimits", SOON, |notice| {
        let rate = |field| notice.number("TrafficRateLimits", field);
        Some([rate("upstreamBytesPerSecond")?, rate("downstreamBytesPerSecond")?])
    })?;
    expect_eq("rates in the notice", RATES, told)?;
    client.wait_tunnels(1, SOON)?;
    // What goes at once after a pause is out of the way.
    upload(client.socks, setting.origin.bulk, RATES[0] / 4)?;
    let up = rate(RATES[0], upload(client.socks, setting.origin.bulk, 4 * RATES[0])?, "up")?;
    download(client.socks, setting.origin.bulk, RATES[1] / 4)?;
    let down = rate(RATES[1], download(client.socks, setting.origin.bulk, 4 * RATES[1])?, "down")?;
    Ok(format!("up {up:.1} % of the limit, down {down:.1} %"))
}

/// How fast four seconds' worth were, in percent of the limit, which also counts what is around the data. Above the limit nothing
/// may be but what a pause leaves; below it is what the machine had no time for.
fn rate(limit: u64, took: Duration, way: &str) -> Result<f64, Failure> {
    let percent = 400.0 / took.as_secs_f64();
    if (40.0..105.0).contains(&percent) {
        return Ok(percent);
    }
    Err(Failure::mismatch(
        format!("rate {way} with a limit of {limit} bytes a second"),
        "at most 105 % of it, at least 40 %",
        format_args!("{percent:.1} %"),
    ))
}

/// What is free goes at once, and only what follows is slow.
fn free_bytes(setting: &Setting) -> Result<Note, Failure> {
    let rules =
        json!({ "RateLimits": { "WriteUnthrottledBytes": 3_000_000, "WriteBytesPerSecond": 250_000 } });
    let (_server, client) = with_rules(setting, members(rules))?;
    let free = download(client.socks, setting.origin.bulk, 2_500_000)?;
    let rest = download(client.socks, setting.origin.bulk, 1_500_000)?;
    let note = format!("2.5 MB free in {:.2} s, the rest in {:.2} s", free.as_secs_f64(), rest.as_secs_f64());
    if free < Duration::from_secs(8) && rest > Duration::from_secs(2) {
        Ok(note)
    } else {
        Err(Failure::mismatch("times", "below 8 s for what is free, above 2 s for the rest", note))
    }
}

/// Of 600 flows, 512 stay: each of the last ones took the place of the one that was used least recently.
fn flow_cap(setting: &Setting) -> Result<Note, Failure> {
    const MOST: usize = 512;
    const EXCESS: usize = 88;
    let (_server, client) = with_rules(setting, members(json!({ "MaxTCPPortForwardCount": MOST })))?;
    let target = Target::address(setting.origin.echo);
    let open = |count: usize| {
        in_parallel((0..count).collect(), |_| {
            let mut flow = proxies::socks5(client.socks, &target)?;
            proxies::echo(&mut flow, b"here")?;
            Ok(flow)
        })
    };
    // One after the other in small groups, so that it is known who came first.
    let mut flows = Vec::new();
    while flows.len() < MOST + EXCESS {
        flows.extend(open((MOST + EXCESS - flows.len()).min(40))?);
    }
    let ended = clock::poll(SOON, || {
        let ended = flows.iter().filter(|flow| is_over(flow)).count();
        (ended >= EXCESS).then_some(ended)
    });
    expect_eq("flows that had to go", Some(EXCESS), ended)?;
    let mut late = flows.split_off(MOST);
    in_parallel(late.iter_mut().collect(), |flow| proxies::echo(flow, b"still here"))?;
    Ok(Note::new())
}

/// Whether the other end has closed it.
fn is_over(flow: &TcpStream) -> bool {
    let peeked = flow.set_nonblocking(true).and_then(|()| flow.peek(&mut [0]));
    let _ = flow.set_nonblocking(false);
    match peeked {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// A flow on which nothing moves ends; one on which something does stays.
fn idle(setting: &Setting) -> Result<Note, Failure> {
    let rules = json!({ "IdleTCPPortForwardTimeoutMilliseconds": 1500 });
    let (_server, client) = with_rules(setting, members(rules))?;
    let target = Target::address(setting.origin.echo);
    let mut busy = proxies::socks5(client.socks, &target)?;
    let mut idle = proxies::socks5(client.socks, &target)?;
    proxies::echo(&mut idle, b"here")?;
    let began = clock::now();
    while !is_over(&idle) {
        proxies::echo(&mut busy, b"here")?;
        if clock::now() - began > SOON {
            return Err(Failure::mismatch("idle flow", "an end", "still open"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let lasted = clock::now() - began;
    if lasted < Duration::from_millis(1200) {
        return Err(Failure::mismatch("time of an idle flow", "at least 1.2 s", format_args!("{lasted:?}")));
    }
    proxies::echo(&mut busy, b"still here")?;
    Ok(format!("ended after {:.2} s", lasted.as_secs_f64()))
}

/// A subnet and a port that are denied by files that change under a tunnel: it goes on, and obeys. What is open stays open.
fn reload(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let mut client = setting.connect(&setting.plan(&server).with("EmitServerAlerts", true))?;
    let (echo, page) = (Target::address(setting.origin.echo), Target::address(setting.origin.page));
    let mut open = proxies::socks5(client.socks, &echo)?;
    proxies::echo(&mut open, b"here")?;
    let ours = setting.pairing.server == Maker::Ours;
    for (rules, denied, echo_too) in [
        (json!({ "DisallowTCPPorts": [setting.origin.page.port()] }), true, false),
        (json!({ "DisallowTCPPorts": null }), false, false),
        (json!({ "DisallowSubnets": ["127.0.0.0/8", "192.0.2.0/24"] }), true, true),
        (json!({ "DisallowSubnets": ["127.0.0.2/32", "192.0.2.0/24"] }), false, false),
    ] {
        server.reload_rules(members(rules))?;
        let obeyed = clock::poll(SOON, || (reaches(&client, &page) != denied).then_some(()));
        expect_eq("whether other rules are obeyed", Some(()), obeyed)?;
        if !(ours && echo_too) {
            proxies::echo(&mut open, b"still here")?;
            continue;
        }
        // Ours ends flows to where none may go any more.
        let ended = clock::poll(SOON, || proxies::echo(&mut open, b"gone").is_err().then_some(()));
        expect_eq("whether an open flow was ended", Some(()), ended)?;
        server.reload_rules(members(json!({ "DisallowSubnets": null })))?;
        let again = clock::poll(SOON, || {
            let mut flow = proxies::socks5(client.socks, &echo).ok()?;
            proxies::echo(&mut flow, b"here").ok().map(|()| flow)
        });
        open = again.ok_or_else(|| Failure::mismatch("a flow to what is allowed again", "one", "none"))?;
    }
    client.wait_notice("notice ServerAlert", SOON, |notice| {
        (notice.kind == "ServerAlert" && notice.data["reason"] == "disallowed-traffic").then_some(())
    })?;
    Ok(Note::new())
}

/// Whether a page comes from there.
pub(super) fn reaches(client: &Client, target: &Target) -> bool {
    match proxies::ask_socks5(client.socks, target) {
        Ok(Answer::Flow(stream)) => proxies::fetch_page(stream).is_ok(),
        _ => false,
    }
}
