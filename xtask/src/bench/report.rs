//! The report: what was to be reached and whether it was, every measurement, and why what was missed was missed.

use std::fmt::Write;

use super::contender::Contender;
use super::figures::{DOWN_1, Goal, goals as all_goals};
use super::peers::Peers;
use super::proc;
use super::results::{Results, Series};

/// The file of reasons: one heading for each figure's title, under it why the figure is what it is.
const NOTES: &str = "notes.md";

/// Writes the whole report as Markdown.
pub(crate) fn write(results: &Results, peers: &Peers, notes: &str, facts: &Facts) -> String {
    let mut out = String::from("# Results of `cargo xtask bench`\n\n");
    header(&mut out, results, peers, facts);
    goals(&mut out, results);
    missed(&mut out, results, notes);
    measurements(&mut out, results);
    if !results.failures.is_empty() {
        out.push_str("\n## What failed\n\n");
        for failure in &results.failures {
            line(&mut out, format_args!("- {}", failure.replace('\n', " / ")));
        }
    }
    out
}

/// What is known of a run beside its results.
pub(crate) struct Facts {
    /// The day.
    pub(crate) date: String,
    /// Repetitions.
    pub(crate) runs: usize,
    /// How busy the machine was at the start.
    pub(crate) load_before: String,
    /// How long it took, in seconds.
    pub(crate) seconds: u64,
}

fn header(out: &mut String, results: &Results, peers: &Peers, facts: &Facts) {
    line(out, format_args!("- Date: {}; {} s, {} repetitions", facts.date, facts.seconds, facts.runs));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    line(out, format_args!("- CPU: {processors} x {}", proc::cpu_model()));
    line(out, format_args!("- Load average at the start: {}", facts.load_before));
    let cipher =
        results.series.get(&(DOWN_1, Contender::Ours)).map_or("not measured", |series| &series.remark);
    line(out, format_args!("- Cipher of our tunnel: {cipher}"));
    for (name, version) in &peers.versions {
        line(out, format_args!("- {name}: {version}"));
    }
    out.push_str(
        "\nOne interleaved run on loopback: every repetition runs every contender once before the next. CPU is the user and system time of\n\
         exactly the client and the server process. Medians; in brackets the least and the greatest.\n",
    );
}

fn goals(out: &mut String, results: &Results) {
    out.push_str("\n## What was to be reached\n\n");
    out.push_str(
        "| figure | whose | measured | to reach | that is | measured / that | reached | known before |\n",
    );
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    let mut absent: Vec<String> = Vec::new();
    for goal in all_goals() {
        let verdict = goal.verdict(results);
        let Some(measured) = verdict.measured.map(number) else {
            absent.push(format!("{} ({})", goal.figure.title, goal.of.name()));
            continue;
        };
        let word = match verdict.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not known",
        };
        line(
            out,
            format_args!(
                "| {} | {} | {measured} {} | {} | {} | {} | {word} | {} |",
                goal.figure.title,
                goal.of.name(),
                goal.figure.unit,
                goal.words(),
                optional(verdict.bound),
                optional(verdict.ratio),
                goal.before,
            ),
        );
    }
    absent.dedup();
    if !absent.is_empty() {
        line(out, format_args!("\nNot measured: {}.", absent.join(", ")));
    }
}

fn missed(out: &mut String, results: &Results, notes: &str) {
    let missed: Vec<Goal> =
        all_goals().into_iter().filter(|goal| goal.verdict(results).reached == Some(false)).collect();
    if missed.is_empty() {
        out.push_str("\nNothing that was measured was missed.\n");
        return;
    }
    out.push_str("\n## What was missed, and why\n");
    let mut told: Vec<&str> = Vec::new();
    for goal in missed {
        let title = goal.figure.title;
        if told.contains(&title) {
            continue;
        }
        told.push(title);
        let reason = reason(notes, title).unwrap_or("No reason is written down yet.");
        line(out, format_args!("\n### {title}\n\n{reason}"));
    }
    line(out, format_args!("\nThe reasons are kept in `bench/{NOTES}`."));
}

fn measurements(out: &mut String, results: &Results) {
    out.push_str("\n## Every measurement\n\n");
    out.push_str("| figure | unit | whose | median | MB/s | n | ours / it | remark |\n");
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for ((figure, of), series) in &results.series {
        let speed = super::results::median(&series.speeds).map(number).unwrap_or_default();
        let ours = results.median(*figure, Contender::Ours).filter(|_| *of != Contender::Ours);
        let ratio = ours.zip(series.median()).map(|(ours, its)| ours / its);
        line(
            out,
            format_args!(
                "| {} | {} | {} | {} | {speed} | {} | {} | {} |",
                figure.title,
                figure.unit,
                of.name(),
                spread(series),
                series.values.len(),
                optional(ratio),
                series.remark,
            ),
        );
    }
    for of in &results.absent {
        line(out, format_args!("| all | | {} | absent | | | | |", of.name()));
    }
}

fn spread(series: &Series) -> String {
    let Some(median) = series.median() else { return "none".to_owned() };
    if series.values.len() == 1 {
        return number(median);
    }
    let least = series.values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = series.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} [{} - {}]", number(median), number(least), number(greatest))
}

/// The text under the heading of this title.
fn reason<'n>(notes: &'n str, title: &str) -> Option<&'n str> {
    let mut parts = notes.split("\n## ").skip(1);
    let text = parts.find_map(|part| part.strip_prefix(title)?.strip_prefix('\n'))?.trim();
    (!text.is_empty()).then_some(text)
}

fn optional(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::super::figures::{ECHO_P50, SMALL_GET};
    use super::*;

    #[test]
    fn what_is_reached_missed_and_not_measured_is_told_apart() {
        let mut results = Results::default();
        results.add(ECHO_P50, Contender::Ours, 0.4);
        results.add(SMALL_GET, Contender::Ours, 2.0);
        let mut out = String::new();
        goals(&mut out, &results);
        let row = |title| out.lines().find(|line| line.contains(title)).unwrap_or_default().to_owned();
        assert!(row(ECHO_P50.title).contains("| yes |"), "{out}");
        assert!(
            row(SMALL_GET.title).contains("| 2.00 round trips | <= 1.1 | 1.10 | 1.82 | **no** |"),
            "{out}"
        );
        assert!(row("Not measured").contains(DOWN_1.title), "{out}");
    }

    #[test]
    fn the_reason_of_a_missed_goal_is_found_by_its_title() {
        let notes = format!("# Notes\n\n## {}\n\nTwo trips: open, then ask.\n\n## other\n", SMALL_GET.title);
        let mut results = Results::default();
        results.add(SMALL_GET, Contender::Ours, 2.0);
        let mut out = String::new();
        missed(&mut out, &results, &notes);
        assert!(out.contains("Two trips: open, then ask."), "{out}");
        assert!(reason(&notes, "other").is_none() && reason(&notes, "echo").is_none());
    }

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [1234.5, 12.34, 1.234, 0.012_34].map(number);
        assert_eq!(numbers, ["1234", "12.3", "1.23", "0.0123"]);
    }
}
