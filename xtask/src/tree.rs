//! The repository as text: every file that a person writes, read once. Generated and recorded data are left out.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Folders whose content nobody writes by hand.
const LEFT_OUT: &[&str] = &[".git", "fuzz/artifacts", "fuzz/corpus", "fuzz/target", "target", "vectors/data"];

/// One text file.
pub(crate) struct SourceFile {
    /// Relative to the repository's root, with `/` on every system.
    pub path: String,
    pub text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The repository's root: the folder above this package.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Every text file below `root`, sorted by path. Files that are not UTF-8 are no text.
pub(crate) fn read(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = relative(root, &entry.path());
            if LEFT_OUT.contains(&path.as_str()) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
            {
                files.push(SourceFile { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file for the tests of checks.
    pub(crate) fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn reads_what_people_write_and_nothing_else() {
        let files = read(&root()).unwrap();
        assert!(files.iter().any(|file| file.path == "xtask/src/tree.rs"));
        assert!(
            files
                .iter()
                .all(|file| !file.path.starts_with("vectors/data") && !file.path.starts_with(".git/"))
        );
    }
}
