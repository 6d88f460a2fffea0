//! The `culvert` program: its verbs, each in a file beside with its flags and its page of help. Not what the verbs do
//! beyond reading their arguments and printing.

mod check;
mod entry;
mod help;
mod parameters;
mod plans;
mod quickstart;
mod replay;
mod schema;
mod servers;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use culvert_protocol::json_position::near_name;

use crate::exit::{Exit, Failure};
use crate::flags::{Arguments, Syntax, UsageError};

/// One thing that the program does.
struct Verb {
    /// The first line of its help; the flags' table and the verb's name are in it.
    syntax: Syntax,
    /// What follows the verb on a command line.
    synopsis: &'static str,
    /// One line.
    summary: &'static str,
    /// Paragraphs, of lines that fit a terminal.
    description: &'static str,
    /// Further sections of its help, with their titles.
    sections: &'static [(&'static str, &'static str)],
    run: fn(&Arguments) -> Result<(), Failure>,
}

impl Verb {
    fn name(&self) -> &'static str {
        self.syntax.program
    }
}

/// In the order in which a person meets them.
const VERBS: &[Verb] = &[
    quickstart::VERB,
    check::VERB,
    entry::VERB,
    servers::VERB,
    plans::VERB,
    replay::VERB,
    parameters::VERB,
    schema::VERB,
    help::VERSION,
    help::HELP,
];

/// Does what the arguments, which follow the program's name, ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match dispatch(arguments.into_iter().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        // It has been said already.
        Err(failure) if failure.message.is_empty() => failure.exit.into(),
        Err(failure) => failure.report("culvert", "culvert help"),
    }
}

fn dispatch(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut arguments = arguments.into_iter();
    let Some(first) = arguments.next() else {
        return Err(Failure::usage(format!("a verb is missing: use one of {}", names().join(", "))));
    };
    let first = first.to_string_lossy();
    let name = match first.trim_start_matches('-') {
        "h" | "help" => help::HELP.name(),
        "v" | "version" => help::VERSION.name(),
        _ => &first,
    };
    let verb = find(name)?;
    match verb.syntax.parse(arguments) {
        Ok(arguments) => (verb.run)(&arguments),
        Err(UsageError::Help) => {
            print(&help::page(verb));
            Ok(())
        }
        Err(error) => {
            Err(Failure::usage(format!("{}: {error}\nusage: {}", verb.name(), help::synopsis(verb))))
        }
    }
}

fn find(name: &str) -> Result<&'static Verb, Failure> {
    VERBS.iter().find(|verb| verb.name() == name).ok_or_else(|| {
        let near = near_name(name, names()).map(|near| format!(" (did you mean {near}?)"));
        let near = near.unwrap_or_default();
        Failure::usage(format!("unknown verb {name:?}{near}: use one of {}", names().join(", ")))
    })
}

fn names() -> Vec<&'static str> {
    VERBS.iter().map(Verb::name).collect()
}

/// Standard output, whose reader may leave early, as `head` does.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A failure of which everything has been said.
fn said(exit: Exit) -> Failure {
    Failure { exit, message: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: &str) -> Failure {
        dispatch(line.split_whitespace().map(OsString::from).collect()).unwrap_err()
    }

    #[test]
    fn mistakes_say_what_to_use_instead() {
        for (line, words) in [
            (
                "",
                "a verb is missing: use one of quickstart, check, entry, servers, plans, replay, parameters, schema, version, help",
            ),
            ("chekc", "unknown verb \"chekc\" (did you mean check?)"),
            ("quikstart", "(did you mean quickstart?)"),
            ("frobnicate", "unknown verb \"frobnicate\": use one of quickstart"),
            ("-x", "unknown verb \"-x\""),
            ("help chekc", "(did you mean check?)"),
            ("quickstart --megabyte 3", "-megabyte (did you mean -megabytes?)"),
            ("quickstart --protocol FRONTED", "is not a tunnel protocol"),
            ("quickstart --megabytes 0", "from 1 to"),
            ("quickstart now", "unexpected argument \"now\""),
            ("check", "name the files to check"),
            ("check --kind clinet x", "(did you mean client?)"),
            ("entry", "entry show"),
            ("entry shwo x", "(did you mean show?)"),
            ("entry show", "name a file"),
            ("plans", "culvert plans list"),
            ("plans lsit", "(did you mean list?)"),
            ("replay", "name a file with a plan"),
            ("replay p --seed 00", "not both"),
            ("replay --seed 00 --protocol OSSH", "64 hex digits"),
            ("replay p --timeout 0", "1 to 600 seconds"),
            ("servers lsit", "(did you mean list?)"),
            ("servers import", "name a file"),
            ("servers import x --source NOWHERE", "is not a source"),
            ("parameters TunnelConectTimeout", "(did you mean TunnelConnectTimeout?)"),
            ("parameters --chnaged", "-chnaged (did you mean -changed?)"),
            ("schema", "name a kind of file"),
            ("schema clinet", "(did you mean client?)"),
            ("schema entries", "culvert entry show"),
        ] {
            let failure = failure(line);
            assert!(failure.message.contains(words), "{line}: {}", failure.message);
            assert_eq!(failure.exit, Exit::Usage, "{line}");
        }
    }

    #[test]
    fn every_verb_has_a_page_that_fits_a_terminal() {
        for verb in VERBS {
            let page = help::page(verb);
            for section in ["NAME\n", "SYNOPSIS\n", "DESCRIPTION\n", "EXIT STATUS\n"] {
                assert!(page.contains(section), "{} lacks {section}", verb.name());
            }
            assert_eq!(page.contains("OPTIONS\n"), !verb.syntax.flags.is_empty(), "{}", verb.name());
            for line in page.lines() {
                assert!(line.len() <= 80 && !line.ends_with(' '), "{}: {line:?}", verb.name());
            }
        }
    }
}
