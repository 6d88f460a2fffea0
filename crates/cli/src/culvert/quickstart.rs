//! The verb `quickstart`: its arguments. What it does is in [`crate::quickstart`].

use culvert_client::SPOKEN;
use culvert_protocol::TunnelProtocol;
use culvert_protocol::json_position::near_name;
use culvert_server::config::SUPPORTED;

use super::Verb;
use crate::exit::Failure;
use crate::flags::{Arguments, Flag, Syntax};
use crate::quickstart::{Plan, run as try_out};

/// Megabytes each way unless asked otherwise, and at most: more takes hours.
const MEGABYTES: u32 = 200;
const MOST_MEGABYTES: u32 = 100_000;

const MEGABYTES_FLAG: Flag =
    Flag::integer("megabytes", "move N megabytes (of 1,000,000 bytes) each way; default 200");
const PROTOCOL: Flag =
    Flag::text("protocol", "the tunnel protocol: OSSH, SSH, or all, one after the other;\ndefault OSSH");
const KEEP: Flag = Flag::switch("keep", "keep the folder with configurations, log and notices");

pub(super) const VERB: Verb = Verb {
    syntax: Syntax {
        program: "quickstart",
        verbs: &[],
        flags: &[MEGABYTES_FLAG, PROTOCOL, KEEP],
        most_words: 0,
    },
    synopsis: "",
    summary: "try everything out on this machine",
    description: "\
Generates a server and a client in a temporary folder, starts both in this
process on free ports of the loopback address, connects them, fetches a
page from a small built-in web server through the client's SOCKS5 and HTTP
proxies, and moves data each way, checked by SHA-256. Each step is printed
as it is done; at the end come protocol, key exchange, cipher and speeds,
and a table: time to a tunnel, round trips (with somebody on the way who
makes it 100 ms long and records it), speeds, and what the detectors that
censors use made of the recording.

Nothing leaves the machine, nothing is installed, and no right beyond a
user's is needed. The folder, which only you can read, is removed at the
end, and likewise after a failure or Ctrl-C; with --keep it stays, and the
commands that start the same server and client again are printed.

Output on a terminal has a progress bar; elsewhere each transfer prints a
line per quarter.",
    sections: &[
        (
            "EXIT STATUS",
            "\
0    everything worked
64   the command line is wrong
69   a part could not be started or reached
70   the program is at fault
73   a file could not be written
130  interrupted",
        ),
        (
            "EXAMPLES",
            "\
culvert quickstart
culvert quickstart --protocol all --megabytes 1000
culvert quickstart --keep",
        ),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<(), Failure> {
    Ok(try_out(&plan(arguments)?)?)
}

fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
    let megabytes = match arguments.integer(&MEGABYTES_FLAG) {
        None => MEGABYTES,
        Some(given) => u32::try_from(given)
            .ok()
            .filter(|megabytes| (1..=MOST_MEGABYTES).contains(megabytes))
            .ok_or_else(|| {
                Failure::usage(format!("--megabytes {given}: give a number from 1 to {MOST_MEGABYTES}"))
            })?,
    };
    let protocols = match arguments.text(&PROTOCOL) {
        None => vec![TunnelProtocol::OSSH],
        Some("all") => both_ends().collect(),
        Some(name) => vec![protocol(name)?],
    };
    Ok(Plan { megabytes, protocols, keep: arguments.is_on(&KEEP) })
}

/// What this build's client and server both speak, with nothing between them.
fn both_ends() -> impl Iterator<Item = TunnelProtocol> {
    SPOKEN.into_iter().filter(|protocol| SUPPORTED.contains(protocol) && protocol.is_direct())
}

fn protocol(name: &str) -> Result<TunnelProtocol, Failure> {
    let names = || both_ends().map(|protocol| protocol.name());
    let found = both_ends().find(|protocol| protocol.name() == name);
    found.ok_or_else(|| {
        let near = near_name(name, names()).map(|near| format!(" (did you mean {near}?)"));
        let all = names().collect::<Vec<_>>().join(", ");
        let near = near.unwrap_or_default();
        Failure::usage(format!(
            "--protocol {name:?} is not a tunnel protocol of this build{near}: use {all} or all"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_make_a_plan() {
        let planned = |line: &str| plan(&VERB.syntax.parse(line.split_whitespace()).unwrap()).unwrap();
        let default = Plan { megabytes: 200, protocols: vec![TunnelProtocol::OSSH], keep: false };
        assert_eq!(planned(""), default);
        let other = Plan { megabytes: 3, protocols: both_ends().collect(), keep: true };
        assert_eq!(planned("-keep --megabytes=3 -protocol all"), other);
        assert_eq!(planned("--protocol SSH").protocols, [TunnelProtocol::SSH]);
    }
}
