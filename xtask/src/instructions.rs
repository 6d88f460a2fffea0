//! `cargo xtask instructions`: counts the instructions of the paths that cost most in a tunnel, and compares them to the committed
//! table. A count says nothing of time, but it repeats where time does not, so that it can be a gate.
//!
//! The program counted is `culvert-hot-path`; the counter is valgrind's callgrind. Valgrind offers programs a processor of its own, with
//! AVX2 at most: the wider code that the cryptographic library has for newer ones is not what is counted.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use crate::tree;

const TABLE: &str = "bench/instructions.txt";
const PACKAGE: &str = "culvert-hot-path";
const PROFILE: &str = "gate";
/// A count may differ by so much from the table, in percent.
const TOLERANCE: f64 = 5.0;
/// Only what this function does is counted.
const COUNTED: &str = "--toggle-collect=*counted*";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the table says, or what was counted: of each case, the instructions for one unit.
#[derive(Debug, Default, PartialEq)]
struct Table {
    /// What the counts depend on besides the source.
    made_with: BTreeMap<String, String>,
    counts: BTreeMap<String, f64>,
}

/// A case as the program lists it.
struct Case {
    name: String,
    units: f64,
    unit: String,
}

/// How a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    More,
    Fewer,
    NotInTable,
}

/// Without words: compares. `--update`: writes the table.
pub(crate) fn run(words: &[&str]) -> Outcome<ExitCode> {
    let update = match words {
        [] => false,
        ["--update"] => true,
        _ => return Err("instructions takes --update or nothing".into()),
    };
    let root = tree::root();
    let program = build(&root)?;
    let cases = cases(&program)?;
    let mut counted = Table { made_with: made_with(&program)?, counts: BTreeMap::new() };
    for case in &cases {
        counted.counts.insert(case.name.clone(), count(&program, &case.name)? / case.units);
    }
    let path = root.join(TABLE);
    if update {
        fs::write(&path, render(&counted, &cases))?;
        println!("instructions: {TABLE} is written");
        return Ok(ExitCode::SUCCESS);
    }
    let table = parse(&fs::read_to_string(&path).map_err(|error| format!("{TABLE}: {error}"))?)?;
    print!("{}", compare(&table, &counted, &cases));
    Ok(judge(&table, &counted))
}

/// Builds the program and says where it is.
fn build(root: &Path) -> Outcome<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--package", PACKAGE, "--profile", PROFILE])
        .current_dir(root)
        .status()?;
    if !status.success() {
        return Err(format!("{PACKAGE} does not compile").into());
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join(PROFILE).join(PACKAGE))
}

fn cases(program: &Path) -> Outcome<Vec<Case>> {
    let text = output(Command::new(program).arg("--cases"))?;
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, units, unit) =
            (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.to_owned());
        Some(Case { name, units, unit })
    };
    text.lines().map(|line| read(line).ok_or_else(|| format!("no case: {line}").into())).collect()
}

/// Under valgrind, which is what decides.
fn made_with(program: &Path) -> Outcome<BTreeMap<String, String>> {
    let mut features = valgrind("none");
    let features = output(features.arg("--quiet").arg(program).arg("--features"))?;
    let compiler =
        output(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version"))?;
    let made_with = [("processor", features), ("compiler", compiler)];
    Ok(made_with.map(|(what, text)| (what.to_owned(), text.trim().to_owned())).into())
}

/// Instructions of one case, all units together.
fn count(program: &Path, case: &str) -> Outcome<f64> {
    let file = program.with_file_name(format!("{PACKAGE}-{case}.callgrind"));
    let option = format!("--callgrind-out-file={}", file.display());
    let mut command = valgrind("callgrind");
    command.args(["--quiet", "--collect-atstart=no", COUNTED, &option]).arg(program).arg(case);
    output(&mut command)?;
    let text = fs::read_to_string(&file)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    match total.and_then(|total| total.trim().parse::<f64>().ok()) {
        Some(count) if count > 0.0 => Ok(count),
        _ => Err(format!("{case}: nothing was counted; is the function still called so?").into()),
    }
}

fn valgrind(tool: &str) -> Command {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={tool}"));
    command
}

fn output(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}: {errors}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn verdict(table: &Table, name: &str, now: f64) -> Verdict {
    let Some(before) = table.counts.get(name) else { return Verdict::NotInTable };
    let change = percent(*before, now);
    if change > TOLERANCE {
        Verdict::More
    } else if change < -TOLERANCE {
        Verdict::Fewer
    } else {
        Verdict::Fine
    }
}

fn percent(before: f64, now: f64) -> f64 {
    (now / before - 1.0) * 100.0
}

fn compare(table: &Table, counted: &Table, cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let Some(now) = counted.counts.get(&case.name) else { continue };
        let before = table.counts.get(&case.name).copied().unwrap_or(f64::NAN);
        let remark = match verdict(table, &case.name, *now) {
            Verdict::Fine => "",
            Verdict::More => "  MORE than the table allows",
            Verdict::Fewer => "  fewer: write the table anew, lest it be lost again",
            Verdict::NotInTable => "  NOT in the table",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<16} {now:>14.3} instructions/{:<10} table {before:>14.3} {:>+7.2} %{remark}",
            case.name,
            case.unit,
            percent(before, *now)
        );
    }
    for name in table.counts.keys().filter(|name| !counted.counts.contains_key(*name)) {
        let _ = writeln!(text, "{name}: in the table, and no case");
    }
    for (what, before) in &table.made_with {
        let now = counted.made_with.get(what).map_or("unknown", String::as_str);
        if now != before {
            let _ = writeln!(text, "the table was made with the {what} `{before}`, this is `{now}`");
        }
    }
    text
}

/// Another processor's counts say nothing about ours; another compiler's do, and may be the reason.
fn judge(table: &Table, counted: &Table) -> ExitCode {
    let verdicts = counted.counts.iter().map(|(name, now)| verdict(table, name, *now));
    let other_cases = table.counts.keys().ne(counted.counts.keys());
    if other_cases {
        println!("instructions: the table has other cases: cargo xtask instructions --update");
    } else if !verdicts.into_iter().any(|verdict| verdict == Verdict::More) {
        println!(
            "instructions: {} cases, none above the table by more than {TOLERANCE} %",
            counted.counts.len()
        );
        return ExitCode::SUCCESS;
    } else if table.made_with.get("processor") != counted.made_with.get("processor") {
        println!("instructions: NOT CHECKED: this processor is offered other code than that of the table");
        return ExitCode::SUCCESS;
    } else {
        println!("instructions: above the table; where it is worth it: cargo xtask instructions --update");
    }
    ExitCode::FAILURE
}

fn render(table: &Table, cases: &[Case]) -> String {
    let mut text =
        "# Instructions for one unit of each case, by `cargo xtask instructions --update`.\n".to_owned();
    for (what, value) in &table.made_with {
        let _ = writeln!(text, "{what} = {value}");
    }
    for case in cases {
        let count = table.counts.get(&case.name).copied().unwrap_or_default();
        let _ = writeln!(text, "{} / {} = {count:.3}", case.name, case.unit);
    }
    text
}

fn parse(text: &str) -> Outcome<Table> {
    let mut table = Table::default();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (key, value) = line.split_once(" = ").ok_or_else(|| format!("{TABLE}: not a row: {line}"))?;
        match key.split_once(" / ") {
            Some((name, _)) => {
                let count = value.parse().map_err(|_| format!("{TABLE}: not a count: {line}"))?;
                table.counts.insert(name.to_owned(), count);
            }
            None => drop(table.made_with.insert(key.to_owned(), value.to_owned())),
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(count: f64) -> Table {
        Table {
            made_with: [("processor".to_owned(), "x avx2".to_owned())].into(),
            counts: [("bulk".to_owned(), count)].into(),
        }
    }

    fn cases() -> Vec<Case> {
        vec![Case { name: "bulk".to_owned(), units: 10.0, unit: "byte".to_owned() }]
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(parse(&render(&table(1.25), &cases())).unwrap(), table(1.25));
        assert!(parse("bulk / byte = many").is_err());
        assert!(parse("bulk").is_err());
    }

    #[test]
    fn more_than_the_tolerance_fails_and_less_is_told() {
        for (now, expected) in [
            (100.0, Verdict::Fine),
            (104.9, Verdict::Fine),
            (105.1, Verdict::More),
            (95.1, Verdict::Fine),
            (94.9, Verdict::Fewer),
        ] {
            assert_eq!(verdict(&table(100.0), "bulk", now), expected, "{now}");
        }
        assert_eq!(verdict(&table(100.0), "other", 1.0), Verdict::NotInTable);
        let failed = format!("{:?}", ExitCode::FAILURE);
        assert_eq!(format!("{:?}", judge(&table(100.0), &table(106.0))), failed);
        assert_ne!(format!("{:?}", judge(&table(100.0), &table(90.0))), failed);
        assert_eq!(format!("{:?}", judge(&table(100.0), &Table::default())), failed, "a case is gone");
    }

    #[test]
    fn another_processor_is_told_and_does_not_fail() {
        let mut other = table(200.0);
        other.made_with.insert("processor".to_owned(), "x".to_owned());
        assert_eq!(format!("{:?}", judge(&table(100.0), &other)), format!("{:?}", ExitCode::SUCCESS));
        assert!(compare(&table(100.0), &other, &cases()).contains("this is `x`"));
    }
}
