//! The source of the pure crates names no socket, file, clock, thread or system randomness. That they depend on no crate that has
//! these is `layers`.

use super::Finding;
use super::layers::PURE;
use crate::tree::SourceFile;

const IMPURE: &[&str] = &[
    "File::create",
    "File::open",
    "Instant::now",
    "OsRng",
    "SystemTime::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "thread_rng",
    "tokio::",
];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| is_pure(&file.path)) {
        for (number, line) in product_lines(file) {
            let code = line.split("//").next().unwrap_or("");
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                findings.push(Finding::at(
                    file,
                    number,
                    format!("`{word}` in a pure crate: take it as an argument"),
                ));
            }
            for word in grouped_import(code) {
                findings.push(Finding::at(file, number, format!("`std::{word}` in a pure crate")));
            }
        }
    }
    findings
}

fn is_pure(path: &str) -> bool {
    PURE.iter().any(|name| {
        path.strip_prefix("crates/").is_some_and(|rest| rest.starts_with(&format!("{name}/src/")))
    }) && !path.ends_with("/tests.rs")
        && !path.contains("/tests/")
}

/// The lines before the file's tests.
fn product_lines(file: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    file.lines().take_while(|(_, line)| line.trim() != "#[cfg(test)]")
}

/// Names that `use std::{..}` brings in and that a pure crate must not have.
fn grouped_import(code: &str) -> Vec<&str> {
    let Some(group) = code.trim().strip_prefix("use std::{") else { return Vec::new() };
    group
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| ["env", "fs", "process", "thread"].contains(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    #[test]
    fn every_impure_name_is_found_in_every_pure_crate() {
        for name in PURE {
            let path = format!("crates/{name}/src/a.rs");
            for word in IMPURE.iter().chain(&["use std::{fmt, fs};"]) {
                assert_eq!(check(&[file(&path, &format!("{word}\n"))]).len(), 1, "{name} {word}");
            }
            assert!(
                check(&[file(&path, "use std::net::IpAddr; // not TcpStream\nuse std::{fmt, io};\n")])
                    .is_empty()
            );
            assert!(check(&[file(&path, "#[cfg(test)]\nmod tests { use std::fs; }\n")]).is_empty());
        }
        assert!(check(&[file("crates/client/src/a.rs", "use std::fs;\n")]).is_empty());
    }
}
