//! `culvert-bench VERB ENTRY-FILE [COUNT]`: load on one tunnel server, from one process, over loopback. What it costs the server is measured
//! by who starts this (`cargo xtask bench`); nothing here measures.

mod abuse;
mod crowd;
mod exchanges;
mod judge;
mod probes;
mod proxy_flows;
mod rule_lookups;
mod sniff;
mod tunnel;
mod tunnels;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use culvert_protocol::ServerEntry;

/// The entry's member for the port of OSSH.
const OSSH: &str = "sshObfuscatedPort";
const USAGE: &str = "usage: culvert-bench VERB ENTRY-FILE [COUNT [PORT-MEMBER]]

verbs:
  idle-tunnels        bring up COUNT tunnels, print `ready`, keep them until killed
  press               the same, but whatever is refused: with those that came up
  tunnels-per-second  bring up COUNT tunnels and close each at once
  probe-flood         make COUNT connections that send noise
  datagram-flood      send COUNT datagrams of noise, each from a port of its own
  held-probes         make COUNT connections that send noise, print `ready`, keep them until killed
  reject-times        print how soon after its end each kind of stranger sees the server's, COUNT times each
  hold-times          print when each kind of stranger is sent away, COUNT times each; for ProbeHoldSeconds of 1
  setup-times         bring up COUNT tunnels, one after the other, and print how long each took
  churn               COUNT tunnels a second that come, have an answer and go, until killed
  exchanges           further: BYTES PERIOD WINDOW, in milliseconds; a flow in each of COUNT tunnels that sends so much each
                      period and has it back: print after each window how many there were, median, p95, p99 and most
  silent              make COUNT connections that say nothing, print `ready`, keep them until killed
  garbage             further: ADDRESSES; COUNT connections a second of noise from so many addresses, until killed
  abuse               further: flows, dials, datagrams, queries or bytes; one tunnel that takes all it can get of that with COUNT tasks,
                      print `ready`, and each second how often it tried
  slow                further: http or tls; make COUNT connections that send a byte a second, print `ready`, and how many were ended
  proxy-flows         ENTRY-FILE is ADDRESS:PORT of a SOCKS proxy, PORT-MEMBER the number of its process: open COUNT
                      flows, print what they add to a small exchange and what each takes of memory
  rule-lookups        ENTRY-FILE is the number of filters, COUNT that of subnets: print how long choosing rules and judging
                      an address take
  judge               FILE has recorded flows: print what the detectors make of them
  sniff               forward to the server and print what each connection's key exchange agreed on";

/// What went wrong.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("culvert-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["judge", file] = words.as_slice() {
        return judge::run(file);
    }
    if let ["proxy-flows", proxy, count, process] = words.as_slice() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(proxy_flows::run(proxy.parse()?, count.parse()?, process.parse()?));
    }
    if let ["rule-lookups", filters, subnets] = words.as_slice() {
        return rule_lookups::run(filters.parse()?, subnets.parse()?);
    }
    let (verb, file, count, member, further) = match words.as_slice() {
        [verb, file] => (*verb, *file, 1, OSSH, &[][..]),
        [verb, file, count] => (*verb, *file, count.parse()?, OSSH, &[][..]),
        [verb, file, count, member, further @ ..] => (*verb, *file, count.parse()?, *member, further),
        _ => return Err(USAGE.into()),
    };
    let entry = ServerEntry::decode(fs::read_to_string(file)?.trim())?;
    let port = entry.port(member).ok_or("the entry has no such port")?;
    let server = SocketAddr::new(entry.address(), port);
    if !server.ip().is_loopback() {
        return Err("this is for servers on loopback addresses only".into());
    }
    if verb == "sniff" {
        return sniff::run(server, &entry.obfuscation_keyword()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(verb, entry, server, count, further))
}

async fn load(
    verb: &str,
    entry: ServerEntry,
    server: SocketAddr,
    count: usize,
    further: &[&str],
) -> Outcome<()> {
    match (verb, further) {
        ("idle-tunnels", []) => tunnels::keep(entry, server, count).await,
        ("press", []) => tunnels::press(entry, server, count).await,
        ("tunnels-per-second", []) => tunnels::come_and_go(entry, server, count).await,
        ("setup-times", []) => tunnels::setup_times(entry, server, count).await,
        ("churn", []) => tunnels::churn(entry, server, count).await,
        ("exchanges", [length, period, window]) => {
            let pace = exchanges::Pace {
                length: length.parse()?,
                period: Duration::from_millis(period.parse()?),
                window: Duration::from_millis(window.parse()?),
            };
            exchanges::run(entry, server, count, pace).await
        }
        ("probe-flood", []) => probes::flood(server, count).await,
        ("datagram-flood", []) => probes::datagrams(server, count).await,
        ("held-probes", []) => probes::keep(server, count).await,
        ("silent", []) => crowd::silent(server, count).await,
        ("garbage", [addresses]) => crowd::garbage(server, count, addresses.parse()?).await,
        ("slow", ["http"]) => crowd::slow(server, count, crowd::Head::Http).await,
        ("slow", ["tls"]) => crowd::slow(server, count, crowd::Head::Tls).await,
        ("abuse", [want]) => match abuse::Want::named(want) {
            Some(want) => abuse::run(entry, server, count, want).await,
            None => Err(USAGE.into()),
        },
        ("reject-times", []) => probes::reject_times(server, &entry.obfuscation_keyword()?, count).await,
        ("hold-times", []) => probes::hold_times(server, &entry.obfuscation_keyword()?, count).await,
        _ => Err(USAGE.into()),
    }
}
