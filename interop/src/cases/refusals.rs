//! What must not work: destinations that refuse or are denied, wrong keys, a wrong host, a wrong password.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;

use super::{Case, Note, Protocols, case};
use crate::failure::{Failure, expect_eq};
use crate::ports;
use crate::programs::{Maker, Pairing};
use crate::proxies::{self, Answer, Target};
use crate::scenario::{Client, ClientPlan, ServerEdits, Setting, members};

pub(super) const CASES: &[Case] = &[
    case("refused_destination", refused_destination),
    case("denied_port", denied_port),
    case("private_destination", private_destination),
    case("host_key_mismatch", host_key_mismatch),
    case("wrong_password", wrong_password),
    case("wrong_obfuscation_key", wrong_obfuscation_key).over(Protocols::OnlyOssh),
];

fn refused_destination(setting: &Setting) -> Result<Note, Failure> {
    let (_server, client) = setting.pair()?;
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
    refused(setting, &client, &Target::address(closed))?;
    fetch(setting, &client)?;
    Ok(Note::new())
}

fn denied_port(setting: &Setting) -> Result<Note, Failure> {
    let denied = setting.origin.echo;
    let rules = members(json!({ "DisallowTCPPorts": [denied.port()] }));
    let server = setting.server(ServerEdits { rules, ..ServerEdits::default() })?;
    let client = setting.connect(&setting.plan(&server))?;
    refused(setting, &client, &Target::address(denied))?;
    fetch(setting, &client)?;
    Ok(Note::new())
}

/// Without `AllowBogons` a server leads nobody to its own loopback address.
fn private_destination(setting: &Setting) -> Result<Note, Failure> {
    let config = members(json!({ "AllowBogons": false }));
    let server = setting.server(ServerEdits { config, ..ServerEdits::default() })?;
    let client = setting.connect(&setting.plan(&server))?;
    for target in [Target::address(setting.origin.page), Target::localhost(setting.origin.page)] {
        refused(setting, &client, &target)?;
    }
    Ok(Note::new())
}

/// Both proxies say no: SOCKS5 with a code; HTTP with a status from our client, which the reference's leaves out. Between
/// ours both have said yes before they know, and reset the connection.
fn refused(setting: &Setting, client: &Client, target: &Target) -> Result<(), Failure> {
    let ours = setting.pairing == Pairing { client: Maker::Ours, server: Maker::Ours };
    match (proxies::ask_socks5(client.socks, target)?, ours) {
        (Answer::Flow(stream), true) => proxies::expect_reset(stream, target)?,
        (Answer::Code(1..=8), false) => {}
        (other, _) => {
            return Err(Failure::mismatch(
                format!("SOCKS5 answer for {target}"),
                "a failure code, or a reset between ours",
                format_args!("{other:?}"),
            ));
        }
    }
    match (proxies::ask_connect(client.http, target)?, setting.pairing.client, ours) {
        (Answer::Flow(stream), _, true) => proxies::expect_reset(stream, target),
        (Answer::Code(400..=599), _, false) | (Answer::Closed, Maker::Reference, _) => Ok(()),
        (other, ..) => Err(Failure::mismatch(
            format!("CONNECT answer for {target}"),
            "a 4xx or 5xx, or a reset between ours",
            format_args!("{other:?}"),
        )),
    }
}

fn fetch(setting: &Setting, client: &Client) -> Result<(), Failure> {
    proxies::fetch_page(proxies::socks5(client.socks, &Target::address(setting.origin.page))?)
}

/// The entry names the valid host key of another server.
fn host_key_mismatch(setting: &Setting) -> Result<Note, Failure> {
    let (server, other) = (setting.plain_server()?, setting.plain_server()?);
    let mut plan = setting.plan(&server);
    plan.entry.set("sshHostKey", other.entry().text("sshHostKey")?);
    no_tunnel(setting, plan)
}

fn wrong_password(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let mut plan = setting.plan(&server);
    plan.entry.set("sshPassword", "0".repeat(64));
    no_tunnel(setting, plan)
}

fn wrong_obfuscation_key(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let mut plan = setting.plan(&server);
    plan.entry.set("sshObfuscatedKey", "0".repeat(64));
    no_tunnel(setting, plan)
}

/// The client gives up after the time it was given, without ever having announced a tunnel; ours says so in its exit code.
fn no_tunnel(setting: &Setting, plan: ClientPlan) -> Result<Note, Failure> {
    let mut client = setting.launch(&plan.with("EstablishTunnelTimeoutSeconds", 5))?;
    let (mut tunnels, mut said) = (0, false);
    client.wait_notice("notice Exiting", Duration::from_secs(40), |notice| {
        tunnels = tunnels.max(notice.number("Tunnels", "count").unwrap_or(0));
        said |= notice.kind == "Error";
        (notice.kind == "Exiting").then_some(())
    })?;
    expect_eq("largest count in Tunnels notices", 0, tunnels)?;
    let status = client.process().wait_exit(Duration::from_secs(10))?;
    if setting.pairing.client == Maker::Ours {
        expect_eq("whether an Error notice said why", true, said)?;
        expect_eq("whether the exit code is zero", false, status.success())?;
    }
    Ok(Note::new())
}
