//! The verb `replay`: makes one dial by a plan, or shows what the dial would send. Not for use as a tunnel.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use culvert_client::first_flight::{Basis, FlightError, Prepared, prepare};
use culvert_client::{Fingerprint, SPOKEN, StoredPlan, config};
use culvert_protocol::json_position::near_name;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::server_entry::decode_list;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_transport::{Network, OsNetwork, Sent};
use serde_json::Value;

use super::check::read;
use super::{Verb, print};
use crate::exit::{Exit, Failure};
use crate::flags::{Arguments, Flag, Syntax};

/// Time for a dial unless asked otherwise, and at most, in seconds.
const LIMIT: i64 = 20;
const LONGEST: i64 = 600;
/// Bytes in a line of a dump.
const LINE: usize = 16;

const ENTRY: Flag = Flag::text("entry", "the server's entry: a file with one in its first line");
const CONFIG: Flag = Flag::text("config", "take parameters from this client configuration");
const SEED: Flag = Flag::text("seed", "make a plan from this seed, 64 hex digits, instead of reading one");
const PROTOCOL: Flag = Flag::text("protocol", "the tunnel protocol of the plan that --seed makes");
const DRY_RUN: Flag = Flag::switch("dry-run", "open no connection: print what would be sent first");
const HEXDUMP: Flag = Flag::switch("hexdump", "print the bytes, too");
const SHOW: Flag = Flag::switch("show", "print the plan, too");
const TIMEOUT: Flag = Flag::integer("timeout", "seconds for the dial; default 20");

pub(super) const VERB: Verb = Verb {
    syntax: Syntax {
        program: "replay",
        verbs: &[],
        flags: &[ENTRY, CONFIG, SEED, PROTOCOL, DRY_RUN, HEXDUMP, SHOW, TIMEOUT],
        most_words: 1,
    },
    synopsis: "[PLAN]",
    summary: "dial by a plan, or show what it would send",
    description: "\
A plan holds every choice of one dial: protocol, first bytes, paddings, the
browser that is imitated. The client stores those that worked; culvert plans
prints them. This verb reads such a plan from the file PLAN, or makes one
from --seed and --protocol, and dials the server by it once, until the
server has proved who it is, and says what came of it.

With --dry-run nothing is dialed. The first flight is printed instead: all
that would be sent before anything is heard. The same plan and the same seed
give the same bytes, but for keys, and for salts, nonces and randoms that
must never repeat.

PLAN may hold the server's entry; otherwise --entry names it.",
    sections: &[
        (
            "EXIT STATUS",
            "\
0    the server proved who it is, or everything was printed
64   the command line is wrong
65   the plan or the entry cannot be read, or no dial can be planned
69   the server was not reached
78   the configuration is wrong",
        ),
        (
            "EXAMPLES",
            "\
culvert plans export > plan.json
culvert replay plan.json --dry-run --hexdump
culvert replay --seed $(openssl rand -hex 32) --protocol TLS-OSSH \\
    --entry server-entry.dat --dry-run",
        ),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let limit = match arguments.integer(&TIMEOUT).unwrap_or(LIMIT) {
        seconds @ 1..=LONGEST => Duration::from_secs(seconds.unsigned_abs()),
        other => return Err(Failure::usage(format!("--timeout {other}: give 1 to {LONGEST} seconds"))),
    };
    let (basis, embedded) = basis(arguments)?;
    let entry = entry(arguments, embedded)?;
    let parameters = parameters(arguments)?;
    let prepared = prepare(&basis, &entry, &parameters).map_err(|error| data(error.to_string()))?;
    let mut text = format!("protocol   {}\n", prepared.protocol());
    if arguments.is_on(&SHOW) {
        let settings = Fingerprint::of_settings(&parameters, "");
        let plan = String::from_utf8_lossy(&prepared.to_stored(0, settings).write()).into_owned();
        let _ = writeln!(text, "plan       {plan}");
    }
    print(&text);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure { exit: Exit::Unavailable, message: error.to_string() })?;
    if arguments.is_on(&DRY_RUN) {
        let sent = runtime.block_on(prepared.first_flight()).map_err(failed)?;
        print(&flight(&sent, arguments.is_on(&HEXDUMP)));
        return Ok(());
    }
    runtime.block_on(dial(&prepared, limit))
}

async fn dial(prepared: &Prepared<'_>, limit: Duration) -> Result<(), Failure> {
    let network: Arc<dyn Network> = Arc::new(OsNetwork);
    let reached = prepared.dial(&network, limit).await.map_err(failed)?;
    let [exchange, cipher] = reached.agreed;
    let milliseconds = reached.duration.as_millis();
    print(&format!(
        "reached    in {milliseconds} ms: the server proved who it is\nagreed     {exchange}, {cipher}\n"
    ));
    Ok(())
}

fn failed(error: FlightError) -> Failure {
    let exit = match &error {
        FlightError::Plan(_) => Exit::Data,
        FlightError::Dial(_) => Exit::Unavailable,
    };
    Failure { exit, message: format!("replay: {error}") }
}

fn data(message: String) -> Failure {
    Failure { exit: Exit::Data, message: format!("replay: {message}") }
}

/// What is dialed by, and the entry that came with it.
fn basis(arguments: &Arguments) -> Result<(Basis, Option<String>), Failure> {
    match (arguments.words().next(), arguments.text(&SEED)) {
        (Some(file), None) => {
            if arguments.given(&PROTOCOL) {
                return Err(Failure::usage("replay: --protocol goes with --seed: a plan says its protocol"));
            }
            let text = read(Path::new(file)).map_err(|error| data(format!("{file}: {error}")))?;
            let plan = StoredPlan::read_strictly(text.as_bytes());
            let plan = plan.map_err(|error| data(format!("{file}: {error}")))?;
            Ok((Basis::Stored(plan), embedded_entry(&text)))
        }
        (None, Some(seed)) => {
            let seed = bytes_of_hex(seed)
                .ok_or_else(|| Failure::usage(format!("--seed {seed:?}: give 64 hex digits")))?;
            let name = arguments.text(&PROTOCOL);
            let name = name.ok_or_else(|| Failure::usage("replay: --seed takes --protocol, too"))?;
            Ok((Basis::Fresh { protocol: protocol(name)?, seed }, None))
        }
        (Some(_), Some(_)) => Err(Failure::usage("replay: give a plan or --seed, not both")),
        (None, None) => Err(Failure::usage("replay: name a file with a plan, or give --seed and --protocol")),
    }
}

/// The entry that an export put beside the plan.
fn embedded_entry(text: &str) -> Option<String> {
    let plan: Value = serde_json::from_str(text).ok()?;
    plan.get("serverEntry")?.as_str().map(str::to_owned)
}

fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn protocol(name: &str) -> Result<TunnelProtocol, Failure> {
    let found = SPOKEN.into_iter().find(|protocol| protocol.name() == name);
    found.ok_or_else(|| {
        let names = SPOKEN.iter().map(|protocol| protocol.name());
        let near = near_name(name, names).map(|near| format!(" (did you mean {near}?)"));
        let near = near.unwrap_or_default();
        Failure::usage(format!("--protocol {name:?} is not a tunnel protocol of this build{near}"))
    })
}

fn entry(arguments: &Arguments, embedded: Option<String>) -> Result<ServerEntry, Failure> {
    let (text, name) = match (arguments.text(&ENTRY), embedded) {
        (Some(file), _) => {
            (read(Path::new(file)).map_err(|error| data(format!("{file}: {error}")))?, file.to_owned())
        }
        (None, Some(text)) => (text, "member serverEntry".to_owned()),
        (None, None) => return Err(Failure::usage("replay: --entry is missing: name the server's entry")),
    };
    let line = decode_list(&text).next().ok_or_else(|| data(format!("{name}: holds no server entry")))?;
    line.entry.map_err(|error| data(format!("{name}:{}: {error}", line.number)))
}

fn parameters(arguments: &Arguments) -> Result<Parameters, Failure> {
    let Some(file) = arguments.text(&CONFIG) else { return Ok(Parameters::default()) };
    let loaded = config::load(Path::new(file));
    let loaded = loaded.map_err(|error| Failure { exit: Exit::Config, message: error.to_string() })?;
    Ok(loaded.config.parameters)
}

/// The first flight in words.
fn flight(sent: &[Sent], dump: bool) -> String {
    let bytes: usize = sent.iter().map(|sent| sent.bytes.len()).sum();
    let channels = sent.iter().map(|sent| sent.channel).max().unwrap_or_default();
    let mut text = String::new();
    let _ = writeln!(text, "sent       {bytes} bytes in {} pieces over {channels} connections", sent.len());
    for (number, sent) in (1..).zip(sent) {
        let kind = if sent.is_datagram { "datagram" } else { "write" };
        let _ = writeln!(
            text,
            "{kind:<10} {number}, connection {}, {} bytes{}",
            sent.channel,
            sent.bytes.len(),
            if dump { "" } else { ", beginning" }
        );
        if dump {
            for (line, bytes) in sent.bytes.chunks(LINE).enumerate() {
                dump_line(&mut text, line * LINE, bytes);
            }
        } else {
            dump_line(&mut text, 0, sent.bytes.get(..LINE).unwrap_or(&sent.bytes));
        }
    }
    text
}

fn dump_line(text: &mut String, offset: usize, bytes: &[u8]) {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
    let shown: String = bytes.iter().map(shown).collect();
    let _ = writeln!(text, "  {offset:06x}  {:<47}  {shown}", hex.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_what_one_is_used_to() {
        let sent = Sent { channel: 1, is_datagram: false, bytes: b"GET / HTTP/1.1\r\n\0".to_vec() };
        let text = flight(std::slice::from_ref(&sent), true);
        let expected = "sent       17 bytes in 1 pieces over 1 connections\nwrite      1, connection 1, 17 bytes\n  \
                        000000  47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1..\n  \
                        000010  00                                               .\n";
        assert_eq!(text, expected);
        assert!(flight(&[sent], false).ends_with("GET / HTTP/1.1..\n"));
    }

    #[test]
    fn seeds_are_hex() {
        assert_eq!(bytes_of_hex(&"0f".repeat(32)), Some([15; 32]));
        for bad in ["", "0f", &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(bytes_of_hex(bad), None, "{bad}");
        }
    }
}
