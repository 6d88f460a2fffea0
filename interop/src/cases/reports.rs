//! What both programs report about a tunnel: notices, byte counts, log events; and what they must not show.

use std::time::Duration;

use serde_json::Value;

use super::lifecycle::{fetch, notice_loss};
use super::traffic::{download, upload};
use super::{Applies, Case, Note, Protocols, case};
use crate::failure::{Failure, expect_eq};
use crate::lines::Cursor;
use crate::process::Signal;
use crate::programs::Maker;
use crate::scenario::{STOP, Server, Setting};

pub(super) const CASES: &[Case] = &[
    case("server_events", server_events).over(Protocols::OneConnection),
    // The reference's client does not say that it ends, and servers wait 45 s for further requests.
    case("meek_server_events", server_events).over(Protocols::OnlyMeek).only(Applies::OurClient),
    case("liveness", liveness).over(Protocols::OnlyOssh),
    case("byte_counts", byte_counts),
    case("session_takeover", session_takeover),
    case("no_address_in_notices", no_address_in_notices),
];

const SESSION: &str = "0123456789abcdef0123456789abcdef";

/// The API requests arrived: the server's events carry what the client was configured with.
fn server_events(setting: &Setting) -> Result<Note, Failure> {
    let mut server = setting.plain_server()?;
    let plan = setting.plan(&server).with("SessionID", SESSION);
    let plan = plan.with("ClientPlatform", "Pairing").with("ClientVersion", "7");
    let mut client = setting.connect(&plan)?;
    download(client.socks, setting.origin.bulk, 100_000)?;
    let seen = wait_event(&mut server, "unique_user")?;
    expect_eq("sponsor_id of unique_user", Some("FFFFFFFFFFFFFFFF"), text(&seen, "sponsor_id"))?;
    client.stop(Signal::Terminate)?;
    let seen = wait_whole_tunnel(&mut server)?;
    for (field, expected) in [
        ("session_id", SESSION),
        ("relay_protocol", setting.protocol.name()),
        ("propagation_channel_id", "FFFFFFFFFFFFFFFF"),
        ("client_platform", "Pairing"),
    ] {
        expect_eq(format!("{field} of server_tunnel"), Some(expected), text(&seen, field))?;
    }
    expect_eq(
        "client_version of server_tunnel",
        Some(7),
        seen.get("client_version").and_then(Value::as_u64),
    )?;
    let bytes = seen.get("bytes").and_then(Value::as_u64).unwrap_or(0);
    expect_eq(
        format!("whether {bytes} in server_tunnel is a count of 100000 and little more"),
        true,
        (100_000..120_000).contains(&bytes),
    )?;
    Ok(Note::new())
}

/// A test of the tunnel before its handshake moves as much as the client's parameters ask.
fn liveness(setting: &Setting) -> Result<Note, Failure> {
    const UP: u64 = 90_000;
    const DOWN: u64 = 60_000;
    let mut server = setting.plain_server()?;
    let plan = setting.plan(&server);
    let plan = plan.with("LivenessTestMinUpstreamBytes", UP).with("LivenessTestMaxUpstreamBytes", UP);
    let plan = plan.with("LivenessTestMinDownstreamBytes", DOWN).with("LivenessTestMaxDownstreamBytes", DOWN);
    let mut client = setting.connect(&plan)?;
    fetch(setting, &client)?;
    client.stop(Signal::Terminate)?;
    let seen = wait_event(&mut server, "server_tunnel")?;
    let number = |name: &str| seen.get(name).and_then(Value::as_u64);
    if setting.pairing.server == Maker::Reference {
        let received = number("pre_handshake_random_stream_received_upstream_bytes");
        let sent = number("pre_handshake_random_stream_sent_downstream_bytes");
        expect_eq("bytes of the test", [Some(UP), Some(DOWN)], [received, sent])?;
    }
    let moved = number("ssh_protocol_bytes").unwrap_or(0);
    expect_eq(format!("whether {moved} bytes of SSH include the test's"), true, moved > UP + DOWN)?;
    Ok(Note::new())
}

pub(super) fn wait_event(server: &mut Server, name: &str) -> Result<Value, Failure> {
    let mut cursor = Cursor::default();
    server.process_mut()?.wait_line(&mut cursor, STOP, &format!("event {name}"), |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (text(&event, "event_name") == Some(name)).then_some(event)
    })
}

/// The event of a tunnel that was used: attempts that lost a race have their own.
fn wait_whole_tunnel(server: &mut Server) -> Result<Value, Failure> {
    let mut cursor = Cursor::default();
    server.process_mut()?.wait_line(&mut cursor, STOP, "event server_tunnel of a whole tunnel", |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let is_whole = event.get("handshake_completed").and_then(Value::as_bool) == Some(true);
        (text(&event, "event_name") == Some("server_tunnel") && is_whole).then_some(event)
    })
}

fn text<'event>(event: &'event Value, field: &str) -> Option<&'event str> {
    event.get(field)?.as_str()
}

/// The total at the end is what was moved, and little more.
fn byte_counts(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let mut client = setting.connect(&setting.plan(&server).with("EmitBytesTransferred", true))?;
    upload(client.socks, setting.origin.bulk, 2_000_000)?;
    download(client.socks, setting.origin.bulk, 3_000_000)?;
    client.wait_notice("notice BytesTransferred", STOP, |notice| {
        notice.number("BytesTransferred", "received")
    })?;
    client.stop(Signal::Terminate)?;
    let (sent, received) = client.wait_notice("notice TotalBytesTransferred", STOP, |notice| {
        let sent = notice.number("TotalBytesTransferred", "sent")?;
        Some((sent, notice.number("TotalBytesTransferred", "received")?))
    })?;
    let fits = (2_000_000..2_400_000).contains(&sent) && (3_000_000..3_400_000).contains(&received);
    expect_eq(format!("whether {sent} sent and {received} received fit 2 and 3 MB"), true, fits)?;
    Ok(Note::new())
}

/// A second tunnel with the same session ID ends the first.
fn session_takeover(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let plan = setting.plan(&server).with("SessionID", SESSION).with("EstablishTunnelPausePeriodSeconds", 5);
    let mut first = setting.connect(&plan)?;
    let second = setting.connect(&plan)?;
    notice_loss(setting, &mut first)?;
    // The first would take the session back.
    first.stop(Signal::Terminate)?;
    drop(second);
    let third = setting.connect(&plan)?;
    fetch(setting, &third)?;
    Ok(Note::new())
}

/// Neither a tunnel nor a failure to make one puts the server's address into a notice.
fn no_address_in_notices(setting: &Setting) -> Result<Note, Failure> {
    let (mut server, mut client) = setting.pair()?;
    fetch(setting, &client)?;
    let plan = setting.plan(&server).with("EstablishTunnelTimeoutSeconds", 3);
    server.stop(Signal::Terminate)?;
    let mut without = setting.launch(&plan)?;
    without.process().wait_exit(Duration::from_secs(30))?;
    client.stop(Signal::Terminate)?;
    for lines in [client.process().tail(usize::MAX), without.process().tail(usize::MAX)] {
        expect_eq("whether there are notices", true, lines.len() > 5)?;
        let shown = lines.iter().find(|line| line.contains("127.0.0.1"));
        expect_eq("notice with the server's address", None, shown)?;
    }
    Ok(Note::new())
}
