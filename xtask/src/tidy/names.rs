//! No crate or module is called by a word that says nothing of what is in it.

use super::Finding;
use crate::tree::SourceFile;

const EMPTY_NAMES: &[&str] =
    &["common", "core", "helper", "helpers", "manager", "misc", "types", "util", "utils"];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for name in parts.filter(|part| EMPTY_NAMES.contains(part)) {
            findings.push(Finding::at(file, 0, format!("`{name}` says nothing: name it for what it does")));
        }
        for (number, line) in file.lines() {
            if let Some(name) = inline_module(line).filter(|name| EMPTY_NAMES.contains(name)) {
                findings.push(Finding::at(
                    file,
                    number,
                    format!("module `{name}`: name it for what it does"),
                ));
            }
        }
    }
    findings
}

/// The name of a module whose body opens on this line.
fn inline_module(line: &str) -> Option<&str> {
    let words = line.trim().strip_suffix('{')?.trim_end();
    let (before, name) = words.rsplit_once("mod ")?;
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    #[test]
    fn an_empty_name_is_found_as_file_folder_crate_and_module() {
        for path in ["a/src/util.rs", "a/src/types/b.rs", "crates/common/src/lib.rs"] {
            assert_eq!(check(&[file(path, "")]).len(), 1, "{path}");
        }
        assert_eq!(check(&[file("a.rs", "pub(crate) mod helpers {\n")]).len(), 1);
        assert_eq!(check(&[file("a.rs", "mod core {\n")]).len(), 1);
        assert!(check(&[file("a/src/score.rs", "mod tests {\nuse core::fmt;\n")]).is_empty());
    }
}
