//! The verbs `version` and `help`, and how a verb's page of help is laid out: the sections of man-pages(7).

use std::fmt::Write as _;

use super::{VERBS, Verb, find, print};
use crate::exit::Failure;
use crate::flags::{Arguments, Syntax};

pub(super) const VERSION: Verb = Verb {
    syntax: Syntax { program: "version", verbs: &[], flags: &[], most_words: 0 },
    synopsis: "",
    summary: "print the version",
    description: "Prints the program's name and version, and the licence.",
    sections: &[("EXIT STATUS", "0, always.")],
    run: |_| {
        print(&format!("culvert {}\nlicence: {}\n", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_LICENSE")));
        Ok(())
    },
};

pub(super) const HELP: Verb = Verb {
    syntax: Syntax { program: "help", verbs: &[], flags: &[], most_words: 1 },
    synopsis: "[VERB]",
    summary: "list the verbs, or explain one",
    description: "Without a verb, lists what the program can do. With one, prints its page,\n\
                  which VERB --help does too.",
    sections: &[("EXIT STATUS", "0; 64 if there is no such verb.")],
    run,
};

const INTRODUCTION: &str = "\
culvert - try, check and look into a circumvention tunnel

Usage: culvert VERB [OPTION]... [ARGUMENT]...

";

const SEE_ALSO: &str = "
culvert help VERB explains a verb. Options are written -x or --x, and their
values -x VALUE or -x=VALUE. The programs for daily use are psiphond, the server,
and ConsoleClient, the client; their option -help lists what they take.
";

fn run(arguments: &Arguments) -> Result<(), Failure> {
    match arguments.words().next() {
        Some(name) => print(&page(find(name)?)),
        None => print(&overview()),
    }
    Ok(())
}

fn overview() -> String {
    let mut text = INTRODUCTION.to_owned();
    let width = VERBS.iter().map(|verb| verb.name().len()).max().unwrap_or_default() + 2;
    for verb in VERBS {
        let _ = writeln!(text, "  {:<width$}{}", verb.name(), verb.summary);
    }
    text.push_str(SEE_ALSO);
    text
}

/// The command line of a verb.
pub(super) fn synopsis(verb: &Verb) -> String {
    let options = if verb.syntax.flags.is_empty() { "" } else { "[OPTION]..." };
    let words = ["culvert", verb.name(), options, verb.synopsis];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// All about a verb.
pub(super) fn page(verb: &Verb) -> String {
    let mut text = format!("NAME\n    culvert {} - {}\n", verb.name(), verb.summary);
    section(&mut text, "SYNOPSIS", &synopsis(verb));
    section(&mut text, "DESCRIPTION", verb.description);
    if !verb.syntax.flags.is_empty() {
        section(&mut text, "OPTIONS", &verb.syntax.flag_lines("--"));
    }
    for (title, body) in verb.sections {
        section(&mut text, title, body);
    }
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    let _ = writeln!(text, "\n{title}");
    for line in body.lines() {
        let indent = if line.is_empty() { "" } else { "    " };
        let _ = writeln!(text, "{indent}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overview_lists_every_verb() {
        let text = overview();
        for verb in VERBS {
            assert!(text.contains(&format!("\n  {} ", verb.name())), "{text}");
        }
    }

    #[test]
    fn a_page_is_laid_out_like_a_manual() {
        let expected = "NAME\n    culvert help - list the verbs, or explain one\n\nSYNOPSIS\n    culvert help [VERB]\n\n\
                        DESCRIPTION\n    Without a verb, lists what the program can do. With one, prints its page,\n    \
                        which VERB --help does too.\n\nEXIT STATUS\n    0; 64 if there is no such verb.\n";
        assert_eq!(page(&HELP), expected);
    }
}
