//! Why a case failed.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

/// Why a case failed; the log tails of the programs are added by the suite.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The operating system refused something to the harness, or a flow broke.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What came back.
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error("no {awaited} within {:.1} s", limit.as_secs_f64())]
    Timeout {
        /// What was waited for.
        awaited: String,
        /// How long.
        limit: Duration,
    },
    /// A program ended before it did what was waited for.
    #[error("{program} ended ({}) before {awaited}", status.map_or("status unknown".into(), |s| s.to_string()))]
    Ended {
        /// Which program.
        program: String,
        /// How it ended, where known.
        status: Option<ExitStatus>,
        /// What was waited for.
        awaited: String,
    },
    /// Something is not as it has to be.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// What was looked at.
        what: String,
        /// What it has to be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A file a program wrote is not what the next step needs.
    #[error("{file}: {problem}")]
    BadFile {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A local proxy refused a request that had to work.
    #[error("{proxy} refused {target}: {answer}")]
    Refused {
        /// Which proxy protocol.
        proxy: &'static str,
        /// The destination asked for.
        target: String,
        /// Its answer.
        answer: String,
    },
}

impl Failure {
    /// A mismatch between what had to be and what is.
    pub(crate) fn mismatch(
        what: impl Into<String>,
        expected: impl std::fmt::Display,
        got: impl std::fmt::Display,
    ) -> Self {
        Self::Mismatch { what: what.into(), expected: expected.to_string(), got: got.to_string() }
    }
}

/// Says what was being done when an I/O error came.
pub(crate) trait Doing<T> {
    /// Turns the error into a [`Failure`] with this context.
    fn doing(self, doing: impl Into<String>) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|source| Failure::Io { doing: doing.into(), source })
    }
}

/// Fails with a mismatch unless both are equal.
pub(crate) fn expect_eq<T: PartialEq + std::fmt::Debug>(
    what: impl Into<String>,
    expected: T,
    got: T,
) -> Result<(), Failure> {
    if expected == got {
        return Ok(());
    }
    Err(Failure::mismatch(what, format_args!("{expected:?}"), format_args!("{got:?}")))
}
