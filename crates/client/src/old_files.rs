//! Moving what earlier versions kept elsewhere into the data folder: tried once, whatever comes of it, as a file there
//! remembers. What cannot be moved stays where it is.
//!
//! Source: the reference's migration of legacy paths, without its guess that the working directory is one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::OldPaths;
use crate::data_dir::DataDir;
use crate::private_file::private;

/// The file that says that it was done.
const DONE: &str = "migration_complete";

/// What became of old files.
#[derive(Debug, Default)]
pub struct Moved {
    /// Names of what is in the data folder now.
    pub moved: Vec<String>,
    pub failed: Vec<NotMoved>,
}

/// A file that stays where it is.
#[derive(Debug, thiserror::Error)]
#[error("{} was not moved to the data folder: {source}", .path.display())]
pub struct NotMoved {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Moves old files into the data folder, if that was never tried before. Not over what is there.
pub fn adopt(data_dir: &DataDir, old: &OldPaths) -> Moved {
    let done = data_dir.path().join(DONE);
    if !data_dir.persists() || done.exists() {
        return Moved::default();
    }
    let mut moved = Moved::default();
    for (from, to) in wishes(data_dir.path(), old) {
        match rename(&from, &to) {
            Ok(true) => moved.moved.extend(to.file_name().map(|name| name.to_string_lossy().into_owned())),
            Ok(false) => {}
            Err(source) => moved.failed.push(NotMoved { path: from, source }),
        }
    }
    if let Err(source) = private().write(true).create(true).truncate(true).open(&done) {
        moved.failed.push(NotMoved { path: done, source });
    }
    moved
}

/// What should be where, whether it is there or not.
fn wishes(folder: &Path, old: &OldPaths) -> Vec<(PathBuf, PathBuf)> {
    let mut wishes = Vec::new();
    let mut family = |from: &Option<PathBuf>, to: &str, endings: &[&str]| {
        for ending in from.iter().flat_map(|_| endings) {
            let from = from.as_ref().map(|from| with_ending(from, ending));
            wishes.extend(from.map(|from| (from, with_ending(&folder.join(to), ending))));
        }
    };
    family(&old.homepage, "homepage", &[""]);
    family(&old.notices, "notices", &["", ".1"]);
    family(&old.server_list, "remote_server_list", &["", ".part", ".part.etag"]);
    let store = old.data_store_folder.as_ref().map(|folder| folder.join("psiphon.boltdb"));
    family(&store, "datastore/psiphon.boltdb", &["", ".lock"]);
    for (from, name) in files_of(old.obfuscated_server_list_folder.as_deref()) {
        if name.starts_with("osl-") {
            wishes.push((from, folder.join("osl").join(name)));
        }
    }
    if let Some(upgrade) = &old.upgrade {
        let base = upgrade.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (from, name) in files_of(upgrade.parent()) {
            if let Some(ending) = name.strip_prefix(&base).filter(|ending| is_upgrade_ending(ending)) {
                wishes.push((from, folder.join(format!("upgrade{ending}"))));
            }
        }
    }
    wishes
}

/// Nothing, or a version, perhaps with what says that half of it is there.
fn is_upgrade_ending(ending: &str) -> bool {
    let Some(version) = ending.strip_prefix('.') else { return ending.is_empty() };
    let version = version.strip_suffix(".etag").map_or(version, |rest| rest);
    let version = version.strip_suffix(".part").unwrap_or(version);
    !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// The files in a folder that may not be there, sorted.
fn files_of(folder: Option<&Path>) -> Vec<(PathBuf, String)> {
    let folder = folder.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let Some(Ok(entries)) = folder.map(fs::read_dir) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
        .collect();
    files.sort();
    files
}

/// True if there was something to move.
fn rename(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => {}
    }
    if to.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_move_once_and_over_nothing() {
        let root = std::env::temp_dir().join(format!("culvert-old-files-{}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        fs::create_dir_all(root.join("old")).unwrap();
        for name in ["notices", "notices.1", "list.part", "osl-1", "other", "up.3.part", "up.x"] {
            fs::write(root.join("old").join(name), name).unwrap();
        }
        let at = |name: &str| Some(root.join("old").join(name));
        let old = OldPaths {
            notices: at("notices"),
            server_list: at("list"),
            obfuscated_server_list_folder: at(""),
            upgrade: at("up"),
            ..OldPaths::default()
        };
        let data_dir = DataDir::open(Some(&root)).unwrap().data_dir;
        fs::write(data_dir.path().join("notices"), "newer").unwrap();
        let moved = adopt(&data_dir, &old);
        assert_eq!(moved.moved, ["notices.1", "remote_server_list.part", "osl-1", "upgrade.3.part"]);
        assert_eq!(moved.failed.len(), 1, "{moved:?}");
        assert_eq!(fs::read_to_string(data_dir.path().join("notices")).unwrap(), "newer");
        assert_eq!(fs::read_to_string(data_dir.path().join("osl/osl-1")).unwrap(), "osl-1");
        fs::write(root.join("old/list"), "late").unwrap();
        let again = adopt(&data_dir, &old);
        assert!(again.moved.is_empty() && again.failed.is_empty());
        fs::remove_dir_all(&root).unwrap();
    }
}
