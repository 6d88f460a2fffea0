//! `culvert-bench` as a program that takes part: many connections from one process, and what it tells of them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Outcome;
use super::folder::Folder;
use super::program::Program;
use super::psiphon::Generated;

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Times {
    /// How many were measured.
    pub(crate) count: f64,
    /// The one in the middle.
    pub(crate) median: f64,
    /// Of twenty the last.
    pub(crate) p95: f64,
    /// Of a hundred the last.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) most: f64,
}

/// A running load.
pub(crate) struct Generator {
    /// Running.
    pub(crate) program: Program,
    _folder: Folder,
}

/// How much the load may take of the processors when others want them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// As much as they: what is measured is felt by it.
    Fair,
    /// What they leave: it stands for many machines that are elsewhere.
    Rest,
}

impl Generator {
    /// Starts it towards a server.
    pub(crate) fn start(
        many: &Path,
        server: &Generated,
        share: Share,
        verb: &str,
        words: &[String],
    ) -> Outcome<Self> {
        let folder = Folder::new()?;
        let entry = folder.path().join("entry");
        fs::write(&entry, server.entry(server.address))?;
        let mut command = match share {
            Share::Fair => Command::new(many),
            Share::Rest => {
                let mut command = Command::new("nice");
                command.args(["-n", "15"]).arg(many);
                command
            }
        };
        let (count, further) = words.split_first().ok_or("a load has a size")?;
        command.arg(verb).arg(&entry).arg(count).arg(server.protocol.port).args(further);
        Ok(Self { program: Program::start(verb, &mut command)?, _folder: folder })
    }

    /// Waits until it has built up what it is to keep.
    pub(crate) fn ready(&mut self, limit: Duration) -> Outcome<()> {
        self.program.next_line("`ready`", limit, |line| (line == "ready").then_some(()))?;
        Ok(())
    }

    /// The next line that begins with this word has a summary.
    pub(crate) fn times(&mut self, word: &str, limit: Duration) -> Outcome<Times> {
        Ok(self.program.next_line(word, limit, |line| parse(line, word))?.1)
    }

    /// The number behind the next line's first word, which is this.
    pub(crate) fn number(&mut self, word: &str, limit: Duration) -> Outcome<f64> {
        let pick = |line: &str| line.strip_prefix(word)?.split_ascii_whitespace().next()?.parse().ok();
        Ok(self.program.next_line(word, limit, pick)?.1)
    }
}

fn parse(line: &str, word: &str) -> Option<Times> {
    let mut numbers = line.strip_prefix(word)?.split_ascii_whitespace().map_while(|word| word.parse().ok());
    let mut next = || numbers.next();
    Some(Times { count: next()?, median: next()?, p95: next()?, p99: next()?, most: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let times = parse("window 5 1.5 2 3 4.25", "window").unwrap();
        assert_eq!(times, Times { count: 5.0, median: 1.5, p95: 2.0, p99: 3.0, most: 4.25 });
        assert_eq!(parse("window 5 1.5 2 3", "window"), None);
        assert_eq!(parse("ready", "window"), None);
    }
}
