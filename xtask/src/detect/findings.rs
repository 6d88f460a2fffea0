//! What the detectors made of a group of flows. They are in another crate, which is judged by a program of its own, so that this tool stays
//! quick to build.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::capture::Recorded;
use crate::bench::Outcome;
use crate::bench::folder::Folder;

/// Shares of the flows, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings {
    /// How many there were.
    pub(super) flows: usize,
    /// Blocked as fully encrypted.
    pub(super) fully_encrypted: f64,
    /// TLS inside, by the first 25 segments.
    pub(super) inside_25: f64,
    /// TLS inside, by the first 60 segments.
    pub(super) inside_60: f64,
    /// Begin with a browser's ClientHello.
    pub(super) hello_browser: f64,
    /// Begin with another ClientHello.
    pub(super) hello_other: f64,
    /// Begin like QUIC version 1.
    pub(super) quic: f64,
    /// Sizes that many flows have, the most telling first.
    pub(super) sizes: Vec<Size>,
}

/// A size, and how many flows have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Size {
    /// `up` or `down`.
    pub(super) direction: String,
    /// Bytes.
    pub(super) len: usize,
    /// Of the flows.
    pub(super) share: f64,
}

impl Findings {
    /// Asks the program that has the detectors.
    pub(super) fn of(flows: &[Recorded], judge: &Path) -> Outcome<Self> {
        let folder = Folder::new()?;
        let file = folder.path().join("flows");
        fs::write(&file, written(flows))?;
        let output = Command::new(judge).arg("judge").arg(file).output()?;
        if !output.status.success() {
            return Err(format!("judge: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    fn parse(text: &str) -> Outcome<Self> {
        let mut findings = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["flows", count] => findings.flows = count.parse()?,
                ["fully-encrypted", share] => findings.fully_encrypted = share.parse()?,
                ["inside-25", share] => findings.inside_25 = share.parse()?,
                ["inside-60", share] => findings.inside_60 = share.parse()?,
                ["hello-browser", share] => findings.hello_browser = share.parse()?,
                ["hello-other", share] => findings.hello_other = share.parse()?,
                ["quic", share] => findings.quic = share.parse()?,
                ["size", direction, len, share] => findings.sizes.push(Size {
                    direction: (*direction).to_owned(),
                    len: len.parse()?,
                    share: share.parse()?,
                }),
                _ => return Err(format!("the judge says {line:?}").into()),
            }
        }
        Ok(findings)
    }

    /// The sizes in words.
    pub(super) fn sizes_in_words(&self) -> String {
        let mut words = String::new();
        for size in self.sizes.iter().take(3) {
            let between = if words.is_empty() { "" } else { ", " };
            // A String takes everything.
            let _ = write!(words, "{between}{} {} in {:.0} %", size.direction, size.len, 100.0 * size.share);
        }
        match self.sizes.len() {
            0 => "none".to_owned(),
            1..=3 => words,
            more => format!("{words} and {} more", more - 3),
        }
    }
}

/// Flows as the judge reads them.
pub(super) fn written(flows: &[Recorded]) -> String {
    let mut text = String::new();
    for flow in flows {
        flow.write(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let findings = Findings::parse("flows 3\ninside-25 0.5\nsize down 21 0.98\n").unwrap();
        assert_eq!((findings.flows, findings.inside_25), (3, 0.5));
        assert_eq!(findings.sizes_in_words(), "down 21 in 98 %");
        assert!(Findings::parse("other 1").is_err());
    }
}
