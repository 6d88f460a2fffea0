//! A log file that goes on: it is opened anew when it was moved or removed, rotated by size where that is wanted, and tried again when it
//! could not be written. What stands in it is whole lines, even after a full disk took a part of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::LogError;

/// How often somebody looks whether the name still leads to the file.
const LOOK: Duration = Duration::from_secs(1);

/// How a file is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    pub rotation: Option<Rotation>,
    /// A log that cannot be written ends the server.
    pub stops_server: bool,
}

/// A file that would be larger is renamed first, to `NAME.1`, and that to `NAME.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// In one file.
    pub bytes: u64,
    /// Files besides the one in use.
    pub kept: u32,
}

pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    create_mode: u32,
    rotation: Option<Rotation>,
    /// Of what stands in the file.
    size: u64,
    looked: Instant,
    /// The last line stands there in part.
    torn: bool,
}

impl LogFile {
    pub(super) fn open(
        path: PathBuf,
        create_mode: u32,
        rotation: Option<Rotation>,
    ) -> Result<Self, LogError> {
        let file = match open(&path, create_mode) {
            Ok(file) => file,
            Err(source) => return Err(LogError { path, source }),
        };
        let size = size_of(&file);
        Ok(Self { file, path, create_mode, rotation, size, looked: Instant::now(), torn: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it by its name. What was open stays in use when that fails.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        let opened = open(&self.path, self.create_mode);
        self.file = opened.map_err(|source| LogError { path: self.path.clone(), source })?;
        self.size = size_of(&self.file);
        self.torn = false;
        Ok(())
    }

    /// Writes one line, with its end.
    pub(super) fn write(&mut self, line: &[u8], now: Instant) -> io::Result<()> {
        let looks = now.saturating_duration_since(self.looked) >= LOOK;
        if looks {
            self.looked = now;
            self.follow()?;
        }
        self.rotate(line.len() as u64);
        match self.append(line) {
            // A file system that was away may be back under the same name.
            Err(_) if looks && self.reopen().is_ok() => self.append(line),
            written => written,
        }
    }

    /// Opens the file that has the name now, if it is another. A file that still has a name of some sort is written for want of a better.
    fn follow(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let named = fs::symlink_metadata(&self.path);
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())) {
            return Ok(());
        }
        match self.reopen() {
            Err(error) if own.nlink() == 0 => Err(error.source),
            _ => Ok(()),
        }
    }

    /// Makes room for so many bytes.
    fn rotate(&mut self, more: u64) {
        let Some(Rotation { bytes, kept }) = self.rotation else { return };
        if self.size == 0 || self.size.saturating_add(more) <= bytes {
            return;
        }
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..kept).rev() {
            // Most are not there in the beginning.
            let _ = fs::rename(numbered(number), numbered(number + 1));
        }
        let moved = if kept == 0 { fs::remove_file(&self.path) } else { fs::rename(&self.path, numbered(1)) };
        if moved.is_err() || self.reopen().is_err() {
            // A folder that may not be written: once more after as many bytes again.
            self.size = 0;
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut left = line;
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left = left.get(written..).unwrap_or_default();
                    self.torn = !left.is_empty();
                    self.size = self.size.saturating_add(written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn size_of(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// Never follows a link, and never waits for whoever reads a pipe.
fn open(path: &Path, create_mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(create_mode)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_made_anew() {
        let folder = Scratch::new("log-moved");
        let (path, old) = (folder.path().join("psiphond.log"), folder.path().join("old"));
        let mut file = LogFile::open(path.clone(), 0o600, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut now = Instant::now();
        file.write(b"one\n", now).unwrap();
        fs::rename(&path, &old).unwrap();
        file.write(b"two\n", now).unwrap();
        now += LOOK;
        file.write(b"three\n", now).unwrap();
        assert_eq!((read(&old).as_str(), read(&path).as_str()), ("one\ntwo\n", "three\n"));
        fs::remove_file(&path).unwrap();
        now += LOOK;
        file.write(b"four\n", now).unwrap();
        assert_eq!(read(&path), "four\n");
        file.reopen().unwrap();
        file.write(b"five\n", now).unwrap();
        assert_eq!(read(&path), "four\nfive\n");
    }

    #[test]
    fn lines_without_a_file_are_lost_until_there_can_be_one() {
        let folder = Scratch::new("log-lost");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("psiphond.log");
        let mut file = LogFile::open(path.clone(), 0o600, None).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        let mut now = Instant::now() + LOOK;
        assert!(file.write(b"lost\n", now).is_err());
        fs::create_dir(&inner).unwrap();
        now += LOOK;
        file.write(b"kept\n", now).unwrap();
        assert_eq!(read(&path), "kept\n");
    }

    #[test]
    fn rotation_keeps_whole_lines_and_so_many_files() {
        let folder = Scratch::new("log-rotation");
        let path = folder.path().join("psiphond.log");
        let rotation = Some(Rotation { bytes: 8, kept: 2 });
        let mut file = LogFile::open(path.clone(), 0o600, rotation).unwrap();
        for line in ["1st\n", "2nd\n", "3rd\n", "4th is long\n", "5th\n"] {
            file.write(line.as_bytes(), Instant::now()).unwrap();
        }
        let of = |number: &str| read(&folder.path().join(format!("psiphond.log{number}")));
        assert_eq!([of(""), of(".1"), of(".2"), of(".3")], ["5th\n", "4th is long\n", "3rd\n", ""]);
        // What was there before counts.
        drop(file);
        let mut file = LogFile::open(path, 0o600, Some(Rotation { bytes: 8, kept: 0 })).unwrap();
        file.write(b"sixth\n", Instant::now()).unwrap();
        assert_eq!([of(""), of(".1")], ["sixth\n", "4th is long\n"]);
    }

    #[test]
    fn what_was_torn_does_not_spoil_the_next_line() {
        let folder = Scratch::new("log-torn");
        let path = folder.path().join("psiphond.log");
        let mut file = LogFile::open(path.clone(), 0o600, None).unwrap();
        file.append(b"{\"a\":").unwrap();
        file.torn = true;
        file.write(b"{\"b\":1}\n", Instant::now()).unwrap();
        assert_eq!(read(&path), "{\"a\":\n{\"b\":1}\n");
    }

    #[test]
    fn links_are_not_followed() {
        let folder = Scratch::new("log-link");
        let path = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        let error = LogFile::open(path, 0o600, None).err().unwrap();
        assert_eq!(error.source.raw_os_error(), Some(libc::ELOOP));
        assert!(error.to_string().contains("link"));
        assert!(!folder.path().join("elsewhere").exists());
    }
}
