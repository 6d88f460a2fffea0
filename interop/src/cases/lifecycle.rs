//! Tunnels that end and come back, programs that stop, keys that are renewed.

use std::thread;
use std::time::Duration;

use super::traffic::{download, in_parallel, upload};
use super::{Applies, Case, Note, Protocols, case};
use crate::clock;
use crate::failure::{Doing, Failure, expect_eq};
use crate::lines::Cursor;
use crate::process::Signal;
use crate::programs::Maker;
use crate::proxies::{self, Answer, Target};
use crate::relay::Relay;
use crate::scenario::{Client, Protocol, Server, ServerEdits, Setting, TUNNEL};

pub(super) const CASES: &[Case] = &[
    case("server_restart", server_restart),
    case("connection_cut", connection_cut).over(Protocols::OneConnection),
    // How long is a matter of the client alone.
    case("flow_without_tunnel", flow_without_tunnel).only(Applies::OurClient).over(Protocols::OnlyOssh),
    case("orderly_stop", orderly_stop),
    case("interrupt", interrupt).only(Applies::OnlyOurs),
    case("rekey", rekey).only(Applies::WithOurs),
];

/// The config member of our programs, client and server alike, that renews keys after so many bytes in either direction.
const REKEY_AFTER_BYTES: &str = "SSHRekeyBytes";

/// What our programs say in a notice or log line when keys were renewed. Without it the case could pass with the member ignored.
const REKEY_LINE: &str = "keys renewed";

fn server_restart(setting: &Setting) -> Result<Note, Failure> {
    let (mut server, mut client) = setting.pair()?;
    fetch(setting, &client)?;
    let start = clock::now();
    server.stop(Signal::Terminate)?;
    notice_loss(setting, &mut client)?;
    let lost = clock::now() - start;
    restart_with_waiting_flow(setting, &mut server, &client)?;
    client.wait_tunnels(1, TUNNEL)?;
    fetch(setting, &client)?;
    Ok(format!("loss noticed after {:.2} s", lost.as_secs_f64()))
}

/// A flow that arrives at our client while there is no tunnel waits for the next one; the reference's refuses it.
fn restart_with_waiting_flow(setting: &Setting, server: &mut Server, client: &Client) -> Result<(), Failure> {
    if setting.pairing.client == Maker::Reference {
        return server.start();
    }
    thread::scope(|scope| {
        let waiting = scope.spawn(|| fetch(setting, client));
        // Not a synchronisation: the flow is to be older than the listener, and the case is valid either way.
        thread::sleep(Duration::from_millis(700));
        server.start()?;
        waiting.join().unwrap_or_else(|_| Err(Failure::mismatch("waiting flow", "an end", "a panic")))
    })
}

/// The connection is closed under the tunnel while the server stays.
fn connection_cut(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
    let mut client = setting.connect(&setting.plan(&server).via(setting.protocol, &relay))?;
    fetch(setting, &client)?;
    let start = clock::now();
    relay.cut();
    notice_loss(setting, &mut client)?;
    let lost = clock::now() - start;
    client.wait_tunnels(1, TUNNEL)?;
    let back = clock::now() - start;
    fetch(setting, &client)?;
    Ok(format!(
        "loss noticed after {:.2} s, tunnel back after {:.2} s",
        lost.as_secs_f64(),
        back.as_secs_f64()
    ))
}

/// Our client holds flows for a tunnel, but not for ever: after 15 s they are refused with a code that a program understands.
fn flow_without_tunnel(setting: &Setting) -> Result<Note, Failure> {
    let (mut server, mut client) = setting.pair()?;
    server.stop(Signal::Terminate)?;
    notice_loss(setting, &mut client)?;
    let target = Target::address(setting.origin.page);
    let start = clock::now();
    let answers = in_parallel(vec!["SOCKS5", "HTTP"], |proxy| match proxy {
        "SOCKS5" => proxies::ask_socks5(client.socks, &target),
        _ => proxies::ask_connect(client.http, &target),
    })?;
    let waited = clock::now() - start;
    if !matches!(answers.as_slice(), [Answer::Code(1..=8), Answer::Code(502..=504)]) {
        return Err(Failure::mismatch(
            "answers without a tunnel",
            "a SOCKS code, a 502 to 504",
            format_args!("{answers:?}"),
        ));
    }
    let fits = (Duration::from_secs(10)..Duration::from_secs(20)).contains(&waited);
    expect_eq(format!("whether {waited:?} is about 15 s"), true, fits)?;
    Ok(Note::new())
}

/// Waits for `Tunnels 0`. Ours notices by itself; the reference's has to be used, or it takes up to two minutes. So has a session
/// of requests that the reference's server has ended and still answers, and a QUIC connection of which it does not say that it ends.
pub(super) fn notice_loss(setting: &Setting, client: &mut Client) -> Result<(), Failure> {
    let silent = matches!(setting.pairing.server, Maker::Reference)
        && (setting.protocol.is_meek() || setting.protocol == Protocol::Quic);
    if setting.pairing.client == Maker::Ours && !silent {
        // What is polled is noticed with the next poll, and after retries.
        let limit = if setting.protocol.is_meek() { 15 } else { 5 };
        return client.wait_tunnels(0, Duration::from_secs(limit));
    }
    for _ in 0..60 {
        // It fails, which is the point.
        let _ = fetch(setting, client);
        match client.wait_tunnels(0, Duration::from_millis(500)) {
            Err(Failure::Timeout { .. }) => {}
            noticed => return noticed,
        }
    }
    Err(Failure::Timeout { awaited: "notice Tunnels 0 while flows fail".into(), limit: TUNNEL })
}

/// SIGTERM: both end with code 0, the client after saying so.
fn orderly_stop(setting: &Setting) -> Result<Note, Failure> {
    stop_both(setting, Signal::Terminate)
}

/// Ctrl-C likewise. The reference's server loses about every second one.
fn interrupt(setting: &Setting) -> Result<Note, Failure> {
    stop_both(setting, Signal::Interrupt)
}

fn stop_both(setting: &Setting, signal: Signal) -> Result<Note, Failure> {
    let (mut server, mut client) = setting.pair()?;
    let mut other = setting.connect(&setting.plan(&server))?;
    fetch(setting, &client)?;
    let status = client.stop(signal)?;
    expect_eq("client's exit code", Some(0), status.code())?;
    client.wait_notice("notice Exiting", Duration::from_secs(1), |notice| {
        (notice.kind == "Exiting").then_some(())
    })?;
    // The server stops with a tunnel still up, which must not hold it.
    let status = server.stop(signal)?;
    expect_eq("server's exit code", Some(0), status.code())?;
    let status = other.stop(signal)?;
    expect_eq("second client's exit code", Some(0), status.code())?;
    Ok(Note::new())
}

/// Keys renewed every megabyte by whichever side is ours, with data under way in both directions.
fn rekey(setting: &Setting) -> Result<Note, Failure> {
    const BYTES: u64 = 1_000_000;
    let mut edits = ServerEdits::default();
    if setting.pairing.server == Maker::Ours {
        edits.config.insert(REKEY_AFTER_BYTES.into(), BYTES.into());
    }
    let mut server = setting.server(edits)?;
    let mut cursor = Cursor::default();
    let mut plan = setting.plan(&server);
    if setting.pairing.client == Maker::Ours {
        plan = plan.with(REKEY_AFTER_BYTES, BYTES);
    }
    let mut client = setting.connect(&plan)?;
    let bulk = setting.origin.bulk;
    thread::scope(|scope| {
        let up = scope.spawn(|| upload(client.socks, bulk, 15 * BYTES));
        download(client.socks, bulk, 15 * BYTES)?;
        up.join().unwrap_or_else(|_| Err(Failure::mismatch("upload", "an end", "a panic")))
    })?;
    fetch(setting, &client)?;
    let ours = match setting.pairing.client {
        Maker::Ours => client.process(),
        Maker::Reference => server.process_mut()?,
    };
    for _ in 0..5 {
        let pick = |line: &str| line.contains(REKEY_LINE).then_some(());
        ours.wait_line(&mut cursor, Duration::from_secs(5), "line that says that keys were renewed", pick)?;
    }
    Ok(Note::new())
}

pub(super) fn fetch(setting: &Setting, client: &Client) -> Result<(), Failure> {
    proxies::fetch_page(proxies::socks5(client.socks, &Target::address(setting.origin.page))?)
}
