//! The file that `BlocklistFilename` names: lines of destination, source and subject, separated by commas, with quotes where
//! needed. Not what becomes of it, which is `forward::blocklist`. Source: RFC 4180; the reference's additions are lines that
//! begin with `#` and empty lines, which say nothing.

use std::net::IpAddr;
use std::path::Path;

use culvert_protocol::json_position::Position;

use super::document;
use super::finding::{ConfigError, Finding, Problem};
use crate::forward::blocklist::{Blocklist, Builder};

/// What a record consists of.
const FIELDS: usize = 3;
/// Findings of one file: whoever gives us something else entirely need not read a line for each of its lines.
const MOST_FINDINGS: usize = 20;
/// RFC 1035 section 2.3.4, with room for a final dot.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

/// Reads the list.
pub fn read(file: &Path) -> Result<Blocklist, ConfigError> {
    parse(file, &document::read(file)?)
}

/// Understands the list's text; `file` is for messages.
pub fn parse(file: &Path, text: &str) -> Result<Blocklist, ConfigError> {
    let (mut builder, mut findings) = (Builder::default(), Vec::new());
    for record in Records::of(text) {
        let line = record.line;
        if let Err(Flaw { column, problem }) = record.outcome.and_then(|fields| add(&mut builder, &fields)) {
            let position = Some(Position { line, column });
            findings.push(Finding { file: file.to_owned(), position, field: Vec::new(), problem });
        }
        if findings.len() >= MOST_FINDINGS {
            break;
        }
    }
    if findings.is_empty() { Ok(builder.build()) } else { Err(ConfigError { findings }) }
}

struct Flaw {
    column: usize,
    problem: Problem,
}

/// One field, and where it begins.
struct Text {
    column: usize,
    value: String,
}

fn add(builder: &mut Builder, fields: &[Text]) -> Result<(), Flaw> {
    let [destination, source, subject] = fields else {
        let problem = Problem::WrongFieldCount { found: fields.len(), expected: FIELDS };
        return Err(Flaw { column: 1, problem });
    };
    let (source, subject) = (&source.value, &subject.value);
    match destination.value.parse::<IpAddr>() {
        Ok(address) => builder.address(address, source, subject),
        Err(_) if is_name(&destination.value) => builder.name(&destination.value, source, subject),
        Err(_) => {
            let problem = Problem::NotADestination { found: destination.value.chars().take(64).collect() };
            return Err(Flaw { column: destination.column, problem });
        }
    }
    Ok(())
}

/// Whether something can be asked for by this name. Blocks of addresses, URLs and ports are what people put here by mistake.
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*');
    text.len() <= MAX_NAME
        && name.split('.').all(|label| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(is_letter))
}

/// A record as it was found.
struct Record {
    line: usize,
    outcome: Result<Vec<Text>, Flaw>,
}

/// Records of a text, without comments and empty lines.
struct Records<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Records<'t> {
    fn of(text: &'t str) -> Self {
        // What some editors begin files with.
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    /// Reads one record, which quotes may extend over several lines.
    fn record(&mut self) -> Result<Vec<Text>, Flaw> {
        let (mut fields, mut column) = (Vec::new(), 1);
        loop {
            let (value, length) = match self.rest.strip_prefix('"') {
                Some(quoted) => self.quoted(quoted, column)?,
                None => self.bare(column)?,
            };
            fields.push(Text { column, value });
            column += length;
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None => break,
            }
            column += 1;
        }
        self.next_line();
        Ok(fields)
    }

    /// The value and how long it was in the file.
    fn bare(&mut self, column: usize) -> Result<(String, usize), Flaw> {
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        let value = if rest.starts_with(',') { value } else { value.strip_suffix('\r').unwrap_or(value) };
        if let Some(at) = value.find('"') {
            return self.flaw(column + at, Problem::BareQuote);
        }
        self.rest = rest;
        Ok((value.to_owned(), end))
    }

    /// The same of what follows an opening quote.
    fn quoted(&mut self, after: &'t str, column: usize) -> Result<(String, usize), Flaw> {
        let (mut value, mut rest) = (String::new(), after);
        loop {
            let Some((part, further)) = rest.split_once('"') else {
                return self.flaw(column, Problem::OpenQuote);
            };
            value.push_str(part);
            rest = further;
            match rest.strip_prefix('"') {
                Some(further) => {
                    value.push('"');
                    rest = further;
                }
                None => break,
            }
        }
        let length = 1 + after.len() - rest.len();
        let rest =
            rest.strip_prefix('\r').filter(|rest| rest.starts_with('\n') || rest.is_empty()).unwrap_or(rest);
        if !(rest.is_empty() || rest.starts_with([',', '\n'])) {
            return self.flaw(column + length, Problem::BareQuote);
        }
        self.line += value.matches('\n').count();
        self.rest = rest;
        Ok((value, length))
    }

    fn flaw<T>(&mut self, column: usize, problem: Problem) -> Result<T, Flaw> {
        // Where the next record begins is only known if this one is a line.
        self.next_line();
        Err(Flaw { column, problem })
    }

    fn next_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.line += 1;
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.rest.starts_with(['#', '\n']) || self.rest.starts_with("\r\n") {
            self.next_line();
        }
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        Some(Record { line, outcome: self.record() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let error = parse(Path::new("f"), text).unwrap_err();
        error.findings.iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn what_the_reference_reads_is_read() {
        let text = "\u{feff}# a comment\r\n192.0.2.1,\"a, b\",\"says \"\"x\"\"\"\r\n\n\
                    Bad.Example.,s,\"two\nlines\"\n2001:db8::1,s,t";
        let list = parse(Path::new("f"), text).unwrap();
        let [tag] = list.of_address("192.0.2.1".parse().unwrap()) else { panic!("one tag") };
        assert_eq!((&*tag.source, &*tag.subject), ("a, b", "says \"x\""));
        assert_eq!(&*list.of_name("bad.example")[0].subject, "two\nlines");
        assert_eq!((list.of_address("2001:db8::1".parse().unwrap()).len(), list.len()), (1, 3));
        assert!(parse(Path::new("f"), "").unwrap().is_empty());
    }

    #[test]
    fn flaws_have_a_place() {
        let text = "192.0.2.1,s,t\n192.0.2.0/24,s,t\n\"a\nb\",s,t\nx.example,s\na\"b,s,t\nx.example,\"s\"t,u\nx.example,s,\"t";
        assert_eq!(
            faults(text),
            [
                "f:2:1: \"192.0.2.0/24\" is neither an IP address nor a host name; list them one by one",
                "f:3:1: \"a\\nb\" is neither an IP address nor a host name; list them one by one",
                "f:5:1: has 2 fields where 3 are needed: destination,source,subject",
                "f:6:2: holds a quote inside a field: double it and put the whole field in quotes",
                "f:7:14: holds a quote inside a field: double it and put the whole field in quotes",
                "f:8:13: opens a quote that is never closed",
            ]
        );
        assert_eq!(faults(&"x y,s,t\n".repeat(1000)).len(), MOST_FINDINGS);
    }
}
