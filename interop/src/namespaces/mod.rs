//! Our programs in two network namespaces with a middlebox between: a censor's, or only a bad network's. The box is a part of this process,
//! which holds the ends of two TUN devices, so nothing of the kernel is needed but namespaces. Needs root.

mod middlebox;
mod namespace;
mod packet;
mod scenarios;
mod world;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::process::Journal;
use crate::programs::Programs;

/// Lines of each program that a failure shows.
const TAIL: usize = 20;
/// More runs, and slow scenarios.
const LONG: &str = "CULVERT_NAMESPACES_LONG";

/// Runs the scenarios as the command line says, one after the other: they measure.
pub fn run(programs: &Programs) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let is_long = std::env::var(LONG).is_ok_and(|value| value == "1");
    let missing = missing();
    let trials = scenarios::all(is_long).into_iter().map(|scenario| {
        let name = format!("namespaces::{}", scenario.name);
        if let Some(reason) = missing.clone().or(scenario.left_out.clone()) {
            let ignored = move || Ok(Completion::ignored_with(reason));
            let reason = missing.as_deref().unwrap_or("slow");
            return Trial::ignorable_test(format!("{name} ({reason})"), ignored).with_ignored_flag(true);
        }
        let programs = programs.clone();
        Trial::test(name, move || {
            let journal = Journal::default();
            let result = (scenario.run)(&programs, &journal);
            result.map_err(|failure| Failed::from(format!("{failure}{}", journal.tails(TAIL))))
        })
    });
    let trials = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Why nothing can run here, if so.
fn missing() -> Option<String> {
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("there is no program `ip`".to_owned());
    }
    namespace::Namespace::new("probe").err().map(|failure| format!("no network namespaces: {failure}"))
}
