//! What a program with keys in its memory does before it reads them: it asks the system that nothing of that memory is ever written to a
//! file when it crashes, and that no other process of the same user may look into it; and what it frees, it forgets.
//!
//! Source: core(5), prctl(2), getrlimit(2).

use std::io;

use culvert_ssh_tokio::{Forgetful, give_back_what_is_freed};

#[global_allocator]
static ALLOCATOR: Forgetful = Forgetful;

/// No core dumps, not even to a program that collects them, no debuggers, and nothing left in memory that was freed. What the system
/// does not grant is left. Call it first of all.
pub fn protect_memory() -> io::Result<()> {
    give_back_what_is_freed();
    without_cores().and(not_dumpable())
}

#[expect(unsafe_code, reason = "limits are only available from the C library")]
fn without_cores() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a valid limit.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only the C library can ask for it")]
fn not_dumpable() -> io::Result<()> {
    // SAFETY: it takes numbers only.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn not_dumpable() -> io::Result<()> {
    Ok(())
}
