//! The folder of what must survive a restart, looked at before anything is served. One that this user may not write in is a mistake of
//! whoever set the server up, and stops the start. A full disk or one that cannot be written just now does not: what belongs there is
//! kept in memory then, and the log says so.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that is locked while a server uses the folder.
pub(crate) const LOCK: &str = "lock";

/// A folder that cannot be used. Local: its owner and mode.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot write in the state directory {}: {source}; {}", path.display(), fix(path, *user, source))]
    NotWritable {
        path: PathBuf,
        /// Who may not.
        user: u32,
        #[source]
        source: io::Error,
    },
    /// Somebody else could put files of their own there, such as a history of seeds.
    #[error(
        "others may write in the state directory {0} (mode {mode:04o}); run chmod 700 {0}, or name another with StateDirectory",
        path.display()
    )]
    OpenToOthers { path: PathBuf, mode: u32 },
}

fn fix(path: &Path, user: u32, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "name a folder that can be written with StateDirectory, under systemd /var/lib/psiphond with StateDirectory=psiphond in the unit"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "have root give it to this user (install -d -o {user} -m 0700 {path}), or name another with StateDirectory"
        ),
        _ => "something else has that name: name a folder with StateDirectory".to_owned(),
    }
}

/// Makes the folder if need be.
pub(crate) fn prepare(folder: &Path) -> Result<(), StateError> {
    match try_to_write(folder) {
        Err(source) if is_mistake(&source) => {
            return Err(StateError::NotWritable { path: folder.to_owned(), user: own_user(), source });
        }
        _ => {}
    }
    let mode = std::fs::metadata(folder).map_or(0, |it| it.mode() & 0o7777);
    if mode & 0o022 == 0 {
        return Ok(());
    }
    Err(StateError::OpenToOthers { path: folder.to_owned(), mode })
}

fn try_to_write(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let lock = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(lock).map(drop)
}

fn is_mistake(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | NotADirectory | AlreadyExists | ReadOnlyFilesystem)
}

#[expect(unsafe_code, reason = "the own user is only available from the C library")]
pub(crate) fn own_user() -> u32 {
    // SAFETY: it only returns a number.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_folder_is_made_private_and_a_file_is_none() {
        let scratch = Scratch::new("state");
        let folder = scratch.path().join("a/b");
        prepare(&folder).unwrap();
        prepare(&folder).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join(LOCK))), (0o700, 0o600));
        for mode in [0o755, 0o750] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
            prepare(&folder).unwrap();
        }
        for open in [0o770, 0o722, 0o1777] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(open)).unwrap();
            let error = prepare(&folder).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 700 {}", folder.display())), "{error}");
        }
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [&file, &file.join("below")] {
            let error = prepare(path).unwrap_err().to_string();
            assert!(error.contains("something else") && error.contains("StateDirectory"), "{error}");
        }
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            assert!(is_mistake(&kind.into()));
        }
        assert!(!is_mistake(&io::ErrorKind::StorageFull.into()));
        let source = io::ErrorKind::PermissionDenied.into();
        let denied = StateError::NotWritable { path: "/s".into(), user: 7, source };
        assert!(denied.to_string().contains("install -d -o 7 -m 0700 /s"), "{denied}");
    }
}
