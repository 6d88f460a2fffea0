//! How many files this process may have open: every tunnel, flow and stranger is one.

use std::io;

/// The limit where the system does not tell: what most start with.
const USUAL: usize = 1024;

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
