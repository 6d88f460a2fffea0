//! How long it takes to choose rules and to judge addresses by them, in `culvert-bench`, with no server around it.

use std::process::Command;
use std::time::Duration;

use super::super::Outcome;
use super::super::contender::Contender;
use super::super::figures::{RULE_CHOICE, RULE_JUDGEMENT};
use super::super::program::Program;
use super::Bench;

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for _ in 0..bench.options.few() {
        let mut command = Command::new(&bench.peers.many);
        command.args(["rule-lookups", "10000", "100000"]);
        let mut program = Program::start("rule-lookups", &mut command)?;
        for (figure, word) in [(RULE_CHOICE, "choose "), (RULE_JUDGEMENT, "judge ")] {
            let (_, value) = program.next_line(word, LIMIT, |line| line.strip_prefix(word)?.parse().ok())?;
            bench.results.add(figure, Contender::Ours, value);
        }
    }
    Ok(())
}
