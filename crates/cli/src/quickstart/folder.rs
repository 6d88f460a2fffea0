//! A temporary folder that is removed with its contents.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that only this user can enter, removed when dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    /// Creates a folder whose name starts with `name` below the system's temporary folder.
    pub fn create(name: &str) -> io::Result<Self> {
        let parent = std::env::temp_dir();
        for number in 0..1000_u32 {
            let path = parent.join(format!("{name}-{}-{number}", std::process::id()));
            // Not recursive: a folder that is there already belongs to somebody else.
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, format!("no free name in {}", parent.display())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is.
    pub fn keep(self) -> PathBuf {
        let path = self.path.clone();
        std::mem::forget(self);
        path
    }

    /// Removes it now, and says if that failed.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Nobody is left to tell; `remove` is for those who want to know.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn two_at_once_differ_are_private_and_vanish() {
        let one = TemporaryFolder::create("culvert-folder-test").unwrap();
        let two = TemporaryFolder::create("culvert-folder-test").unwrap();
        assert_ne!(one.path(), two.path());
        assert_eq!(fs::metadata(one.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir(two.path().join("inner")).unwrap();
        fs::write(two.path().join("inner/file"), "x").unwrap();
        let (first, second) = (one.path().to_owned(), two.path().to_owned());
        let three = TemporaryFolder::create("culvert-folder-test").unwrap().keep();
        assert!(three.exists());
        fs::remove_dir(three).unwrap();
        drop(one);
        two.remove().unwrap();
        assert!(!first.exists() && !second.exists());
    }
}
