//! No file names a folder of the machine it was written on.

use super::Finding;
use crate::tree::SourceFile;

/// Written in two parts, so that this file does not find itself.
const FOLDERS: &[&str] = &[concat!("/o", "pt/"), concat!("/wo", "rk/"), concat!("/ro", "ot/")];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            for folder in FOLDERS.iter().filter(|folder| names(line, folder)) {
                findings.push(Finding::at(
                    file,
                    number,
                    format!("names `{folder}`, a folder of one machine"),
                ));
            }
        }
    }
    findings
}

/// Whether the line has the folder as the start of an absolute path, not as the tail of a longer one or of a URL.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    #[test]
    fn an_absolute_path_is_found_and_a_url_is_not() {
        for folder in FOLDERS {
            assert_eq!(check(&[file("a.md", &format!("cp {folder}x y\n"))]).len(), 1);
            assert_eq!(check(&[file("a.md", &format!("at \"{folder}x\"\n"))]).len(), 1);
            assert!(check(&[file("a.md", &format!("https://example.org{folder}x\n"))]).is_empty());
        }
    }
}
