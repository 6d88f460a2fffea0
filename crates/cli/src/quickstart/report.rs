//! What `quickstart` prints: numbered steps, and a table of what came of them. Plain text; on a terminal with weight.
//! What cannot be written is left out: the tunnel is tried all the same.

use std::io::{self, IsTerminal, Write};

/// Columns of a step's name and of a result's.
const STEP: usize = 10;
const RESULT: usize = 14;

/// The printed steps.
pub(super) struct Report<W: Write = io::Stdout> {
    out: W,
    terminal: bool,
    step: Option<&'static str>,
    number: u32,
}

impl Report {
    pub(super) fn on_stdout() -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self::new(out, terminal)
    }
}

impl<W: Write> Report<W> {
    pub(super) fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, step: None, number: 0 }
    }

    /// The step that was begun last, to name in case it fails.
    pub(super) fn step(&self) -> &'static str {
        self.step.unwrap_or("start")
    }

    pub(super) fn title(&mut self, text: &str) {
        let text = self.bold(text);
        self.line(&format!("{text}\n"));
    }

    /// Begins a step. Nothing is printed before it is known what came of it.
    pub(super) fn begin(&mut self, step: &'static str) {
        self.step = Some(step);
    }

    /// Prints what was done in the step that was begun.
    pub(super) fn done(&mut self, what: &str) {
        self.number += 1;
        let label = self.bold(&format!("{:<STEP$}", self.step()));
        self.line(&format!("{:>3}  {label}{what}", self.number));
    }

    /// Prints a result.
    pub(super) fn result(&mut self, name: &str, value: &str) {
        let name = self.bold(&format!("{name:<RESULT$}"));
        self.line(&format!("  {name}{value}"));
    }

    pub(super) fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }

    /// SGR 1 and 0, ECMA-48 8.3.117.
    fn bold(&self, text: &str) -> String {
        if self.terminal { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(terminal: bool) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, terminal);
        report.title("title");
        report.begin("folder");
        report.done("made");
        report.begin("server");
        report.done("listens");
        report.result("cipher", "x");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_text_is_aligned_and_without_controls() {
        assert_eq!(
            printed(false),
            "title\n\n  1  folder    made\n  2  server    listens\n  cipher        x\n"
        );
    }

    #[test]
    fn weight_is_only_for_terminals_and_does_not_move_text() {
        let text = printed(true);
        assert!(text.contains("\x1b[1mfolder    \x1b[0mmade"), "{text:?}");
        assert_eq!(text.replace("\x1b[1m", "").replace("\x1b[0m", ""), printed(false));
    }
}
