//! The verb `entry`: shows what a server entry says. Secrets only if asked for; text from the entry never reaches a
//! terminal with control characters in it.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use culvert_protocol::json_position::near_name;
use culvert_protocol::server_entry::fields::{self, FieldKind};
use culvert_protocol::server_entry::{DecodeError, VerifyingKey, decode_list};
use culvert_protocol::{EntryFields, ServerEntry};
use serde_json::Value;

use super::check::read;
use super::{Verb, print, said};
use crate::exit::{Exit, Failure};
use crate::flags::{Arguments, Flag, Syntax};

/// What is taken from standard input at most.
const LARGEST: u64 = 64 << 20;
/// A word that begins with as many hex digits is an entry, if there is no file of that name.
const HEX_DIGITS: usize = 24;

const REVEAL: Flag = Flag::switch("reveal", "print secrets too");
const PUBLIC_KEY: Flag = Flag::text("public-key", "verify the signature with this key, 32 bytes in base64");

pub(super) const VERB: Verb = Verb {
    syntax: Syntax { program: "entry", verbs: &[], flags: &[REVEAL, PUBLIC_KEY], most_words: 2 },
    synopsis: "show FILE|HEX|-",
    summary: "show what a server entry says",
    description: "\
Decodes the server entries in FILE, one a line as in server-entry.dat, or
the entry given as HEX, or those on standard input, and prints for each
its tag, its address, the protocols that it offers with their ports,
whether it is signed, and all its members. Passwords and keys are hidden
unless --reveal is given, and so are members that this program does not
know.

The address of a server is shown. It is no secret to you, but do not
publish it.",
    sections: &[
        (
            "EXIT STATUS",
            "\
0    all entries were shown
64   the command line is wrong
65   an entry cannot be decoded, or its signature does not hold",
        ),
        (
            "EXAMPLES",
            "\
culvert entry show server-entry.dat
culvert entry show --reveal server-entry.dat",
        ),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut words = arguments.words();
    match words.next() {
        Some("show") => {}
        Some(other) => {
            let near = near_name(other, ["show"]).map(|_| " (did you mean show?)").unwrap_or_default();
            return Err(Failure::usage(format!("entry: unknown verb {other:?}{near}: use entry show")));
        }
        None => return Err(Failure::usage("entry: say what to do: culvert entry show FILE")),
    }
    let source =
        words.next().ok_or_else(|| Failure::usage("entry show: name a file, an entry in hex, or -"))?;
    let key = arguments.text(&PUBLIC_KEY).map(VerifyingKey::from_base64).transpose();
    let key = key.map_err(|error| Failure::usage(format!("--public-key: {error}")))?;
    let (text, name) = obtain(source)?;
    let view = View { key, reveal: arguments.is_on(&REVEAL) };
    let (shown, all_good) = view.list(&text, &name);
    print(&shown);
    if all_good { Ok(()) } else { Err(said(Exit::Data)) }
}

/// The entries' text and what to call it.
fn obtain(source: &str) -> Result<(String, String), Failure> {
    let failed = |error: std::io::Error| Failure { exit: Exit::Data, message: format!("{source}: {error}") };
    let is_hex = source.bytes().take_while(u8::is_ascii_hexdigit).count() >= HEX_DIGITS;
    if source == "-" {
        let mut text = String::new();
        std::io::stdin().take(LARGEST).read_to_string(&mut text).map_err(failed)?;
        return Ok((text, "standard input".to_owned()));
    }
    if is_hex && !Path::new(source).exists() {
        return Ok((source.to_owned(), "argument".to_owned()));
    }
    Ok((read(Path::new(source)).map_err(failed)?, source.to_owned()))
}

/// How entries are shown.
struct View {
    key: Option<VerifyingKey>,
    reveal: bool,
}

impl View {
    /// All entries, and whether every one is good.
    fn list(&self, text: &str, name: &str) -> (String, bool) {
        let mut shown = String::new();
        let mut all_good = true;
        let mut any = false;
        for line in decode_list(text) {
            if any {
                shown.push('\n');
            }
            any = true;
            all_good &= match &line.entry {
                Ok(entry) => self.entry(&mut shown, entry),
                Err(error) => {
                    let column = if let DecodeError::Hex { column } = error { *column } else { 1 };
                    let _ = writeln!(shown, "{name}:{}:{column}: {error}", line.number);
                    false
                }
            };
        }
        if !any {
            let _ = writeln!(shown, "{name}: holds no server entry");
        }
        (shown, all_good && any)
    }

    fn entry(&self, out: &mut String, entry: &ServerEntry) -> bool {
        let tag_is_derived = entry.text("tag").is_none();
        let derived = if tag_is_derived { " (derived: the entry has none)" } else { "" };
        let (signature, good) = self.signature(entry.fields());
        row(out, "tag", &format!("{}{derived}", printable(entry.tag().as_str())));
        row(out, "address", &entry.address().to_string());
        row(out, "region", entry.region().map(printable).as_deref().unwrap_or("not said"));
        row(out, "protocols", &protocols(entry));
        row(out, "signature", &signature);
        let _ = writeln!(out, "members");
        let width = entry.fields().iter().map(|(name, _)| printable(name).len()).max().unwrap_or_default();
        for (name, value) in entry.fields().iter() {
            let _ = writeln!(out, "  {:<width$}  {}", printable(name), self.value(name, value));
        }
        good
    }

    fn signature(&self, fields: &EntryFields) -> (String, bool) {
        match &self.key {
            Some(key) => match fields.verify_signature(key) {
                Ok(()) => ("present, and it holds".to_owned(), true),
                Err(error) => (format!("does not hold: {error}"), false),
            },
            None if fields.has_signature() => {
                ("present, not verified: that takes --public-key".to_owned(), true)
            }
            None => ("none".to_owned(), true),
        }
    }

    fn value(&self, name: &str, value: &Value) -> String {
        let hidden = match fields::by_name(name) {
            _ if self.reveal => None,
            Some(field) => (field.kind == FieldKind::Secret).then_some("hidden"),
            None => Some("unknown member, hidden"),
        };
        match (hidden, value) {
            (Some(why), Value::String(text)) => format!("[{why}, {} characters]", text.chars().count()),
            (Some(why), _) => format!("[{why}]"),
            (None, Value::String(text)) => printable(text),
            (None, value) => printable(&value.to_string()),
        }
    }
}

fn row(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name:<11}{value}");
}

fn protocols(entry: &ServerEntry) -> String {
    let all = entry.supported_protocols().map(|protocol| match entry.dial_port(protocol) {
        Ok(port) => format!("{protocol} on port {port}"),
        Err(_) => format!("{protocol} without a port"),
    });
    let all: Vec<_> = all.collect();
    if all.is_empty() { "none that this program knows".to_owned() } else { all.join(", ") }
}

/// Text without anything that a terminal would obey or that would change the order of what is read.
fn printable(text: &str) -> String {
    let harmless = |c: char| c == ' ' || (!c.is_control() && !c.is_whitespace() && !is_invisible(c));
    text.chars().map(|c| if harmless(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// Zero-width and direction marks of Unicode, and the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_protocol::server_entry::{KeyPair, SigningKey};

    fn sample() -> EntryFields {
        let mut fields = EntryFields::default();
        fields.set("tag", "dGFn");
        fields.set("ipAddress", "192.0.2.1");
        fields.set("sshPort", 22);
        fields.set("sshPassword", "open-sesame");
        fields.set("novelty", "also-secret");
        fields.set("region", "C\u{1b}[2J");
        fields.set("capabilities", vec!["SSH", "OSSH"]);
        fields
    }

    fn shown(fields: &EntryFields, key: Option<VerifyingKey>, reveal: bool) -> (String, bool) {
        View { key, reveal }.list(&fields.encode(), "f")
    }

    #[test]
    fn secrets_are_masked_and_controls_escaped() {
        let (text, good) = shown(&sample(), None, false);
        let expected = "tag        dGFn\naddress    192.0.2.1\nregion     C\\u{1b}[2J\n\
                        protocols  SSH on port 22, OSSH without a port\nsignature  none\nmembers\n  \
                        capabilities  [\"SSH\",\"OSSH\"]\n  ipAddress     192.0.2.1\n  \
                        novelty       [unknown member, hidden, 11 characters]\n  region        C\\u{1b}[2J\n  \
                        sshPassword   [hidden, 11 characters]\n  sshPort       22\n  tag           dGFn\n";
        assert_eq!((text.as_str(), good), (expected, true));
    }

    #[test]
    fn secrets_are_shown_on_request() {
        let (text, _) = shown(&sample(), None, true);
        assert!(text.contains("open-sesame") && text.contains("also-secret"), "{text}");
    }

    #[test]
    fn signatures_are_noticed_and_verified() {
        let pair = KeyPair::from_seed(&[7; 32]).unwrap();
        let mut fields = sample();
        fields.sign(&SigningKey::from_base64(&pair.private).unwrap());
        let key = || Some(VerifyingKey::from_base64(&pair.public).unwrap());
        assert!(shown(&fields, None, false).0.contains("signature  present, not verified"));
        let (text, good) = shown(&fields, key(), false);
        assert!(good && text.contains("signature  present, and it holds"), "{text}");
        fields.set("sshPort", 23);
        let (text, good) = shown(&fields, key(), false);
        assert!(!good && text.contains("signature  does not hold: "), "{text}");
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let (text, good) = View { key: None, reveal: false }.list(&format!("zz\n{}", sample().encode()), "f");
        assert!(
            text.starts_with("f:1:1: not a server entry: column 1") && text.contains("SSH on port 22"),
            "{text}"
        );
        assert!(!good);
        assert!(!View { key: None, reveal: false }.list("\n", "f").1);
    }
}
