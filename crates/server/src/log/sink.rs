//! Where log lines go: standard error, a file, or memory for tests. A log that cannot be written never stops the
//! server (the reference's default is to abort); lines are lost then, and standard error says so once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Where to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    StandardError,
    /// `create_mode` is given to the file when it is made, less the process's umask.
    File {
        path: PathBuf,
        create_mode: u32,
    },
}

/// A log file that cannot be opened. The culprit is local: the path or its permissions.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {}", path.display())]
pub struct LogError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

pub(super) enum Sink {
    StandardError,
    File { file: File, path: PathBuf, create_mode: u32, failing: bool },
    Captured(Captured),
}

/// The lines of a logger for tests.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Everything written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Sink {
    pub(super) fn open(target: LogTarget) -> Result<Self, LogError> {
        match target {
            LogTarget::StandardError => Ok(Self::StandardError),
            LogTarget::File { path, create_mode } => match open_file(&path, create_mode) {
                Ok(file) => Ok(Self::File { file, path, create_mode, failing: false }),
                Err(source) => Err(LogError { path, source }),
            },
        }
    }

    pub(super) fn captured() -> (Self, Captured) {
        let captured = Captured::default();
        (Self::Captured(captured.clone()), captured)
    }

    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        if let Self::File { file, path, create_mode, failing } = self {
            match open_file(path, *create_mode) {
                Ok(opened) => {
                    *file = opened;
                    *failing = false;
                }
                Err(source) => return Err(LogError { path: path.clone(), source }),
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, line: &[u8]) {
        match self {
            Self::StandardError => {
                // Nowhere is left to report this to.
                let _ = io::stderr().lock().write_all(line);
            }
            Self::File { file, path, failing, .. } => match file.write_all(line) {
                Ok(()) => *failing = false,
                Err(error) if !*failing => {
                    *failing = true;
                    let text =
                        format!("cannot write the log file {}: {error}; lines are lost\n", path.display());
                    let _ = io::stderr().lock().write_all(text.as_bytes());
                }
                Err(_) => {}
            },
            Self::Captured(captured) => {
                captured.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
            }
        }
    }
}

fn open_file(path: &PathBuf, create_mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(create_mode)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_appended_to_and_reopened_by_name() {
        let folder = Scratch::new("log");
        let path = folder.path().join("psiphond.log");
        let target = LogTarget::File { path: path.clone(), create_mode: 0o600 };
        let mut sink = Sink::open(target.clone()).unwrap();
        sink.write(b"one\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        sink.write(b"two\n");
        sink.reopen().unwrap();
        sink.write(b"three\n");
        drop(sink);
        Sink::open(target).unwrap().write(b"four\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("old")).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
    }

    #[test]
    fn links_are_not_followed() {
        let folder = Scratch::new("log-link");
        let path = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        let error = Sink::open(LogTarget::File { path: path.clone(), create_mode: 0o600 }).err().unwrap();
        assert_eq!(error.source.raw_os_error(), Some(libc::ELOOP));
        assert!(error.to_string().contains("link"));
        assert!(!folder.path().join("elsewhere").exists());
    }
}
