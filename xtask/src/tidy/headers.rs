//! Every Rust file opens by saying what it is.

use super::Finding;
use crate::tree::SourceFile;

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| file.is_rust() && !has_header(&file.text))
        .map(|file| Finding::at(file, 1, "the file does not open with `//!` and what it is"))
        .collect()
}

fn has_header(text: &str) -> bool {
    let words = text.lines().next().and_then(|line| line.strip_prefix("//!")).unwrap_or("").trim();
    words.len() >= 10 && !words.starts_with("TODO")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    #[test]
    fn a_file_without_header_is_found() {
        assert!(check(&[file("a.rs", "//! Adds two numbers.\nfn f() {}\n")]).is_empty());
        for text in ["", "fn f() {}\n", "//!\n", "//! TODO later on\n", "// Adds two numbers.\n"] {
            assert_eq!(check(&[file("a.rs", text)]).len(), 1, "{text:?}");
        }
        assert!(check(&[file("a.md", "no header\n")]).is_empty());
    }
}
