//! Words that may not be committed in Rust: unfinished work, and lints switched off without a reason.

use super::Finding;
use crate::tree::SourceFile;

/// The word and what to do instead. Written in two parts, so that this file does not find itself.
const BANNED: &[(&str, &str)] = &[
    (concat!("#[al", "low("), "use `#[expect(lint, reason = \"..\")]`"),
    (concat!("#![al", "low("), "use `#![expect(lint, reason = \"..\")]`"),
    (concat!("db", "g!("), "remove it"),
    (concat!("to", "do!("), "write it, or return an error"),
    (concat!("unimpl", "emented!("), "write it, or return an error"),
    (concat!("#[ign", "ore]"), "give the reason: `#[ignore = \"..\"]`"),
];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in file.lines() {
            let code = line.split("//").next().unwrap_or("");
            for (word, instead) in BANNED.iter().filter(|(word, _)| code.contains(word)) {
                findings.push(Finding::at(file, number, format!("`{word}`: {instead}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    #[test]
    fn every_banned_word_is_found_in_code_and_not_in_comments() {
        for (word, _) in BANNED {
            assert_eq!(check(&[file("a.rs", &format!("    {word}x)\n"))]).len(), 1, "{word}");
            assert!(check(&[file("a.rs", &format!("// {word}x)\n"))]).is_empty(), "{word}");
        }
    }
}
