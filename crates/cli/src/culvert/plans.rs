//! The verb `plans`: what a client's store remembers of dials that worked.

use std::fmt::Write as _;
use std::path::Path;

use culvert_client::StoredPlan;
use culvert_client::data_dir::{DataDir, DataDirError};
use culvert_client::store::Store;
use culvert_protocol::json_position::near_name;

use super::{Verb, print};
use crate::exit::{Exit, Failure};
use crate::flags::{Arguments, Flag, Syntax};

const DATA: Flag = Flag::text("dataRootDirectory", "the folder that holds the client's files");
const NETWORK: Flag = Flag::text("network", "only plans for the network of this identifier");
const SERVER: Flag = Flag::text("server", "only plans for servers whose tag begins like this");
const WITH_ENTRY: Flag =
    Flag::switch("with-entry", "export the server's entry with the plan; it holds secrets");

pub(super) const VERB: Verb = Verb {
    syntax: Syntax {
        program: "plans",
        verbs: &[],
        flags: &[DATA, NETWORK, SERVER, WITH_ENTRY],
        most_words: 1,
    },
    synopsis: "list|export",
    summary: "show the plans of dials that worked",
    description: "\
A client stores, for each network and server, every choice of the dial that
last worked, and dials by it again. This verb lists those plans, the last
success first, or exports one for culvert replay: as JSON, one line on
standard output. Where several fit, the first is exported.

The client must not be running: one program at a time uses its folder.",
    sections: &[(
        "EXIT STATUS",
        "\
0    done
64   the command line is wrong
65   there is no such plan, or no such folder
69   another program uses the folder",
    )],
    run,
};

/// A stored plan and whose it is.
struct Found {
    network: String,
    tag: String,
    entry: String,
    bytes: Vec<u8>,
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let verbs = ["list", "export"];
    let exports = match arguments.words().next() {
        Some("list") => false,
        Some("export") => true,
        Some(other) => {
            let near = near_name(other, verbs).map(|near| format!(" (did you mean {near}?)"));
            let near = near.unwrap_or_default();
            return Err(Failure::usage(format!("plans: unknown verb {other:?}{near}: use list or export")));
        }
        None => return Err(Failure::usage("plans: say what to do: culvert plans list")),
    };
    let root = Path::new(arguments.text(&DATA).unwrap_or("."));
    let opened = DataDir::open(Some(root)).map_err(|error| {
        let exit = if let DataDirError::InUse { .. } = error { Exit::Unavailable } else { Exit::Data };
        Failure { exit, message: format!("plans: {error}") }
    })?;
    let store = Store::open(&opened.data_dir, |warning| eprintln!("culvert: plans: {warning}"));
    let found = find(&store, arguments.text(&NETWORK), arguments.text(&SERVER));
    if !exports {
        print(&listed(&found));
        return Ok(());
    }
    let first = found.first().ok_or_else(|| Failure {
        exit: Exit::Data,
        message: "plans: there is no such plan: culvert plans list shows those that there are".to_owned(),
    })?;
    print(&exported(first, arguments.is_on(&WITH_ENTRY)));
    Ok(())
}

fn find(store: &Store, network: Option<&str>, server: Option<&str>) -> Vec<Found> {
    let networks = store.networks().into_iter().filter(|name| network.is_none_or(|wanted| wanted == name));
    let mut found = Vec::new();
    for network in networks {
        for id in store.replayable(&network) {
            let (Some(stored), Some(bytes)) = (store.server(id), store.plan(&network, id)) else { continue };
            let tag = stored.entry.tag().as_str().to_owned();
            if server.is_none_or(|wanted| tag.starts_with(wanted)) {
                let entry = stored.entry.fields().encode();
                found.push(Found { network: network.clone(), tag, entry, bytes });
            }
        }
    }
    found
}

fn listed(found: &[Found]) -> String {
    let mut text = String::new();
    for Found { network, tag, bytes, .. } in found {
        let _ = match StoredPlan::read(bytes) {
            Ok(plan) => {
                let time = i64::try_from(plan.last_used).ok();
                let time = time.and_then(|time| time::OffsetDateTime::from_unix_timestamp(time).ok());
                let time = time.map(culvert_protocol::timestamp::to_second).unwrap_or_default();
                writeln!(text, "{network:?}  {tag:?}  {}  {time}  {} bytes", plan.protocol, bytes.len())
            }
            Err(error) => writeln!(text, "{network:?}  {tag:?}  cannot be read: {error}"),
        };
    }
    if text.is_empty() { "no plan is stored\n".to_owned() } else { text }
}

fn exported(found: &Found, with_entry: bool) -> String {
    let plan = String::from_utf8_lossy(&found.bytes);
    let entry = format!(",\"serverEntry\":\"{}\"}}", found.entry);
    match plan.strip_suffix('}') {
        Some(head) if with_entry => format!("{head}{entry}\n"),
        _ => format!("{plan}\n"),
    }
}
