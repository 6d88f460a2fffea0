//! Clients with a list of servers: what worked is used again after a restart, most of the servers may be dead, and a region is chosen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::{Case, Note, Protocols, case};
use crate::clock;
use crate::entry::Entry;
use crate::failure::{Doing, Failure, expect_eq};
use crate::process::Signal;
use crate::programs::Maker;
use crate::scenario::{Client, ClientPlan, Folder, Server, Setting, TUNNEL};

pub(super) const CASES: &[Case] = &[
    case("plan_after_restart", plan_after_restart).over(Protocols::Each),
    case("mute_servers", mute_servers).over(Protocols::OnlyOssh),
    case("region", region).over(Protocols::OnlyOssh),
];

/// A tunnel must live for one second until what made it is used again; the reference looks once a second.
const PROVES: Duration = Duration::from_millis(2500);
/// Of twenty servers.
const MUTE: u8 = 17;
const REFUSING: u8 = 2;
/// The reference may wait for its timeouts one after the other.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a client says of the dial that won.
#[derive(Clone, Debug, PartialEq)]
struct Won {
    protocol: String,
    is_replay: bool,
}

/// Restarted, a client dials as it did; under another configuration it does not.
fn plan_after_restart(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let (folder, list) = (Folder::new()?, [server.entry().clone()]);
    let plan = listed(setting, &server);
    let first = run(setting, &folder, &plan, &list)?;
    expect_eq("whether the first dial is a replay", false, first.is_replay)?;
    let second = run(setting, &folder, &plan, &list)?;
    expect_eq("the second dial", &Won { is_replay: true, ..first }, &second)?;
    let other = plan.with("ObfuscatedSSHMaxPadding", 4000);
    let third = run(setting, &folder, &other, &list)?;
    expect_eq("whether a dial under another configuration is a replay", false, third.is_replay)?;
    Ok(Note::new())
}

/// Three servers in twenty do not stay mute, and one of them serves.
fn mute_servers(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let (list, _mute) = twenty(setting, &server)?;
    let plan = listed(setting, &server);
    let folder = Folder::new()?;
    let start = clock::now();
    let mut client = setting.launch_in(&folder, &plan, &list)?;
    client.wait_tunnels(1, PATIENCE)?;
    let fresh = clock::now() - start;
    thread::sleep(PROVES);
    client.stop(Signal::Terminate)?;
    let start = clock::now();
    let mut client = setting.launch_in(&folder, &plan, &list)?;
    client.wait_tunnels(1, PATIENCE)?;
    let again = clock::now() - start;
    if setting.pairing.client == Maker::Ours {
        // Builds for tests on a busy machine are slow.
        expect_eq(format!("whether {fresh:?} is at most 5 s"), true, fresh <= Duration::from_secs(5))?;
        expect_eq(format!("whether {again:?} is at most 3 s"), true, again <= Duration::from_secs(3))?;
    }
    Ok(format!("tunnel after {:.2} s, after a restart {:.2} s", fresh.as_secs_f64(), again.as_secs_f64()))
}

/// Only servers of the chosen region are dialed.
fn region(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let (mut list, mute) = twenty(setting, &server)?;
    for entry in &mut list {
        let is_it = entry.text("ipAddress")? == "127.0.0.1";
        entry.set("region", if is_it { "CA" } else { "DE" });
    }
    let folder = Folder::new()?;
    let plan = listed(setting, &server).with("EgressRegion", "CA");
    let mut client = setting.launch_in(&folder, &plan, &list)?;
    let found = client.wait_notice("notice ConnectedServerRegion", TUNNEL, |notice| {
        let region = notice.data.get("serverRegion").and_then(|region| region.as_str());
        region.filter(|_| notice.kind == "ConnectedServerRegion").map(str::to_owned)
    })?;
    expect_eq("region of the server", "CA", found.as_str())?;
    for listener in &mute {
        listener.set_nonblocking(true).doing("look for connections")?;
        let dialed = listener.accept().map(|(_, from)| from).ok();
        expect_eq("a connection to a server of another region", None::<SocketAddr>, dialed)?;
    }
    Ok(Note::new())
}

/// A client of a list that remembers.
fn listed(setting: &Setting, server: &Server) -> ClientPlan {
    setting.plan(server).with("DisableReplay", false).with("NetworkID", "WIFI-pairing")
}

/// One start of a client, until its tunnel has proved itself.
fn run(setting: &Setting, folder: &Folder, plan: &ClientPlan, list: &[Entry]) -> Result<Won, Failure> {
    let mut client = setting.launch_in(folder, plan, list)?;
    let won = won(&mut client)?;
    client.wait_tunnels(1, TUNNEL)?;
    // Not a synchronisation: it is the time that is asked of a tunnel.
    thread::sleep(PROVES);
    client.stop(Signal::Terminate)?;
    Ok(won)
}

fn won(client: &mut Client) -> Result<Won, Failure> {
    client.wait_notice("notice ConnectedServer", TUNNEL, |notice| {
        let text = |name: &str| notice.data.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let is_replay = notice.data.get("isReplay").and_then(|value| value.as_bool());
        let won = Won { protocol: text("protocol")?, is_replay: is_replay? };
        (notice.kind == "ConnectedServer").then_some(won)
    })
}

/// The server, others that accept connections and say nothing, and some that are not there; and what accepts them, in vain.
fn twenty(setting: &Setting, server: &Server) -> Result<(Vec<Entry>, Vec<TcpListener>), Failure> {
    let port = server.address(setting.protocol).port();
    let mut list = Vec::new();
    let mut mute = Vec::new();
    for number in 0..MUTE + REFUSING {
        let address = Ipv4Addr::new(127, 0, 1, number + 1);
        if number < MUTE {
            // Its system accepts for it: connections wait in its queue, for nothing.
            mute.push(TcpListener::bind((address, port)).doing("listen on a second loopback address")?);
        }
        let mut entry = server.entry().clone();
        entry.set("ipAddress", address.to_string());
        entry.set("tag", format!("tag-of-{number}"));
        list.push(entry);
    }
    // Neither first nor last.
    list.insert(7, server.entry().clone());
    Ok((list, mute))
}
