//! Lists of encoded entries, one a line. A bad line costs only itself. PROTOCOL.md 5.1.

use super::{DecodeError, EntryFields, ServerEntry, decode_line};

/// The longest line that may hold an entry, in bytes.
pub const MAX_LINE: usize = 65_535;

/// What a line of a list holds.
#[derive(Debug)]
pub struct ListLine {
    /// The line's number, counted from 1.
    pub number: usize,
    /// The entry, or why it is none.
    pub entry: Result<ServerEntry, DecodeError>,
}

/// Reads a whole list. Empty lines are skipped.
pub fn decode_list(text: &str) -> impl Iterator<Item = ListLine> {
    (1..).zip(text.split('\n')).filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(number, line)| {
        let entry = if line.len() > MAX_LINE { too_long() } else { ServerEntry::decode(line) };
        ListLine { number, entry }
    })
}

/// Reads a list in pieces of any size, holding at most one line.
#[derive(Debug, Default)]
pub struct ListDecoder {
    line: Vec<u8>,
    number: usize,
    overlong: bool,
}

impl ListDecoder {
    /// A decoder at the start of a list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives each line that they complete to `each`.
    pub fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(ListLine)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.keep(line);
            self.end_line(each);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// Ends the list: its last line needs no line end.
    pub fn finish(mut self, each: &mut impl FnMut(ListLine)) {
        self.end_line(each);
    }

    /// Bytes held of a line that is not complete: at most [`MAX_LINE`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.line.len()
    }

    fn keep(&mut self, part: &[u8]) {
        if self.overlong || part.len() > MAX_LINE - self.line.len() {
            self.overlong = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(ListLine)) {
        self.number += 1;
        let entry = match std::str::from_utf8(&self.line) {
            _ if self.overlong => Some(too_long()),
            Ok(line) if line.trim_ascii().is_empty() => None,
            Ok(line) => Some(ServerEntry::decode(line)),
            Err(error) => Some(Err(DecodeError::Hex { column: error.valid_up_to() + 1 })),
        };
        self.line.clear();
        self.overlong = false;
        if let Some(entry) = entry {
            each(ListLine { number: self.number, entry });
        }
    }
}

impl EntryFields {
    /// Reads a whole list without checking members: for what must keep entries that it does not understand.
    pub fn decode_list(text: &str) -> impl Iterator<Item = (usize, Result<Self, DecodeError>)> {
        (1..).zip(text.split('\n')).filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(number, line)| {
            let fields = if line.len() > MAX_LINE {
                Err(DecodeError::TooLong { limit: MAX_LINE })
            } else {
                decode_line(line)
            };
            (number, fields)
        })
    }
}

fn too_long() -> Result<ServerEntry, DecodeError> {
    Err(DecodeError::TooLong { limit: MAX_LINE })
}
