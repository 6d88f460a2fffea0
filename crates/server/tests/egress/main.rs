//! Clients that try to reach what is internal, by every form of address and name there is, over TCP and UDP, with listeners really there:
//! nothing is dialled, as the kernel's packet filter counts it, and what is public is reached. Runs in network and mount namespaces
//! of its own, so it needs root and the programs `unshare`, `ip` and `nft`; without them it is ignored, with the reason.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod forms;
mod gateway;
mod lies;
mod place;
#[path = "../server/mod.rs"]
#[expect(dead_code, reason = "much of it is for other tests")]
mod server;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // This program starts itself in its namespaces.
    match std::env::args().nth(1).as_deref() {
        Some(place::OUTSIDE) => return place::outside(),
        Some(place::SERVER) => return place::beside_server(),
        _ => {}
    }
    let name = "nothing_internal_is_dialled";
    let trial = match missing() {
        None => Trial::test(name, || Ok(place::enter()?)),
        Some(reason) => Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true),
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

/// Why the test cannot run here, if so.
fn missing() -> Option<&'static str> {
    let works = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !works("unshare", &["--net", "--mount", "true"]) {
        return Some("no namespaces: not root, or not permitted");
    }
    if !works("ip", &["-V"]) {
        return Some("there is no program `ip`");
    }
    if !works("unshare", &["--net", "nft", "add table inet probe"]) {
        return Some("`nft` is not installed or does not work");
    }
    if !works("unshare", &["--net", "ip", "link", "add", "inner", "type", "veth"]) {
        return Some("the kernel has no pairs of devices");
    }
    None
}
