//! The client's own folder: its layout, the lock that lets one client at a time use it, and the small state file that
//! survives restarts. Not the store of servers.
//!
//! Source: the reference keeps everything under `DataRootDirectory/ca.psiphon.PsiphonTunnel.tunnel-core`.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::private_file::private;

/// The folder in the data root, as the reference names it.
const FOLDER: &str = "ca.psiphon.PsiphonTunnel.tunnel-core";
/// Folders inside it, as the reference names them.
const SUBFOLDERS: [&str; 2] = ["datastore", "osl"];
const LOCK_FILE: &str = "culvert.lock";
const STATE_FILE: &str = "culvert-state.json";
/// A state file beyond this size is damaged.
const LARGEST_STATE: u64 = 64 * 1024;

/// The opened folder. The lock is held until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    state: Mutex<State>,
    /// `None`: nothing is kept on disk in this run.
    lock: Option<File>,
}

/// What survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// When a tunnel was last connected, RFC 3339, as the server gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_connected: Option<String>,
    /// What a later version has written, kept as it is.
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

/// Why the folder cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("DataRootDirectory: {} does not exist or is not a folder", .path.display())]
    NoRoot { path: PathBuf },
    #[error("DataRootDirectory: the working directory cannot be told: {source}")]
    NoWorkingDirectory { source: io::Error },
    #[error("another client{} is using {}", process(*.holder), .path.display())]
    InUse { path: PathBuf, holder: Option<u32> },
}

/// Why this run keeps its state in memory only, or starts with an empty one. The client runs all the same.
#[derive(Debug, thiserror::Error)]
pub enum DataDirWarning {
    #[error("{} cannot be written ({source}); this run keeps its state in memory only", .path.display())]
    ReadOnly { path: PathBuf, source: io::Error },
    #[error("{} was damaged; it was kept as {} and a new one begun", .path.display(), .kept.display())]
    Damaged { path: PathBuf, kept: PathBuf },
    #[error("{} is damaged and cannot be replaced ({source}); this run keeps its state in memory only", .path.display())]
    DamagedForGood { path: PathBuf, source: io::Error },
}

fn process(holder: Option<u32>) -> String {
    holder.map(|id| format!(" (process {id})")).unwrap_or_default()
}

/// A [`DataDir`] and what is questionable about it.
#[derive(Debug)]
pub struct Opened {
    pub data_dir: DataDir,
    pub warning: Option<DataDirWarning>,
}

impl DataDir {
    /// Opens the folder below `root`, or below the working directory, and makes it when it is not there. The root
    /// itself must exist.
    pub fn open(root: Option<&Path>) -> Result<Opened, DataDirError> {
        let root = match root {
            Some(root) => root.to_owned(),
            None => std::env::current_dir().map_err(|source| DataDirError::NoWorkingDirectory { source })?,
        };
        if !root.is_dir() {
            return Err(DataDirError::NoRoot { path: root });
        }
        let path = root.join(FOLDER);
        let lock = match make_folders(&path).and_then(|()| open_lock(&path)) {
            Ok(lock) => lock,
            Err(source) => {
                let state = read_state(&path.join(STATE_FILE)).ok().flatten().unwrap_or_default();
                let warning = DataDirWarning::ReadOnly { path: path.clone(), source };
                return Ok(Self::opened(path, state, None, Some(warning)));
            }
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&path);
                return Err(DataDirError::InUse { path, holder });
            }
            Err(TryLockError::Error(source)) => {
                let warning = DataDirWarning::ReadOnly { path: path.clone(), source };
                return Ok(Self::opened(path, State::default(), None, Some(warning)));
            }
        }
        // Who holds the lock is only told for messages: that it cannot be told harms nothing.
        drop(
            lock.set_len(0).and_then(|()| (&lock).write_all(format!("{}\n", std::process::id()).as_bytes())),
        );
        Ok(Self::with_lock(path, lock))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether state is kept on disk.
    pub fn persists(&self) -> bool {
        self.lock.is_some()
    }

    /// A copy of the state.
    pub fn state(&self) -> State {
        self.locked_state().clone()
    }

    /// Changes the state and, where this run keeps it on disk, replaces the file in one step: a crash leaves the old
    /// one or the new one. A failure to write leaves the change in memory. Writes to disk, so it blocks.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.locked_state();
        change(&mut state);
        match self.lock {
            Some(_) => write_state(&self.path, &state),
            None => Ok(()),
        }
    }

    fn with_lock(path: PathBuf, lock: File) -> Opened {
        let file = path.join(STATE_FILE);
        let kept = path.join(format!("{STATE_FILE}.damaged"));
        match read_state(&file) {
            Ok(state) => Self::opened(path, state.unwrap_or_default(), Some(lock), None),
            Err(_) => match fs::rename(&file, &kept) {
                Ok(()) => {
                    let warning = DataDirWarning::Damaged { path: file, kept };
                    Self::opened(path, State::default(), Some(lock), Some(warning))
                }
                Err(source) => {
                    let warning = DataDirWarning::DamagedForGood { path: file, source };
                    Self::opened(path, State::default(), None, Some(warning))
                }
            },
        }
    }

    fn opened(path: PathBuf, state: State, lock: Option<File>, warning: Option<DataDirWarning>) -> Opened {
        Opened { data_dir: Self { path, state: Mutex::new(state), lock }, warning }
    }

    fn locked_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_folders(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    SUBFOLDERS.iter().try_for_each(|folder| builder.create(path.join(folder)))
}

fn open_lock(path: &Path) -> io::Result<File> {
    private().create(true).truncate(false).write(true).open(path.join(LOCK_FILE))
}

/// The process that wrote its number into the lock file.
fn holder(path: &Path) -> Option<u32> {
    fs::read_to_string(path.join(LOCK_FILE)).ok()?.trim().parse().ok()
}

/// The state file's content; `None` when there is no file.
fn read_state(file: &Path) -> io::Result<Option<State>> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    opened.take(LARGEST_STATE).read_to_string(&mut text)?;
    Ok(Some(serde_json::from_str(&text)?))
}

fn write_state(folder: &Path, state: &State) -> io::Result<()> {
    let new = folder.join(format!("{STATE_FILE}.new"));
    let mut file = private().create(true).truncate(true).write(true).open(&new)?;
    file.write_all(serde_json::to_string(state)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(STATE_FILE))?;
    // The rename itself must survive a power failure; where folders cannot be synced, it may not.
    #[cfg(unix)]
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, removed at the end.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("culvert-data-dir-{name}-{}", std::process::id()));
            drop(fs::remove_dir_all(&path));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn open(&self) -> Opened {
            DataDir::open(Some(&self.0)).unwrap()
        }

        fn state_file(&self) -> PathBuf {
            self.0.join(FOLDER).join(STATE_FILE)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn state_survives_and_folders_are_private() {
        let root = Root::new("survives");
        let opened = root.open();
        assert!(opened.warning.is_none() && opened.data_dir.persists());
        opened.data_dir.update(|state| state.last_connected = Some("2026-01-02T03:00:00Z".into())).unwrap();
        drop(opened);
        let again = root.open();
        assert_eq!(again.data_dir.state().last_connected.as_deref(), Some("2026-01-02T03:00:00Z"));
        #[cfg(unix)]
        for folder in [again.data_dir.path().to_owned(), again.data_dir.path().join("datastore")] {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_second_client_is_told_who_is_first() {
        let root = Root::new("second");
        let first = root.open();
        let error = DataDir::open(Some(&root.0)).unwrap_err();
        let named = format!("another client (process {}) is using ", std::process::id());
        assert!(error.to_string().starts_with(&named), "{error}");
        drop(first);
        assert!(root.open().data_dir.persists());
    }

    #[test]
    fn a_damaged_state_is_kept_aside() {
        for damage in ["", "{\"last_connected\": 5}", "{", "[]", "\u{0}\u{0}"] {
            let root = Root::new("damaged");
            drop(root.open());
            fs::write(root.state_file(), damage).unwrap();
            let opened = root.open();
            assert!(matches!(opened.warning, Some(DataDirWarning::Damaged { .. })), "{damage:?}");
            opened.data_dir.update(|state| state.last_connected = Some("x".into())).unwrap();
            let kept = fs::read_to_string(root.0.join(FOLDER).join("culvert-state.json.damaged")).unwrap();
            assert_eq!(kept, damage);
            drop(opened);
            assert_eq!(root.open().data_dir.state().last_connected.as_deref(), Some("x"));
        }
    }

    #[test]
    fn unknown_fields_of_a_later_version_stay() {
        let root = Root::new("later");
        drop(root.open());
        fs::write(root.state_file(), "{\"later\": [1, 2]}").unwrap();
        root.open().data_dir.update(|state| state.last_connected = Some("x".into())).unwrap();
        assert_eq!(
            fs::read_to_string(root.state_file()).unwrap(),
            "{\"last_connected\":\"x\",\"later\":[1,2]}"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_means_memory_only() {
        let root = Root::new("unwritable");
        fs::write(root.0.join(FOLDER), "a file where the folder should be").unwrap();
        let opened = root.open();
        assert!(matches!(opened.warning, Some(DataDirWarning::ReadOnly { .. })));
        assert!(!opened.data_dir.persists());
        opened.data_dir.update(|state| state.last_connected = Some("x".into())).unwrap();
        assert_eq!(opened.data_dir.state().last_connected.as_deref(), Some("x"));
    }

    #[test]
    fn a_missing_root_is_named() {
        let error = DataDir::open(Some(Path::new("no/such/root"))).unwrap_err();
        assert_eq!(error.to_string(), "DataRootDirectory: no/such/root does not exist or is not a folder");
    }
}
