//! Runs every target on its committed inputs, then for a moment on changes of them. One test per target.
//!
//! `CULVERT_FUZZ_SECONDS` is how long each runs (1); `CULVERT_FUZZ_SEED` repeats a run that failed, and `random` draws one. A fault
//! prints its seed and keeps its input beside the test's other output.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use culvert_fuzz_targets::mutate::Mutator;
use culvert_fuzz_targets::{TARGETS, Target};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (seed, time) = match (seed(), time()) {
        (Ok(seed), Ok(time)) => (seed, time),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let smoke = TARGETS.iter().map(|target| {
        let name = format!("fuzz::{}", target.0);
        Trial::test(name, move || run(target, seed, time).map_err(Failed::from))
    });
    let complete = Trial::test("fuzz::every_target_is_complete", || complete().map_err(Failed::from));
    libtest_mimic::run(&arguments, smoke.chain([complete]).collect()).exit_code()
}

fn seed() -> Result<u64, String> {
    match env::var("CULVERT_FUZZ_SEED") {
        Err(_) => Ok(1),
        Ok(text) if text != "random" => text.parse().map_err(|error| format!("CULVERT_FUZZ_SEED: {error}")),
        Ok(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map(|since| u64::from(since.subsec_nanos()) ^ since.as_secs())
            .map_err(|error| error.to_string()),
    }
}

fn time() -> Result<Duration, String> {
    let text = env::var("CULVERT_FUZZ_SECONDS").unwrap_or_else(|_| "1".to_owned());
    text.parse().map(Duration::from_secs).map_err(|error| format!("CULVERT_FUZZ_SECONDS: {error}"))
}

fn run(target: &Target, seed: u64, time: Duration) -> Result<(), String> {
    let inputs = corpus(target.0)?;
    for (file, input) in &inputs {
        attempt(target, input).map_err(|what| format!("{}: {what}", file.display()))?;
    }
    let mut mutator = Mutator::new(seed, inputs.into_iter().map(|(_, input)| input).collect());
    let start = SystemTime::now();
    // At least some, however slow the machine.
    for number in 0_u64.. {
        if number >= 100 && start.elapsed().is_ok_and(|elapsed| elapsed >= time) {
            break;
        }
        let input = mutator.input();
        attempt(target, &input).map_err(|what| {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{seed}-{number}", target.0));
            let kept = fs::write(&kept, &input)
                .map_or_else(|error| error.to_string(), |()| kept.display().to_string());
            format!("{what}\nCULVERT_FUZZ_SEED={seed}, input {number}, {} bytes, kept as {kept}", input.len())
        })?;
    }
    Ok(())
}

fn attempt(target: &Target, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| target.1(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned()
    })
}

fn corpus(name: &str) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let folder = fuzz().join("corpus").join(name);
    let named = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(named)?;
    files.sort();
    files.into_iter().map(|file| fs::read(&file).map(|input| (file, input)).map_err(named)).collect()
}

/// Every target has a libFuzzer program, committed inputs, and nothing is left of targets that are gone.
fn complete() -> Result<(), String> {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    if !names.is_sorted() {
        return Err("TARGETS is not sorted".to_owned());
    }
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).map_err(|error| error.to_string())?;
    for name in &names {
        let program = fuzz().join("fuzz_targets").join(format!("{name}.rs"));
        let text = fs::read_to_string(&program).map_err(|error| format!("{}: {error}", program.display()))?;
        if !text.contains(&format!("run(\"{name}\", data)")) {
            return Err(format!("{} does not run its target", program.display()));
        }
        if !manifest.contains(&format!("name = \"{name}\"")) {
            return Err(format!("fuzz/Cargo.toml has no program {name}"));
        }
        if corpus(name)?.is_empty() {
            return Err(format!("fuzz/corpus/{name} is empty"));
        }
    }
    for folder in ["corpus", "fuzz_targets"] {
        let entries = fs::read_dir(fuzz().join(folder)).map_err(|error| error.to_string())?;
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !names.contains(&name.as_str()) {
                return Err(format!("{} belongs to no target", path.display()));
            }
        }
    }
    Ok(())
}

fn fuzz() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
