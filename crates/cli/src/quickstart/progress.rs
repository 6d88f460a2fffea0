//! How far a transfer is: a bar that redraws itself on a terminal, a line per quarter anywhere else.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

/// Cells of the bar: with the longest text beside it, a line fits a terminal of 80 columns.
const CELLS: u64 = 20;

/// The least time between two redraws.
const REDRAW: Duration = Duration::from_millis(100);

/// Set off from the steps that transfers belong to.
const INDENT: &str = "     ";

/// Lines per transfer where there is no terminal.
const STEPS: u64 = 4;

/// The progress of one transfer of known length.
pub struct Progress<W: Write> {
    out: W,
    style: Style,
    label: &'static str,
    total: u64,
    start: Instant,
}

enum Style {
    Bar { drawn: Option<Instant> },
    Lines { shown: u64 },
}

impl Progress<io::Stdout> {
    /// Progress on standard output, as a bar if that is a terminal.
    pub fn on_stdout(label: &'static str, total: u64) -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        Self::new(out, terminal, label, total)
    }
}

impl<W: Write> Progress<W> {
    /// Progress on `out`, which is a terminal or not.
    pub fn new(out: W, terminal: bool, label: &'static str, total: u64) -> Self {
        let style = if terminal { Style::Bar { drawn: None } } else { Style::Lines { shown: 0 } };
        Self { out, style, label, total, start: Instant::now() }
    }

    /// Shows that `done` bytes have been moved. What cannot be written is left out: progress is never worth failing for.
    pub fn show(&mut self, done: u64) {
        let now = Instant::now();
        let finished = done >= self.total;
        let due = match &mut self.style {
            Style::Bar { drawn } => {
                let due = finished || drawn.is_none_or(|drawn| now - drawn >= REDRAW);
                *drawn = if due { Some(now) } else { *drawn };
                due
            }
            Style::Lines { shown } => {
                let step = parts(done, self.total, STEPS);
                let due = step > *shown;
                *shown = step;
                due
            }
        };
        if due {
            let _ = self.draw(done, now - self.start);
        }
    }

    fn draw(&mut self, done: u64, elapsed: Duration) -> io::Result<()> {
        let text = render(self.label, done, self.total, elapsed);
        match self.style {
            // Carriage return, and erase to the end of the line (ECMA-48 8.3.41): the new text may be shorter.
            Style::Bar { .. } => {
                let filled = usize::try_from(parts(done, self.total, CELLS)).unwrap_or(0);
                let empty = usize::try_from(CELLS).unwrap_or(0).saturating_sub(filled);
                write!(self.out, "\r{INDENT}[{}{}] {text}\x1b[K", "#".repeat(filled), ".".repeat(empty))?;
                if done >= self.total {
                    writeln!(self.out)?;
                }
            }
            Style::Lines { .. } => writeln!(self.out, "{INDENT}{text}")?,
        }
        self.out.flush()
    }
}

/// How many of `count` equal parts of `total` are done, at most all.
fn parts(done: u64, total: u64, count: u64) -> u64 {
    if done >= total {
        return count;
    }
    let share = u128::from(done) * u128::from(count) / u128::from(total);
    u64::try_from(share).unwrap_or(count)
}

fn render(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let speed = megabytes(done) / elapsed.as_secs_f64().max(1e-3);
    let percent = parts(done, total, 100);
    format!("{label} {percent:3} %  {:.1} of {:.1} MB  {speed:.0} MB/s", megabytes(done), megabytes(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(terminal: bool, steps: &[u64]) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, terminal, "up", 1_000_000);
        for done in steps {
            progress.show(*done);
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn plain_output_has_one_line_per_quarter_and_no_controls() {
        let text = shown(false, &[1, 100_000, 260_000, 270_000, 760_000, 1_000_000]);
        let percents: Vec<_> = text.lines().map(|line| line.split('%').next().unwrap().trim()).collect();
        assert_eq!(percents, ["up  26", "up  76", "up 100"]);
        assert!(!text.contains(['\r', '\x1b']));
    }

    #[tokio::test(start_paused = true)]
    async fn the_bar_is_drawn_first_last_and_in_between_only_when_due() {
        let text = shown(true, &[0, 10, 20, 500_000, 1_000_000]);
        assert_eq!(text.matches('\r').count(), 2, "{text:?}");
        assert!(
            text.contains(&format!("[{}]", ".".repeat(20)))
                && text.contains(&format!("[{}]", "#".repeat(20)))
        );
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_bar_moves_with_time() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, true, "down", 2_000_000);
        for step in 1..=4_u64 {
            tokio::time::advance(REDRAW).await;
            progress.show(step * 500_000);
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\r').count(), 4);
        assert!(text.contains("100 %  2.0 of 2.0 MB  5 MB/s"), "{text:?}");
    }

    #[test]
    fn parts_of_nothing_and_of_everything() {
        assert_eq!(
            (parts(0, 0, 4), parts(5, 4, 4), parts(u64::MAX - 1, u64::MAX, 4), parts(0, 9, 4)),
            (4, 4, 3, 0)
        );
    }
}
