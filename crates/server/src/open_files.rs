//! How many files this process may have open: every tunnel, flow and stranger is one.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limit where the system does not tell: what most start with.
const USUAL: usize = 1024;

/// New connections leave this share of all files to the flows of tunnels that are up, within these bounds.
const RESERVE_SHARE: usize = 16;
const LEAST_RESERVE: usize = 4;
const MOST_RESERVE: usize = 1024;

/// What new connections must leave to tunnels that are up.
pub(crate) struct Descriptors {
    /// The first number of the reserve.
    reserve: RawFd,
    /// For connections that are ended in an orderly way, which takes a moment, although they are not wanted.
    farewells: Arc<Semaphore>,
}

impl Descriptors {
    /// Of so many.
    pub(crate) fn among(files: usize) -> Self {
        let reserve = (files / RESERVE_SHARE).clamp(LEAST_RESERVE, MOST_RESERVE);
        let first = RawFd::try_from(files.saturating_sub(reserve)).unwrap_or(RawFd::MAX);
        Self { reserve: first, farewells: Arc::new(Semaphore::new(reserve / 2)) }
    }

    /// Whether a socket that has just been opened is among the last that there can be. A new file gets the lowest number that is free, so that
    /// a high number says how many there are.
    pub(crate) fn is_scarce(&self, socket: &TcpStream) -> bool {
        socket.as_raw_fd() >= self.reserve
    }

    /// A place among those who are ended in an orderly way; `None` if they are too many.
    pub(crate) fn farewell(&self) -> Option<OwnedSemaphorePermit> {
        self.farewells.clone().try_acquire_owned().ok()
    }
}

/// Raises the limit as far as the process may, since the one it starts with is for interactive use.
pub(crate) fn allow_many() -> io::Result<()> {
    let limit = limit()?;
    if limit.rlim_cur < limit.rlim_max {
        set(libc::rlimit { rlim_cur: limit.rlim_max, ..limit })?;
    }
    Ok(())
}

/// How many there may be.
pub(crate) fn most() -> usize {
    limit().map_or(USUAL, |limit| usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

#[expect(unsafe_code, reason = "limits are only available from the C library")]
fn limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the result.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "limits are only available from the C library")]
fn set(limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: `limit` is a valid limit.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
