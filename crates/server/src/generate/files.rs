//! Writing files that hold secrets: mode 0600 whatever the umask, never through a link, each complete or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that cannot be written. The culprit is local: the folder, its permissions, or the disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct WriteError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// Writes all files beside their final names and then renames them, so that a failure leaves the old ones. Only a
/// failure between two renames can leave a mix.
pub(crate) fn write_all(files: &[(&Path, &[u8])]) -> Result<(), WriteError> {
    let mut staged: Vec<(PathBuf, &Path)> = Vec::new();
    let written = files.iter().try_for_each(|(path, bytes)| {
        let failed = |source| WriteError { path: path.to_path_buf(), source };
        let temporary = temporary_name(path).map_err(failed)?;
        staged.push((temporary.clone(), path));
        write_new(&temporary, bytes).map_err(failed)
    });
    let renamed = written.and_then(|()| {
        staged.iter().try_for_each(|(temporary, path)| {
            fs::rename(temporary, path)
                .and_then(|()| sync_folder(path))
                .map_err(|source| WriteError { path: path.to_path_buf(), source })
        })
    });
    if renamed.is_err() {
        for (temporary, _) in &staged {
            // Gone already if it was renamed.
            let _ = fs::remove_file(temporary);
        }
    }
    renamed
}

/// A name in the same folder that nobody else uses.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::ErrorKind::Other)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.new", data_encoding::HEXLOWER.encode(&random)));
    Ok(path.with_file_name(temporary))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let options =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path);
    let mut file = options?;
    // A umask that takes the owner's own rights away must not make the file useless.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn names(folder: &Scratch) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_private_and_replaced_and_links_are_not_followed() {
        let folder = Scratch::new("files");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, "old").unwrap();
        fs::set_permissions(&one, Permissions::from_mode(0o666)).unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "keep").unwrap();
        std::os::unix::fs::symlink(&outside, &two).unwrap();
        write_all(&[(&one, b"1"), (&two, b"2")]).unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"1");
        assert_eq!(fs::read(&two).unwrap(), b"2");
        assert_eq!(fs::read(&outside).unwrap(), b"keep");
        for path in [&one, &two] {
            let metadata = fs::symlink_metadata(path).unwrap();
            assert!(metadata.is_file());
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(names(&folder), ["one", "outside", "two"]);
    }

    #[test]
    fn a_failure_leaves_the_old_files_and_nothing_else() {
        let folder = Scratch::new("files-fail");
        let one = folder.path().join("one");
        fs::write(&one, "old").unwrap();
        let missing = folder.path().join("no-such-folder/two");
        let error = write_all(&[(&one, b"1"), (&missing, b"2")]).unwrap_err();
        assert_eq!(error.path, missing);
        assert_eq!(fs::read(&one).unwrap(), b"old");
        assert_eq!(names(&folder), ["one"]);
    }
}
