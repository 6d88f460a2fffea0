//! The verb `servers`: looks into what a client knows of servers, adds to it, and empties it. Never an address or a
//! secret: those are `entry`'s.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use culvert_client::config;
use culvert_client::data_dir::DataDir;
use culvert_client::store::{Imported, Overview, Progress, Store};
use culvert_protocol::json_position::near_name;
use culvert_protocol::server_entry::EntrySource;

use super::{Verb, print, said};
use crate::exit::{Exit, Failure};
use crate::flags::{Arguments, Flag, Syntax};

const CONFIG: Flag = Flag::text("config", "the client's configuration, which names the folder");
const DATA_ROOT_DIRECTORY: Flag = Flag::text("dataRootDirectory", "the folder that holds the client's files");
const SOURCE: Flag =
    Flag::text("source", "where imported servers come from, such as REMOTE (default EMBEDDED)");
const ACTIONS: [&str; 3] = ["list", "import", "forget"];
/// Between two lines of progress.
const SERVERS_PER_LINE: u64 = 10_000;

pub(super) const VERB: Verb = Verb {
    syntax: Syntax {
        program: "servers",
        verbs: &[],
        flags: &[CONFIG, DATA_ROOT_DIRECTORY, SOURCE],
        most_words: 2,
    },
    synopsis: "list|import FILE|forget",
    summary: "look into a client's store of servers, fill it, empty it",
    description: "\
Works on the store in the folder of a client that does not run: that of
--dataRootDirectory, or of the configuration, or the working directory.

list counts the servers by region, protocol and source. import adds the
server entries in FILE, one a line, or those on standard input for -; a
known server is replaced when the entry is newer. forget removes all
servers and all that was remembered of them.

A store that is damaged is kept aside, and an empty one begun: import
fills it again.",
    sections: &[
        (
            "EXIT STATUS",
            "\
0    done
64   the command line is wrong
65   a line is no server entry; the others were imported
69   another client uses the folder, or it cannot be used
73   the store cannot be written",
        ),
        (
            "EXAMPLES",
            "\
culvert servers list --dataRootDirectory /var/lib/client
culvert servers import server-list.txt --config client.config",
        ),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut words = arguments.words();
    let action = words.next().unwrap_or("list");
    let file = words.next();
    match (action, file) {
        ("list", None) => print(&overview(&open(arguments)?.store.overview())),
        ("import", Some(file)) => return import(arguments, file),
        ("import", None) => {
            return Err(Failure::usage("servers import: name a file, or - for standard input"));
        }
        ("forget", None) => {
            open(arguments)?.store.erase().map_err(|error| unwritable(&error))?;
            print("all servers forgotten\n");
        }
        ("list" | "forget", Some(extra)) => {
            return Err(Failure::usage(format!("servers {action}: unexpected argument {extra:?}")));
        }
        (other, _) => {
            let near = near_name(other, ACTIONS).map(|near| format!(" (did you mean {near}?)"));
            let near = near.unwrap_or_default();
            let all = ACTIONS.join(", ");
            return Err(Failure::usage(format!("servers: unknown action {other:?}{near}: use one of {all}")));
        }
    }
    Ok(())
}

/// The store, and the folder that is locked meanwhile.
struct Opened {
    store: Store,
    persists: bool,
    _data_dir: DataDir,
}

fn open(arguments: &Arguments) -> Result<Opened, Failure> {
    let root = root(arguments)?;
    let unavailable =
        |message: &dyn std::fmt::Display| Failure { exit: Exit::Unavailable, message: message.to_string() };
    let opened = DataDir::open(root.as_deref()).map_err(|error| unavailable(&error))?;
    if let Some(warning) = &opened.warning {
        eprintln!("culvert: {warning}");
    }
    let data_dir = opened.data_dir;
    let store = Store::open(&data_dir, |warning| eprintln!("culvert: {warning}"));
    Ok(Opened { store, persists: data_dir.persists(), _data_dir: data_dir })
}

fn root(arguments: &Arguments) -> Result<Option<PathBuf>, Failure> {
    if let Some(root) = arguments.text(&DATA_ROOT_DIRECTORY).filter(|root| !root.is_empty()) {
        return Ok(Some(root.into()));
    }
    let Some(file) = arguments.text(&CONFIG).filter(|file| !file.is_empty()) else { return Ok(None) };
    let loaded = config::load(Path::new(file));
    let loaded = loaded.map_err(|error| Failure { exit: Exit::Config, message: error.to_string() })?;
    Ok(loaded.config.data_root_directory)
}

fn import(arguments: &Arguments, file: &str) -> Result<(), Failure> {
    let source = arguments.text(&SOURCE).filter(|source| !source.is_empty()).unwrap_or("EMBEDDED");
    let source: EntrySource =
        source.parse().map_err(|error| Failure::usage(format!("servers import: --source: {error}")))?;
    let list: Box<dyn BufRead> = if file == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = File::open(file);
        let failed = |error| Failure { exit: Exit::Data, message: format!("{file}: {error}") };
        Box::new(BufReader::new(opened.map_err(failed)?))
    };
    let opened = open(arguments)?;
    if !opened.persists {
        let message = "the folder cannot be written, so nothing would be kept".to_owned();
        return Err(Failure { exit: Exit::CannotCreate, message });
    }
    let mut said_so_far = 0;
    let progress = |progress: Progress| {
        if progress.entries >= said_so_far + SERVERS_PER_LINE {
            said_so_far = progress.entries;
            eprintln!("culvert: {said_so_far} servers read");
        }
        ControlFlow::Continue(())
    };
    let imported = opened.store.import(list, &source, progress).map_err(|error| unwritable(&error))?;
    let Imported { added, replaced, kept, bad, first_bad, .. } = &imported;
    print(&format!("{added} added, {replaced} replaced, {kept} known already, {bad} wrong lines\n"));
    for line in first_bad {
        eprintln!("culvert: {file}:{}: {}", line.line, line.error);
    }
    if *bad > 0 { Err(said(Exit::Data)) } else { Ok(()) }
}

fn unwritable(error: &dyn std::fmt::Display) -> Failure {
    Failure { exit: Exit::CannotCreate, message: error.to_string() }
}

fn overview(overview: &Overview) -> String {
    let mut out = format!("{} servers\n", overview.servers);
    if overview.damaged > 0 {
        let _ = writeln!(out, "{} of them damaged", overview.damaged);
    }
    let regions = overview.by_region.iter();
    let regions = regions.map(|(name, count)| (if name.is_empty() { "none" } else { name.as_str() }, *count));
    table(&mut out, "region", regions);
    table(&mut out, "protocol", overview.by_protocol.iter().map(|(name, count)| (*name, *count)));
    table(&mut out, "source", overview.by_source.iter().map(|(name, count)| (name.as_str(), *count)));
    out
}

fn table<'a>(out: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, u64)>) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        let _ = writeln!(out, "by {title}");
    }
    for (name, count) in rows {
        // Names come from the network: what a terminal would act on is not shown.
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(out, "  {name:<40} {count:>8}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn culvert(line: &[&str]) -> Result<(), Failure> {
        VERB.syntax
            .parse(line.iter().copied())
            .map_or_else(|error| Err(Failure::usage(error.to_string())), |arguments| run(&arguments))
    }

    #[test]
    fn a_store_is_filled_and_emptied() {
        let root = std::env::temp_dir().join(format!("culvert-servers-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let fields = br#"{"ipAddress":"192.0.2.7","capabilities":["OSSH"],"region":"CA"}"#;
        let entry = culvert_protocol::EntryFields::from_json(fields).unwrap().encode();
        let list = root.join("list");
        std::fs::write(&list, format!("{entry}\n")).unwrap();
        let folder = format!("--dataRootDirectory={}", root.display());
        let count = || {
            let data_dir = DataDir::open(Some(&root)).unwrap().data_dir;
            Store::open(&data_dir, |warning| panic!("{warning}")).count()
        };
        culvert(&[&folder, "import", list.to_str().unwrap()]).unwrap();
        assert_eq!(count(), 1);
        std::fs::write(&list, format!("{entry}\nx\n")).unwrap();
        let failure = culvert(&[&folder, "import", list.to_str().unwrap()]).unwrap_err();
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Data, ""));
        culvert(&[&folder, "list"]).unwrap();
        let running = DataDir::open(Some(&root)).unwrap();
        let failure = culvert(&[&folder, "forget"]).unwrap_err();
        assert!(failure.message.contains("another client"), "{}", failure.message);
        drop(running);
        culvert(&[&folder, "forget"]).unwrap();
        assert_eq!(count(), 0);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn counts_are_shown_without_control_characters() {
        let mut counts = Overview { servers: 3, damaged: 1, ..Overview::default() };
        counts.by_region.insert("\u{1b}[2JCA".into(), 2);
        counts.by_region.insert(String::new(), 1);
        let shown = overview(&counts);
        assert!(shown.starts_with("3 servers\n1 of them damaged\nby region\n"), "{shown}");
        assert!(!shown.contains('\u{1b}') && shown.contains("none"), "{shown}");
    }
}
