//! The verb `check`: validates files strictly. The parsers are those that the programs start with; here they are asked
//! to be strict, and what they say is brought into one form.

mod entries;
mod kind;
mod remark;

use std::path::Path;

use culvert_client::config as client;
use culvert_protocol::json_position::{Step, key_position};
use culvert_server::config as server;

use super::{Verb, print, said};
use crate::exit::{Exit, Failure};
use crate::flags::{Arguments, Flag, Syntax};
pub(super) use kind::Kind;
use remark::{Place, Remark};

/// Files larger than this hold nothing that could be checked.
const LARGEST: u64 = 64 << 20;
/// More files than anybody has; each is one word of the command line.
const MOST_FILES: usize = 1000;

const KIND: Flag = Flag::text(
    "kind",
    "what the files are, instead of guessing: client, server,\ntraffic-rules, osl, tactics or entries",
);

pub(super) const VERB: Verb = Verb {
    syntax: Syntax { program: "check", verbs: &[], flags: &[KIND], most_words: MOST_FILES },
    synopsis: "FILE...",
    summary: "validate configurations and server entries strictly",
    description: "\
Reads each FILE as the program that it is for would, and prints everything
that is wrong with it, not only the first thing: wrong kinds of value,
values out of range, missing settings, settings that need or exclude one
another, and, unlike when the programs start, unknown, misspelt and
repeated settings. Nothing is changed, started or sent.

What a FILE is, is guessed from the settings in it:

client          a client's configuration, with the server entry in it
server          psiphond.config, with the files that it names
traffic-rules   the traffic rules of a server
osl             the server list configuration of a server
tactics         the tactics configuration of a server
entries         server entries, one a line, as in server-entry.dat

Each problem is one line, to be understood by people and editors:

FILE:LINE:COLUMN: SETTING: what is wrong (did you mean ...?)

LINE and COLUMN are left out where there is no place, for a missing
setting. Lines with \"note:\" are not problems. Secrets are never printed.",
    sections: &[
        (
            "EXIT STATUS",
            "\
0    no problems
64   the command line is wrong
65   a file cannot be read, is of no known kind, or has a wrong entry
78   a configuration is wrong",
        ),
        (
            "EXAMPLES",
            "\
culvert check client.config
culvert check psiphond.config server-entry.dat
culvert check --kind tactics new.json",
        ),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let kind = arguments.text(&KIND).map(Kind::named).transpose()?;
    if arguments.words().next().is_none() {
        return Err(Failure::usage("check: name the files to check"));
    }
    let mut worst = None;
    for file in arguments.words() {
        let checked = check(file, kind);
        print(&checked.text());
        worst = worst.max(checked.verdict());
    }
    match worst {
        None => Ok(()),
        Some(verdict) => Err(said(verdict.into())),
    }
}

/// What was found in one file.
struct Checked {
    file: String,
    kind: Option<Kind>,
    remarks: Vec<Remark>,
}

/// Why a file is not in order; a wrong configuration outweighs the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Data,
    Config,
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Data => Exit::Data,
            Verdict::Config => Exit::Config,
        }
    }
}

impl Checked {
    fn verdict(&self) -> Option<Verdict> {
        let verdict = match self.kind {
            None | Some(Kind::Entries) => Verdict::Data,
            Some(_) => Verdict::Config,
        };
        self.remarks.iter().any(Remark::is_problem).then_some(verdict)
    }

    fn text(&self) -> String {
        let mut text: String = self.remarks.iter().map(|remark| format!("{remark}\n")).collect();
        if let Some(kind) = self.kind {
            let count = match self.remarks.iter().filter(|remark| remark.is_problem()).count() {
                0 => "no problems".to_owned(),
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            };
            text.push_str(&format!("{}: {}, {count}\n", self.file, kind.description()));
        }
        text
    }
}

fn check(file: &str, kind: Option<Kind>) -> Checked {
    let whole = |message: String| Remark::problem(Place::file(file), message);
    let text = match read(Path::new(file)) {
        Ok(text) => text,
        Err(error) => {
            let remarks = vec![whole(format!("cannot be read: {error}"))];
            return Checked { file: file.to_owned(), kind: None, remarks };
        }
    };
    let kind = kind.or_else(|| Kind::guess(file, &text));
    let remarks = match kind {
        None => {
            let names = Kind::names().collect::<Vec<_>>().join(", ");
            vec![whole(format!(
                "has no known setting and is no server entry: say what it is, --kind {names}"
            ))]
        }
        Some(Kind::Client) => check_client(file, &text),
        Some(Kind::Server(kind)) => check_server(Path::new(file), kind),
        Some(Kind::Entries) => entries::check(file, &text),
    };
    Checked { file: file.to_owned(), kind, remarks }
}

pub(super) fn read(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind, Read};
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {LARGEST} bytes")));
    }
    Ok(text)
}

fn check_client(file: &str, text: &str) -> Vec<Remark> {
    let loaded = match client::parse_strictly(file, text) {
        Ok(loaded) => loaded,
        Err(error) => return error.problems.into_iter().map(Remark::from).collect(),
    };
    let at = |key: &str| Place {
        file: file.to_owned(),
        position: key_position(text, &[Step::from(key)]),
        field: key.to_owned(),
    };
    let no_effect = "is understood but has no effect in this build yet".to_owned();
    let mut remarks: Vec<_> =
        loaded.without_effect.iter().map(|key| Remark::note(at(key), no_effect.clone())).collect();
    if let Some(entry) = &loaded.config.servers.target {
        remarks.extend(entries::problems_of_line(entry.expose()).into_iter().map(|problem| {
            let member =
                if problem.member.is_empty() { String::new() } else { format!("{}: ", problem.member) };
            Remark::problem(at("TargetServerEntry"), format!("{member}{}", problem.message))
        }));
    }
    remarks
}

fn check_server(file: &Path, kind: server::FileKind) -> Vec<Remark> {
    match server::check(file, kind) {
        Ok(remarks) => remarks.into_iter().map(Remark::from).collect(),
        Err(error) => error.findings.into_iter().map(Remark::from).collect(),
    }
}

#[cfg(test)]
mod tests;
