//! The one table that is printed: each figure, what was measured, what is to be reached, and whether it was.

use std::fmt::Write;

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
    /// It is told and not judged.
    Told,
}

/// One figure.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    name: &'static str,
    measured: f64,
    unit: &'static str,
    bound: Bound,
    /// Holds on every machine: a count, not a time.
    is_exact: bool,
    remark: String,
}

impl Figure {
    /// A figure that a slow or busy machine may miss.
    pub(super) fn timed(name: &'static str, measured: f64, unit: &'static str, bound: Bound) -> Self {
        Self { name, measured, unit, bound, is_exact: false, remark: String::new() }
    }

    /// A figure that no machine may miss.
    pub(super) fn exact(name: &'static str, measured: f64, unit: &'static str, bound: Bound) -> Self {
        Self { is_exact: true, ..Self::timed(name, measured, unit, bound) }
    }

    /// With what must be said beside it.
    pub(super) fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    /// As it is told while the others are still being measured.
    pub(super) fn line(&self) -> String {
        let remark = if self.remark.is_empty() { String::new() } else { format!(" ({})", self.remark) };
        format!("{}: {} {}{remark}", self.name, number(self.measured), self.unit)
    }

    fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtMost(bound) => self.measured <= bound,
            Bound::AtLeast(bound) => self.measured >= bound,
            Bound::Told => true,
        }
    }

    fn row(&self) -> String {
        let (bound, verdict) = match self.bound {
            Bound::AtMost(bound) => (format!("<= {}", number(bound)), self.is_reached()),
            Bound::AtLeast(bound) => (format!(">= {}", number(bound)), self.is_reached()),
            Bound::Told => ("-".to_owned(), true),
        };
        let verdict = match (self.bound, verdict) {
            (Bound::Told, _) => "-",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        let Self { name, unit, remark, .. } = self;
        format!("| {name} | {} {unit} | {bound} | {verdict} | {remark} |", number(self.measured))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    figures: Vec<Figure>,
    failures: Vec<(&'static str, String)>,
    left_out: Vec<(&'static str, String)>,
}

impl Table {
    /// Adds a figure.
    pub(super) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Something that did not work, so that there is no figure.
    pub(super) fn fail(&mut self, what: &'static str, why: &str) {
        eprintln!("   failed: {why}");
        self.failures.push((what, why.replace('\n', " / ")));
    }

    /// Something that cannot be tried here.
    pub(super) fn leave_out(&mut self, what: &'static str, why: &str) {
        eprintln!("   not tried: {why}");
        self.left_out.push((what, why.to_owned()));
    }

    /// Whether everything was reached; `only_exact` forgives what depends on the machine.
    pub(super) fn is_held(&self, only_exact: bool) -> bool {
        let counts = |figure: &&Figure| figure.is_exact || !only_exact;
        self.failures.is_empty() && self.figures.iter().filter(counts).all(Figure::is_reached)
    }

    /// Markdown.
    pub(super) fn text(&self) -> String {
        let mut out = String::from("| figure | measured | to reach | reached | |\n|---|---|---|---|---|\n");
        for figure in &self.figures {
            line(&mut out, &figure.row());
        }
        for (what, why) in &self.failures {
            line(&mut out, &format!("\n{what} failed: {why}"));
        }
        for (what, why) in &self.left_out {
            line(&mut out, &format!("\n{what} not tried: {why}"));
        }
        out
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_that_of_the_figures() {
        let mut table = Table::default();
        table.add(Figure::exact("alive", 4.0, "of 4", Bound::AtLeast(4.0)));
        table.add(Figure::timed("time", 3.0, "s", Bound::Told));
        assert!(table.is_held(false) && table.text().contains("| alive | 4 of 4 | >= 4 | yes |  |"));
        table.add(Figure::timed("time", 3.0, "s", Bound::AtMost(2.0)).remark("busy"));
        assert!(table.is_held(true) && !table.is_held(false));
        assert!(table.text().contains("| time | 3 s | <= 2 | **no** | busy |"), "{}", table.text());
        table.fail("disk", "broke");
        assert!(!table.is_held(true) && table.text().contains("disk failed: broke"));
    }
}
