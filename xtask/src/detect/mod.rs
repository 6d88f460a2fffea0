//! `cargo xtask detect`: what the detectors of censors make of many flows of each protocol, between our own programs and, for comparison, with
//! the reference's. Flows are recorded on the loopback interface, which needs the right to do so (root, or CAP_NET_RAW). First the detectors are
//! checked on flows of which it is known what they are.

mod capture;
mod chance;
mod controls;
mod findings;
mod pages;
mod socket;
mod tunnels;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::carried::CARRIED;
use crate::bench::contender::Contender;
use crate::bench::peers::{Peers, Profile};
use crate::bench::psiphon::{Dial, Protocol};
use crate::bench::{Outcome, sys};
use controls::CONTROLS;
use findings::Findings;
use tunnels::Look;

/// Flows of each protocol unless told otherwise.
const FLOWS: usize = 300;
/// Those of a control, and those with the reference's programs, are enough as a part.
const CONTROL_PART: usize = 6;
const REFERENCE_PART: usize = 5;

/// What may be, of ours, in shares of the flows.
const MOST_ENCRYPTED: f64 = 0.01;
const MOST_INSIDE_25: f64 = 0.05;
const MOST_INSIDE_60: f64 = 0.10;
/// A part of the hellos is of no browser on purpose: one that is drawn cannot be blocked by its list.
const MOST_OTHER: f64 = 0.45;

const CONTENDERS: [Contender; 4] =
    [Contender::Ours, Contender::OursToReference, Contender::ReferenceToOurs, Contender::Reference];

const SSH: Protocol = Protocol { name: "SSH", port: "sshPort", datagrams: false };
/// Those that look like QUIC itself, whose first datagrams all are of a size; and those that must not.
const QUIC: [(&str, bool); 4] =
    [("QUICv1", true), ("RANDOMIZED-QUICv1", true), ("OBFUSCATED-QUICv1", false), ("DECOY-QUICv1", false)];

/// Every protocol in each of its looks.
fn looks() -> Vec<Look> {
    let mut looks = vec![Look { protocol: SSH, dial: Dial::AsUsual, own_sizes: true }];
    for protocol in CARRIED.map(|carried| carried.protocol) {
        if protocol.datagrams {
            let quic = |(version, own_sizes)| Look {
                protocol,
                dial: Dial::Only("LimitQUICVersions", version),
                own_sizes,
            };
            looks.extend(QUIC.map(quic));
        } else {
            // HTTP in clear has the sizes of HTTP, such as that of the end of chunks, and shows what they are.
            let own_sizes = protocol.name == "UNFRONTED-MEEK-OSSH";
            looks.push(Look { protocol, dial: Dial::AsUsual, own_sizes });
        }
    }
    looks
}

/// Whether a program said that it does not have the protocol at all.
fn is_absent(error: &str) -> bool {
    error.contains("this build cannot run") || error.contains("allowed and supported here: nothing")
}

struct Options {
    flows: usize,
    only: Vec<String>,
    ours: bool,
    keep: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Outcome<Self> {
        let mut options = Self { flows: FLOWS, only: Vec::new(), ours: false, keep: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--flows" => options.flows = words.next().ok_or("--flows wants a number")?.parse()?,
                "--only" => options.only.extend(words.next().map(|name| (*name).to_owned())),
                "--ours" => options.ours = true,
                "--keep" => options.keep = Some(words.next().ok_or("--keep wants a folder")?.into()),
                other => {
                    return Err(format!(
                        "unknown option `{other}`: --flows N, --only PROTOCOL, --ours, --keep FOLDER"
                    )
                    .into());
                }
            }
        }
        Ok(options)
    }
}

/// Runs everything and prints the table. Fails when a detector is wrong about a control, or when ours show what they must not.
pub(crate) fn run(words: &[&str]) -> Outcome<ExitCode> {
    let options = Options::parse(words)?;
    sys::raise_file_limit();
    sys::end_all_on_signals();
    let peers = Peers::find(Profile::Dev)?;
    let mut table = Table::default();
    controls(&mut table, &peers, (options.flows / CONTROL_PART).max(20))?;
    let site = pages::start_site()?;
    for look in looks() {
        let name = look.protocol.name;
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        for contender in CONTENDERS.into_iter().filter(|contender| contender.is_there(&peers)) {
            let is_ours = contender == Contender::Ours;
            if options.ours && !is_ours {
                continue;
            }
            let count = if is_ours { options.flows } else { (options.flows / REFERENCE_PART).max(10) };
            let name = format!("{}, {}", look.name(), contender.name());
            eprintln!("   {name}");
            let flows = match tunnels::raise(contender, look, &peers, count, site) {
                Ok(flows) => flows,
                // Other builds carry other protocols.
                Err(error) if is_absent(&error.to_string()) => continue,
                Err(error) => {
                    table.failures.push(format!("{name}: {error}"));
                    continue;
                }
            };
            if let Some(folder) = &options.keep {
                fs::write(folder.join(&name), findings::written(&flows))?;
            }
            let findings = Findings::of(&flows, &peers.many)?;
            if is_ours {
                table.judge_ours(&name, look, &findings);
            }
            table.row(&name, &findings);
        }
    }
    Ok(table.print())
}

fn controls(table: &mut Table, peers: &Peers, count: usize) -> Outcome<()> {
    for control in CONTROLS {
        eprintln!("   control: {}", control.name);
        let name = format!("control: {}", control.name);
        let Some(flows) = (control.raise)(peers, count)? else {
            table
                .failures
                .push(format!("{name}: its programs are not here, so nothing was checked against them"));
            continue;
        };
        let findings = Findings::of(&flows, &peers.many)?;
        table.row(&name, &findings);
        for ((figure, of), expected) in control.expected {
            let share = of(&findings);
            if !expected.is_met(share) {
                let percent = 100.0 * share;
                table
                    .failures
                    .push(format!("{name}: the detector of {figure} is {expected:?} not: {percent:.0} %"));
            }
        }
    }
    Ok(())
}

/// What is printed at the end.
#[derive(Default)]
struct Table {
    rows: Vec<String>,
    failures: Vec<String>,
}

impl Table {
    fn row(&mut self, name: &str, findings: &Findings) {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let hello = match (findings.hello_browser, findings.hello_other) {
            (0.0, 0.0) => "none".to_owned(),
            (browser, other) => format!("browser {}, other {}", percent(browser), percent(other)),
        };
        self.rows.push(format!(
            "| {name} | {} | {} | {} | {} | {} | {hello} | {} |",
            findings.flows,
            percent(findings.fully_encrypted),
            findings.sizes_in_words(),
            percent(findings.inside_25),
            percent(findings.inside_60),
            percent(findings.quic),
        ));
    }

    fn judge_ours(&mut self, name: &str, look: Look, findings: &Findings) {
        let limits = [
            ("fully encrypted", findings.fully_encrypted, MOST_ENCRYPTED),
            ("TLS inside by 25 segments", findings.inside_25, MOST_INSIDE_25),
            ("TLS inside by 60 segments", findings.inside_60, MOST_INSIDE_60),
            ("ClientHello of no browser", findings.hello_other, MOST_OTHER),
        ];
        for (what, share, most) in limits {
            if share > most {
                let (share, most) = (100.0 * share, 100.0 * most);
                self.failures
                    .push(format!("{name}: {what} in {share:.1} % of the flows; at most {most:.0} % may be"));
            }
        }
        if !look.own_sizes && !findings.sizes.is_empty() {
            self.failures.push(format!("{name}: sizes that tell: {}", findings.sizes_in_words()));
        }
        if findings.flows == 0 {
            self.failures.push(format!("{name}: no flow was seen"));
        }
    }

    fn print(&self) -> ExitCode {
        println!(
            "| protocol | flows | fully encrypted | sizes in more than 20 % of flows | TLS inside, 25 | TLS inside, 60 | ClientHello | QUIC v1 |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for row in &self.rows {
            println!("{row}");
        }
        if self.failures.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!();
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        ExitCode::FAILURE
    }
}
