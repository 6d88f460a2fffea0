//! Turns pairings, protocols and cases into tests, runs them, writes the table.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::cases::{self, Case};
use crate::clock;
use crate::front;
use crate::origin::Origin;
use crate::process::Journal;
use crate::programs::{Pairing, Programs};
use crate::scenario::{Protocol, Setting};
use crate::table::{self, Row, Table};

/// How many lines of each program a failure shows.
const TAIL: usize = 25;

/// Cases at a time where nobody asked for a table: most of them wait most of the time.
const AT_ONCE: usize = 4;

/// Runs the suite as the command line says; one case at a time if a table is wanted, since the cases measure.
pub fn run(programs: &Programs) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(if table::is_wanted() { 1 } else { AT_ONCE });
    let origin = match Origin::start() {
        Ok(origin) => origin,
        Err(error) => {
            eprintln!("cannot listen on the loopback address: {error}");
            return ExitCode::FAILURE;
        }
    };
    let long = std::env::var("CULVERT_PAIRINGS_LONG").is_ok_and(|value| value == "1");
    let table = Arc::new(Mutex::new(Table::default()));
    let no_front = front::missing();
    let mut trials = Vec::new();
    for pairing in Pairing::ALL {
        for (protocol, case) in
            Protocol::ALL.iter().flat_map(|protocol| cases::all().map(move |case| (*protocol, case)))
        {
            if case.covers(pairing, protocol) {
                let journal = Journal::default();
                let setting =
                    Setting { programs: programs.clone(), pairing, protocol, origin, long, journal };
                trials.push(trial(setting, case, Arc::clone(&table), no_front.as_deref()));
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = table.lock().unwrap_or_else(PoisonError::into_inner).write() {
        eprintln!("cannot write the table: {error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn trial(setting: Setting, case: Case, table: Arc<Mutex<Table>>, no_front: Option<&str>) -> Trial {
    let name = format!("pairings::{}::{}::{}", setting.pairing.name(), setting.protocol.label(), case.name);
    let missing = setting.programs.missing(setting.pairing);
    let no_front = setting.protocol.is_fronted().then(|| no_front.map(str::to_owned)).flatten();
    let left_out = (case.long && !setting.long).then(|| "CULVERT_PAIRINGS_LONG is not 1".to_owned());
    match missing.or(left_out).or(no_front).or_else(|| case.lacks()) {
        // Never run, not even with `--include-ignored`: there is nothing to run.
        Some(reason) => {
            Trial::ignorable_test(format!("{name} ({reason})"), move || Ok(Completion::ignored_with(reason)))
                .with_ignored_flag(true)
        }
        None => Trial::test(name, move || run_case(&setting, case, &table)),
    }
}

fn run_case(setting: &Setting, case: Case, table: &Mutex<Table>) -> Result<(), Failed> {
    let start = clock::now();
    let result = (case.run)(setting);
    let row = Row {
        pairing: setting.pairing,
        protocol: setting.protocol,
        case: case.name,
        seconds: (clock::now() - start).as_secs_f64(),
        result: result.as_ref().map_err(ToString::to_string).cloned(),
    };
    table.lock().unwrap_or_else(PoisonError::into_inner).add(row);
    result.map(drop).map_err(|failure| format!("{failure}{}", setting.journal.tails(TAIL)).into())
}
