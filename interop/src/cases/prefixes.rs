//! Prefixes in front of the obfuscated stream, in both directions, looked at on the wire.

use serde_json::json;

use super::traffic::{download, upload};
use super::{Applies, Case, Note, Protocols, case};
use crate::failure::{Doing, Failure, expect_eq};
use crate::proxies::{self, Target};
use crate::relay::{Relay, Seen};
use crate::scenario::{ClientPlan, Server, ServerEdits, Setting, members};

pub(super) const CASES: &[Case] = &[
    case("prefixes", prefixes).over(Protocols::OnlyOssh),
    case("split_prefixes", split_prefixes).over(Protocols::OnlyOssh),
    case("server_prefix", server_prefix).over(Protocols::OnlyOssh),
    case("prefix_by_default", prefix_by_default).over(Protocols::OnlyOssh).only(Applies::OurClient),
];

struct Spec {
    name: &'static str,
    /// The generator, in the syntax of the reference's regular expressions.
    generator: &'static str,
    /// What every product of it begins with.
    start: &'static [u8],
    /// Its fixed length.
    length: usize,
}

const SPECS: [Spec; 5] = [
    Spec {
        name: "http",
        generator: r"GET /[a-z]{8} HTTP/1\.1\r\nHost: [a-z]{6}\.com\r\n\r\n",
        start: b"GET /",
        length: 5 + 8 + 11 + 6 + 10 + 4,
    },
    Spec { name: "tls", generator: r"\x16\x03[\x01-\x03][\x00-\xff]{30}", start: b"\x16\x03", length: 33 },
    Spec { name: "short", generator: r"\x16\x03\x01", start: b"\x16\x03\x01", length: 3 },
    Spec {
        name: "ssh",
        generator: r"SSH-2\.0-OpenSSH_[6-9]\.[0-9]\r\n",
        start: b"SSH-2.0-OpenSSH_",
        length: 21,
    },
    Spec { name: "long", generator: r"[!-~]{900}", start: b"", length: 900 },
];

/// Each spec, written at once.
fn prefixes(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    for spec in &SPECS {
        let seen = use_prefix(setting, &server, with_spec(setting.plan(&server), spec))?;
        check_start(spec, &seen)?;
    }
    Ok(Note::new())
}

/// Each spec, with a pause behind it.
fn split_prefixes(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    for spec in &SPECS {
        let plan = with_spec(setting.plan(&server), spec)
            .with("OSSHPrefixSplitMinDelayMilliseconds", 100)
            .with("OSSHPrefixSplitMaxDelayMilliseconds", 200);
        let seen = use_prefix(setting, &server, plan)?;
        check_start(spec, &seen)?;
        expect_eq(format!("bytes before the pause of {}", spec.name), spec.length, seen.first_burst)?;
    }
    Ok(Note::new())
}

/// The server answers a named prefix with its own under that name, and an unknown name with something.
fn server_prefix(setting: &Setting) -> Result<Note, Failure> {
    const ANSWER: &str = r"HTTP/1\.1 200 OK\r\nServer: [a-z]{5}\r\n\r\n";
    let tactics = members(json!({ "ServerOSSHPrefixSpecs": { "http": [["", ANSWER]] } }));
    let server = setting.server(ServerEdits { tactics, ..ServerEdits::default() })?;
    for spec in SPECS.iter().filter(|spec| matches!(spec.name, "http" | "tls")) {
        let seen = use_prefix(setting, &server, with_spec(setting.plan(&server), spec))?;
        let answered = seen.downstream.starts_with(b"HTTP/1.1 200 OK\r\nServer: ");
        expect_eq(
            format!("whether the server's prefix answers {}", spec.name),
            spec.name == "http",
            answered,
        )?;
    }
    Ok(Note::new())
}

/// Without any setting our client's first packet has what the rule against fully encrypted traffic exempts: six printable bytes in
/// front, or the start of HTTP or TLS.
fn prefix_by_default(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    for _ in 0..5 {
        let seen = use_prefix(setting, &server, setting.plan(&server))?;
        let printable = |byte: &u8| (0x20..=0x7e).contains(byte);
        let exempt = seen.upstream.iter().take(6).all(printable) || seen.upstream.starts_with(b"\x16\x03");
        let start = seen.upstream.escape_ascii().to_string().chars().take(60).collect::<String>();
        expect_eq(format!("whether a first packet that starts {start:?} is exempt"), true, exempt)?;
    }
    Ok(Note::new())
}

fn with_spec(plan: ClientPlan, spec: &Spec) -> ClientPlan {
    plan.with("OSSHPrefixProbability", 1.0)
        .with("OSSHPrefixSpecs", json!({ spec.name: [["", spec.generator]] }))
        .with("OSSHPrefixScopedSpecNames", json!({ "": [spec.name] }))
}

/// Connects with this plan, moves data, and returns what was seen of the connection.
fn use_prefix(setting: &Setting, server: &Server, plan: ClientPlan) -> Result<Seen, Failure> {
    let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
    let client = setting.connect(&plan.via(setting.protocol, &relay))?;
    proxies::fetch_page(proxies::socks5(client.socks, &Target::address(setting.origin.page))?)?;
    upload(client.socks, setting.origin.bulk, 300_000)?;
    download(client.socks, setting.origin.bulk, 300_000)?;
    relay.seen().pop().ok_or_else(|| Failure::mismatch("relay", "a connection", "none"))
}

fn check_start(spec: &Spec, seen: &Seen) -> Result<(), Failure> {
    let right = seen.upstream.starts_with(spec.start);
    expect_eq(format!("whether the wire begins as {} says", spec.name), true, right)
}
