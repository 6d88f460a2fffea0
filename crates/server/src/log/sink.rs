//! Where log lines go: standard error, a file, or memory for tests. A log that cannot be written does not stop the server by itself
//! (the reference's default is to abort): lines are lost then, and standard error says so once.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::file::{LogFile, Rotation};

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
    File {
        file: Box<LogFile>,
        /// Since it could be written last.
        lost: u64,
    },
    Captured(Captured),
}

/// What became of a line.
pub(super) enum Outcome {
    Written,
    /// The first after so many that were lost.
    WrittenAfter(u64),
    Lost,
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
    pub(super) fn open(target: LogTarget, rotation: Option<Rotation>) -> Result<Self, LogError> {
        Ok(match target {
            LogTarget::StandardError => Self::StandardError,
            LogTarget::File { path, create_mode } => {
                Self::File { file: Box::new(LogFile::open(path, create_mode, rotation)?), lost: 0 }
            }
        })
    }

    pub(super) fn captured() -> (Self, Captured) {
        let captured = Captured::default();
        (Self::Captured(captured.clone()), captured)
    }

    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        match self {
            Self::File { file, .. } => file.reopen(),
            Self::StandardError | Self::Captured(_) => Ok(()),
        }
    }

    pub(super) fn write(&mut self, line: &[u8]) -> Outcome {
        match self {
            Self::StandardError => {
                // Nowhere is left to report this to.
                let _ = io::stderr().lock().write_all(line);
            }
            Self::File { file, lost } => match file.write(line, Instant::now()) {
                Ok(()) if *lost > 0 => return Outcome::WrittenAfter(std::mem::take(lost)),
                Ok(()) => {}
                Err(error) => {
                    if *lost == 0 {
                        let path = file.path().display();
                        let text = format!("cannot write the log file {path}: {error}; lines are lost\n");
                        let _ = io::stderr().lock().write_all(text.as_bytes());
                    }
                    *lost += 1;
                    return Outcome::Lost;
                }
            },
            Self::Captured(captured) => {
                captured.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
            }
        }
        Outcome::Written
    }
}
