//! Whether profiles are what they claim to be: the ClientHello of a browser that is installed, caught on loopback, against the one that is
//! written by the newest profile of that browser. A browser that is not here makes its test ignored, with the reason; and so does
//! one of another version, whose profile is yet to be written.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod browser;
mod hello;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use culvert_obfuscation::Seed;
use culvert_tls::{ClientHandshake, ClientSettings, Fresh, HelloEdits, Split, Verify, profiles};
use libtest_mimic::{Arguments, Failed, Trial};

use browser::Browser;
use hello::Hello;

/// What is drawn differs from one connection to the next: so many are looked at.
const CAUGHT: usize = 3;
const WRITTEN: u8 = 40;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = Browser::ALL.into_iter().map(|browser| {
        let name = format!("hello_of_{}", browser.name());
        match found(browser) {
            Ok((program, profile)) => Trial::test(name, move || compare(browser, &program, &profile)),
            Err(reason) => Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true),
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// The browser, and the name of the profile of its version.
fn found(browser: Browser) -> Result<(std::path::PathBuf, String), String> {
    let program = browser.program().ok_or_else(|| format!("{} is not installed", browser.name()))?;
    let version = browser.version(&program).ok_or("it does not tell its version")?;
    let profile = format!("{}-{version}", browser.profile());
    match profiles::named(&profile) {
        Some(_) => Ok((program, profile)),
        None => Err(format!("there is no profile {profile}")),
    }
}

fn compare(browser: Browser, program: &Path, profile: &str) -> Result<(), Failed> {
    let shuffled = profiles::named(profile).is_some_and(|profile| profile.is_shuffled());
    let written: Vec<Hello> =
        (0..WRITTEN).map(|seed| Hello::read(&written_by(profile, seed), shuffled)).collect();
    for number in 0..CAUGHT {
        let caught = Hello::read(&browser.hello(program)?, shuffled);
        // Some of what is drawn shows: one of many is like it.
        let like = written.contains(&caught);
        if !like {
            let first = &written[0];
            return Err(format!(
                "hello {number} is like none of ours\n  caught  {caught:?}\n  for one {first:?}"
            )
            .into());
        }
    }
    Ok(())
}

/// Record and all, as a browser's is caught.
fn written_by(profile: &str, seed: u8) -> Vec<u8> {
    let settings = ClientSettings {
        profile: profiles::named(profile).unwrap(),
        edits: HelloEdits { server_name: Some(browser::NAME.to_owned()), ..HelloEdits::default() },
        split: Split::Whole,
        verify: Verify::Skip,
        ticket_secret: None,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let fresh = Fresh { random: [seed; 32], seed: Seed::from_bytes([seed; 32]), now };
    let mut handshake = ClientHandshake::new(&settings, &fresh).unwrap();
    let mut sent = Vec::new();
    handshake.advance(&mut Vec::new(), |record| sent.extend(record)).unwrap();
    sent
}
