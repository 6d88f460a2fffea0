//! The verb `parameters`: the table of all parameters, as it is declared. Not their values in some configuration.

use std::fmt::Write as _;

use culvert_protocol::json_position::near_name;
use culvert_protocol::parameters::{CHANGED_DEFAULTS, ChangedDefault, Parameters, Row, ServerParameters};
use serde_json::{Value, json};

use super::{Verb, print};
use crate::exit::Failure;
use crate::flags::{Arguments, Flag, Syntax};

/// As many words as anyone looks for.
const MOST_WORDS: usize = 64;

const CHANGED: Flag = Flag::switch("changed", "only those whose default is not the reference's, and why");
const JSON: Flag = Flag::switch("json", "print a list of JSON objects");

pub(super) const VERB: Verb = Verb {
    syntax: Syntax { program: "parameters", verbs: &[], flags: &[CHANGED, JSON], most_words: MOST_WORDS },
    synopsis: "[WORD]...",
    summary: "list what tactics and configurations can tune",
    description: "\
Prints each parameter with its default, what its value must be, and what
it is for. With WORDs, only those whose names contain one of them, in
whatever letter case.

A client's configuration sets parameters in the object Parameters, by
these names, or by keys of its own that are named alike. A server hands
them to clients as tactics; those marked [server] it reads itself.

Times are text such as \"500ms\" or \"1m30s\". Those marked [scaled] are
multiplied by a factor of at least 1 on slow networks.",
    sections: &[
        ("EXIT STATUS", "0; 64 if the command line is wrong, or no name contains a WORD."),
        (
            "EXAMPLES",
            "\
culvert parameters replay
culvert parameters --changed
culvert parameters --json TunnelConnectTimeout",
        ),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.words().collect();
    let mut rows = chosen(&words)?;
    if arguments.is_on(&CHANGED) {
        rows.retain(|row| changed(row).is_some());
    }
    if arguments.is_on(&JSON) {
        let list: Vec<Value> = rows.iter().map(object).collect();
        print(&format!("{:#}\n", Value::Array(list)));
    } else {
        print(&sections(&rows));
    }
    Ok(())
}

/// The rows whose names contain one of the words; all when there is none.
fn chosen(words: &[&str]) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Parameters::table().into_iter().chain(ServerParameters::table()).collect();
    let contains = |row: &Row, word: &str| row.name.to_lowercase().contains(&word.to_lowercase());
    if let Some(word) = words.iter().find(|word| !rows.iter().any(|row| contains(row, word))) {
        let near = near_name(word, rows.iter().map(|row| row.name.as_ref()));
        let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        return Err(Failure::usage(format!("parameters: no parameter's name contains {word:?}{near}")));
    }
    rows.retain(|row| words.is_empty() || words.iter().any(|word| contains(row, word)));
    Ok(rows)
}

fn changed(row: &Row) -> Option<&'static ChangedDefault> {
    CHANGED_DEFAULTS.iter().find(|changed| changed.name == row.name)
}

/// All rows, under their topics.
fn sections(rows: &[Row]) -> String {
    let mut text = String::new();
    for topic in rows.chunk_by(|one, next| one.topic == next.topic) {
        let heading = topic.first().map(|row| row.topic.replace('\n', "")).unwrap_or_default();
        let _ = writeln!(text, "# {heading}\n");
        text.extend(topic.iter().map(paragraph));
    }
    text
}

fn paragraph(row: &Row) -> String {
    let mut text = format!("{} = {}", row.name, row.default);
    for (flag, word) in flags(row) {
        if flag {
            let _ = write!(text, " [{word}]");
        }
    }
    let about = row.about.replace('\n', "");
    let _ = write!(text, "\n    {about}\n    {}", row.kind);
    // A kind that names its bounds need not have them twice.
    if let Some((least, most)) = row.bounds.as_ref().filter(|_| !row.kind.contains("from ")) {
        let _ = write!(text, ", from {least} to {most}");
    }
    if let Some(changed) = changed(row) {
        let _ = write!(text, "\n    the reference has {}; {}", changed.reference.to_json(), changed.why);
    }
    text.push_str("\n\n");
    text
}

fn object(row: &Row) -> Value {
    let (minimum, maximum) = row.bounds.clone().unzip();
    let flags: Vec<&str> = flags(row).into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
    json!({
        "name": row.name,
        "topic": row.topic,
        "kind": row.kind,
        "default": row.default,
        "minimum": minimum,
        "maximum": maximum,
        "flags": flags,
        "about": row.about,
        "reference_default": changed(row).map(|changed| changed.reference.to_json()),
        "why_changed": changed(row).map(|changed| changed.why),
    })
}

fn flags(row: &Row) -> [(bool, &'static str); 2] {
    [(row.flags.latency_scaled, "scaled"), (row.flags.server_only, "server")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_choose() {
        assert_eq!(chosen(&[]).unwrap().len(), 530);
        let names = |words: &[&str]| -> Vec<String> {
            chosen(words).unwrap().iter().map(|row| row.name.to_string()).collect()
        };
        assert_eq!(names(&["tunnelconnect"]), ["TunnelConnectTimeout"]);
        assert!(names(&["replay", "QUICDial"]).len() > 30);
        let error = chosen(&["TunnelConectTimeout"]).unwrap_err();
        assert!(error.message.contains("did you mean TunnelConnectTimeout?"), "{}", error.message);
    }

    #[test]
    fn a_paragraph_says_everything() {
        let row = |name: &str| chosen(&[name]).unwrap().swap_remove(0);
        let text = paragraph(&row("TunnelConnectTimeout"));
        for part in
            ["TunnelConnectTimeout = \"20s\" [scaled]", "Longest time", "from \"1s\" to \"8784h0m0s\""]
        {
            assert!(text.contains(part), "{text}");
        }
        let prefix = paragraph(&row("OSSHPrefixProbability"));
        assert!(
            prefix.contains("= 1.0") && prefix.contains("the reference has 0.0; a connection"),
            "{prefix}"
        );
        assert_eq!(object(&row("ServerReplayTTL"))["flags"], json!(["server"]));
    }
}
