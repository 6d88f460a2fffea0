//! `culvert-hot-path CASE`: runs one case of what costs most in a tunnel, the same way each time: no sockets, no clock, fixed seeds. How
//! many instructions that takes is counted by who starts this (`cargo xtask instructions`), inside [`counted`] only.
//!
//! `culvert-hot-path --cases` prints each case and its units. `culvert-hot-path --features` prints what the processor offers to
//! libraries that choose their code by it.

mod cases;
mod pair;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--cases"] => {
            for case in cases::ALL {
                println!("{} {} {}", case.name, case.count, case.unit);
            }
        }
        ["--features"] => println!("{}", features()),
        [name] if let Some(case) = cases::ALL.iter().find(|case| case.name == *name) => {
            let mut work = (case.prepare)(case.count);
            counted(&mut *work);
        }
        _ => {
            eprintln!("usage: culvert-hot-path CASE | --cases | --features");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What is done in here counts. The counter knows it by its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// By these the cryptographic library and the C library choose their code.
#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let known = [
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("pclmulqdq", std::arch::is_x86_feature_detected!("pclmulqdq")),
        ("ssse3", std::arch::is_x86_feature_detected!("ssse3")),
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
        ("adx", std::arch::is_x86_feature_detected!("adx")),
        ("sha", std::arch::is_x86_feature_detected!("sha")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    let present = known.into_iter().filter(|(_, present)| *present);
    ["x86_64"].into_iter().chain(present.map(|(name, _)| name)).collect::<Vec<_>>().join(" ")
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    env::consts::ARCH.to_owned()
}
