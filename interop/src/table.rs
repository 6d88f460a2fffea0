//! The result table in Markdown, written where `CULVERT_PAIRINGS_TABLE` says.

use std::fmt::Write as _;
use std::{fs, io};

use crate::programs::Pairing;
use crate::scenario::Protocol;

/// Where it is to be written.
const FILE: &str = "CULVERT_PAIRINGS_TABLE";

/// Whether somebody wants it.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os(FILE).is_some()
}

/// What one case came to.
pub(crate) struct Row {
    /// The programs.
    pub(crate) pairing: Pairing,
    /// The tunnel protocol.
    pub(crate) protocol: Protocol,
    /// The case's name.
    pub(crate) case: &'static str,
    /// How long it took, set-up included.
    pub(crate) seconds: f64,
    /// What it measured, or why it failed.
    pub(crate) result: Result<String, String>,
}

/// The rows so far.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a finished case.
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// Writes the table if it is wanted and any case has run.
    pub(crate) fn write(&self) -> io::Result<()> {
        match std::env::var_os(FILE) {
            Some(file) if !self.0.is_empty() => fs::write(file, self.render()),
            _ => Ok(()),
        }
    }

    fn render(&self) -> String {
        let mut text = String::from(
            "| pairing | protocol | case | result | seconds | measured |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.0 {
            let (verdict, detail) = match &row.result {
                Ok(note) => ("ok", note),
                Err(why) => ("FAILED", why),
            };
            let detail = detail.replace('\n', " ").replace('|', "\\|");
            let (pairing, protocol) = (row.pairing.name(), row.protocol.label());
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {pairing} | {protocol} | {} | {verdict} | {:.1} | {detail} |",
                row.case, row.seconds
            );
        }
        text
    }
}
