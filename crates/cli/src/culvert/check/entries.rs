//! Server entries: whether each can be read, and whether a client could dial it with what it says.

use culvert_protocol::json_position::{Position, near_name};
use culvert_protocol::server_entry::{DecodeError, DialPortError, FieldError, fields};
use culvert_protocol::{ServerEntry, TunnelProtocol};

use super::remark::{Place, Remark};

/// What is wrong with one entry.
#[derive(Debug)]
pub(super) struct Problem {
    /// Of the line, counted from 1.
    column: usize,
    /// Empty for the entry as a whole.
    pub(super) member: String,
    pub(super) message: String,
}

/// Every problem of every line.
pub(super) fn check(file: &str, text: &str) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut any = false;
    for (line, entry) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim_ascii().is_empty()) {
        any = true;
        let indent = entry.len() - entry.trim_ascii_start().len();
        remarks.extend(problems_of_line(entry).into_iter().map(|problem| {
            let position = Some(Position { line, column: problem.column + indent });
            let place = Place { file: file.to_owned(), position, field: problem.member };
            Remark::problem(place, problem.message)
        }));
    }
    if !any {
        remarks.push(Remark::problem(Place::file(file), "holds no server entry".to_owned()));
    }
    remarks
}

/// What is wrong with one encoded entry.
pub(super) fn problems_of_line(line: &str) -> Vec<Problem> {
    match ServerEntry::decode(line) {
        Ok(entry) => problems_of(&entry),
        Err(DecodeError::Field(error)) => vec![error.into()],
        Err(DecodeError::Hex { column }) => {
            let message = "not a server entry: a pair of hex digits must stand here".to_owned();
            vec![Problem { column, member: String::new(), message }]
        }
        Err(error) => vec![Problem::of("", error.to_string())],
    }
}

fn problems_of(entry: &ServerEntry) -> Vec<Problem> {
    let mut problems = misspelt(entry);
    let protocols: Vec<_> = entry.supported_protocols().collect();
    if protocols.is_empty() {
        problems.push(Problem::of("capabilities", "names no known tunnel protocol: no client can use it"));
    }
    let missing_ports = protocols.iter().filter_map(|protocol| match entry.dial_port(*protocol) {
        Err(DialPortError::NoPort { protocol, field }) => {
            Some(Problem::of(field, format!("is missing, but capabilities has {}", protocol.capability())))
        }
        _ => None,
    });
    problems.extend(missing_ports);
    if !protocols.is_empty() {
        let needed = [
            entry.ssh_username().err(),
            entry.ssh_password().err(),
            entry.ssh_host_key().err(),
            entry.obfuscation_keyword().err().filter(|_| protocols.iter().any(|p| is_obfuscated_ssh(*p))),
        ];
        problems.extend(needed.into_iter().flatten().map(Problem::from));
    }
    problems
}

/// Unknown members are kept and signed like others, so only those that resemble a known one are suspicious.
fn misspelt(entry: &ServerEntry) -> Vec<Problem> {
    let unknown = entry.fields().iter().filter(|(name, _)| fields::by_name(name).is_none());
    unknown
        .filter_map(|(name, _)| {
            let near = near_name(name, fields::FIELDS.iter().map(|field| field.name))?;
            Some(Problem::of(name, format!("unknown member (did you mean {near}?)")))
        })
        .collect()
}

fn is_obfuscated_ssh(protocol: TunnelProtocol) -> bool {
    protocol == TunnelProtocol::OSSH
}

impl Problem {
    fn of(member: &str, message: impl Into<String>) -> Self {
        Self { column: 1, member: member.to_owned(), message: message.into() }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::of(&error.field, error.problem.to_string())
    }
}
